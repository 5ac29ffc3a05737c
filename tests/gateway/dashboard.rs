//! The Grafana dashboard that is shipped: its form, and each of its queries, answered by a real Prometheus.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    logs,
    prometheus::{scraped_pair, wait_series},
    support::{
        client::{Client, get_once},
        engine::Script,
        prometheus::Prometheus,
    },
};

const DASHBOARD: &str = include_str!("../../deploy/grafana/opensandbox-gateway.json");

/// Metrics that a gateway on an engine does not have.
const OF_A_CLUSTER: [&str; 2] = ["watch_contact_timestamp", "watch_restarts"];

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// All queries, as Grafana sends them.
fn queries() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| {
            let query = query.replace("$job", "(opensandbox-gateway)").replace("$instance", ".*");
            let query = query.replace("$__rate_interval", "15s");
            assert!(!query.contains('$'), "{query}");
            query
        })
        .collect()
}

/// The metrics that a query names.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("opensandbox_") || word.starts_with("process_")).collect()
}

#[tokio::test]
async fn prometheus_answers_every_query_and_knows_every_metric() {
    let (pair, metrics) = scraped_pair();
    let prometheus = Prometheus::start(metrics);
    let follow = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut follower = Client::connect(pair.address()).await;
    assert_eq!(follower.get(&follow).await.status, 200);
    assert_eq!(follower.body_of(6).await, "hello\n");
    let mut gone = Client::connect(pair.address()).await;
    assert_eq!(gone.get(&follow).await.status, 200);
    gone.close();
    wait_series(metrics, "opensandbox_gateway_log_release_seconds_count{runtime=\"docker\"}", 1.0).await;
    assert_eq!(get_once(pair.address(), &logs("nobody", "")).await.status(), 404);
    let text = String::from_utf8(get_once(metrics, "/metrics").await.body.to_vec()).unwrap();
    for query in queries() {
        let is_of_a_cluster = OF_A_CLUSTER.iter().any(|name| query.contains(name));
        for name in names(&query) {
            let is_told =
                text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
            assert!(is_told || is_of_a_cluster, "{name} is no metric of the gateway: {query}");
        }
        if is_of_a_cluster {
            prometheus.understands(&query).await;
        } else {
            prometheus.wait_for(&query, |_| true).await;
        }
    }
    let source = include_str!("../../src/metrics/backend.rs");
    assert!(OF_A_CLUSTER.iter().all(|name| source.contains(&format!("\"{name}\""))));
    assert!(queries().len() > 30);
}

#[test]
fn grafana_can_be_given_it_as_it_is() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!((&dashboard["uid"], &dashboard["id"]), (&"opensandbox-gateway".into(), &Value::Null));
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36 && dashboard.get("__inputs").is_none());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let named: Vec<_> = variables.iter().map(|variable| (&variable["name"], &variable["type"])).collect();
    let expected = [("datasource", "datasource"), ("job", "query"), ("instance", "query")]
        .map(|(name, kind)| (name.into(), kind.into()));
    assert_eq!(named, expected.iter().map(|(name, kind): &(Value, Value)| (name, kind)).collect::<Vec<_>>());
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for y in place("y")..place("y") + place("h") {
            for x in place("x")..place("x") + place("w") {
                assert!(taken.insert((x, y)), "two panels have one place: {panel}");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(["stat", "timeseries"].contains(&panel["type"].as_str().unwrap()), "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty() && !panel["description"].as_str().unwrap().is_empty());
        let mut references = BTreeSet::new();
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            assert!(references.insert(target["refId"].as_str().unwrap()), "{panel}");
        }
        assert!(!references.is_empty(), "{panel}");
    }
}
