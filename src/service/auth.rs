//! The API key (http-api.md §4).

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    keys::{KeyRing, Presented, Principal, Role},
    model::tenant::Tenant,
    problem::ApiError,
    router::{Diagnostics, NoRoute, Route},
    tenants::Tenants,
};

/// The header that carries the key.
pub const API_KEY: &str = "open-sandbox-api-key";

/// Paths that begin like this need no key.
const EXEMPT: [&str; 6] = ["/health", "/ready", "/version", "/docs", "/redoc", "/openapi.json"];

/// Checks that a request for `path` (percent-decoded) that was found to go to `route` has one of the `keys`, if it needs one;
/// answers whose. What that one may do is for [`authorize`] to say.
pub fn check(
    keys: &KeyRing,
    path: &str,
    route: &Result<Route, NoRoute>,
    headers: &HeaderMap,
) -> Result<Option<Principal>, ApiError> {
    if is_exempt(path) || is_proxied(path, route) {
        return Ok(None);
    }
    check_key(keys, headers)
}

/// What a key with the role of a reader is good for, as its holder is told.
const READERS: &str = "it may list and show sandboxes and read their logs, and nothing else.";

/// Checks that `principal` may have what `route` leads to.
///
/// # Errors
///
/// Its role has no part in it.
pub fn authorize(principal: &Principal, route: &Route) -> Result<(), ApiError> {
    match principal.role {
        Role::Admin => Ok(()),
        Role::Reader if is_readers(route) => Ok(()),
        Role::Reader => Err(ApiError::insufficient_role(principal, READERS)),
    }
}

/// Whether a reader may have what `route` leads to. Each new route is decided here: none is a reader's by default.
fn is_readers(route: &Route) -> bool {
    match route {
        // Everybody's.
        Route::Health | Route::Ready | Route::Version | Route::OpenApi | Route::Docs(_) => true,
        Route::ListSandboxes | Route::GetSandbox(_) | Route::Logs(_) => true,
        // The same log by its older path.
        Route::Diagnostics(_, Diagnostics::Logs) => true,
        // These show how the engine runs a sandbox, which is its operator's affair.
        Route::Diagnostics(_, Diagnostics::Events | Diagnostics::Inspect | Diagnostics::Summary) => false,
        // An endpoint comes with the headers that open it.
        Route::Endpoint(_) => false,
        // Only asked about a spelling that needs a key, see `is_proxied`.
        Route::Proxy(..) => false,
        Route::NetworkPolicy(_) => false,
        Route::CreateSandbox
        | Route::DeleteSandbox(_)
        | Route::PatchMetadata(_)
        | Route::Pause(_)
        | Route::Resume(_)
        | Route::Renew(_) => false,
        Route::CreateSnapshot(_) | Route::ListSnapshots | Route::GetSnapshot(_) | Route::DeleteSnapshot(_) => false,
        Route::Pools(_) | Route::Templates(_) => false,
        Route::MetricsEvents => false,
    }
}

/// Whose a request for `path` (percent-decoded) is, by the key that it presents; nobody's if it needs none. Requests to
/// sandboxes' own servers need one too: only by it is it known whose sandbox is meant.
///
/// # Errors
///
/// The key is missing or nobody's, or the provider of tenants cannot tell.
pub async fn check_tenant(tenants: &Tenants, path: &str, headers: &HeaderMap) -> Result<Option<Arc<Tenant>>, ApiError> {
    if is_exempt(path) {
        return Ok(None);
    }
    let key = presented(headers).ok_or_else(ApiError::missing_key)?;
    let found = tenants.find(key).await.map_err(|_| ApiError::tenants_unavailable())?;
    found.ok_or_else(ApiError::invalid_key).map(Some)
}

/// The key that a request presents, if there is one.
pub fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(API_KEY).map(|key| key.as_bytes()).filter(|key| !key.is_empty())
}

/// Whether a path needs no key.
fn is_exempt(path: &str) -> bool {
    EXEMPT.iter().any(|exempt| path.starts_with(exempt))
}

