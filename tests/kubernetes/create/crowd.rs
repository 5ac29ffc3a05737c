//! Many creations at once.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fixture::{asked, id, request, watched, world};
use crate::{
    cluster::{BATCH, NAMESPACE},
    support::{client, kube::Outcome},
};

const MANY: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn none_of_many_waits_for_another_s_sandbox() {
    let ready_after = Duration::from_secs(3);
    let (cluster, gateway) = world(Outcome::Ready(ready_after), "");
    watched(&cluster).await;
    cluster.server.forget_requests();
    let begun = Instant::now();
    let creations: Vec<_> = (0..MANY)
        .map(|_| {
            let (address, body) = (gateway.address(), request(json!({})));
            let lines = ["content-type: application/json"];
            tokio::spawn(async move { client::request(address, "POST", "/v1/sandboxes", &lines, &body).await })
        })
        .collect();
    let mut ids = Vec::new();
    for creation in creations {
        ids.push(id(&creation.await.unwrap()));
    }
    // One after the other they would take ten minutes. The test's API server looks through all of them at each change.
    assert!(begun.elapsed() < ready_after + Duration::from_secs(90), "{:?}", begun.elapsed());
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), cluster.server.list(&BATCH, NAMESPACE).len()), (MANY, MANY));
    assert_eq!(asked(&cluster, "POST", "/batchsandboxes").len(), MANY);
    assert_eq!(asked(&cluster, "GET", "/batchsandboxes/").len(), 0, "the watches tell");
    assert_eq!(asked(&cluster, "GET", "/pods/").len(), 0);
}
