//! What the API server, or something before it, answers instead of what was asked for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    cluster::{BATCH, Cluster},
    fixture::{ID, OTHER, ask, batch, get, is, not_found},
    support::{
        client::{self, Client},
        gateway::Gateway,
        kube::{Action, Failure},
    },
};

/// What a metadata patch is answered with while the API server does this, and how often that was asked.
async fn patched(cluster: &Cluster, gateway: &Gateway, action: Action) -> (u16, String, String, usize) {
    let before = cluster.requests().len();
    cluster.server.fault("PATCH", ID, action, usize::MAX);
    let answer = ask(gateway, "PATCH", &format!("/v1/sandboxes/{ID}/metadata"), r#"{"a":"b"}"#).await;
    cluster.server.heal();
    let asked = cluster.requests().split_off(before);
    let tries = asked.iter().filter(|request| request.starts_with("PATCH ")).count();
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    let after = answer.head.headers.get("retry-after").map(|value| format!(" after {}", value.to_str().unwrap()));
    let after = after.unwrap_or_default();
    (answer.status(), answer.code() + &after, message, tries)
}

#[tokio::test]
async fn refusals_become_codes_by_their_reason_and_go_to_the_client_at_once() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("").start();
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}")).await.status(), 200);
    let fail = |code, reason, message: &str| Action::Fail(Failure::new(code, reason, message));
    let what = "Failed to patch sandbox labels: ";
    for (action, status, code, message) in [
        // Not retried behind the client's back, which is told when to come again.
        (
            Action::Fail(Failure::too_many_requests()),
            429,
            "KUBERNETES::API_ERROR after 1",
            "the API server takes no more requests at the moment",
        ),
        (Action::Fail(Failure::initializing()), 429, "KUBERNETES::API_ERROR after 1", "storage is (re)initializing"),
        (
            Action::Fail(Failure::new(503, "ServiceUnavailable", "etcd is away").with_retry_after(7)),
            503,
            "KUBERNETES::API_ERROR after 7",
            "the API server answered 503",
        ),
        (fail(503, "", "x"), 503, "KUBERNETES::API_ERROR after 5", "the API server answered 503"),
        (
            Action::Fail(Failure::new(504, "Timeout", "too slow").with_retry_after(1)),
            504,
            "KUBERNETES::API_ERROR after 1",
            "too slow",
        ),
        (Action::Conflict, 500, "KUBERNETES::API_ERROR", "Operation cannot be fulfilled"),
        (
            fail(422, "Invalid", "metadata.labels: Invalid value"),
            500,
            "KUBERNETES::API_ERROR",
            "metadata.labels: Invalid value",
        ),
        (
            fail(403, "Forbidden", "User \"x\" cannot patch"),
            403,
            "KUBERNETES::FORBIDDEN",
            "the cluster does not allow it to the gateway: User \"x\" cannot patch",
        ),
        // By no text: this says that something was not found. A webhook's address is in such.
        (
            fail(500, "InternalError", "failed calling webhook: not found: https://10.9.8.7:443/"),
            500,
            "KUBERNETES::API_ERROR",
            "the API server answered 500",
        ),
        // Without a reason it is of what lies behind, and names its address.
        (
            fail(500, "", "dial tcp 10.9.8.7:10250: refused"),
            500,
            "KUBERNETES::API_ERROR",
            "the API server answered 500",
        ),
        // Other programs on the way.
        (
            Action::Html(502, "<html>lb-7.internal"),
            503,
            "KUBERNETES::API_ERROR after 5",
            "the answer 502 is not the API server's; what stands in front of it?",
        ),
        (
            Action::Html(503, "<html>lb-7.internal"),
            503,
            "KUBERNETES::API_ERROR after 5",
            "the answer 503 is not the API server's; what stands in front of it?",
        ),
        (
            Action::Html(403, "<html>lb-7.internal"),
            403,
            "KUBERNETES::FORBIDDEN",
            "the cluster does not allow it to the gateway: the answer 403 is not the API server's; what stands in front of it?",
        ),
        (
            Action::Html(200, "<html>lb-7.internal"),
            500,
            "KUBERNETES::API_ERROR",
            "the API server's answer cannot be understood",
        ),
        (
            Action::Html(302, "<html>lb-7.internal"),
            500,
            "KUBERNETES::API_ERROR",
            "the answer 302 is not the API server's; what stands in front of it?",
        ),
        (Action::Drop, 503, "KUBERNETES::API_ERROR after 5", "the API server cannot be reached"),
        (Action::Cut(10), 503, "KUBERNETES::API_ERROR after 5", "the API server cannot be reached"),
        (Action::End(10), 500, "KUBERNETES::API_ERROR", "the API server's answer cannot be understood"),
    ] {
        let told = format!("{action:?}");
        let (found_status, found_code, found, tries) = patched(&cluster, &gateway, action).await;
        assert_eq!((found_status, found_code.as_str()), (status, code), "{told}: {found}");
        assert!(found.starts_with(&format!("{what}{message}")), "{told}: {found}");
        assert!(!found.contains("10.9.8.7") && !found.contains("lb-7") && !found.contains("html"), "{told}: {found}");
        assert_eq!(tries, 1, "{told}");
    }
}

