//! The documentation's pages, without the Internet.

use crate::{
    Pair, Setup,
    support::client::{Client, get_once, request},
};

#[tokio::test]
async fn pages_need_no_key_and_load_only_from_here() {
    let gateway = Setup::process().api_key("k").start();
    for path in ["/docs", "/redoc", "/docs/oauth2-redirect"] {
        let response = get_once(gateway.address(), path).await;
        assert_eq!((response.status(), response.head.field("content-type")), (200, "text/html; charset=utf-8"));
        let policy = response.head.field("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
        let text = String::from_utf8(response.body.to_vec()).unwrap();
        assert!(!text.contains("http"), "{text}");
    }
}

#[tokio::test]
async fn files_come_compressed_to_those_who_take_it() {
    let gateway = Setup::process().start();
    let path = "/docs/assets/swagger-ui.css";
    let plain = get_once(gateway.address(), path).await;
    assert_eq!((plain.status(), plain.head.field("content-encoding")), (200, ""));
    assert!(plain.body.starts_with(b".swagger-ui"));
    let zipped = request(gateway.address(), "GET", path, &["Accept-Encoding: gzip, br"], "").await;
    assert_eq!((zipped.head.field("content-encoding"), &zipped.body[..2]), ("gzip", &[0x1f, 0x8b][..]));
    assert_eq!(zipped.head.field("content-type"), "text/css; charset=utf-8");
    assert_ne!(zipped.head.field("etag"), plain.head.field("etag"));
    let lines = ["Accept-Encoding: gzip", &format!("If-None-Match: {}", zipped.head.field("etag"))];
    let again = request(gateway.address(), "GET", path, &lines, "").await;
    assert_eq!((again.status(), again.body.len()), (304, 0));
    assert_eq!(get_once(gateway.address(), "/docs/assets/other.js").await.status(), 404);
}

#[tokio::test]
async fn the_head_can_be_had_alone() {
    let gateway = Setup::process().start();
    let mut client = Client::connect(gateway.address()).await;
    for path in ["/docs", "/redoc", "/openapi.json", "/health", "/version", "/docs/assets/swagger-ui.css"] {
        let whole = get_once(gateway.address(), path).await;
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let head = client.head().await;
        assert_eq!((head.status.as_u16(), head.field("content-length")), (200, whole.head.field("content-length")));
        assert_eq!(head.field("content-type"), whole.head.field("content-type"), "{path}");
    }
    let refused = request(gateway.address(), "HEAD", "/v1/sandboxes", &[], "").await;
    assert_eq!(refused.status(), 405);
}

/// Pages of sandboxes have the gateway's origin. A browser that is told this gives the pages another one.
#[tokio::test]
async fn pages_have_an_origin_of_their_own() {
    let pair = Pair::start();
    let process = Setup::process().start();
    for path in ["/docs", "/redoc", "/docs/oauth2-redirect"] {
        let response = get_once(pair.address(), path).await;
        let policy = response.head.field("content-security-policy");
        assert!(policy.contains("; sandbox allow-scripts "), "{path}: {policy}");
        assert!(!policy.contains("allow-same-origin"), "{path}: {policy}");
        // It answers no page of such an origin.
        let response = get_once(process.address(), path).await;
        assert!(!response.head.field("content-security-policy").contains("sandbox"), "{path}");
    }
    // What the pages ask then.
    let asked = request(pair.address(), "GET", "/openapi.json", &["Origin: null"], "").await;
    assert_eq!((asked.status(), asked.head.field("access-control-allow-origin")), (200, "null"));
}
