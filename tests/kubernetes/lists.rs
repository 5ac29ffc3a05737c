//! Lists: each item is what the sandbox alone is shown as, however often it was listed before.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    cluster::{AGENT, BATCH, Cluster, NAMESPACE, PODS},
    fixture::{ask, batch, get, is, pod},
    support::gateway::Gateway,
};

fn id_of(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// The ids of a list, in its order; checks that its items are what each sandbox alone is shown as.
async fn listed(gateway: &Gateway, query: &str) -> Vec<String> {
    let list = get(gateway, &format!("/v1/sandboxes?pageSize=200&{query}")).await;
    let ids: Vec<String> = list.json()["items"]
        .as_array()
        .unwrap_or_else(|| panic!("{query}: {list:?}"))
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    let mut alone = Vec::new();
    for id in &ids {
        alone.push(String::from_utf8(get(gateway, &format!("/v1/sandboxes/{id}")).await.body.to_vec()).unwrap());
    }
    let (total, pages) = (ids.len(), usize::from(!ids.is_empty()));
    let page = format!(r#"{{"page":1,"pageSize":200,"totalItems":{total},"totalPages":{pages},"hasNextPage":false}}"#);
    is(&list, 200, &format!(r#"{{"items":[{}],"pagination":{page}}}"#, alone.join(",")));
    ids
}

async fn until_state(gateway: &Gateway, id: &str, state: &str) {
    let begun = Instant::now();
    while get(gateway, &format!("/v1/sandboxes/{id}")).await.json()["status"]["state"] != state {
        assert!(begun.elapsed() < Duration::from_secs(60), "{state}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_list_has_its_sandboxes_as_they_are_now() {
    let cluster = Cluster::start();
    for (number, phase) in ["Succeed", "Paused", "Pending", "Failed", "Weird", "Succeed"].into_iter().enumerate() {
        cluster.put(
            &BATCH,
            batch(&id_of(number), |object| {
                object["status"]["phase"] = json!(phase);
                object["metadata"]["labels"]["parity"] = json!(["even", "odd"][number % 2]);
                object["metadata"]["annotations"]["opensandbox.io/extensions.a"] = json!("b\n\"\u{1}");
            }),
        );
    }
    let gateway = cluster.gateway("").start();
    let mut all = listed(&gateway, "").await;
    assert_eq!(listed(&gateway, "").await, all, "what was written before");
    all.sort();
    assert_eq!(all, (0..6).map(id_of).collect::<Vec<_>>());
    for (query, numbers) in [
        ("state=PAUSED", vec![1]),
        ("state=x", vec![]),
        ("state=x&state=pending&state=failed", vec![2, 3]),
        ("metadata=parity%3Dodd", vec![1, 3, 5]),
        ("metadata=parity%3Dodd%26project%3Dapollo&state=Running", vec![5]),
        // What is not shown as metadata does not choose.
        ("metadata=opensandbox.io/id%3D00000000-0000-4000-8000-000000000000", vec![]),
        ("metadata=parity%3D", vec![]),
    ] {
        let mut ids = listed(&gateway, query).await;
        ids.sort();
        assert_eq!(ids, numbers.into_iter().map(id_of).collect::<Vec<_>>(), "{query}");
    }
    // Changes of the gateway's own, and of others.
    let target = format!("/v1/sandboxes/{}/metadata", id_of(0));
    assert_eq!(ask(&gateway, "PATCH", &target, r#"{"n":"v"}"#).await.status(), 200);
    assert_eq!(listed(&gateway, "metadata=n%3Dv").await, [id_of(0)]);
    cluster.put(&BATCH, batch(&id_of(1), |object| object["status"]["phase"] = json!("Succeed")));
    until_state(&gateway, &id_of(1), "Running").await;
    assert_eq!(listed(&gateway, "").await.len(), 6);
    assert_eq!(listed(&gateway, "state=paused").await, [""; 0]);
}

#[tokio::test]
async fn what_pods_tell_is_listed_as_they_tell_it_now() {
    let cluster = Cluster::start();
    let agent = |number: usize, status: Value| {
        let id = id_of(number);
        let object = json!({
            "apiVersion": "agents.x-k8s.io/v1beta1", "kind": "Sandbox",
            "metadata": {"name": format!("sandbox-{id}"), "namespace": NAMESPACE, "labels": {"opensandbox.io/id": id}},
            "spec": {"operatingMode": "Running", "podTemplate": {"spec": {"containers": [{"name": "sandbox", "image": "x"}]}}},
            "status": status,
        });
        cluster.put(&AGENT, object);
    };
    let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "r", "message": "ok",
        "lastTransitionTime": "2026-11-23T02:00:00Z"}]});
    for (number, status) in [(0, json!({})), (1, ready), (2, json!({}))] {
        agent(number, status);
    }
    let with_pod = |phase: &str| {
        let mut pod = pod("p", &id_of(0));
        pod["status"]["phase"] = json!(phase);
        cluster.put(&PODS, pod);
    };
    with_pod("Pending");
    let gateway = cluster.gateway("workload_provider = \"agent-sandbox\"\n").start();
    assert_eq!(listed(&gateway, "").await.len(), 3);
    assert_eq!(listed(&gateway, "state=allocated").await, [id_of(0)]);
    assert_eq!(listed(&gateway, "state=pending").await, [id_of(2)]);
    with_pod("Running");
    until_state(&gateway, &id_of(0), "Running").await;
    assert_eq!(listed(&gateway, "state=running").await.len(), 2);
    assert_eq!(listed(&gateway, "").await.len(), 3);
}
