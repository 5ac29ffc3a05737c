//! STEP 3: from a method and a path to a route. Pure.
//!
//! What exists is in the table of routes, [`ROUTES`].

mod table;

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use table::Place;
pub use table::{HEALTH_CHECKS, LOGS, Mounts, PROXY, ROUTES, Row};

/// A request's destination. Names in paths are percent-decoded, unless a variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The process is alive.
    Health,
    /// The gateway can serve.
    Ready,
    /// The version of the API that is spoken.
    Version,
    /// The description of this API.
    OpenApi,
    /// A page or a file of the documentation.
    Docs(DocsFile),
    /// Create a sandbox.
    CreateSandbox,
    /// List sandboxes.
    ListSandboxes,
    /// Show a sandbox.
    GetSandbox(String),
    /// Remove a sandbox.
    DeleteSandbox(String),
    /// Stream a sandbox's log.
    Logs(String),
    /// Change a sandbox's metadata.
    PatchMetadata(String),
    /// Pause a sandbox.
    Pause(String),
    /// Resume a sandbox.
    Resume(String),
    /// Move a sandbox's expiry.
    Renew(String),
    /// Tell where a port of a sandbox can be reached.
    Endpoint(PortOf),
    /// Forward a request to a port of a sandbox.
    Proxy(PortOf, ProxyPath),
    /// Read or change a sandbox's network policy.
    NetworkPolicy(String),
    /// Read a sandbox's diagnostics.
    Diagnostics(String, Diagnostics),
    /// Take a snapshot of a sandbox.
    CreateSnapshot(String),
    /// List snapshots.
    ListSnapshots,
    /// Show a snapshot.
    GetSnapshot(String),
    /// Remove a snapshot.
    DeleteSnapshot(String),
    /// Anything about pools of sandboxes.
    Pools(Collection),
    /// Anything about templates.
    Templates(Collection),
    /// Take a client's measurement.
    MetricsEvents,
}

/// A port of a sandbox, as the path has it: the handler reads the number, so that junk is a 422 and no 404.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOf {
    /// The sandbox's id.
    pub id: String,
    /// The port.
    pub port: String,
    /// Where the route is mounted: `/v1` or nothing.
    pub mount: &'static str,
}

/// What follows the port in a proxied path, exactly as the client sent it: empty, or with a slash in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPath(pub String);

/// The kinds of diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the paths")]
pub enum Diagnostics {
    Logs,
    Events,
    Inspect,
    Summary,
}

/// What is asked of a collection that only Kubernetes has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collection {
    /// `POST` of a new member.
    Create,
    /// `GET` of all.
    List,
    /// `GET` of one.
    Get(String),
    /// `PUT` of one.
    Update(String),
    /// `DELETE` of one.
    Delete(String),
}

/// The files of the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocsFile {
    /// `/docs`.
    Swagger,
    /// `/docs/oauth2-redirect`.
    OAuth2Redirect,
    /// `/redoc`.
    Redoc,
    /// `/docs/assets/{file}`: what the pages load.
    Asset(String),
}

/// Why there is no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// No such path.
    NotFound,
    /// The path exists, but not with this method.
    MethodNotAllowed {
        /// The methods that it has, for the `Allow` header.
        allow: &'static str,
    },
    /// The path exists without its trailing slashes.
    TrailingSlash,
}

/// The template of a path that leads nowhere.
pub const UNKNOWN: &str = "unknown";

impl Route {
    /// The sandbox that it is about, if there is one.
    pub fn sandbox(&self) -> Option<&str> {
        match self {
            Self::GetSandbox(id)
            | Self::DeleteSandbox(id)
            | Self::Logs(id)
            | Self::PatchMetadata(id)
            | Self::Pause(id)
            | Self::Resume(id)
            | Self::Renew(id)
            | Self::Endpoint(PortOf { id, .. })
            | Self::Proxy(PortOf { id, .. }, _)
            | Self::NetworkPolicy(id)
            | Self::Diagnostics(id, _)
            | Self::CreateSnapshot(id) => Some(id),
            Self::Health
            | Self::Ready
            | Self::Version
            | Self::OpenApi
            | Self::Docs(_)
            | Self::CreateSandbox
            | Self::ListSandboxes
            | Self::ListSnapshots
            | Self::GetSnapshot(_)
            | Self::DeleteSnapshot(_)
            | Self::Pools(_)
            | Self::Templates(_)
            | Self::MetricsEvents => None,
        }
    }
}

/// Finds the route of a request with this `method` and raw (still percent-encoded) `path`.
pub fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    if let Some(place) = Place::find(path) {
        return place.route(method).ok_or_else(|| NoRoute::MethodNotAllowed { allow: place.allow() });
    }
    let shorter = path.trim_end_matches('/');
    if shorter.len() < path.len() && Place::find(shorter).is_some() {
        return Err(NoRoute::TrailingSlash);
    }
    Err(NoRoute::NotFound)
}

/// The path's template in the table, whatever the method; [`UNKNOWN`] for a path that leads nowhere.
pub fn template(path: &str) -> &'static str {
    Place::find(path).map_or(UNKNOWN, |place| place.row().path)
}

/// Whether what has this template is forwarded to a sandbox's own server.
pub fn is_proxied(template: &str) -> bool {
    template.starts_with(PROXY)
}

/// The path with its percent-encoding removed, as the rules for authentication read it (http-api.md §4).
pub fn decoded_path(path: &str) -> Cow<'_, str> {
    match path.contains('%') {
        true => percent_decode_str(path).decode_utf8_lossy(),
        false => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests;
