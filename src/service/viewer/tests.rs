//! Who is answered, and what there is.

use super::*;

/// The status of what the viewer `logs.example.com`, reached at 10.0.0.5, answers itself; 0 for what is passed on.
fn asked(request: &str, headers: &[(&str, &str)]) -> u16 {
    let (method, uri) = request.split_once(' ').expect("a method and a path");
    let mut req = Request::new(());
    (*req.method_mut(), *req.uri_mut()) = (method.parse().expect("a method"), uri.parse().expect("a path"));
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a name");
        req.headers_mut().append(name, value.parse().expect("a value"));
    }
    let names = ["logs.example.com", "other.example:8443"].map(|name| name.parse().expect("a host"));
    let viewer = Viewer::new(names.to_vec());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    match runtime.block_on(viewer.answer(&req, [10, 0, 0, 5].into())) {
        Ok(None) => 0,
        Ok(Some(res)) => res.status().as_u16(),
        Err(error) => error.status.as_u16(),
    }
}

const HOST: (&str, &str) = ("host", "localhost:8081");

#[test]
fn what_the_viewer_reads_is_passed_on_and_nothing_else() {
    for call in ["/v1/sandboxes?page=2", "/v1/sandboxes/x", "/v1/sandboxes/x/logs?follow=true", "/version", "/health"] {
        assert_eq!(asked(&format!("GET {call}"), &[HOST]), 0, "{call}");
        for method in ["POST", "DELETE", "PATCH", "OPTIONS", "QUERY", "TRACE"] {
            assert_eq!(asked(&format!("{method} {call}"), &[HOST]), 404, "{method} {call}");
        }
    }
    for path in [
        "/ready",
        "/docs",
        "/redoc",
        "/docs/assets/swagger-ui.css",
        "/openapi.json",
        "/sandboxes",
        "/sandboxes/x/logs",
        "/v1/sandboxes/",
        "/v1/sandboxes/x/proxy/80",
        "/v1/sandboxes/x/proxy/80/a",
        "/v1/sandboxes/x/endpoints/80",
        "/v1/sandboxes/x/diagnostics/logs",
        "/v1/sandboxes/x/networkpolicy",
        "/v1/snapshots",
        "/v1/pools",
        "/v1/templates",
        "/metrics",
        "/admin/streams",
        "//ui/",
        "/UI/",
        "/v1/../v1/sandboxes",
    ] {
        assert_eq!(asked(&format!("GET {path}"), &[HOST]), 404, "{path}");
    }
}

#[test]
fn the_page_has_one_address() {
    for (request, status) in [
        ("GET /", 308),
        ("HEAD /ui", 308),
        ("GET /ui/", 200),
        ("HEAD /ui/?x", 200),
        ("GET /ui/index.html", 200),
        ("GET /ui/nothing.js", 404),
        ("GET /ui/../index.html", 404),
        ("GET /ui/%69ndex.html", 404),
        ("POST /ui/", 405),
        ("OPTIONS /", 405),
    ] {
        assert_eq!(asked(request, &[HOST]), status, "{request}");
    }
}

#[test]
fn only_own_names_are_answered() {
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:8081",
        "[::1]:8081",
        "10.0.0.5:8081",
        "logs.example.com",
        "Logs.Example.com:443",
        "other.example:8443",
    ] {
        assert_eq!(asked("GET /v1/sandboxes", &[("host", host)]), 0, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8081",
        "localhost.evil.example",
        "x.logs.example.com",
        "logs.example.com.",
        "other.example",
        "other.example:443",
        "10.0.0.6:8081",
        "0.0.0.0:8081",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost/evil",
        "",
    ] {
        for path in ["/", "/ui/", "/v1/sandboxes", "/health", "/nothing"] {
            assert_eq!(asked(&format!("GET {path}"), &[("host", host)]), 421, "{host} {path}");
        }
    }
    assert_eq!(asked("GET /ui/", &[]), 421);
    assert_eq!(asked("GET http://evil.example/ui/", &[HOST]), 421);
    assert_eq!(asked("GET http://localhost/ui/", &[("host", "evil.example")]), 421);
    assert_eq!(asked("GET /ui/", &[HOST, HOST]), 400);
}

#[test]
fn only_the_own_page_reads() {
    for (host, origin) in [
        ("localhost:8081", "http://localhost:8081"),
        ("localhost:8081", "http://LOCALHOST:8081"),
        ("logs.example.com", "https://logs.example.com"),
        ("logs.example.com:443", "https://logs.example.com"),
        ("10.0.0.5", "http://10.0.0.5:80"),
    ] {
        assert_eq!(asked("GET /v1/sandboxes", &[("host", host), ("origin", origin)]), 0, "{host} {origin}");
    }
    for origin in [
        "null",
        "",
        "http://localhost:8080",
        "http://127.0.0.1:8081",
        "https://localhost",
        "http://localhost",
        "https://evil.example",
        "chrome-extension://localhost:8081",
        "http://localhost:8081/x",
        "http://evil@localhost:8081",
    ] {
        for path in ["/ui/", "/v1/sandboxes"] {
            let headers = [HOST, ("origin", origin), ("sec-fetch-site", "same-origin")];
            assert_eq!(asked(&format!("GET {path}"), &headers), 403, "{origin} {path}");
        }
    }
    let twice = ("origin", "http://localhost:8081");
    assert_eq!(asked("GET /v1/sandboxes", &[HOST, twice, twice]), 403);
}

#[test]
fn a_foreign_page_may_link_to_the_page_and_to_nothing_else() {
    let from = |path: &str, site: &str, mode: &str, dest: &str| {
        asked(
            &format!("GET {path}"),
            &[HOST, ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)],
        )
    };
    for site in ["same-origin", "none"] {
        assert_eq!(from("/ui/", site, "navigate", "document"), 200, "{site}");
        assert_eq!(from("/v1/sandboxes", site, "cors", "empty"), 0, "{site}");
    }
    for site in ["cross-site", "same-site", "", "none, cross-site"] {
        assert_eq!(from("/ui/", site, "navigate", "document"), 200, "{site}");
        assert_eq!(from("/", site, "navigate", "document"), 308, "{site}");
        for (mode, dest) in [("navigate", "iframe"), ("no-cors", "script"), ("cors", "empty"), ("no-cors", "document")]
        {
            assert_eq!(from("/ui/index.html", site, mode, dest), 403, "{site} {mode} {dest}");
        }
        for (mode, dest) in [("navigate", "document"), ("no-cors", "image"), ("cors", "empty")] {
            assert_eq!(from("/v1/sandboxes", site, mode, dest), 403, "{site} {mode} {dest}");
            assert_eq!(from("/health", site, mode, dest), 403, "{site} {mode} {dest}");
        }
    }
}
