//! A cluster with an operator, a gateway, and what there is before and after.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    cluster::{AGENT, BATCH, CLAIMS, Cluster, NAMESPACE, PODS},
    fixture::ask,
    support::{
        client::Response,
        eventually,
        gateway::Gateway,
        kube::{Object, Operator, Outcome, Recorded, resource::SECRETS},
    },
};

/// Generous: what is waited for comes by itself.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// Much less than a creation may take, which is 60 s.
pub(super) const AT_ONCE: Duration = Duration::from_secs(15);

/// A cluster whose operator lets sandboxes end so, and a gateway with these lines in `[kubernetes]`.
pub(super) fn world(outcome: Outcome, lines: &str) -> (Cluster, Gateway) {
    let cluster = Cluster::start();
    cluster.server.operate(Operator::of(outcome));
    let gateway = cluster.gateway(lines).start();
    (cluster, gateway)
}

/// Sandboxes that are ready at once.
pub(super) fn ready() -> Outcome {
    Outcome::Ready(Duration::ZERO)
}

/// Sandboxes that are never ready.
pub(super) fn never() -> Outcome {
    Outcome::Ready(Duration::from_secs(3600))
}

/// A request with these members besides what it must have.
pub(super) fn request(overlay: Value) -> String {
    let mut request =
        json!({"image": {"uri": "reg.example/py:1"}, "entrypoint": ["a"], "resourceLimits": {}, "timeout": 600});
    request.as_object_mut().unwrap().extend(overlay.as_object().unwrap().clone());
    request.to_string()
}

pub(super) async fn create(gateway: &Gateway, overlay: Value) -> Response {
    ask(gateway, "POST", "/v1/sandboxes", &request(overlay)).await
}

/// The status, the code and the message of an error.
pub(super) fn error(response: &Response) -> (u16, String, String) {
    let json = response.json();
    let text = |member: &str| json[member].as_str().unwrap_or_default().to_owned();
    (response.status(), text("code"), text("message"))
}

pub(super) fn id(response: &Response) -> String {
    assert_eq!(response.status(), 202, "{}", String::from_utf8_lossy(&response.body));
    response.json()["id"].as_str().unwrap().to_owned()
}

/// All that creations make.
pub(super) fn objects(cluster: &Cluster) -> Vec<Object> {
    let kinds = [&BATCH, &AGENT, &PODS, &SECRETS, &CLAIMS];
    kinds.into_iter().flat_map(|kind| cluster.server.list(kind, NAMESPACE)).collect()
}

/// Waits until nothing is left of what creations made.
pub(super) async fn nothing_is_left(cluster: &Cluster) {
    eventually("that nothing is left", LONG, || objects(cluster).is_empty()).await;
}

/// The requests so far with this method and this text in their target.
pub(super) fn asked(cluster: &Cluster, method: &str, text: &str) -> Vec<Recorded> {
    let is_one = |request: &Recorded| request.method == method && request.target.contains(text);
    cluster.server.requests().into_iter().filter(is_one).collect()
}

/// Waits until sandboxes and pods are watched, so that nothing is asked for one by one.
pub(super) async fn watched(cluster: &Cluster) {
    // A list's answer is open for a moment too.
    let is_open = |plural: &str| cluster.server.open(&format!("/{plural}?&watch=true")) > 0;
    eventually("the watches", LONG, || is_open("pods") && (is_open("batchsandboxes") || is_open("sandboxes"))).await;
}
