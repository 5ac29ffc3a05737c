//! Watches: what they tell first, what later, how they end (kubernetes-api.md §9).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    BATCH, PODS, batch, pod,
    wire::{Piece, Request, Wire},
};
use crate::support::kube::{
    Server,
    resource::{self, BATCH_SANDBOXES},
};

/// An open watch, and what of its last line has not come yet.
struct Watching {
    wire: Wire,
    rest: String,
}

impl Watching {
    async fn new(server: &Server, path: &str, query: &str) -> Self {
        let mut wire = Wire::connect(server, None).await;
        let head = wire.ask(&Request::new("GET", &format!("{path}?watch=true&{query}"))).await;
        assert_eq!(head.status, 200, "{query}");
        assert_eq!(head.header("Transfer-Encoding"), "chunked", "{query}");
        assert_eq!(head.header("Content-Type"), "application/json", "{query}");
        Self { wire, rest: String::new() }
    }

    /// The next event; none at the clean end.
    async fn event(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let event = serde_json::from_str(line).unwrap();
                self.rest = rest.to_owned();
                return Some(event);
            }
            match self.wire.piece().await {
                Piece::Chunk(chunk) => self.rest += &chunk,
                Piece::End => {
                    assert_eq!(self.rest, "");
                    return None;
                }
                Piece::Cut => panic!("cut"),
            }
        }
    }

    /// Types and names of the events to the clean end.
    async fn told(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(event) = self.event().await {
            all.push(told(&event));
        }
        all
    }
}

fn told(event: &Value) -> String {
    let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
    format!("{} {name}", event["type"].as_str().unwrap())
}

fn version(event: &Value) -> u64 {
    event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_write_is_an_event_and_a_deletion_of_an_unscheduled_pod_is_two() {
    let server = Server::start();
    let start = server.version();
    let mut watch = Watching::new(&server, PODS, &format!("resourceVersion={start}")).await;
    server.create(&resource::PODS, "default", pod(9));
    server.patch(&resource::PODS, "default", "lw-9", &json!({"metadata": {"labels": {"z": "1"}}}));
    server.delete(&resource::PODS, "default", "lw-9");
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(watch.event().await.unwrap());
    }
    assert_eq!(
        all.iter().map(told).collect::<Vec<_>>(),
        ["ADDED lw-9", "MODIFIED lw-9", "MODIFIED lw-9", "DELETED lw-9"]
    );
    assert_eq!(all.iter().map(version).collect::<Vec<_>>(), [start + 1, start + 2, start + 3, start + 4]);
    let marked = &all[2]["object"]["metadata"];
    assert_eq!((&marked["deletionGracePeriodSeconds"], &marked["generation"]), (&json!(0), &json!(2)));
    assert!(marked["deletionTimestamp"].is_string() && all[0]["object"]["kind"] == "Pod");
}

#[tokio::test]
async fn single_events_are_a_chunk_each_and_several_share_chunks_of_2048_bytes() {
    let server = Server::start();
    let query = format!("resourceVersion={}", server.version());
    let mut watch = Watching::new(&server, PODS, &query).await;
    server.create(&resource::PODS, "default", pod(1));
    let Piece::Chunk(chunk) = watch.wire.piece().await else { panic!("no event") };
    assert!(chunk.starts_with("{\"type\":\"ADDED\",\"object\":{") && chunk.ends_with("}}\n"), "{chunk}");
    for number in 2..8 {
        server.create(&resource::PODS, "default", pod(number));
    }
    let target = format!("{PODS}?watch=true&timeoutSeconds=1");
    let mut wire = Wire::connect(&server, None).await;
    wire.ask(&Request::new("GET", &target)).await;
    let chunks = wire.rest().await;
    let (last, full) = chunks.split_last().unwrap();
    assert!(!full.is_empty() && full.iter().all(|chunk| chunk.len() == 2048) && last.ends_with("}}\n"));
    assert_eq!(chunks.concat().lines().count(), 7);
}

#[tokio::test]
async fn without_a_version_the_present_objects_come_first_and_nothing_marks_their_end() {
    let server = Server::start();
    for number in [1, 2] {
        server.create(&resource::PODS, "default", pod(number));
    }
    for query in ["timeoutSeconds=1", "resourceVersion=0&timeoutSeconds=1"] {
        let began = Instant::now();
        let mut watch = Watching::new(&server, PODS, query).await;
        assert_eq!(watch.told().await, ["ADDED lw-1", "ADDED lw-2"], "{query}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{query}");
    }
    let old = "/api/v1/watch/namespaces/default/pods?timeoutSeconds=1&labelSelector=n%3D1";
    let (head, text) = Wire::connect(&server, None).await.whole(&Request::new("GET", old)).await;
    assert_eq!((head.status, text.lines().count()), (200, 1));
    let mut missing = Watching::new(&server, "/api/v1/namespaces/nope/pods", "timeoutSeconds=1").await;
    assert_eq!(missing.told().await, [""; 0]);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark_where_bookmarks_are_allowed() {
    let server = Server::start();
    server.create(&resource::PODS, "default", pod(1));
    server.create(&BATCH_SANDBOXES, "default", batch("bs-1", &json!({})));
    let initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1";
    let version = server.version().to_string();
    let mark = json!({"k8s.io/initial-events-end": "true"});
    let mut pods = Watching::new(&server, PODS, &format!("{initial}&allowWatchBookmarks=true")).await;
    assert_eq!(told(&pods.event().await.unwrap()), "ADDED lw-1");
    let expected = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1",
        "metadata": {"resourceVersion": version, "annotations": mark}, "spec": {"containers": null}, "status": {}}});
    assert_eq!(pods.event().await.unwrap(), expected);
    assert_eq!(pods.event().await, None);
    let mut custom = Watching::new(&server, BATCH, &format!("{initial}&allowWatchBookmarks=true")).await;
    assert_eq!(told(&custom.event().await.unwrap()), "ADDED bs-1");
    let expected = json!({"type": "BOOKMARK", "object": {"apiVersion": "sandbox.opensandbox.io/v1alpha1",
        "kind": "BatchSandbox", "metadata": {"resourceVersion": version, "annotations": mark}}});
    assert_eq!(custom.event().await.unwrap(), expected);
    let mut unmarked = Watching::new(&server, PODS, initial).await;
    assert_eq!(unmarked.told().await, ["ADDED lw-1"]);
    // An old version is no error here: the present state is told.
    server.compact();
    let mut old = Watching::new(&server, BATCH, &format!("resourceVersion=1&{initial}")).await;
    assert_eq!(old.told().await, ["ADDED bs-1"]);
}

