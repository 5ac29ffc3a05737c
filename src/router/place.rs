//! A path that exists, whatever the method.

use http::Method;

use super::{Collection, Diagnostics, DocsFile, PortOf, ProxyPath, Route, decoded_path};

/// A path that exists. Names are still percent-encoded.
#[derive(Debug)]
pub(super) enum Place<'p> {
    Health,
    Ready,
    Version,
    OpenApi,
    Docs(DocsFile),
    Sandboxes,
    Sandbox(&'p str, Below<'p>),
    Snapshots,
    Snapshot(&'p str),
    Pools,
    Pool(&'p str),
    Templates,
    Template(&'p str),
    MetricsEvents,
}

/// What is below a sandbox.
#[derive(Debug)]
pub(super) enum Below<'p> {
    Itself,
    Logs,
    Metadata,
    Pause,
    Resume,
    Renew,
    Snapshots,
    NetworkPolicy,
    Diagnostics(Diagnostics),
    Endpoint { port: &'p str, mount: &'static str },
    Proxy { port: &'p str, path: &'p str, mount: &'static str },
}

impl<'p> Place<'p> {
    pub(super) fn find(path: &'p str) -> Option<Self> {
        Self::at_root(path).or_else(|| match path.strip_prefix("/v1") {
            Some("/metrics/events") => Some(Self::MetricsEvents),
            Some(below) if below.starts_with('/') => Self::mounted(below, "/v1"),
            _ => Self::mounted(path, ""),
        })
    }

    fn at_root(path: &str) -> Option<Self> {
        match path {
            "/health" => Some(Self::Health),
            "/ready" => Some(Self::Ready),
            "/version" => Some(Self::Version),
            "/openapi.json" => Some(Self::OpenApi),
            "/docs" => Some(Self::Docs(DocsFile::Swagger)),
            "/docs/oauth2-redirect" => Some(Self::Docs(DocsFile::OAuth2Redirect)),
            "/redoc" => Some(Self::Docs(DocsFile::Redoc)),
            _ => {
                let file = path.strip_prefix("/docs/assets/")?;
                (!file.is_empty() && !file.contains('/')).then(|| Self::Docs(DocsFile::Asset(decoded(file))))
            }
        }
    }

    /// A path without its mount.
    fn mounted(path: &'p str, mount: &'static str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        match (first, rest) {
            ("sandboxes", None) => Some(Self::Sandboxes),
            ("sandboxes", Some(rest)) => {
                let (id, below) = rest.split_once('/').map_or((rest, None), |(id, below)| (id, Some(below)));
                let below = below.map_or(Some(Below::Itself), |below| Below::find(below, mount));
                below.filter(|_| !id.is_empty()).map(|below| Self::Sandbox(id, below))
            }
            ("snapshots", None) => Some(Self::Snapshots),
            ("snapshots", Some(id)) if is_name(id) => Some(Self::Snapshot(id)),
            ("pools", None) => Some(Self::Pools),
            ("pools", Some(name)) if is_name(name) => Some(Self::Pool(name)),
            ("templates", None) => Some(Self::Templates),
            ("templates", Some(id)) if is_name(id) => Some(Self::Template(id)),
            _ => None,
        }
    }

    pub(super) fn route(self, method: &Method) -> Option<Route> {
        match self {
            Self::Sandbox(id, below) => below.route(decoded(id), method),
            Self::Pools => in_collection(None, method).map(Route::Pools),
            Self::Pool(name) => in_collection(Some(name), method).map(Route::Pools),
            Self::Templates => in_collection(None, method).map(Route::Templates),
            Self::Template(_) if method == Method::PUT => None,
            Self::Template(id) => in_collection(Some(id), method).map(Route::Templates),
            single => single.single_route(method),
        }
    }

    fn single_route(self, method: &Method) -> Option<Route> {
        match (self, method) {
            (Self::Health, &Method::GET | &Method::HEAD) => Some(Route::Health),
            (Self::Ready, &Method::GET | &Method::HEAD) => Some(Route::Ready),
            (Self::Version, &Method::GET | &Method::HEAD) => Some(Route::Version),
            (Self::OpenApi, &Method::GET | &Method::HEAD) => Some(Route::OpenApi),
            (Self::Docs(file), &Method::GET | &Method::HEAD) => Some(Route::Docs(file)),
            (Self::Sandboxes, &Method::POST) => Some(Route::CreateSandbox),
            (Self::Sandboxes, &Method::GET) => Some(Route::ListSandboxes),
            (Self::Snapshots, &Method::GET) => Some(Route::ListSnapshots),
            (Self::Snapshot(id), &Method::GET) => Some(Route::GetSnapshot(decoded(id))),
            (Self::Snapshot(id), &Method::DELETE) => Some(Route::DeleteSnapshot(decoded(id))),
            (Self::MetricsEvents, &Method::POST) => Some(Route::MetricsEvents),
            _ => None,
        }
    }

    /// The path's template as the existing server names it in its metrics: without the mount, names in snake case.
    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Version => "/version",
            Self::OpenApi => "/openapi.json",
            Self::Docs(DocsFile::Swagger) => "/docs",
            Self::Docs(DocsFile::OAuth2Redirect) => "/docs/oauth2-redirect",
            Self::Docs(DocsFile::Redoc) => "/redoc",
            Self::Docs(DocsFile::Asset(_)) => "/docs/assets/{file}",
            Self::Sandboxes => "/sandboxes",
            Self::Snapshots => "/snapshots",
            Self::Snapshot(_) => "/snapshots/{snapshot_id}",
            Self::Pools => "/pools",
            Self::Pool(_) => "/pools/{pool_name}",
            Self::Templates => "/templates",
            Self::Template(_) => "/templates/{template_id}",
            Self::MetricsEvents => "/metrics/events",
            Self::Sandbox(_, below) => below.template(),
        }
    }

    /// The methods that this path has.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Health | Self::Ready | Self::Version | Self::OpenApi | Self::Docs(_) => "GET, HEAD",
            Self::Snapshots => "GET",
            Self::Sandboxes | Self::Pools | Self::Templates => "GET, POST",
            Self::Snapshot(_) | Self::Template(_) => "DELETE, GET",
            Self::Pool(_) => "DELETE, GET, PUT",
            Self::MetricsEvents => "POST",
            Self::Sandbox(_, below) => below.allow(),
        }
    }
}

