//! Keys with the role of a reader: what they may, what not, and that it is told whose they are.

use std::{collections::BTreeSet, fs, time::Duration};

use http::Method;
use opensandbox_gateway::router::{ROUTES, Row};
use serde_json::Value;

use crate::{
    Pair, Setup, logs,
    prometheus::scraped_pair_with,
    support::{
        client::{Client, get_once, request},
        engine::Script,
        eventually,
        h2::H2,
    },
};

const ADMIN: &str = "OPEN-SANDBOX-API-KEY: k-admin";
const READER: &str = "OPEN-SANDBOX-API-KEY: k-viewer";

/// What a reader may have, of what needs a key.
const READERS: [&str; 4] = [
    "/sandboxes",
    "/sandboxes/{sandbox_id}",
    "/sandboxes/{sandbox_id}/logs",
    "/sandboxes/{sandbox_id}/diagnostics/logs",
];

/// The gateway with a key of each role.
fn keyed(setup: Setup) -> Setup {
    setup.api_key("k-admin").server("keys = [{ name = \"viewer\", role = \"reader\", key = \"k-viewer\" }]")
}

/// Whether a method of a row is refused to a reader.
fn is_refused(row: &Row, method: &str) -> bool {
    let needs_no_key = ["/health", "/ready", "/version", "/openapi.json", "/docs", "/redoc"];
    // Whose server it is decides.
    let is_open = needs_no_key.iter().any(|open| row.path.starts_with(open)) || row.path.contains("/proxy/");
    !(is_open || method == "GET" && READERS.contains(&row.path))
}

/// Every method and path of the table, at each mount, and whether it is refused to a reader.
fn operations(id: &str) -> Vec<(&'static str, String, bool)> {
    let mut all = Vec::new();
    for row in &ROUTES {
        // Nobody's server answers for a sandbox that is not there.
        let id = if row.path.contains("/proxy/") { "nobody" } else { id };
        let path = row.path.replace("{sandbox_id}", id).replace("{port}", "80").replace("{full_path:path}", "a");
        for mount in row.mounts.prefixes() {
            all.extend(row.methods().map(|method| (method, format!("{mount}{path}"), is_refused(row, method))));
        }
    }
    all
}

/// What the engine was asked besides what sandboxes and logs there are.
fn changes(pair: &Pair) -> Vec<String> {
    // The gateway itself looks for volumes that have expired, now and then.
    let reads = ["/json", "/logs?", "/events", "/_ping", "/version", "/info", "/volumes?filters="];
    pair.engine.requests().into_iter().filter(|target| !reads.iter().any(|read| target.contains(read))).collect()
}

#[tokio::test]
async fn every_route_is_a_readers_or_refused() {
    let pair = Pair::with(keyed);
    let id = pair.engine.log(Script::texts(["hello\n"]));
    let before = changes(&pair);
    let connection = H2::connect(pair.address(), 65_535).await;
    let mut refused = 0;
    for (method, target, is_refused) in operations(&id) {
        let res = request(pair.address(), method, &target, &[READER], "").await;
        let parsed: Method = method.parse().unwrap();
        let mut over_h2 =
            connection.send(parsed.clone(), &target, &[("open-sandbox-api-key", "k-viewer")]).await.answer().await;
        let status = over_h2.head.status.as_u16();
        assert_eq!(res.status(), status, "{method} {target}");
        if is_refused {
            refused += 1;
            assert_eq!((status, res.code().as_str()), (403, "INSUFFICIENT_ROLE"), "{method} {target}");
            let body: Value = serde_json::from_slice(&over_h2.body().await.unwrap()).unwrap();
            assert_eq!(body, res.json(), "{method} {target}");
            let message = body["message"].as_str().unwrap();
            assert!(message.contains("'viewer'") && message.contains("read their logs"), "{message}");
        } else {
            assert!(status != 401 && status != 403, "{method} {target}: {res}");
            // As without a key, where none is needed.
            if !target.contains(&id) && !target.ends_with("/sandboxes") {
                assert_eq!(request(pair.address(), method, &target, &[], "").await.status(), status, "{target}");
            } else {
                assert_eq!(status, 200, "{method} {target}");
                let admins = request(pair.address(), method, &target, &[ADMIN], "").await;
                assert_eq!(admins.body, res.body, "{method} {target}");
                assert_eq!(request(pair.address(), method, &target, &[], "").await.status(), 401, "{target}");
            }
        }
    }
    // Most routes, at two mounts.
    assert!(refused >= 50, "{refused}");
    assert_eq!(changes(&pair), before, "nothing was changed");
}

