//! Who uses mounted buckets, as the engine tells it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bollard::errors::Error as EngineError;

use crate::runtime::docker::engine::{Engine, labels};

/// A sandbox that uses mounted buckets, by its labels.
#[derive(Debug, Clone)]
pub(in crate::runtime::docker::volumes) struct User {
    pub(super) id: String,
    pub(super) paths: Vec<PathBuf>,
    /// Of all its buckets, in no order.
    pub(super) marks: Vec<String>,
}

/// Lists the users of all servers: the engine, or a test.
pub(in crate::runtime::docker::volumes) trait Users {
    fn users(&self) -> impl Future<Output = Result<Vec<User>, EngineError>> + Send;
}

impl Users for Engine {
    async fn users(&self) -> Result<Vec<User>, EngineError> {
        let labels = self.sandboxes(None).await?.into_iter().filter_map(|sandbox| sandbox.labels);
        let user = |labels: HashMap<String, String>| {
            let id = labels::value(&labels, labels::ID)?.to_owned();
            let paths = labels::list(&labels, labels::BUCKETS).into_iter().map(PathBuf::from).collect();
            Some(User { id, paths, marks: labels::list(&labels, labels::BUCKET_MARKS) })
        };
        Ok(labels.filter_map(user).collect())
    }
}

/// The sandboxes that use the part at a path.
pub(super) async fn of_path(users: &impl Users, path: &Path) -> Result<Vec<User>, EngineError> {
    let mut all = users.users().await?;
    all.retain(|user| user.paths.iter().any(|used| used == path));
    Ok(all)
}