impl<'p> Below<'p> {
    fn find(path: &'p str, mount: &'static str) -> Option<Self> {
        match path {
            "logs" => Some(Self::Logs),
            "metadata" => Some(Self::Metadata),
            "pause" => Some(Self::Pause),
            "resume" => Some(Self::Resume),
            "renew-expiration" => Some(Self::Renew),
            "snapshots" => Some(Self::Snapshots),
            "networkpolicy" => Some(Self::NetworkPolicy),
            "diagnostics/logs" => Some(Self::Diagnostics(Diagnostics::Logs)),
            "diagnostics/events" => Some(Self::Diagnostics(Diagnostics::Events)),
            "diagnostics/inspect" => Some(Self::Diagnostics(Diagnostics::Inspect)),
            "diagnostics/summary" => Some(Self::Diagnostics(Diagnostics::Summary)),
            _ => Self::with_port(path, mount),
        }
    }

    fn with_port(path: &'p str, mount: &'static str) -> Option<Self> {
        if let Some(port) = path.strip_prefix("endpoints/") {
            return is_name(port).then_some(Self::Endpoint { port, mount });
        }
        let rest = path.strip_prefix("proxy/")?;
        let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        (!port.is_empty()).then_some(Self::Proxy { port, path, mount })
    }

    fn route(self, id: String, method: &Method) -> Option<Route> {
        match (self, method) {
            (Self::Itself, &Method::GET) => Some(Route::GetSandbox(id)),
            (Self::Itself, &Method::DELETE) => Some(Route::DeleteSandbox(id)),
            (Self::Logs, &Method::GET) => Some(Route::Logs(id)),
            (Self::Metadata, &Method::PATCH) => Some(Route::PatchMetadata(id)),
            (Self::Pause, &Method::POST) => Some(Route::Pause(id)),
            (Self::Resume, &Method::POST) => Some(Route::Resume(id)),
            (Self::Renew, &Method::POST) => Some(Route::Renew(id)),
            (Self::Snapshots, &Method::POST) => Some(Route::CreateSnapshot(id)),
            (Self::NetworkPolicy, &Method::DELETE | &Method::GET | &Method::PATCH | &Method::PUT) => {
                Some(Route::NetworkPolicy(id))
            }
            (Self::Diagnostics(kind), &Method::GET) => Some(Route::Diagnostics(id, kind)),
            (Self::Endpoint { port, mount }, &Method::GET) => {
                Some(Route::Endpoint(PortOf { id, port: decoded(port), mount }))
            }
            // CONNECT names a host, not a path; TRACE would show a sandbox what a proxy in between has added.
            (Self::Proxy { port, path, mount }, method) if !matches!(*method, Method::CONNECT | Method::TRACE) => {
                Some(Route::Proxy(PortOf { id, port: decoded(port), mount }, ProxyPath(path.to_owned())))
            }
            _ => None,
        }
    }

