//! What is dropped, kept, added and rewritten.

use bytes::Bytes;
use http::Request;

use super::*;
use crate::{model::endpoint::Backend, proxy::forwarded::Forwarded, secret::Secret};

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
    }
    headers
}

fn sent_with(method: Method, lines: &[(&str, &str)], upload: &Upload) -> HeaderMap {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = method;
    head.headers = headers(lines);
    let backend = Backend {
        authority: "10.0.0.2:80".to_owned(),
        path_prefix: String::new(),
        headers: vec![("OpenSandbox-Ingress-To".to_owned(), "x-80".to_owned())],
        secure_access: Some(Secret::new("s")),
        egress_token: Some(Secret::new("t")),
    };
    let forwarded = Forwarded { proto: "http", host: headers_host(), client: HeaderValue::from_static("9.9.9.9") };
    let shape = Shape::of(upload, false);
    let forward =
        Forward { id: "x".to_owned(), backend, path: "/x".to_owned(), head, forwarded, trace: None, public: None };
    request(&forward, Uri::from_static("/x"), shape).expect("a head").headers().clone()
}

fn headers_host() -> Option<HeaderValue> {
    Some(HeaderValue::from_static("gw:8080"))
}

fn sent(lines: &[(&str, &str)]) -> HeaderMap {
    sent_with(Method::GET, lines, &Upload::empty())
}

fn all<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
}

/// For servers that make underscores of hyphens, as CGI does.
#[test]
fn a_field_with_underscores_does_not_pass_for_one_that_ends_here() {
    for name in [
        "x_forwarded_for",
        "X_Forwarded-Host",
        "x-forwarded_proto",
        "open_sandbox_api_key",
        "opensandbox_secure_access",
        "opensandbox_access_renew",
        "content_length",
        "transfer_encoding",
        "cdn_loop",
        "opensandbox_ingress_to",
    ] {
        let sent = sent(&[(name, "1.2.3.4"), ("x_own", "1")]);
        assert!(!sent.contains_key(name.to_ascii_lowercase()), "{name}: {sent:?}");
        assert_eq!((all(&sent, "x_own"), all(&sent, "x-forwarded-for")), (vec!["1"], vec!["9.9.9.9"]));
    }
    assert!(!may_trail(&HeaderName::from_static("x_forwarded_for")));
}

#[test]
fn what_speaks_of_the_connection_or_of_rights_is_dropped() {
    let dropped = [
        "keep-alive",
        "http2-settings",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
        "authorization",
        "open-sandbox-api-key",
        "opensandbox-secure-access",
        "forwarded",
        "x-forwarded-port",
        "x-real-ip",
        "opensandbox-access-renew",
        "x-foo",
    ];
    let mut lines: Vec<_> = dropped.iter().map(|name| (*name, "1")).collect();
    lines.push(("connection", "X-Foo, keep-alive"));
    let out = sent(&lines);
    for name in dropped {
        assert!(!out.contains_key(name), "{name}");
    }
    assert!(!out.contains_key("connection") && !out.contains_key("accept-encoding") && !out.contains_key("user-agent"));
}

#[test]
fn everything_else_is_kept_as_often_as_it_came() {
    let out = sent(&[
        ("x-custom", "1"),
        ("x-custom", "2"),
        ("opensandbox-egress-auth", "z"),
        ("opensandbox-ingress-to", "mine"),
        ("connection", "Cookie, X-Custom2, Origin, Sec-Fetch-Site, OpenSandbox-Egress-Auth"),
        ("origin", "https://a.example"),
        ("sec-fetch-site", "cross-site"),
        ("expect", "100-continue"),
        ("x-request-id", "r"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ]);
    assert_eq!(all(&out, "x-custom"), ["1", "2"]);
    assert_eq!(all(&out, "cookie"), ["a=1; b=2"]);
    for (name, value) in [
        ("opensandbox-egress-auth", "z"),
        ("expect", "100-continue"),
        ("origin", "https://a.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        assert_eq!(all(&out, name), [value]);
    }
    assert_eq!(all(&out, "opensandbox-ingress-to"), ["x-80"], "the backend's own comes last");
}

#[test]
fn the_backend_is_told_who_asked() {
    let out = sent(&[("host", "client.example"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-host", "evil")]);
    assert_eq!(all(&out, "host"), ["10.0.0.2:80"]);
    assert_eq!(all(&out, "x-forwarded-for"), ["9.9.9.9"]);
    assert_eq!(all(&out, "x-forwarded-host"), ["gw:8080"]);
    assert_eq!(all(&out, "x-forwarded-proto"), ["http"]);
}

#[test]
fn the_bodys_length_is_told_once_and_right() {
    let none = |method, lines: &[(&str, &str)]| {
        let out = sent_with(method, lines, &Upload::empty());
        (all(&out, "content-length").join("|"), out.contains_key("transfer-encoding"))
    };
    assert_eq!(none(Method::GET, &[]), (String::new(), false));
    assert_eq!(none(Method::DELETE, &[]), (String::new(), false));
    assert_eq!(none(Method::POST, &[]), ("0".to_owned(), false));
    assert_eq!(
        none(Method::GET, &[("transfer-encoding", "chunked"), ("content-length", "7")]),
        ("0".to_owned(), false)
    );
    let full = Upload::full(Bytes::from_static(b"hello"));
    let out = sent_with(Method::GET, &[("content-length", "7"), ("transfer-encoding", "chunked")], &full);
    assert_eq!((all(&out, "content-length"), out.contains_key("transfer-encoding")), (vec!["5"], false));
}

#[test]
fn trailers_are_asked_for_when_the_client_takes_them() {
    let out = sent(&[("te", "gzip;q=0.5, Trailers")]);
    assert_eq!((all(&out, "te"), all(&out, "connection")), (vec!["trailers"], vec!["te"]));
    assert!(!sent(&[("te", "gzip")]).contains_key("te"));
}

#[test]
fn no_right_and_no_route_comes_as_a_trailer() {
    for name in ["x-sum", "server-timing", "etag", "content-digest", "grpc-status"] {
        assert!(may_trail(&HeaderName::from_static(name)), "{name}");
    }
    for name in
        ["authorization", "x-forwarded-for", "opensandbox-secure-access", "opensandbox-egress-auth", "connection"]
    {
        assert!(!may_trail(&HeaderName::from_static(name)), "{name}");
    }
    for name in [
        "content-length",
        "transfer-encoding",
        "host",
        "cookie",
        "content-type",
        "trailer",
        "te",
        "origin",
        "sec-fetch-site",
        "cdn-loop",
        "x-forwarded-user",
        "x-csrf-token",
        "if-match",
        "range",
        "http2-settings",
    ] {
        assert!(!may_trail(&HeaderName::from_static(name)), "{name}");
    }
}

#[test]
fn many_names_in_connection_cost_little() {
    let names: String = (0..20_000).map(|number| format!("{number:x},")).collect();
    let mut lines = vec![("connection".to_owned(), names)];
    lines.extend((0..100).map(|number| (format!("x-{number}"), "1".to_owned())));
    let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let start = std::time::Instant::now();
    assert_eq!(sent(&lines).keys().filter(|name| name.as_str().starts_with("x-")).count(), 100 + 3);
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
}
