//! Sending metrics and spans: OTLP over HTTP, by hyper on the program's own tokio runtime.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use tokio::runtime::Handle;
use url::Url;

use crate::{config, error_chain, https};

/// How long one delivery may take.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer of a collector that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The paths of metrics and of spans on a collector (OTLP/HTTP).
const METRICS_PATH: &str = "/v1/metrics";
const TRACES_PATH: &str = "/v1/traces";

/// Why there is no exporter.
const NO_COLLECTOR: &str = "the OTEL_EXPORTER_OTLP_* variables do not name a collector";

/// Sends metrics to the collector that `otel` names, else to the one of the `OTEL_EXPORTER_OTLP_*` variables.
///
/// # Errors
/// The address cannot be understood; the text holds nothing of it, since it may have a password.
pub(super) fn metrics(otel: &config::Otel) -> Result<MetricExporter, String> {
    let mut builder = MetricExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(DELIVERY_TIMEOUT)
        .with_http_client(Client::new("metrics"));
    if let Some(endpoint) = &otel.endpoint {
        let Endpoint { url, headers } =
            Endpoint::read(endpoint.expose(), METRICS_PATH).ok_or("otel.endpoint is not an http or https URL")?;
        builder = builder.with_endpoint(url).with_headers(headers);
    }
    builder.build().map_err(|_| NO_COLLECTOR.to_owned())
}

/// The same for spans.
///
/// # Errors
/// The same, or the address is one for metrics alone.
pub(in crate::metrics) fn traces(otel: &config::Otel) -> Result<SpanExporter, String> {
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(DELIVERY_TIMEOUT)
        .with_http_client(Client::new("traces"));
    let endpoint = match (&otel.traces_endpoint, &otel.endpoint) {
        (Some(own), _) => {
            let read = Endpoint::read(own.expose(), TRACES_PATH);
            Some(read.ok_or("otel.traces_endpoint is not an http or https URL")?)
        }
        (None, Some(of_metrics)) => {
            let read = Endpoint::read(of_metrics.expose(), TRACES_PATH);
            let read = read.ok_or("otel.endpoint is not an http or https URL")?.beside_metrics();
            Some(read.ok_or("otel.endpoint has a path of its own; set otel.traces_endpoint, where spans are to go")?)
        }
        (None, None) => None,
    };
    if let Some(Endpoint { url, headers }) = endpoint {
        builder = builder.with_endpoint(url).with_headers(headers);
    }
    builder.build().map_err(|_| NO_COLLECTOR.to_owned())
}

/// A configured address.
#[derive(PartialEq)]
struct Endpoint {
    /// The whole URL, without the user.
    url: String,
    /// The user's credentials, if the URL had them.
    headers: HashMap<String, String>,
}

impl Endpoint {
    /// An address without a path gets that of OTLP, which is `path`.
    fn read(text: &str, path: &str) -> Option<Self> {
        let mut url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        if url.path() == "/" && url.query().is_none() {
            url.set_path(path);
        }
        let headers = https::basic(&url).map(|value| ("authorization".to_owned(), value)).into_iter().collect();
        // Both fail only without a host.
        url.set_username("").and_then(|()| url.set_password(None)).ok()?;
        Some(Self { url: url.into(), headers })
    }

    /// Where the collector takes spans that takes metrics here; none if only it can know.
    fn beside_metrics(mut self) -> Option<Self> {
        if let Some(base) = self.url.strip_suffix(METRICS_PATH) {
            self.url = format!("{base}{TRACES_PATH}");
        }
        self.url.ends_with(TRACES_PATH).then_some(self)
    }
}

/// The client under the exporter. The exporter's thread has no runtime, so the exchange is a task of ours.
#[derive(Debug)]
struct Client {
    /// What it sends.
    what: &'static str,
    runtime: Handle,
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    is_failing: AtomicBool,
}

impl Client {
    fn new(what: &'static str) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(https::client_config()).https_or_http().enable_http1().build();
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { what, runtime: Handle::current(), http, is_failing: AtomicBool::new(false) }
    }

    /// One line when deliveries begin to fail and one when they succeed again.
    fn note(&self, outcome: Result<(), String>) {
        let has_failed = outcome.is_err();
        if self.is_failing.swap(has_failed, Ordering::Relaxed) == has_failed {
            return;
        }
        match outcome {
            Ok(()) => tracing::info!("{} are delivered again", self.what),
            Err(error) => tracing::warn!(error, "{} cannot be delivered; nothing else suffers", self.what),
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = exchange(self.http.clone(), request);
        let done = self
            .runtime
            .spawn(async { tokio::time::timeout(DELIVERY_TIMEOUT, exchange).await.map_err(HttpError::from)? });
        let answer = done.await.map_err(HttpError::from).flatten();
        self.note(match &answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("the collector answered {}", answer.status())),
            Err(error) => Err(error_chain::text(&**error)),
        });
        answer
    }
}

async fn exchange(
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = http.request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    fn read(text: &str) -> Option<(String, Option<String>)> {
        Endpoint::read(text, METRICS_PATH).map(|Endpoint { url, headers }| (url, headers.into_values().next()))
    }

    #[test]
    fn an_address_without_a_path_gets_one() {
        for (text, url) in [
            ("http://c:4318", "http://c:4318/v1/metrics"),
            (" https://c/ ", "https://c/v1/metrics"),
            ("http://c/otlp/v1/metrics?x=1", "http://c/otlp/v1/metrics?x=1"),
            ("http://[::1]:4318/x", "http://[::1]:4318/x"),
        ] {
            assert_eq!(read(text), Some((url.to_owned(), None)), "{text}");
        }
        for text in ["", "c:4318", "/v1/metrics", "grpc://c:4317", "unix:///x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn spans_go_beside_metrics_where_that_can_be_told() {
        let beside = |text: &str| Endpoint::read(text, TRACES_PATH)?.beside_metrics().map(|endpoint| endpoint.url);
        for (text, url) in [
            ("http://c:4318", Some("http://c:4318/v1/traces")),
            ("http://c:4318/v1/metrics", Some("http://c:4318/v1/traces")),
            ("https://me:p@c/otlp/v1/metrics", Some("https://c/otlp/v1/traces")),
            ("http://c/own", None),
            ("http://c/v1/metrics?tenant=a", None),
        ] {
            assert_eq!(beside(text).as_deref(), url, "{text}");
        }
    }

    #[test]
    fn a_user_becomes_a_header() {
        for (text, credentials) in [
            ("http://me:p%40ss@c:1/x", "me:p@ss"),
            ("http://me:@c:1/x", "me:"),
            ("http://me@c:1/x", "me:"),
            ("http://:p@c:1/x", ":p"),
        ] {
            let (url, header) = read(text).unwrap();
            let expected = format!("Basic {}", BASE64_STANDARD.encode(credentials));
            assert_eq!((url.as_str(), header), ("http://c:1/x", Some(expected)), "{text}");
        }
    }
}
