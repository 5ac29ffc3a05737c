//! Snapshots in a PostgreSQL database, for gateways that shall not depend on one machine's disk.

use std::time::Duration;

use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    StoreError,
    dsn::{self, place},
    table::{Statements, Table},
};
use crate::config::Postgresql;

/// Two servers that start at the same time would make the table at the same time; the existing one takes this lock too.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('opensandbox-server-snapshot-schema'))";

const SCHEMA: [&str; 6] = [
    // Otherwise each start logs a notice for everything that is there already.
    "SET LOCAL client_min_messages = warning",
    "CREATE TABLE IF NOT EXISTS snapshots (
        id TEXT PRIMARY KEY,
        source_sandbox_id TEXT NOT NULL,
        namespace TEXT DEFAULT NULL,
        name TEXT,
        description TEXT,
        restore_config JSONB NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        message TEXT,
        last_transition_at TIMESTAMPTZ,
        created_at TIMESTAMPTZ NOT NULL,
        updated_at TIMESTAMPTZ NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS idx_snapshots_source_sandbox_id ON snapshots(source_sandbox_id)",
    "CREATE INDEX IF NOT EXISTS idx_snapshots_state ON snapshots(state)",
    "CREATE INDEX IF NOT EXISTS idx_snapshots_created_at ON snapshots(created_at DESC)",
    "CREATE INDEX IF NOT EXISTS idx_snapshots_name_namespace ON snapshots(name, namespace)",
];

/// The columns as text, times in the form that SQLite's file has.
const SELECT: &str = r#"SELECT id, source_sandbox_id, name, restore_config::text, state, reason, message,
    to_char(last_transition_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), namespace FROM snapshots"#;

const TENANT: &str = "CASE WHEN jsonb_typeof(restore_config->'tenant') = 'string' \
                      THEN NULLIF(restore_config->>'tenant', '') END";

const INSERT: &str = "INSERT INTO snapshots (id, source_sandbox_id, namespace, name, restore_config, state, reason, \
                      message, last_transition_at, created_at, updated_at) VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, \
                      $8, $9::timestamptz, $10::timestamptz, $11::timestamptz)";

const CHANGE: &str = "UPDATE snapshots SET state = $1, reason = $2, message = $3, last_transition_at = $4::timestamptz, \
                      updated_at = $5::timestamptz, restore_config = COALESCE($6::jsonb, restore_config) \
                      WHERE id = $7 AND state = $8";

/// The store in a database: connects, and brings the schema up to date.
pub(super) async fn open(server: &Postgresql) -> Result<Table<sqlx::Postgres>, StoreError> {
    let options = dsn::options(server.dsn.expose())?;
    // Once past the pool, which would only say that there was no connection in time.
    let mut connection = connect(&options, server.connect_timeout).await?;
    prepare(&mut connection).await?;
    connection.close().await?;
    let pool = PgPoolOptions::new().min_connections(server.min_pool_size).max_connections(server.max_pool_size);
    let pool = pool.acquire_timeout(server.pool_timeout).connect_with(options).await?;
    let statements = Statements {
        select: SELECT,
        tenant: TENANT,
        insert: INSERT,
        change: CHANGE,
        changed: sqlx::postgres::PgQueryResult::rows_affected,
    };
    Ok(Table::new(pool, statements))
}

/// One connection. The error says where to, and nothing else of the DSN.
pub(super) async fn connect(options: &PgConnectOptions, timeout: Duration) -> Result<PgConnection, StoreError> {
    let failed = |why: String| StoreError::new(format!("connection to {} failed: {why}", place(options)));
    match tokio::time::timeout(timeout, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(failed(StoreError::from(error).to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", timeout.as_secs()))),
    }
}

async fn prepare(connection: &mut PgConnection) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    make_schema(&mut transaction).await?;
    Ok(transaction.commit().await?)
}

/// Makes what is missing of the schema, within a transaction that holds the lock until its end.
pub(super) async fn make_schema(transaction: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(LOCK).execute(&mut *transaction).await?;
    for statement in SCHEMA {
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    Ok(())
}