/// Checks that a request has one of the `keys`, if there are any; answers whose.
pub fn check_key(keys: &KeyRing, headers: &HeaderMap) -> Result<Option<Principal>, ApiError> {
    let presented = headers.get(API_KEY).map_or(&b""[..], |presented| presented.as_bytes());
    match keys.check(presented) {
        Presented::Unneeded => Ok(None),
        Presented::Valid(principal) => Ok(Some(principal)),
        Presented::Invalid if presented.is_empty() => Err(ApiError::missing_key()),
        Presented::Invalid => Err(ApiError::invalid_key()),
    }
}

/// Whether a request goes to a server inside a sandbox, which has a check of its own or none: its clients, such as
/// browsers, know nothing of the key.
///
/// The route alone decides where a request goes, and it is found from the path as it was sent. The path as others read
/// it, its percent-encoding removed, must say the same, and `..` anywhere in it is reason enough to ask for the key.
fn is_proxied(path: &str, route: &Result<Route, NoRoute>) -> bool {
    let goes_there = match route {
        // A port with a slash in it, once decoded, is no port and reads as one with a path behind it.
        Ok(Route::Proxy(of, _)) => is_port(of.port.as_bytes()),
        Err(NoRoute::MethodNotAllowed { .. }) => true,
        Ok(_) | Err(_) => false,
    };
    goes_there && reads_as_proxied(path) && !path.contains("..")
}

/// `^(/v1)?/sandboxes/[^/]+/proxy/[0-9]+(/|$)`.
fn reads_as_proxied(path: &str) -> bool {
    let mut segments = path.strip_prefix("/v1").unwrap_or(path).as_bytes().split(|byte| *byte == b'/');
    let begins = segments.next() == Some(b"") && segments.next() == Some(b"sandboxes");
    let has_id = segments.next().is_some_and(|id| !id.is_empty());
    let is_proxy = segments.next() == Some(b"proxy");
    begins && has_id && is_proxy && segments.next().is_some_and(is_port)
}