#[tokio::test]
async fn no_spelling_and_no_header_makes_a_reader_more() {
    let pair = Pair::with(keyed);
    let id = pair.engine.log(Script::texts(["hello\n"]));
    let before = changes(&pair);
    let create = r#"{"image":{"uri":"any"},"resourceLimits":{},"entrypoint":["true"]}"#;
    let posing = [
        READER,
        "Content-Type: application/json",
        "X-HTTP-Method-Override: GET",
        "X-HTTP-Method: GET",
        "X-Original-URL: /health",
        "X-Rewrite-URL: /v1/sandboxes",
        "X-Forwarded-Prefix: /health",
    ];
    for (method, target, expected) in [
        ("POST", "/v1/sandboxes".to_owned(), 403),
        ("POST", "/sandboxes?_method=GET".to_owned(), 403),
        ("DELETE", format!("/v1/sandboxes/{id}?x=/logs"), 403),
        ("DELETE", format!("/v1/sandboxes/%{:02x}{}", id.as_bytes()[0], &id[1..]), 403),
        ("DELETE", format!("/v1/sandboxes/{id}%2Flogs"), 403),
        ("DELETE", format!("/v1/sandboxes/{id};/logs"), 405),
        ("POST", format!("/v1/sandboxes/{id}/pause%2F..%2Flogs"), 404),
        ("POST", format!("/v1/sandboxes/{id}/logs/../pause"), 404),
        ("POST", format!("/v1/sandboxes/{id}/%70ause"), 404),
        ("POST", "//v1/sandboxes".to_owned(), 404),
        ("POST", "/v1//sandboxes".to_owned(), 404),
        ("POST", "/v1/../v1/sandboxes".to_owned(), 404),
        ("POST", "/health/../v1/sandboxes".to_owned(), 404),
        ("POST", "/v1/sandboxes/".to_owned(), 307),
        ("post", "/v1/sandboxes".to_owned(), 405),
        ("PUT", format!("/v1/sandboxes/{id}/logs"), 405),
        ("HEAD", format!("/v1/sandboxes/{id}/endpoints/80"), 405),
        // These need a key, since they read otherwise than they lead.
        ("GET", format!("/v1/sandboxes/{id}/proxy/80/../x"), 403),
        ("GET", format!("/v1/sandboxes/{id}/proxy/80%2Fx"), 403),
    ] {
        let body = if method.eq_ignore_ascii_case("POST") { create } else { "" };
        let res = request(pair.address(), method, &target, &posing, body).await;
        assert_eq!(res.status(), expected, "{method} {target}: {res}");
    }
    let both = [READER, ADMIN];
    assert_eq!(request(pair.address(), "POST", "/v1/sandboxes", &both, create).await.status(), 403, "the first counts");
    // What looks like more than reading, and is not.
    let listed = request(pair.address(), "GET", "/v1/sandboxes", &[READER, "X-HTTP-Method-Override: DELETE"], "").await;
    assert_eq!((listed.status(), listed.json()["items"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(changes(&pair), before, "nothing was changed");
}

#[tokio::test]
async fn a_server_with_readers_alone_is_not_open_and_says_that_nobody_may_change_it() {
    // The guard lets it start although nobody said that it may be open.
    let gateway = Setup::process()
        .env("OPENSANDBOX_INSECURE_SERVER", "")
        .server("keys = [{ name = \"viewer\", role = \"reader\", key = \"k-viewer\" }]")
        .start();
    gateway.says("server.keys: no key has the role 'admin'").await;
    for (lines, list, create) in [(&[][..], 401, 401), (&[READER][..], 200, 403)] {
        assert_eq!(request(gateway.address(), "GET", "/v1/sandboxes", lines, "").await.status(), list);
        assert_eq!(request(gateway.address(), "POST", "/v1/sandboxes", lines, "{}").await.status(), create);
    }
}

#[tokio::test]
async fn a_reader_is_promoted_and_revoked_by_sighup_and_what_runs_goes_on() {
    let pair = Pair::with(keyed);
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.send_get(&target, &[READER]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    let config = pair.gateway.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let statuses = async || {
        let renew = format!("/v1/sandboxes/{}/renew-expiration", target.split('/').nth(3).unwrap());
        let listed = request(pair.address(), "GET", "/v1/sandboxes", &[READER], "").await.status();
        (listed, request(pair.address(), "POST", &renew, &[READER], "").await.status())
    };
    assert_eq!(statuses().await, (200, 403));
    let reload = async |text: String, said: &str| {
        fs::write(&config, text).unwrap();
        pair.gateway.signal("HUP");
        pair.gateway.says(said).await;
    };
    reload(text.replace("\"reader\"", "\"admin\""), "the 2 API keys are api_key, viewer;").await;
    // A body is missing now, and no right.
    assert_eq!(statuses().await, (200, 422));
    reload(text.clone(), "the 2 API keys are api_key, viewer (reader)").await;
    assert_eq!(statuses().await, (200, 403));
    // Which of them would it be?
    let shared = "'viewer' and 'api_key' have the same secret";
    reload(text.replace("k-viewer", "k-admin"), shared).await;
    assert_eq!(statuses().await, (200, 403));
    reload(text.replace("k-viewer", "k-other"), "SIGHUP: the keys are read again").await;
    let revoked = async || request(pair.address(), "GET", "/v1/sandboxes", &[READER], "").await.status() == 401;
    let due = tokio::time::Instant::now() + Duration::from_secs(20);
    while !revoked().await {
        assert!(tokio::time::Instant::now() < due, "the key is still valid");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reload(text.replace("api_key =", "# api_key ="), "no key has the role 'admin' now").await;
    // A key is asked for when a stream begins. The operator's listener ends those that run.
    assert_eq!(pair.engine.open_logs(), 1);
    assert!(client.is_silent_for(Duration::from_millis(50)).await);
    for secret in ["k-viewer", "k-admin", "k-other"] {
        assert!(!pair.gateway.output().contains(secret), "{}", pair.gateway.output());
    }
}

#[tokio::test]
async fn the_key_is_named_in_the_access_log_and_to_the_operator_who_alone_sees_streams() {
    let (pair, metrics) = scraped_pair_with(keyed);
    let id = pair.engine.log(Script::line_then_open("hello\n"));
    let mut client = Client::connect(pair.address()).await;
    client.send_get(&logs(&id, "follow=true"), &[READER, "X-Request-Id: the-viewer"]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    let listed = request(metrics, "GET", "/admin/streams", &[ADMIN], "").await.json();
    assert_eq!(listed["streams"][0]["key"], "viewer", "{listed}");
    let stream = format!("/admin/streams/{}", listed["streams"][0]["id"].as_str().unwrap());
    for (method, target) in [("GET", "/admin/streams"), ("DELETE", stream.as_str())] {
        let refused = request(metrics, method, target, &[READER], "").await;
        assert_eq!((refused.status(), refused.code().as_str()), (403, "INSUFFICIENT_ROLE"), "{method}");
        assert!(refused.to_string().contains("neither see nor end streams"), "{refused}");
    }
    assert_eq!(request(metrics, "HEAD", "/admin/streams", &[READER], "").await.status(), 403);
    assert_eq!(get_once(metrics, "/metrics").await.status(), 200);
    assert_eq!(pair.engine.open_logs(), 1);
    client.close();
    let lines = [
        ("the-refused", "POST", "/v1/sandboxes", vec![READER], Some("viewer")),
        ("the-admin", "GET", "/v1/sandboxes", vec![ADMIN], Some("api_key")),
        ("the-stranger", "GET", "/v1/sandboxes", vec!["OPEN-SANDBOX-API-KEY: k-wrong"], None),
        ("the-nobody", "GET", "/version", vec![READER], None),
    ];
    for (name, method, target, mut fields, key) in lines {
        let named = format!("X-Request-Id: {name}");
        fields.push(&named);
        request(pair.address(), method, target, &fields, "").await;
        let find = || {
            let output = pair.gateway.output();
            output.lines().find(|line| line.contains(&format!("[{name}] access"))).map(str::to_owned)
        };
        eventually("an access line", Duration::from_secs(20), || find().is_some()).await;
        let line = find().unwrap();
        let told: BTreeSet<_> = line.split(' ').filter_map(|word| word.strip_prefix("key=")).collect();
        assert_eq!(told, key.into_iter().collect(), "{line}");
    }
    let find = || {
        pair.gateway.output().lines().any(|line| {
            line.contains("[the-viewer] access") && line.ends_with("end=client_gone follow=true key=viewer")
        })
    };
    eventually("the viewer's line", Duration::from_secs(20), find).await;
    for secret in ["k-viewer", "k-admin", "k-wrong"] {
        assert!(!pair.gateway.output().contains(secret), "{}", pair.gateway.output());
    }
}