    fn template(&self) -> &'static str {
        match self {
            Self::Itself => "/sandboxes/{sandbox_id}",
            Self::Logs => "/sandboxes/{sandbox_id}/logs",
            Self::Metadata => "/sandboxes/{sandbox_id}/metadata",
            Self::Pause => "/sandboxes/{sandbox_id}/pause",
            Self::Resume => "/sandboxes/{sandbox_id}/resume",
            Self::Renew => "/sandboxes/{sandbox_id}/renew-expiration",
            Self::Snapshots => "/sandboxes/{sandbox_id}/snapshots",
            Self::NetworkPolicy => "/sandboxes/{sandbox_id}/networkpolicy",
            Self::Diagnostics(Diagnostics::Logs) => "/sandboxes/{sandbox_id}/diagnostics/logs",
            Self::Diagnostics(Diagnostics::Events) => "/sandboxes/{sandbox_id}/diagnostics/events",
            Self::Diagnostics(Diagnostics::Inspect) => "/sandboxes/{sandbox_id}/diagnostics/inspect",
            Self::Diagnostics(Diagnostics::Summary) => "/sandboxes/{sandbox_id}/diagnostics/summary",
            Self::Endpoint { .. } => "/sandboxes/{sandbox_id}/endpoints/{port}",
            Self::Proxy { path: "", .. } => "/sandboxes/{sandbox_id}/proxy/{port}",
            Self::Proxy { .. } => "/sandboxes/{sandbox_id}/proxy/{port}/{full_path:path}",
        }
    }

    fn allow(&self) -> &'static str {
        match self {
            Self::Itself => "DELETE, GET",
            Self::Logs | Self::Diagnostics(_) | Self::Endpoint { .. } => "GET",
            Self::Metadata => "PATCH",
            Self::Pause | Self::Resume | Self::Renew | Self::Snapshots => "POST",
            Self::NetworkPolicy => "DELETE, GET, PATCH, PUT",
            Self::Proxy { .. } => "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
        }
    }
}

fn in_collection(name: Option<&str>, method: &Method) -> Option<Collection> {
    match (name.map(decoded), method) {
        (None, &Method::POST) => Some(Collection::Create),
        (None, &Method::GET) => Some(Collection::List),
        (Some(name), &Method::GET) => Some(Collection::Get(name)),
        (Some(name), &Method::PUT) => Some(Collection::Update(name)),
        (Some(name), &Method::DELETE) => Some(Collection::Delete(name)),
        _ => None,
    }
}

/// Whether this is one segment of a path.
fn is_name(segment: &str) -> bool {
    !segment.is_empty() && !segment.contains('/')
}

fn decoded(segment: &str) -> String {
    decoded_path(segment).into_owned()
}
