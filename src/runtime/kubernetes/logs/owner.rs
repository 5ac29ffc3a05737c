//! The sandbox whose log is read, which may have another pod in the next moment.

use std::sync::Arc;

use crate::{
    error::{Error, Kind},
    runtime::kubernetes::{Inner, Scope, workload::Workload},
};

/// The sandbox whose log is read.
pub(super) struct Owner {
    pub(super) inner: Arc<Inner>,
    pub(super) scope: Scope,
    pub(super) id: String,
}

impl Owner {
    /// The sandbox as it is now; none if it is gone or on its way.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub(super) async fn workload(&self) -> Result<Option<Workload>, Error> {
        match Box::pin(self.inner.find(&self.scope, &self.id)).await {
            Ok(workload) => Ok(Some(workload).filter(|workload| !workload.is_over())),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
