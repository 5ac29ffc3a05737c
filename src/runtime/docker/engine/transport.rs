//! Bollard's transport: each request over a connection of its own, counted by its operation.

use std::sync::{Arc, OnceLock};

use bollard::{BollardRequest, errors::Error as EngineError};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Response, Uri, header};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use crate::metrics::backend::BackendCalls;

use super::endpoint::Endpoint;

/// Carries bollard's requests over fresh connections of `endpoint`; `prefix` is `/v1.41` once that is known.
pub(super) fn transport(
    endpoint: Endpoint,
    prefix: Arc<OnceLock<String>>,
    event_streams: watch::Sender<u64>,
    calls: BackendCalls,
) -> impl Fn(BollardRequest) -> BoxFuture<'static, Result<Response<Incoming>, EngineError>> + Send + Sync {
    move |mut request| {
        let (endpoint, prefix) = (endpoint.clone(), prefix.clone());
        let event_streams = request.uri().path().ends_with("/events").then(|| event_streams.clone());
        // Before the version is put in front of the path.
        let call = calls.begin(operation(request.method().as_str(), request.uri().path()));
        Box::pin(async move {
            prepare(&mut request, prefix.get().map_or("", String::as_str))?;
            let answer = exchange(&endpoint, request).await;
            match &answer {
                Ok(response) => call.answered(response.status().as_u16()),
                Err(_) => call.failed(),
            }
            let response = answer?;
            if let Some(streams) = event_streams.filter(|_| response.status().is_success()) {
                streams.send_modify(|count| *count += 1);
            }
            Ok(response)
        })
    }
}

/// Makes a request fit to be written: origin form, versioned path, a host, and credentials that the engine can read.
fn prepare(request: &mut BollardRequest, prefix: &str) -> Result<(), EngineError> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(format!("{prefix}{path}")).map_err(http::Error::from)?;
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("docker"));
    // The engine decodes this header as base64url and silently goes on without credentials when that fails; bollard
    // writes plain base64.
    if let Some(value) = request.headers_mut().get_mut("x-registry-auth") {
        let text = value.to_str().unwrap_or_default().replace('+', "-").replace('/', "_");
        *value = HeaderValue::try_from(text).map_err(http::Error::from)?;
        value.set_sensitive(true);
    }
    Ok(())
}

async fn exchange(endpoint: &Endpoint, request: BollardRequest) -> Result<Response<Incoming>, EngineError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(endpoint.connect().await?)).await?;
    // Ends by itself: with the response's body, or at once when that or the request's future is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the engine broke off");
        }
    });
    Ok(sender.send_request(request).await?)
}

/// The name under which a request for `path`, without the version in front, is counted; `other` for what this program does
/// not ask. It names the operation, and not what it is asked of.
fn operation(method: &str, path: &str) -> &'static str {
    let mut segments = path.trim_start_matches('/').split('/');
    let first = segments.next().unwrap_or_default();
    // Images have slashes in their names.
    let (second, last) = (segments.next(), segments.next_back());
    match (method, first, second, last) {
        ("GET" | "HEAD", "_ping", None, _) => "ping",
        ("GET", "version", None, _) => "version",
        ("GET", "info", None, _) => "info",
        ("GET", "events", None, _) => "events",
        ("POST", "commit", None, _) => "container_commit",
        ("GET", "containers", Some("json"), None) => "container_list",
        ("POST", "containers", Some("create"), None) => "container_create",
        ("DELETE", "containers", Some(_), None) => "container_remove",
        ("GET", "containers", Some(_), Some("json")) => "container_inspect",
        ("GET" | "HEAD", "containers", Some(_), Some("archive")) => "container_archive_get",
        ("PUT", "containers", Some(_), Some("archive")) => "container_archive_put",
        ("POST", "containers", Some(_), Some("start")) => "container_start",
        ("POST", "containers", Some(_), Some("pause")) => "container_pause",
        ("POST", "containers", Some(_), Some("unpause")) => "container_unpause",
        ("POST", "images", Some("create"), None) => "image_pull",
        ("GET", "images", Some(_), Some("json")) => "image_inspect",
        ("DELETE", "images", Some(_), _) => "image_remove",
        ("GET", "volumes", None, _) => "volume_list",
        ("POST", "volumes", Some("create"), None) => "volume_create",
        ("GET", "volumes", Some(_), None) => "volume_inspect",
        ("DELETE", "volumes", Some(_), None) => "volume_remove",
        ("GET", "networks", None, _) => "network_list",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_few_names() {
        for (method, path, name) in [
            ("GET", "/version", "version"),
            ("GET", "/containers/json", "container_list"),
            ("POST", "/containers/create", "container_create"),
            ("GET", "/containers/abc/json", "container_inspect"),
            ("DELETE", "/containers/abc", "container_remove"),
            ("GET", "/images/registry.example:5000/a/b:1/json", "image_inspect"),
            ("GET", "/images/busybox/json", "image_inspect"),
            ("DELETE", "/images/a/b", "image_remove"),
            ("POST", "/images/create", "image_pull"),
            ("GET", "/events", "events"),
            ("BREW", "/coffee", "other"),
            ("GET", "", "other"),
        ] {
            assert_eq!(operation(method, path), name, "{method} {path}");
        }
    }
}