fn is_port(segment: &[u8]) -> bool {
    !segment.is_empty() && segment.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        keys::{KeyName, Keys},
        router::{self, ROUTES, decoded_path},
        secret::Secret,
    };

    fn checked(path: &str, presented: Option<&'static str>) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(presented) = presented {
            headers.insert(API_KEY, HeaderValue::from_static(presented));
        }
        let route = router::route(&Method::GET, path);
        let keys = KeyRing::new(Keys::one(Secret::new("k-test")));
        check(&keys, &decoded_path(path), &route, &headers).map(drop).map_err(|error| error.body.code)
    }

    #[test]
    fn only_the_exact_key_is_accepted() {
        assert_eq!(checked("/v1/sandboxes", Some("k-test")), Ok(()));
        assert_eq!(checked("/v1/sandboxes", None), Err("MISSING_API_KEY"));
        assert_eq!(checked("/v1/sandboxes", Some("")), Err("MISSING_API_KEY"));
        for wrong in ["k-tes", "k-test2", "K-TEST", "nope"] {
            assert_eq!(checked("/v1/sandboxes", Some(wrong)), Err("INVALID_API_KEY"));
        }
    }

    /// What a reader is refused and what not, route by route; over sockets in `tests/gateway/readers.rs`.
    #[test]
    fn a_reader_may_have_these_routes_and_no_others() {
        let reader = Principal { name: KeyName::new("viewer"), role: Role::Reader };
        let admin = Principal { role: Role::Admin, ..reader.clone() };
        let mut found = Vec::new();
        for row in &ROUTES {
            for method in row.methods() {
                let path = format!("{}{}", row.mounts.prefixes()[0], row.path);
                let route = router::route(&method.parse().unwrap(), &path).unwrap();
                assert_eq!(authorize(&admin, &route), Ok(()));
                match authorize(&reader, &route) {
                    Ok(()) if is_exempt(&path) => {}
                    Ok(()) => found.push(format!("{method} {}", row.path)),
                    Err(error) => {
                        assert_eq!((error.status.as_u16(), error.body.code), (403, "INSUFFICIENT_ROLE"));
                        let told = error.body.message;
                        assert!(told.starts_with("The API key 'viewer' has the role 'reader': it may list"), "{told}");
                        assert!(!is_exempt(&path), "{path}");
                    }
                }
            }
        }
        let expected = ["", "/{sandbox_id}", "/{sandbox_id}/logs", "/{sandbox_id}/diagnostics/logs"];
        assert_eq!(found, expected.map(|path| format!("GET /sandboxes{path}")));
    }

    #[test]
    fn exempt_paths_are_exempt_at_the_root_only() {
        for path in ["/health", "/healthfoo", "/version", "/openapi.json", "/docs/x"] {
            assert_eq!(checked(path, None), Ok(()), "{path}");
        }
        for path in ["/v1/health", "/nope", "/", "//health", "/sandboxes"] {
            assert_eq!(checked(path, None), Err("MISSING_API_KEY"), "{path}");
        }
    }

    #[test]
    fn a_sandboxes_own_server_is_asked_without_a_key() {
        for path in [
            "/sandboxes/x/proxy/80",
            "/v1/sandboxes/x/proxy/80/",
            "/v1/sandboxes/x/proxy/80//a%2Fb",
            "/v1/sandboxes/x/proxy/%38%30/a",
            "/sandboxes/x/proxy/99999/a.b",
        ] {
            assert_eq!(checked(path, None), Ok(()), "{path}");
        }
    }

    #[test]
    fn no_spelling_of_a_path_gets_past_the_key() {
        for path in [
            // What reads as proxied once decoded goes somewhere else.
            "/v1/sandboxes/x%2Fproxy%2F80",
            "/v1/sandboxes/x%2fproxy%2f80/logs",
            "/sandboxes/x%2Fproxy%2F80/networkpolicy",
            "/v1/sandboxes%2Fx%2Fproxy%2F80",
            "/v1%2Fsandboxes/x/proxy/80",
            // What goes to the proxy reads otherwise.
            "/v1/sandboxes/a%2Fb/proxy/80/",
            "/v1/sandboxes/x/proxy/abc/",
            "/v1/sandboxes/x/proxy/8a/",
            "/v1/sandboxes/x/proxy/+80/",
            "/v1/sandboxes/x/proxy/%D9%A8/",
            "/v1/sandboxes/x/proxy/8%2Fb/a",
            "/v1/sandboxes/x/proxy/80%2F..%2Fx",
            "/v1/sandboxes/x/proxy/80/../x",
            "/v1/sandboxes/x/proxy/80/%2e%2e/x",
            "/v1/sandboxes/x/proxy/80/a..b",
            "/v1/sandboxes/..%2Fx/proxy/80/",
            // Neither.
            "//v1/sandboxes/x/proxy/80/",
            "/v1//sandboxes/x/proxy/80/",
            "/v1/sandboxes//proxy/80/",
            "/v1/sandboxes/x//proxy/80/",
            "/v1/sandboxes/x/proxy//80/",
            "/v1/v1/sandboxes/x/proxy/80/",
            "/V1/sandboxes/x/proxy/80/",
            "/v1/sandboxes/x/networkpolicy",
            "/v1/sandboxes/x/endpoints/80",
        ] {
            assert_eq!(checked(path, None), Err("MISSING_API_KEY"), "{path}");
        }
    }

    proptest! {
        /// Whatever is asked without a key is the proxy, or nothing at all.
        #[test]
        fn only_the_proxy_is_open(path in "(/v1)?/(sandboxes|sandboxes%2F|%2F|/)?[a-z0-9%2Ff./]{0,6}(/proxy/|%2Fproxy%2F|/logs|//)?[0-9a%2Ff./]{0,8}") {
            if checked(&path, None).is_ok() && !EXEMPT.iter().any(|exempt| decoded_path(&path).starts_with(exempt)) {
                prop_assert!(matches!(router::route(&Method::GET, &path), Ok(Route::Proxy(..))), "{path}");
            }
        }
    }
}
