//! `migrate-snapshots`: copies the records of an SQLite file into a PostgreSQL database (config.md §5).

use std::{collections::HashSet, fmt, path::Path, time::Duration};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    StoreError, dsn,
    postgres::{connect, make_schema},
    sqlite,
};
use crate::{model::timestamp::Timestamp, secret::Secret};

/// How long the database may take to answer at first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// All columns, in the order of [`INSERT`]. Those of older files are fewer.
const COLUMNS: [&str; 12] = [
    "id",
    "source_sandbox_id",
    "namespace",
    "name",
    "description",
    "restore_config",
    "state",
    "reason",
    "message",
    "last_transition_at",
    "created_at",
    "updated_at",
];

/// The columns with times, by their place in [`COLUMNS`].
const TIME_COLUMNS: [usize; 3] = [9, 10, 11];

const INSERT: &str = "INSERT INTO snapshots (id, source_sandbox_id, namespace, name, description, restore_config, state, \
                      reason, message, last_transition_at, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, \
                      $6::jsonb, $7, $8, $9, $10::timestamptz, $11::timestamptz, $12::timestamptz) \
                      ON CONFLICT (id) DO NOTHING";

/// What a migration has done, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Nothing was written.
    pub dry_run: bool,
    /// Records in the file.
    pub total: u64,
    /// Records that the database did not have.
    pub migrated: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dry_run, total, migrated } = *self;
        let what = if dry_run { "dry-run" } else { "migrated" };
        write!(f, "Snapshots {what}: total={total}, migrated={migrated}, skipped={}", total - migrated)
    }
}

/// A record's columns.
type Values = Vec<Option<String>>;

/// Copies what the database does not have yet, all or nothing. A dry run writes nothing, not even the schema.
///
/// # Errors
///
/// The file or the database cannot be read, or a record is damaged.
pub async fn run(from: &Path, to: &Secret, dry_run: bool) -> Result<Summary, StoreError> {
    let options = dsn::options(to.expose())?;
    let records = read(from).await?;
    let mut database = connect(&options, CONNECT_TIMEOUT).await?;
    let total = records.len() as u64;
    let migrated = if dry_run {
        let known = known(&mut database).await?;
        records.iter().filter(|record| record[0].as_ref().is_none_or(|id| !known.contains(id))).count() as u64
    } else {
        write(&mut database, records).await?
    };
    database.close().await?;
    Ok(Summary { dry_run, total, migrated })
}

/// Reads the file without changing it. Older files lack columns; a file without the table has no records.
async fn read(path: &Path) -> Result<Vec<Values>, StoreError> {
    if !path.is_file() {
        return Err(StoreError::new(format!("SQLite snapshot database not found: {}", path.display())));
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let present = sqlite::columns(&mut connection).await?;
    if present.is_empty() {
        return Ok(Vec::new());
    }
    let columns = COLUMNS.map(|name| if present.iter().any(|column| column == name) { name } else { "NULL" });
    // Made of our own words only.
    let select = AssertSqlSafe(format!("SELECT {} FROM snapshots", columns.join(", ")));
    let rows = sqlx::query(select).fetch_all(&mut connection).await?;
    connection.close().await?;
    rows.iter().map(values).collect()
}

fn values(row: &sqlx::sqlite::SqliteRow) -> Result<Values, StoreError> {
    let mut values: Values = (0..COLUMNS.len()).map(|column| row.try_get(column)).collect::<Result<_, _>>()?;
    let id = values[0].clone().unwrap_or_default();
    for column in TIME_COLUMNS {
        if let Some(text) = &values[column] {
            let damaged = || StoreError::new(format!("snapshot {id}: {} is no time: {text}", COLUMNS[column]));
            values[column] = Some(Timestamp::from_iso(text).ok_or_else(damaged)?.to_label());
        }
    }
    Ok(values)
}

async fn known(database: &mut PgConnection) -> Result<HashSet<String>, StoreError> {
    let table: Option<String> =
        sqlx::query("SELECT to_regclass('snapshots')::text").fetch_one(&mut *database).await?.try_get(0)?;
    if table.is_none() {
        return Ok(HashSet::new());
    }
    let rows = sqlx::query("SELECT id FROM snapshots").fetch_all(database).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

async fn write(database: &mut PgConnection, records: Vec<Values>) -> Result<u64, StoreError> {
    let mut transaction = database.begin().await?;
    make_schema(&mut transaction).await?;
    let mut migrated = 0;
    for record in records {
        let id = record[0].clone().unwrap_or_default();
        let insert = record.into_iter().fold(sqlx::query(INSERT), |query, value| query.bind(value));
        let done = insert.execute(&mut *transaction).await.map_err(StoreError::from);
        let done = done.map_err(|error| StoreError::new(format!("snapshot {id}: {error}")))?;
        migrated += done.rows_affected();
    }
    transaction.commit().await?;
    Ok(migrated)
}
