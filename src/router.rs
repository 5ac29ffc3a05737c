//! STEP 3: from a method and a path to a route. Pure.
//!
//! | Route | Path | Mounts |
//! |---|---|---|
//! | [`Route::Health`] | `GET /health` | root |
//! | [`Route::Version`] | `GET /version` | root |
//! | [`Route::OpenApi`] | `GET /openapi.json` | root |
//! | [`Route::CreateSandbox`] | `POST /sandboxes` | root and `/v1` |
//! | [`Route::ListSandboxes`] | `GET /sandboxes` | root and `/v1` |
//! | [`Route::GetSandbox`] | `GET /sandboxes/{sandboxId}` | root and `/v1` |
//! | [`Route::DeleteSandbox`] | `DELETE /sandboxes/{sandboxId}` | root and `/v1` |
//! | [`Route::Logs`] | `GET /sandboxes/{sandboxId}/logs` | root and `/v1` |

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

/// A request's destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The process is alive.
    Health,
    /// The version of the API that is spoken.
    Version,
    /// The description of this API.
    OpenApi,
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
    /// The path exists without its trailing slash.
    TrailingSlash,
}

/// A path that exists, whatever the method.
#[derive(Debug)]
enum Place<'p> {
    Health,
    Version,
    OpenApi,
    Sandboxes,
    Sandbox(&'p str),
    Logs(&'p str),
}

/// Every route's method and path template, as `specs/sandbox-lifecycle.yml` writes it; the spec check compares the two.
pub const ROUTES: [(&str, &str); 13] = [
    ("GET", "/health"),
    ("GET", "/version"),
    ("GET", "/openapi.json"),
    ("POST", "/sandboxes"),
    ("GET", "/sandboxes"),
    ("GET", "/sandboxes/{sandboxId}"),
    ("DELETE", "/sandboxes/{sandboxId}"),
    ("GET", "/sandboxes/{sandboxId}/logs"),
    ("POST", "/v1/sandboxes"),
    ("GET", "/v1/sandboxes"),
    ("GET", "/v1/sandboxes/{sandboxId}"),
    ("DELETE", "/v1/sandboxes/{sandboxId}"),
    ("GET", "/v1/sandboxes/{sandboxId}/logs"),
];

/// Finds the route of a request with this `method` and raw (still percent-encoded) `path`.
pub fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    if let Some(place) = place(path) {
        return place.route(method);
    }
    match path.strip_suffix('/') {
        Some(shorter) if place(shorter).is_some() => Err(NoRoute::TrailingSlash),
        _ => Err(NoRoute::NotFound),
    }
}

fn place(path: &str) -> Option<Place<'_>> {
    match path {
        "/health" => return Some(Place::Health),
        "/version" => return Some(Place::Version),
        "/openapi.json" => return Some(Place::OpenApi),
        _ => {}
    }
    let mut segments = path.strip_prefix("/v1").unwrap_or(path).strip_prefix('/')?.split('/');
    match (segments.next()?, segments.next(), segments.next(), segments.next()) {
        ("sandboxes", None, ..) => Some(Place::Sandboxes),
        ("sandboxes", Some(id), None, _) if !id.is_empty() => Some(Place::Sandbox(id)),
        ("sandboxes", Some(id), Some("logs"), None) if !id.is_empty() => Some(Place::Logs(id)),
        _ => None,
    }
}

impl Place<'_> {
    fn route(&self, method: &Method) -> Result<Route, NoRoute> {
        match (self, method) {
            (Self::Health, &Method::GET) => Ok(Route::Health),
            (Self::Version, &Method::GET) => Ok(Route::Version),
            (Self::OpenApi, &Method::GET) => Ok(Route::OpenApi),
            (Self::Sandboxes, &Method::POST) => Ok(Route::CreateSandbox),
            (Self::Sandboxes, &Method::GET) => Ok(Route::ListSandboxes),
            (Self::Sandbox(id), &Method::GET) => Ok(Route::GetSandbox(decoded(id))),
            (Self::Sandbox(id), &Method::DELETE) => Ok(Route::DeleteSandbox(decoded(id))),
            (Self::Logs(id), &Method::GET) => Ok(Route::Logs(decoded(id))),
            _ => Err(NoRoute::MethodNotAllowed { allow: self.allow() }),
        }
    }

    fn allow(&self) -> &'static str {
        match self {
            Self::Health | Self::Version | Self::OpenApi | Self::Logs(_) => "GET",
            Self::Sandboxes => "GET, POST",
            Self::Sandbox(_) => "DELETE, GET",
        }
    }
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// The path with its percent-encoding removed, as the rules for authentication read it (http-api.md §4).
pub fn decoded_path(path: &str) -> Cow<'_, str> {
    percent_decode_str(path).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_route_is_found() {
        for (method, template) in ROUTES {
            let method: Method = method.parse().expect("a method");
            let path = template.replace("{sandboxId}", "a%2Fb");
            let found = route(&method, &path).expect(template);
            if let Route::GetSandbox(id) | Route::DeleteSandbox(id) | Route::Logs(id) = found {
                assert_eq!(id, "a/b");
            }
        }
    }

    #[test]
    fn other_methods_get_the_list_of_allowed_ones() {
        let allow = |path| match route(&Method::PATCH, path) {
            Err(NoRoute::MethodNotAllowed { allow }) => allow,
            other => panic!("{other:?}"),
        };
        assert_eq!(allow("/v1/sandboxes"), "GET, POST");
        assert_eq!(allow("/sandboxes/x"), "DELETE, GET");
        assert_eq!(allow("/sandboxes/x/logs"), "GET");
        assert_eq!(route(&Method::HEAD, "/health"), Err(NoRoute::MethodNotAllowed { allow: "GET" }));
    }

    #[test]
    fn only_a_known_path_is_redirected_from_its_slash() {
        for path in ["/health/", "/v1/sandboxes/", "/sandboxes/x/", "/v1/sandboxes/x/logs/"] {
            assert_eq!(route(&Method::GET, path), Err(NoRoute::TrailingSlash), "{path}");
        }
        for path in ["/", "//", "/nope/", "/v1", "/v1/health", "/sandboxes//", "/sandboxes//logs", "/sandboxes/x//"] {
            assert_eq!(route(&Method::GET, path), Err(NoRoute::NotFound), "{path}");
        }
        assert_eq!(route(&Method::GET, "/v1x/sandboxes"), Err(NoRoute::NotFound));
        assert_eq!(route(&Method::GET, "/sandboxes/x/logs/y"), Err(NoRoute::NotFound));
    }
}