#[tokio::test]
async fn the_log_has_what_clients_are_not_told() {
    for (action, text) in [
        (Action::Html(502, "<html>lb-7.internal"), "an answer that is no Status (text/html): <html>lb-7.internal"),
        (Action::Fail(Failure::new(500, "", "dial tcp 10.9.8.7:10250: refused")), "dial tcp 10.9.8.7:10250: refused"),
    ] {
        let cluster = Cluster::start();
        cluster.put(&BATCH, batch(ID, |_| {}));
        let gateway = cluster.gateway("").start();
        let (_, _, told, _) = patched(&cluster, &gateway, action).await;
        assert!(!told.contains("lb-7") && !told.contains("10.9.8.7"), "{told}");
        gateway.says(text).await;
    }
}

#[tokio::test]
async fn a_kind_that_the_cluster_does_not_know_has_no_sandboxes() {
    let cluster = Cluster::start();
    cluster.server.set_there(&BATCH, false);
    let gateway = cluster.gateway("").start();
    is(&get(&gateway, &format!("/v1/sandboxes/{ID}")).await, 404, &not_found(ID));
    assert_eq!(get(&gateway, "/v1/sandboxes").await.json()["pagination"]["totalItems"], 0);
    cluster.server.set_there(&BATCH, true);
    is(&get(&gateway, &format!("/v1/sandboxes/{ID}")).await, 404, &not_found(ID));
}

/// An error that takes its time, with its status.
async fn late(gateway: &Gateway, method: &str, target: &str, body: &str) -> Value {
    let mut client = Client::connect(gateway.address()).await;
    client.send(client::written(method, target, &["content-type: application/json"], body)).await;
    // Longer than the client waits for a head.
    tokio::time::sleep(Duration::from_secs(28)).await;
    let head = client.head().await;
    let mut error: Value = serde_json::from_slice(&client.body().await.unwrap()).unwrap();
    error["status"] = head.status.as_u16().into();
    error
}

#[tokio::test]
async fn each_call_has_a_deadline() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("").start();
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}")).await.status(), 200);
    for method in ["PATCH", "DELETE"] {
        cluster.server.fault(method, ID, Action::Hang, 9);
    }
    cluster.server.fault("GET", &format!("/{OTHER}"), Action::Hang, 9);
    // Its head comes, and not the rest.
    cluster.server.fault("GET", "/slow", Action::Silence(5), 9);
    cluster.put(&BATCH, batch("slow", |object| object["metadata"]["labels"] = json!({"opensandbox.io/other": "x"})));
    let begun = Instant::now();
    let (target, other) = (format!("/v1/sandboxes/{ID}"), format!("/v1/sandboxes/{OTHER}"));
    let metadata = format!("{target}/metadata");
    let answers = futures_util::future::join_all([
        late(&gateway, "PATCH", &metadata, r#"{"a":"b"}"#),
        late(&gateway, "DELETE", &target, ""),
        late(&gateway, "GET", &other, ""),
        late(&gateway, "GET", "/v1/sandboxes/slow", ""),
    ]);
    for answer in answers.await {
        assert_eq!(
            (answer["status"].as_u64(), answer["code"].as_str()),
            (Some(504), Some("KUBERNETES::API_ERROR")),
            "{answer}"
        );
        let text = answer["message"].as_str().unwrap();
        assert!(text.ends_with("the API server did not answer within 30 s"), "{text}");
    }
    assert!((30..45).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(45));
}
