//! The table of snapshots, as far as both databases are asked in the same words. What they write has each its own.

use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, QueryBuilder, Row, Type};

use super::{Record, StoreError, rows::record};
use crate::model::snapshot::{Snapshot, SnapshotQuery, SnapshotState};

/// The table, and the connections to its database.
pub(super) struct Table<DB: Database> {
    /// The connections.
    pub(super) pool: Pool<DB>,
    /// Selects the columns of [`record`] of all rows.
    select: &'static str,
}

impl<DB> Table<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'v> String: Encode<'v, DB> + Decode<'v, DB> + Type<DB>,
    for<'v> i64: Encode<'v, DB> + Decode<'v, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    pub(super) fn new(pool: Pool<DB>, select: &'static str) -> Self {
        Self { pool, select }
    }

    /// See [`super::SnapshotStore::get`].
    pub(super) async fn get(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let mut query = QueryBuilder::new(self.select);
        query.push(" WHERE id = ").push_bind(id.to_owned());
        let row = query.build().fetch_optional(&self.pool).await?;
        row.as_ref().map(record).transpose()
    }

    /// See [`super::SnapshotStore::page`].
    pub(super) async fn page(&self, query: &SnapshotQuery) -> Result<(Vec<Snapshot>, u64), StoreError> {
        let mut count = QueryBuilder::new("SELECT count(*) FROM snapshots");
        push_filters(&mut count, query);
        let count: i64 = count.build().fetch_one(&self.pool).await?.try_get(0)?;
        let mut items = QueryBuilder::new(self.select);
        push_filters(&mut items, query);
        push_page(&mut items, query);
        let rows = items.build().fetch_all(&self.pool).await?;
        let items = rows.iter().map(|row| Ok(record(row)?.snapshot)).collect::<Result<_, StoreError>>()?;
        Ok((items, count.unsigned_abs()))
    }

    /// See [`super::SnapshotStore::unfinished`].
    pub(super) async fn unfinished(&self, states: [SnapshotState; 2]) -> Result<Vec<String>, StoreError> {
        let [first, second] = states.map(|state| state.name().to_owned());
        let query = sqlx::query("SELECT id FROM snapshots WHERE state IN ($1, $2)").bind(first).bind(second);
        let rows = query.fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// See [`super::SnapshotStore::remove`].
    pub(super) async fn remove(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM snapshots WHERE id = $1").bind(id.to_owned()).execute(&self.pool).await?;
        Ok(())
    }
}

/// Adds a list's filters.
fn push_filters<DB>(builder: &mut QueryBuilder<DB>, query: &SnapshotQuery)
where
    DB: Database,
    for<'t> String: Encode<'t, DB> + Type<DB>,
{
    let mut word = " WHERE ";
    for (column, value) in [("source_sandbox_id = ", &query.sandbox_id), ("name = ", &query.name)] {
        if let Some(value) = value {
            builder.push(word).push(column).push_bind(value.clone());
            word = " AND ";
        }
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
