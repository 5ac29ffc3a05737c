//! From a sandbox's id to its container (docker-runtime.md §2).

use bollard::models::ContainerInspectResponse;

use crate::{
    error::{ErrorKind, RuntimeError},
    telemetry::rate_limit::{Due, RateLimit},
};

use super::describe::container_name;
use crate::runtime::docker::engine::{Engine, is_missing, labels, text};

/// Whether a container may carry this id: such ids are safe in a path, a filter and a file's name.
pub(in crate::runtime::docker) fn is_plausible_id(id: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    id.len() <= 128 && id.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && id.bytes().all(is_word)
}

/// The sandbox's container, inspected: the one with its name, else any with its label. A label that came with an image
/// counts for nothing.
///
/// An id comes from the URL and may be anything; only plausible ones reach the engine.
pub(in crate::runtime::docker) async fn find(
    engine: &Engine,
    id: &str,
) -> Result<ContainerInspectResponse, RuntimeError> {
    if !is_plausible_id(id) {
        return Err(RuntimeError::not_found(id));
    }
    if let Some(container) = inspect(engine, &container_name(id)).await?
        && label(&container, labels::ID) == Some(id)
    {
        return Ok(container);
    }
    let summaries = engine.sandboxes(Some(id)).await.map_err(query_failed)?;
    let Some(container) = summaries.into_iter().find_map(|summary| summary.id) else {
        return Err(RuntimeError::not_found(id));
    };
    let found = inspect(engine, &container).await?.filter(|container| label(container, labels::ID) == Some(id));
    found.ok_or_else(|| RuntimeError::not_found(id))
}

/// Whether the container bears the name that servers give to the container of the sandbox `id`.
pub(in crate::runtime::docker) fn is_named(container: &ContainerInspectResponse, id: &str) -> bool {
    container.name.as_deref().and_then(|name| name.strip_prefix('/')) == Some(container_name(id).as_str())
}

/// One label of an inspected container.
pub(in crate::runtime::docker) fn label<'a>(container: &'a ContainerInspectResponse, key: &str) -> Option<&'a str> {
    container.config.as_ref()?.labels.as_ref()?.get(key).map(String::as_str)
}

/// The error for an engine that could not be asked about its containers. Told once in a while: who has no key can have a
/// sandbox looked up again and again.
pub(in crate::runtime::docker) fn query_failed(error: bollard::errors::Error) -> RuntimeError {
    static WRITTEN: RateLimit = RateLimit::new();
    if let Some(Due { left_out }) = WRITTEN.due("query") {
        tracing::warn!(error = text(&error), left_out, "the engine could not be asked about its containers");
    }
    let kind = match error {
        bollard::errors::Error::RequestTimeoutError => ErrorKind::QueryTimedOut,
        _ => ErrorKind::QueryFailed,
    };
    RuntimeError::new(kind, format!("Failed to query sandbox containers: {}", text(&error)))
}

async fn inspect(engine: &Engine, container: &str) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
    match engine.inspect(container).await {
        Ok(container) => Ok(Some(container)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(query_failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_are_plausible() {
        for id in ["a", "c06b280d-c896-4ce5-8bc5-69f52e8b885e", "A_b.c-9", &"x".repeat(128)] {
            assert!(is_plausible_id(id), "{id}");
        }
        for id in ["", ".", "..", "../x", "a/b", "-a", "a\"", "a b", "a\n", "a%2f", "é", "a?b", "a#", &"x".repeat(129)]
        {
            assert!(!is_plausible_id(id), "{id}");
        }
    }
}
