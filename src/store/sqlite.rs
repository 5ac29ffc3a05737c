//! Snapshots in a file of SQLite: the existing server's `~/.opensandbox/opensandbox.db`.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::time::{Instant, sleep};

use super::{
    StoreError,
    table::{Statements, Table},
};
use crate::regular_file;

/// How long a write waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon what did not wait is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Connections, each with a thread of its own while it is open.
const MAX_CONNECTIONS: u32 = 4;

/// Unused connections but one are closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS snapshots (
    id TEXT PRIMARY KEY,
    source_sandbox_id TEXT NOT NULL,
    namespace TEXT DEFAULT NULL,
    name TEXT,
    description TEXT,
    restore_config TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    message TEXT,
    last_transition_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
)";

const INDEXES: [&str; 4] = [
    "CREATE INDEX IF NOT EXISTS idx_snapshots_source_sandbox_id ON snapshots(source_sandbox_id)",
    "CREATE INDEX IF NOT EXISTS idx_snapshots_state ON snapshots(state)",
    "CREATE INDEX IF NOT EXISTS idx_snapshots_created_at ON snapshots(created_at DESC)",
    "CREATE INDEX IF NOT EXISTS idx_snapshots_name_namespace ON snapshots(name, namespace)",
];

const SELECT: &str = "SELECT id, source_sandbox_id, name, restore_config, state, reason, message, last_transition_at, \
                      created_at, namespace FROM snapshots";

const TENANT: &str = "CASE WHEN json_valid(restore_config) AND json_type(restore_config, '$.tenant') = 'text' \
                      THEN NULLIF(json_extract(restore_config, '$.tenant'), '') END";

const INSERT: &str = "INSERT INTO snapshots (id, source_sandbox_id, namespace, name, restore_config, state, reason, message, \
                      last_transition_at, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

const CHANGE: &str = "UPDATE snapshots SET state = $1, reason = $2, message = $3, last_transition_at = $4, \
                      updated_at = $5, restore_config = COALESCE($6, restore_config) WHERE id = $7 AND state = $8";

/// The store in a file: opens it, makes it if it is missing, and adds what an older version's lacks. Only the user can read it
/// then.
pub(super) async fn open(path: &Path) -> Result<Table<sqlx::Sqlite>, StoreError> {
    make_private(path).map_err(|error| StoreError::new(error.to_string()))?;
    let options =
        SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal).busy_timeout(BUSY_TIMEOUT);
    prepare(&mut connect(&options).await?).await?;
    let pool = SqlitePoolOptions::new().max_connections(MAX_CONNECTIONS).min_connections(1).idle_timeout(IDLE_TIMEOUT);
    let pool = pool.acquire_timeout(BUSY_TIMEOUT * 2).connect_with(options).await?;
    let statements = Statements {
        select: SELECT,
        tenant: TENANT,
        insert: INSERT,
        change: CHANGE,
        changed: sqlx::sqlite::SqliteQueryResult::rows_affected,
    };
    Ok(Table::new(pool, statements))
}

/// Connects. The change to a write-ahead log does not wait for another that makes it at the same time, whatever the busy
/// timeout, so it is tried again.
async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let due = Instant::now() + BUSY_TIMEOUT;
    loop {
        match SqliteConnection::connect_with(options).await {
            Err(error) if is_busy(&error) && Instant::now() < due => sleep(RETRY_INTERVAL).await,
            done => return done,
        }
    }
}

/// Whether it is SQLITE_BUSY, or one of its extended codes, which have it in their last byte.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

/// Makes the file, and its folder if need be, for the user alone. SQLite gives its own files the same rights.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    regular_file::open_with(OpenOptions::new().append(true).create(true).mode(0o600), path)?;
    for file in [path.to_owned(), with_suffix(path, "-wal"), with_suffix(path, "-shm")] {
        match fs::set_permissions(&file, Permissions::from_mode(0o600)) {
            // The file may be another user's who lets us write to it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %file.display(), %error, "others may be able to read the snapshot store");
            }
            _ => {}
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Brings the schema up to date, or leaves it as it was.
async fn prepare(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(SCHEMA).execute(&mut *transaction).await?;
    if !columns(&mut transaction).await?.iter().any(|column| column == "namespace") {
        sqlx::query("ALTER TABLE snapshots ADD COLUMN namespace TEXT DEFAULT NULL").execute(&mut *transaction).await?;
    }
    for index in INDEXES {
        sqlx::query(index).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// The names of the columns of the table of snapshots; none without a table.
pub(super) async fn columns(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query("SELECT name FROM pragma_table_info('snapshots')").fetch_all(connection).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
