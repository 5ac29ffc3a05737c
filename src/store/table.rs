//! The table of snapshots in either database. The statements of which each has its own form are told by [`Statements`].

use async_trait::async_trait;
use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, QueryBuilder, Row, Type};

use super::{
    Change, Record, SnapshotStore, StoreError,
    rows::{record, restore_config},
};
use crate::model::{
    snapshot::{Snapshot, SnapshotOwner, SnapshotQuery, SnapshotState},
    timestamp::Timestamp,
};

/// The table, and the connections to its database.
pub(super) struct Table<DB: Database> {
    pool: Pool<DB>,
    statements: Statements<DB>,
}

/// A database's form of some statements, and how it tells what they did.
pub(super) struct Statements<DB: Database> {
    /// Selects the columns of [`record`] of all rows.
    pub(super) select: &'static str,
    /// The tenant of a row's restore configuration, by the rule of [`record`]: null if that is no text or an empty one, or if
    /// the configuration is no JSON.
    pub(super) tenant: &'static str,
    /// Adds a row of id, sandbox, namespace, name, restore configuration, state, reason, message, and the times of the last
    /// transition, the creation and the last change.
    pub(super) insert: &'static str,
    /// Sets state, reason, message, the times of the last transition and of the last change, and the restore configuration
    /// unless it is null, of the row with an id and a state.
    pub(super) change: &'static str,
    /// How many rows a statement changed.
    pub(super) changed: fn(&DB::QueryResult) -> u64,
}

impl<DB: Database> Table<DB> {
    pub(super) fn new(pool: Pool<DB>, statements: Statements<DB>) -> Self {
        Self { pool, statements }
    }
}

#[async_trait]
impl<DB> SnapshotStore for Table<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'v> String: Encode<'v, DB> + Decode<'v, DB> + Type<DB>,
    for<'v> Option<String>: Encode<'v, DB>,
    for<'v> i64: Encode<'v, DB> + Decode<'v, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn insert(&self, record: &Record) -> Result<(), StoreError> {
        let Record { snapshot: Snapshot { id, sandbox_id, name, status, created_at }, image, owner } = record;
        let query = sqlx::query(self.statements.insert).bind(id.clone()).bind(sandbox_id.clone());
        let query = query.bind(owner.namespace.as_deref().map(str::to_owned)).bind(name.clone());
        let config = restore_config(image.as_deref(), owner.tenant.as_deref());
        let query = query.bind(config).bind(status.state.name().to_owned());
        let query = query.bind(status.reason.clone()).bind(status.message.clone());
        let query = query.bind(status.last_transition_at.map(Timestamp::to_label)).bind(created_at.to_label());
        query.bind(Timestamp::now().to_label()).execute(&self.pool).await?;
        Ok(())
    }

    async fn get(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let mut query = QueryBuilder::new(self.statements.select);
        query.push(" WHERE id = ").push_bind(id.to_owned());
        let row = query.build().fetch_optional(&self.pool).await?;
        row.as_ref().map(record).transpose()
    }

    async fn page(&self, query: &SnapshotQuery, owner: &SnapshotOwner) -> Result<(Vec<Record>, u64), StoreError> {
        let mut count = QueryBuilder::new("SELECT count(*) FROM snapshots");
        push_filters(&mut count, query, owner, self.statements.tenant);
        let count: i64 = count.build().fetch_one(&self.pool).await?.try_get(0)?;
        let mut items = QueryBuilder::new(self.statements.select);
        push_filters(&mut items, query, owner, self.statements.tenant);
        push_page(&mut items, query);
        let rows = items.build().fetch_all(&self.pool).await?;
        let items = rows.iter().map(record).collect::<Result<_, StoreError>>()?;
        Ok((items, count.unsigned_abs()))
    }

    async fn unfinished(&self, states: [SnapshotState; 2]) -> Result<Vec<String>, StoreError> {
        let [first, second] = states.map(|state| state.name().to_owned());
        let query = sqlx::query("SELECT id FROM snapshots WHERE state IN ($1, $2)").bind(first).bind(second);
        let rows = query.fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    async fn change(&self, id: &str, from: SnapshotState, change: &Change) -> Result<bool, StoreError> {
        let Change { status, image } = change;
        // The restore configuration is written as a whole; whose a snapshot is never changes.
        let tenant = match image {
            Some(_) => self.get(id).await?.and_then(|record| record.owner.tenant),
            None => None,
        };
        let query = sqlx::query(self.statements.change).bind(status.state.name().to_owned());
        let query = query.bind(status.reason.clone()).bind(status.message.clone());
        let query = query.bind(status.last_transition_at.map(Timestamp::to_label)).bind(Timestamp::now().to_label());
        let query = query.bind(image.as_deref().map(|image| restore_config(Some(image), tenant.as_deref())));
        let done = query.bind(id.to_owned()).bind(from.name().to_owned()).execute(&self.pool).await?;
        Ok((self.statements.changed)(&done) > 0)
    }

    async fn remove(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM snapshots WHERE id = $1").bind(id.to_owned()).execute(&self.pool).await?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Adds a list's filters.
fn push_filters<DB>(builder: &mut QueryBuilder<DB>, query: &SnapshotQuery, owner: &SnapshotOwner, tenant: &'static str)
where
    DB: Database,
    for<'t> String: Encode<'t, DB> + Type<DB>,
{
    let mut word = " WHERE ";
    for (column, value) in [
        ("source_sandbox_id = ", query.sandbox_id.as_deref()),
        ("name = ", query.name.as_deref()),
        ("namespace = ", owner.namespace.as_deref()),
    ] {
        if let Some(value) = value {
            builder.push(word).push(column).push_bind(value.to_owned());
            word = " AND ";
        }
    }
    if let Some(own) = owner.tenant.as_deref() {
        builder.push(word).push("COALESCE(").push(tenant).push(", ").push_bind(own.to_owned()).push(") = ");
        builder.push_bind(own.to_owned());
        word = " AND ";
    }
    if !query.states.is_empty() {
        builder.push(word).push("state IN (");
        let mut states = builder.separated(", ");
        for state in &query.states {
            states.push_bind(state.clone());
        }
        builder.push(")");
    }
}

/// Adds a list's order and its page.
fn push_page<DB>(builder: &mut QueryBuilder<DB>, query: &SnapshotQuery)
where
    DB: Database,
    for<'t> i64: Encode<'t, DB> + Type<DB>,
{
    let bounded = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    builder.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(bounded(query.page.page_size));
    builder.push(" OFFSET ").push_bind(bounded(query.page.skipped()));
}
