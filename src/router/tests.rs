//! Paths that exist, and paths that do not.

use super::*;

#[test]
fn every_listed_route_is_found() {
    for row in &ROUTES {
        let path = row.path.replace("{sandbox_id}", "a%2Fb").replace("{port}", "80");
        for (method, mount) in row.methods().flat_map(|method| row.mounts.prefixes().iter().map(move |m| (method, m))) {
            let method = method.parse().expect("a method");
            let found = route(&method, &format!("{mount}{path}")).expect(&path);
            if let Route::GetSandbox(id) | Route::DeleteSandbox(id) | Route::Logs(id) | Route::Pause(id) = found {
                assert_eq!(id, "a/b");
            }
        }
    }
}

#[test]
fn a_path_without_the_method_tells_which_it_has_in_order() {
    for row in &ROUTES {
        let mount = row.mounts.prefixes()[0];
        let Err(NoRoute::MethodNotAllowed { allow }) = route(&Method::TRACE, &format!("{mount}{}", row.path)) else {
            panic!("{} has TRACE", row.path);
        };
        let mut methods: Vec<_> = row.methods().collect();
        assert_eq!(allow, methods.join(", "), "{}", row.path);
        methods.sort_unstable();
        methods.dedup();
        assert_eq!(allow, methods.join(", "), "{}", row.path);
    }
}

#[test]
fn a_sandboxs_own_server_may_know_other_methods() {
    for path in ["/sandboxes/x/proxy/80", "/v1/sandboxes/x/proxy/80/a"] {
        for (method, is_forwarded) in [("PROPFIND", true), ("QUERY", true), ("CONNECT", false), ("TRACE", false)] {
            let found = route(&method.parse().expect("a method"), path);
            assert_eq!(matches!(found, Ok(Route::Proxy(..))), is_forwarded, "{method}");
        }
    }
    assert!(route(&"PROPFIND".parse().expect("a method"), "/v1/sandboxes/x").is_err());
}

#[test]
fn a_proxied_path_is_kept_as_it_was_sent() {
    let proxied = |path: &str| match route(&Method::GET, path) {
        Ok(Route::Proxy(PortOf { id, port, mount }, ProxyPath(path))) => (id, port, mount, path),
        other => panic!("{other:?}"),
    };
    let (id, port, mount, path) = proxied("/v1/sandboxes/x/proxy/80//a%2Fb/../c/");
    assert_eq!((id.as_str(), port.as_str(), mount, path.as_str()), ("x", "80", "/v1", "//a%2Fb/../c/"));
    assert_eq!(proxied("/sandboxes/x/proxy/80").3, "");
    assert_eq!(proxied("/sandboxes/x/proxy/80/").3, "/");
    assert_eq!(proxied("/sandboxes/x/proxy/junk/y").1, "junk");
}

#[test]
fn only_a_known_path_is_redirected_from_its_slash() {
    for path in ["/health/", "/v1/sandboxes/", "/sandboxes/x/", "/v1/sandboxes/x/logs/", "/v1/snapshots//"] {
        assert_eq!(route(&Method::GET, path), Err(NoRoute::TrailingSlash), "{path}");
    }
    for path in ["/", "//", "/nope/", "/v1", "/v1/health", "/sandboxes//logs", "/sandboxes//x/"] {
        assert_eq!(route(&Method::GET, path), Err(NoRoute::NotFound), "{path}");
    }
    for path in
        ["/v1x/sandboxes", "/sandboxes/x/logs/y", "/metrics/events", "/v1/docs", "/docs/assets/", "/v1/v1/pools"]
    {
        assert_eq!(route(&Method::GET, path), Err(NoRoute::NotFound), "{path}");
    }
}

#[test]
fn a_path_has_the_template_of_its_row_at_each_mount() {
    for row in &ROUTES {
        for mount in row.mounts.prefixes() {
            assert_eq!(template(&format!("{mount}{}", row.path)), row.path);
        }
    }
    for path in ["/", "", "*", "/nope", "/v1/health", "/sandboxes/", "x/sandboxes"] {
        assert_eq!(template(path), "unknown", "{path}");
    }
    assert_eq!(template("/v1/sandboxes/x/logs"), LOGS);
}

#[test]
fn no_row_hides_another() {
    let shape = |path: &str| {
        path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
    };
    for (index, row) in ROUTES.iter().enumerate() {
        let is_hidden = ROUTES[..index].iter().any(|before| {
            let matches = |(a, b): (&str, &str)| a == b || a.starts_with('{');
            let (a, b) = (shape(before.path), shape(row.path));
            a.split('/').count() == b.split('/').count() && a.split('/').zip(b.split('/')).all(matches)
        });
        assert!(!is_hidden, "{}", row.path);
    }
}
