//! From a sandbox's id to its container (docker-runtime.md §2).

use bollard::models::ContainerInspectResponse;

use crate::{
    error::{Error, Family, Kind},
    telemetry::rate_limit::{Due, RateLimit},
};

use crate::runtime::docker::engine::{Cause, Engine, is_missing, labels, names, text};

/// The sandbox's container, inspected: the one with its name, else any with its label. A label that came with an image
/// counts for nothing.
///
/// An id comes from the URL and may be anything; only plausible ones reach the engine.
pub(in crate::runtime::docker) async fn find(engine: &Engine, id: &str) -> Result<ContainerInspectResponse, Error> {
    if !names::is_plausible_id(id) {
        return Err(Error::not_found(id));
    }
    if let Some(container) = inspect(engine, &names::sandbox(id)).await?
        && label(&container, labels::ID) == Some(id)
    {
        return Ok(container);
    }
    let summaries = engine.sandboxes(Some(id)).await.map_err(query_failed)?;
    let Some(container) = summaries.into_iter().find_map(|summary| summary.id) else {
        return Err(Error::not_found(id));
    };
    let found = inspect(engine, &container).await?.filter(|container| label(container, labels::ID) == Some(id));
    found.ok_or_else(|| Error::not_found(id))
}

/// Whether the container bears the name that servers give to the container of the sandbox `id`.
pub(in crate::runtime::docker) fn is_named(container: &ContainerInspectResponse, id: &str) -> bool {
    container.name.as_deref().and_then(|name| name.strip_prefix('/')) == Some(names::sandbox(id).as_str())
}

/// One label of an inspected container.
pub(in crate::runtime::docker) fn label<'a>(container: &'a ContainerInspectResponse, key: &str) -> Option<&'a str> {
    container.config.as_ref()?.labels.as_ref()?.get(key).map(String::as_str)
}

/// The error for an engine that could not be asked about its containers. The log line is rate-limited: clients without a key
/// can cause lookups again and again.
pub(in crate::runtime::docker) fn query_failed(error: bollard::errors::Error) -> Error {
    static WRITTEN: RateLimit = RateLimit::new();
    if let Some(Due { left_out }) = WRITTEN.due("query") {
        tracing::warn!(error = text(&error), left_out, "the engine could not be asked about its containers");
    }
    let kind = match error {
        bollard::errors::Error::RequestTimeoutError => Kind::TimedOut,
        _ => Kind::Unavailable,
    };
    Error::new(Family::Query, kind, format!("Failed to query sandbox containers: {}", text(&error)))
        .caused_by(Cause(error))
}

async fn inspect(engine: &Engine, container: &str) -> Result<Option<ContainerInspectResponse>, Error> {
    match engine.inspect(container).await {
        Ok(container) => Ok(Some(container)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(query_failed(error)),
    }
}
