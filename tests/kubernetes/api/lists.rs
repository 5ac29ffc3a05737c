//! Pages, versions and selectors of lists (kubernetes-api.md §8).

use serde_json::{Value, json};

use super::{
    BATCH, MERGE, PODS, batch, pod,
    wire::{Request, Wire},
};
use crate::support::kube::{
    Server,
    resource::{self, BATCH_SANDBOXES},
};

/// Five pods, and the BatchSandboxes `bs-1` (labels k=v) and `bs-2`.
fn filled() -> Server {
    let server = Server::start();
    for number in 0..5 {
        server.create(&resource::PODS, "default", pod(number));
    }
    server.create(&BATCH_SANDBOXES, "default", batch("bs-1", &json!({"k": "v", "opensandbox.io/id": "bs-1"})));
    server.create(&BATCH_SANDBOXES, "default", batch("bs-2", &json!({"opensandbox.io/id": "bs-2"})));
    server
}

async fn list(server: &Server, path: &str, query: &str) -> (u16, Value) {
    Wire::connect(server, None).await.json(&Request::new("GET", &format!("{path}?{query}"))).await
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_go_on_with_the_state_of_the_first_and_say_how_much_is_left() {
    let server = filled();
    let (_, first) = list(&server, PODS, "limit=2").await;
    assert_eq!(names(&first), ["lw-0", "lw-1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    server.create(&resource::PODS, "default", pod(9));
    server.remove(&resource::PODS, "default", "lw-2");
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = list(&server, PODS, &format!("limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["lw-2", "lw-3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let (_, last) = list(&server, PODS, &format!("limit=2&continue={token}")).await;
    assert_eq!((names(&last), last["metadata"].get("continue")), (vec!["lw-4"], None));
}

#[tokio::test]
async fn a_page_of_a_selection_does_not_say_how_much_is_left() {
    let server = filled();
    let (_, page) = list(&server, PODS, "limit=2&labelSelector=set%3Dlw").await;
    assert!(page["metadata"]["continue"].is_string());
    assert_eq!(page["metadata"].get("remainingItemCount"), None);
    let (_, all) = list(&server, PODS, "limit=-1").await;
    assert_eq!(names(&all).len(), 5);
}

#[tokio::test]
async fn a_page_of_a_forgotten_state_is_410_with_a_token_for_the_rest_of_the_present_one() {
    let server = filled();
    let (_, first) = list(&server, PODS, "limit=2").await;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    server.create(&resource::PODS, "default", pod(9));
    server.compact();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (status, expired) = list(&server, PODS, &format!("limit=2&continue={token}")).await;
    assert_eq!((status, &expired["reason"]), (410, &json!("Expired")));
    assert!(expired["message"].as_str().unwrap().starts_with("The provided continue parameter is too old"));
    let token = expired["metadata"]["continue"].as_str().unwrap();
    let (status, rest) = list(&server, PODS, &format!("continue={token}")).await;
    assert_eq!((status, names(&rest)), (200, vec!["lw-2", "lw-3", "lw-4", "lw-9"]));
    let (status, exact) = list(&server, PODS, &format!("resourceVersion={version}&resourceVersionMatch=Exact")).await;
    assert_eq!((status, &exact["message"]), (410, &json!("The resourceVersion for the provided list is too old.")));
    // Without the rule an old version means the present state.
    assert_eq!(list(&server, PODS, &format!("resourceVersion={version}")).await.0, 200);
}

#[tokio::test]
async fn an_exact_version_shows_the_state_of_then() {
    let server = filled();
    let then = server.version();
    server.patch(&BATCH_SANDBOXES, "default", "bs-1", &json!({"spec": {"replicas": 2}}));
    server.remove(&BATCH_SANDBOXES, "default", "bs-2");
    for (query, expected, count) in [
        (format!("resourceVersion={then}&resourceVersionMatch=Exact"), json!(1), 2),
        (format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan"), json!(2), 1),
        (format!("resourceVersion={then}"), json!(2), 1),
        ("resourceVersion=0".to_owned(), json!(2), 1),
        (String::new(), json!(2), 1),
    ] {
        let (status, all) = list(&server, BATCH, &query).await;
        assert_eq!((status, &all["items"][0]["spec"]["replicas"]), (200, &expected), "{query}");
        assert_eq!(names(&all).len(), count, "{query}");
    }
}

#[tokio::test]
async fn a_version_that_comes_while_the_list_waits_for_it_is_served() {
    let server = filled();
    let mut wire = Wire::connect(&server, None).await;
    let target = format!("{PODS}?resourceVersion={}", server.version() + 1);
    let request = Request::new("GET", &target);
    let (answer, ()) = tokio::join!(wire.json(&request), async {
        server.wait_asked(&target).await;
        server.create(&resource::PODS, "default", pod(9));
    });
    assert_eq!((answer.0, names(&answer.1).len()), (200, 6));
}

#[tokio::test]
async fn selectors_select_as_the_real_server_does() {
    let server = filled();
    for (path, query, expected) in [
        (BATCH, "labelSelector=opensandbox.io%2Fid", "bs-1 bs-2"),
        (BATCH, "labelSelector=opensandbox.io%2Fid%3Dbs-1", "bs-1"),
        (BATCH, "labelSelector=k%20in%20(v,w)", "bs-1"),
        (BATCH, "labelSelector=!k", "bs-2"),
        (BATCH, "labelSelector=opensandbox.io%2Fid,k!%3Dv", "bs-2"),
        (BATCH, "labelSelector=k%3D", ""),
        (BATCH, "labelSelector=k%3D%3Dv", "bs-1"),
        (BATCH, "fieldSelector=metadata.name%3Dbs-1", "bs-1"),
        (BATCH, "fieldSelector=metadata.namespace%3Ddefault", "bs-1 bs-2"),
        (PODS, "fieldSelector=spec.nodeName%3D", "lw-0 lw-1 lw-2 lw-3 lw-4"),
        (PODS, "fieldSelector=status.phase%3DPending", "lw-0 lw-1 lw-2 lw-3 lw-4"),
        (PODS, "fieldSelector=status.podIP%3D1", ""),
    ] {
        let (status, all) = list(&server, path, query).await;
        assert_eq!((status, names(&all).join(" ").as_str()), (200, expected), "{query}");
    }
}

#[tokio::test]
async fn an_answer_over_2048_bytes_is_chunked_and_one_of_2048_is_not() {
    let server = filled();
    let path = format!("{BATCH}/bs-1");
    let mut wire = Wire::connect(&server, None).await;
    let mut note = async |size: usize| {
        let patch = json!({"metadata": {"annotations": {"a": "x".repeat(size)}}});
        let (_, text) = wire.whole(&Request::new("PATCH", &path).body(MERGE, &patch)).await;
        let head = wire.ask(&Request::new("GET", &path)).await;
        wire.rest().await;
        (text.len(), head)
    };
    let (base, _) = note(1).await;
    let (length, head) = note(2048 - base + 1).await;
    assert_eq!((length, head.header("Content-Length"), head.header("Transfer-Encoding")), (2048, "2048", ""));
    let (length, head) = note(2048 - base + 2).await;
    assert_eq!((length, head.header("Content-Length"), head.header("Transfer-Encoding")), (2049, "", "chunked"));
}

#[tokio::test]
async fn metadata_alone_is_listed_for_who_asks_for_it() {
    let server = filled();
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let request = Request::new("GET", &format!("{PODS}?limit=1")).header("Accept", accept);
    let (status, all) = Wire::connect(&server, None).await.json(&request).await;
    assert_eq!(
        (status, &all["kind"], &all["apiVersion"]),
        (200, &json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!((&all["items"][0]["kind"], all["items"][0].get("spec")), (&json!("PartialObjectMetadata"), None));
    assert_eq!(all["metadata"]["remainingItemCount"], 4);
}