#[tokio::test]
async fn bookmarks_come_at_times_and_once_more_before_the_end() {
    let server = Server::start();
    server.bookmark_every(Duration::from_millis(200));
    let version = server.version();
    let mut watch = Watching::new(&server, BATCH, &format!("resourceVersion={version}&allowWatchBookmarks=true")).await;
    server.pass_versions(3);
    let event = watch.event().await.unwrap();
    assert_eq!((&event["type"], event["object"]["metadata"].get("annotations")), (&json!("BOOKMARK"), None));
    assert!(self::version(&event) >= version);
    // None without being asked for, and none in a short watch.
    let mut unasked = Watching::new(&server, BATCH, "timeoutSeconds=1").await;
    assert_eq!(unasked.told().await, [""; 0]);
    server.bookmark_every(Duration::from_secs(60));
    let mut short = Watching::new(&server, BATCH, "timeoutSeconds=3&allowWatchBookmarks=true").await;
    assert_eq!(short.told().await, [""; 0]);
    let mut longer = Watching::new(&server, BATCH, "timeoutSeconds=5&allowWatchBookmarks=true").await;
    assert_eq!(longer.told().await, ["BOOKMARK "]);
}

#[tokio::test]
async fn too_old_a_version_is_a_200_with_one_event_of_code_410_and_a_clean_end() {
    let server = Server::start();
    let old = server.version();
    server.create(&resource::PODS, "default", pod(1));
    server.compact();
    let floor = server.version();
    let mut wire = Wire::connect(&server, None).await;
    let request = Request::new("GET", &format!("{PODS}?watch=true&resourceVersion={old}"));
    let (head, text) = wire.whole(&request).await;
    let expected = format!(
        "{{\"type\":\"ERROR\",\"object\":{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{{}},\"status\":\"Failure\",\
         \"message\":\"too old resource version: {old} ({floor})\",\"reason\":\"Expired\",\"code\":410}}}}\n"
    );
    assert_eq!((head.status, text), (200, expected));
}

#[tokio::test]
async fn a_version_of_the_future_is_silent_until_it_has_come() {
    let server = Server::start();
    let future = server.version() + 2;
    let mut silent = Watching::new(&server, PODS, &format!("resourceVersion={}&timeoutSeconds=1", future + 1000)).await;
    let mut near = Watching::new(&server, PODS, &format!("resourceVersion={future}")).await;
    for number in 1..4 {
        server.create(&resource::PODS, "default", pod(number));
    }
    assert_eq!(told(&near.event().await.unwrap()), "ADDED lw-3");
    assert_eq!(silent.told().await, [""; 0]);
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_with_its_old_labels_and_the_new_version() {
    let server = Server::start();
    server.create(&BATCH_SANDBOXES, "default", batch("bs-1", &json!({"k": "v"})));
    let start = server.version();
    let query = format!("resourceVersion={start}&labelSelector=k%3Dv");
    let mut watch = Watching::new(&server, BATCH, &query).await;
    let other = format!("resourceVersion={start}&fieldSelector=metadata.name%3Dbs-2&timeoutSeconds=1");
    let mut other = Watching::new(&server, BATCH, &other).await;
    server.patch(&BATCH_SANDBOXES, "default", "bs-1", &json!({"metadata": {"labels": {"k": "w"}}}));
    server.patch(&BATCH_SANDBOXES, "default", "bs-1", &json!({"metadata": {"labels": {"k": "v"}}}));
    let gone = watch.event().await.unwrap();
    assert_eq!((told(&gone).as_str(), version(&gone)), ("DELETED bs-1", start + 1));
    assert_eq!(gone["object"]["metadata"]["labels"]["k"], "v");
    let back = watch.event().await.unwrap();
    assert_eq!((told(&back).as_str(), version(&back)), ("ADDED bs-1", start + 2));
    assert_eq!(other.told().await, [""; 0]);
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_given_up_with_a_clean_end() {
    let server = Server::start();
    let start = server.version();
    let mut watch = Watching::new(&server, BATCH, &format!("resourceVersion={start}")).await;
    server.create(&BATCH_SANDBOXES, "default", batch("bs-1", &json!({})));
    let text = "x".repeat(200_000);
    for number in 0..400 {
        let note = json!({"metadata": {"annotations": {"a": format!("{number}{text}")}}});
        server.patch(&BATCH_SANDBOXES, "default", "bs-1", &note);
    }
    // This is how slow it is.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = watch.told().await;
    assert!(!told.is_empty() && told.len() < 400, "{} events", told.len());
}
