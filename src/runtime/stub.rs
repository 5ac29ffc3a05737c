//! Runtimes of tests, of which each asks one thing or two.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use super::{LocalExecd, Pausing, Runtime, SnapshotMaker};
use crate::{
    error::Error,
    logs::{LogQuery, OpenedLog},
    model::{
        create::CreateRequest,
        endpoint::{Backend, Endpoint},
        sandbox::{CreatedSandbox, Sandbox},
        timestamp::Timestamp,
    },
};

/// What such a runtime is asked. It has no sandbox but those that it tells of.
#[async_trait]
pub(crate) trait Stub: Send + Sync + 'static {
    async fn create(&self, _: CreateRequest) -> Result<CreatedSandbox, Error> {
        Err(Error::not_supported("Creating"))
    }

    async fn get(&self, id: &str) -> Result<Sandbox, Error> {
        Err(Error::not_found(id))
    }

    async fn list(&self) -> Result<Vec<Sandbox>, Error> {
        Ok(Vec::new())
    }

    async fn renew_on_access(&self, id: &str) -> Result<Option<Timestamp>, Error> {
        Err(Error::not_found(id))
    }
}

#[async_trait]
impl<T: Stub> Runtime for T {
    async fn create(&self, request: CreateRequest) -> Result<CreatedSandbox, Error> {
        Stub::create(self, request).await
    }

    async fn get(&self, id: &str) -> Result<Sandbox, Error> {
        Stub::get(self, id).await
    }

    async fn list(&self) -> Result<Vec<Sandbox>, Error> {
        Stub::list(self).await
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        Stub::get(self, id).await.map(drop)
    }

    async fn patch_metadata(&self, id: &str, _: BTreeMap<String, Option<String>>) -> Result<Sandbox, Error> {
        Stub::get(self, id).await
    }

    async fn renew(&self, id: &str, _: Timestamp) -> Result<Timestamp, Error> {
        Err(Error::not_found(id))
    }

    async fn renew_on_access(&self, id: &str) -> Result<Option<Timestamp>, Error> {
        Stub::renew_on_access(self, id).await
    }

    fn is_at_hand(&self, _: &str) -> bool {
        false
    }

    async fn open_logs(&self, id: &str, _: &LogQuery) -> Result<OpenedLog, Error> {
        Err(Error::not_found(id))
    }

    async fn endpoint(&self, id: &str, _: u16, _: Option<i128>) -> Result<Endpoint, Error> {
        Err(Error::not_found(id))
    }

    async fn backend(&self, id: &str, _: u16) -> Result<Backend, Error> {
        Err(Error::not_found(id))
    }

    async fn inspect(&self, id: &str) -> Result<String, Error> {
        Err(Error::not_found(id))
    }

    async fn events(&self, id: &str, _: usize) -> Result<String, Error> {
        Err(Error::not_found(id))
    }

    fn pausing(&self) -> Option<&dyn Pausing> {
        None
    }

    fn snapshots(self: Arc<Self>) -> Option<SnapshotMaker> {
        None
    }

    fn local_execd(&self) -> Option<&dyn LocalExecd> {
        None
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn fault(&self) -> Option<String> {
        None
    }

    async fn shutdown(&self) {}
}
