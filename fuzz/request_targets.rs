//! What the fuzzer runs on requests, as plain functions; `tests/fuzz_smoke.rs` runs them too.

#![allow(dead_code, unreachable_pub, reason = "each program that includes this file uses a part of it")]

use http::{HeaderMap, Method};
use opensandbox_gateway::{
    api::extract::json_body,
    keys::{KeyRing, Keys},
    model::create::CreateRequest,
    router::{self, PortOf, ProxyPath, Route},
    secret::Secret,
    service::auth,
};

const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Routes a path without a key: only what is exempt gets past authentication, and what is exempt reaches nothing else.
pub fn path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let keys = KeyRing::new(Keys::one(Secret::new("k")));
    for method in METHODS {
        let route = router::route(&method, path);
        let is_open = auth::check(&keys, &router::decoded_path(path), &route, &HeaderMap::new()).is_ok();
        match route {
            Ok(route) if is_open => assert!(is_exempt(&route), "{method} {path:?} reaches {route:?} without a key"),
            Ok(Route::Proxy(PortOf { port, .. }, ProxyPath(rest))) => {
                assert!(rest.is_empty() || rest.starts_with('/'), "{path:?}");
                assert!(path.ends_with(&rest) && !port.is_empty(), "{path:?}");
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// What is answered to everyone.
fn is_exempt(route: &Route) -> bool {
    match route {
        Route::Health | Route::Ready | Route::Version | Route::OpenApi | Route::Docs(_) => true,
        Route::Proxy(PortOf { port, .. }, _) => !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// Reads a creation's body: a refusal says why, and its answer serialises and stays short.
pub fn create(data: &[u8]) {
    let Ok(body) = json_body(Some("application/json"), data) else { return };
    let Err(invalid) = CreateRequest::from_json(&body) else { return };
    assert!(!invalid.0.is_empty());
    let text = serde_json::to_string(&invalid.0).expect("violations serialise");
    assert!(text.len() < 64 * 1024, "{text}");
}
