//! Paths that exist, and paths that do not.

use super::*;

/// Every listed route with each of its methods and mounts.
fn listed() -> impl Iterator<Item = (Method, String)> {
    ROUTES.into_iter().flat_map(|(methods, template, mounts)| {
        let prefixes = match mounts {
            Mounts::Root => &[""][..],
            Mounts::V1 => &["/v1"],
            Mounts::Both => &["", "/v1"],
        };
        methods.split(' ').flat_map(move |method| {
            prefixes.iter().map(move |prefix| (method.parse().expect("a method"), format!("{prefix}{template}")))
        })
    })
}

#[test]
fn every_listed_route_is_found() {
    for (method, template) in listed() {
        let path = template.replace("{sandboxId}", "a%2Fb").replace("{port}", "80");
        let found = route(&method, &path).expect(&template);
        if let Route::GetSandbox(id) | Route::DeleteSandbox(id) | Route::Logs(id) | Route::Pause(id) = found {
            assert_eq!(id, "a/b");
        }
    }
}

#[test]
fn every_listed_method_is_allowed_and_no_other() {
    for (methods, template, mounts) in ROUTES {
        let prefix = if mounts == Mounts::V1 { "/v1" } else { "" };
        let Err(NoRoute::MethodNotAllowed { allow }) = route(&Method::TRACE, &format!("{prefix}{template}")) else {
            panic!("{template} has TRACE");
        };
        assert_eq!(allow.replace(", ", " "), methods, "{template}");
    }
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
fn templates_are_those_of_the_table_in_the_existing_servers_words() {
    for (_, listed, mounts) in ROUTES {
        let prefix = if mounts == Mounts::V1 { "/v1" } else { "" };
        let words = listed.replace("{sandboxId}", "{sandbox_id}").replace("{snapshotId}", "{snapshot_id}");
        let words = words.replace("{poolName}", "{pool_name}").replace("{templateId}", "{template_id}");
        let words = words.replace("{path}", "{full_path:path}");
        assert_eq!(template(&format!("{prefix}{listed}")), words);
    }
    for path in ["/", "/nope", "/v1/health", "/sandboxes/"] {
        assert_eq!(template(path), "unknown", "{path}");
    }
    assert_eq!(template("/v1/sandboxes/x/logs"), "/sandboxes/{sandbox_id}/logs");
}
