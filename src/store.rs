//! The records of snapshots, behind one trait. Knows neither HTTP nor a runtime.
//!
//! Both databases are the existing server's own, with its schema and its forms: it can open what we wrote and we can
//! open what it wrote (config.md, `[store]`). Every change is one statement that names the state it starts from, so that
//! two changes at once cannot both happen.

pub mod migrate;

mod dsn;
mod postgres;
mod rows;
mod sqlite;
mod table;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    config::StoreBackend,
    error::{Error, Family, Kind},
    model::snapshot::{Snapshot, SnapshotOwner, SnapshotQuery, SnapshotState, SnapshotStatus},
};

/// Where snapshots are recorded. One for the process.
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// Adds a record. Fails if there is one with its id.
    async fn insert(&self, record: &Record) -> Result<(), StoreError>;

    /// The record with this id.
    async fn get(&self, id: &str) -> Result<Option<Record>, StoreError>;

    /// The records of one page of those that `owner` sees, newest first and of one instant by id, greatest first; and how many
    /// there are on all pages.
    async fn page(&self, query: &SnapshotQuery, owner: &SnapshotOwner) -> Result<(Vec<Record>, u64), StoreError>;

    /// The ids of all snapshots in one of these states.
    async fn unfinished(&self, states: [SnapshotState; 2]) -> Result<Vec<String>, StoreError>;

    /// Changes the record with this id if it is in the state `from`; answers whether it was.
    async fn change(&self, id: &str, from: SnapshotState, change: &Change) -> Result<bool, StoreError>;

    /// Removes the record with this id, if there is one.
    async fn remove(&self, id: &str) -> Result<(), StoreError>;

    /// Waits for what is under way and closes the database.
    async fn close(&self);
}

/// A snapshot, and what a runtime needs to restore it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the API shows.
    pub snapshot: Snapshot,
    /// The image; absent until it has been made.
    pub image: Option<String>,
    /// Whose it is.
    pub owner: SnapshotOwner,
}

/// What a record becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The new status.
    pub status: SnapshotStatus,
    /// The image that was made; the recorded one stays when absent.
    pub image: Option<String>,
}

/// The store could not be used. Its text is for the client: free of secrets.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    text: String,
    source: Option<sqlx::Error>,
}

impl StoreError {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None }
    }

    /// The same of the store that the configuration names by `key`.
    fn not_opened(self, key: &str) -> Self {
        Self { text: format!("Cannot open the snapshot store {key}: {}", self.text), ..self }
    }
}

impl From<sqlx::Error> for StoreError {
    /// The database's own words, without sqlx's frame around them.
    fn from(error: sqlx::Error) -> Self {
        let text = match &error {
            sqlx::Error::Database(error) => return Self::new(error.message()),
            sqlx::Error::PoolTimedOut => return Self::new("the database gave no connection in time"),
            sqlx::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        Self { text, source: Some(error) }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let text = format!("The snapshot store cannot be used: {error}.");
        Self::new(Family::SnapshotStore, Kind::Unavailable, text).caused_by(error)
    }
}

/// Opens the store that the configuration names, and brings its schema up to date.
///
/// # Errors
///
/// The file or the server cannot be reached, or is no such store.
pub async fn open(backend: &StoreBackend) -> Result<Arc<dyn SnapshotStore>, StoreError> {
    match backend {
        StoreBackend::Sqlite { path } => match sqlite::open(path).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(error.not_opened(&format!("{} (store.path)", path.display()))),
        },
        StoreBackend::Postgresql(server) => match postgres::open(server).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(error.not_opened("(store.postgresql.dsn)")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_no_database_is_named_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "no database at all, and quite long enough to be one".repeat(100)).unwrap();
        let error = open(&StoreBackend::Sqlite { path: path.clone() }).await.map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("Cannot open the snapshot store {} (store.path): file is not a database", path.display())
        );
    }
}
