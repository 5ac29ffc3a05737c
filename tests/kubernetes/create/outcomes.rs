//! What creations are answered: one test a row of §5, and of the checks that need a cluster.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fixture::{AT_ONCE, LONG, asked, create, error, id, never, nothing_is_left, objects, ready, watched, world};
use crate::{
    cluster::{BATCH, Cluster, EVENTS, NAMESPACE, PODS},
    fixture::{ask, get},
    support::{
        client::Response,
        eventually,
        kube::{Action, Failure, Operator, Outcome, resource::POOLS},
    },
};

/// The answer to a creation whose sandbox ends so; nothing is left of it, and it was told at once.
async fn outcome(outcome: Outcome, lines: &str, request: Value) -> Response {
    let (cluster, gateway) = world(outcome, lines);
    watched(&cluster).await;
    let begun = Instant::now();
    let response = create(&gateway, request).await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    nothing_is_left(&cluster).await;
    response
}

#[tokio::test]
async fn a_sandbox_that_is_ready_is_answered_and_seen_at_once() {
    let (cluster, gateway) = world(ready(), "");
    watched(&cluster).await;
    cluster.server.forget_requests();
    let created = create(&gateway, json!({"metadata": {"project": "apollo"}})).await;
    let id = id(&created);
    let json = created.json();
    assert_eq!((&json["status"]["state"], &json["status"]["reason"]), (&json!("Running"), &json!("RUNNING")));
    assert_eq!((&json["metadata"], &json["entrypoint"]), (&json!({"project": "apollo"}), &json!(["a"])));
    let micros = json["createdAt"].as_str().unwrap();
    assert!(micros.len() > "2026-11-23T02:10:08Z".len() || micros.ends_with('Z'), "{micros}");
    let shown = get(&gateway, &format!("/v1/sandboxes/{id}")).await.json();
    assert_eq!((&shown["status"], &shown["expiresAt"]), (&json["status"], &json["expiresAt"]));
    assert_eq!(shown["entrypoint"], json!(["/opt/opensandbox/bootstrap.sh", "a"]));
    // One call: all else comes by the watches.
    let calls: Vec<_> = cluster.requests().into_iter().filter(|call| !call.contains("watch=true")).collect();
    assert_eq!(calls, [format!("POST /apis/sandbox.opensandbox.io/v1alpha1/namespaces/{NAMESPACE}/batchsandboxes?")]);
}

#[tokio::test]
async fn an_agent_sandbox_is_ready() {
    let (cluster, gateway) = world(ready(), "workload_provider = \"agent-sandbox\"");
    let created = create(&gateway, json!({})).await;
    // By its pods, if they are seen before the operator's word.
    assert_eq!(created.json()["status"]["state"], "Running");
    let name = format!("sandbox-{}", id(&created));
    let object = cluster.get(&crate::cluster::AGENT, &name);
    // An id that begins with a letter is a name as it is.
    let object = object.or_else(|| cluster.get(&crate::cluster::AGENT, &id(&created))).unwrap();
    assert_eq!(object["spec"]["operatingMode"], "Running");
}

#[tokio::test]
async fn no_node_with_the_platform_is_the_client_s_fault() {
    let words = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.";
    let platform = json!({"platform": {"os": "linux", "arch": "arm64"}});
    let (status, code, message) = error(&outcome(Outcome::Unschedulable(words.to_owned()), "", platform).await);
    assert_eq!((status, code.as_str()), (400, "SANDBOX::INVALID_PARAMETER"));
    assert!(message.starts_with("Sandbox ") && message.ends_with(&format!(" is unschedulable: {words}")), "{message}");
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_told_at_once() {
    for (is_init, reason, container, words) in [
        (true, "ImagePullBackOff", "execd-installer", "its image cannot be pulled, which is tried again"),
        (false, "ImagePullBackOff", "sandbox", "its image cannot be pulled, which is tried again"),
        (false, "InvalidImageName", "sandbox", "the name of its image is not valid"),
    ] {
        let waits = Outcome::Waits { is_init, reason, message: "no such manifest" };
        let (status, code, message) = error(&outcome(waits, "", json!({})).await);
        assert_eq!((status, code.as_str()), (500, "KUBERNETES::POD_FAILED"));
        let end = format!(" failed: container '{container}': {words} ({reason}: no such manifest)");
        assert!(message.ends_with(&end), "{message}");
    }
}

/// As on a busy node, where the kubelet tries again some seconds later.
#[tokio::test]
async fn a_container_that_stumbles_may_begin_all_the_same() {
    let waits = Outcome::Waits { is_init: false, reason: "CreateContainerError", message: "context deadline exceeded" };
    let (cluster, gateway) = world(waits.clone(), "");
    watched(&cluster).await;
    let (created, ()) = tokio::join!(create(&gateway, json!({})), async {
        let has_stumbled =
            || cluster.server.list(&PODS, NAMESPACE).iter().any(|pod| !pod["status"]["containerStatuses"].is_null());
        eventually("that it stumbles", LONG, has_stumbled).await;
        // Seen by the gateway as well.
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.server.operate(Operator::of(ready()));
    });
    id(&created);
    let (status, code, message) = error(&outcome(waits, "sandbox_create_timeout_seconds = 1", json!({})).await);
    assert_eq!((status, code.as_str()), (504, "KUBERNETES::POD_READY_TIMEOUT"));
    let end = "Last state: Pending; container 'sandbox': it cannot be created (CreateContainerError: context deadline exceeded)";
    assert!(message.ends_with(end), "{message}");
}

#[tokio::test]
async fn a_failure_of_the_operator_is_told() {
    let (status, code, message) = error(&outcome(Outcome::Failed("out of luck"), "", json!({})).await);
    assert_eq!((status, code.as_str()), (500, "KUBERNETES::POD_FAILED"));
    assert!(message.ends_with(" failed: out of luck"), "{message}");
}

/// It is known without what the pod says of it.
#[tokio::test]
async fn a_failure_is_told_though_its_pod_cannot_be_read() {
    for action in [Action::Hang, Action::Fail(Failure::too_many_requests())] {
        let (cluster, gateway) = world(Outcome::Failed("out of luck"), "sandbox_create_timeout_seconds = 3");
        watched(&cluster).await;
        // Not of the watch, which asks for the label alone.
        cluster.server.fault("GET", "opensandbox.io%2Fid%3D", action, usize::MAX);
        let (status, code, message) = error(&create(&gateway, json!({})).await);
        assert_eq!((status, code.as_str()), (500, "KUBERNETES::POD_FAILED"), "{message}");
        assert!(message.ends_with(" failed: out of luck"), "{message}");
        assert!(
            cluster.requests().iter().any(|request| request.contains("opensandbox.io%2Fid%3D")),
            "it was asked for"
        );
    }
}

#[tokio::test]
async fn one_that_is_not_ready_in_time_is_removed() {
    let begun = Instant::now();
    let (status, code, message) = error(&outcome(never(), "sandbox_create_timeout_seconds = 1", json!({})).await);
    assert_eq!((status, code.as_str()), (504, "KUBERNETES::POD_READY_TIMEOUT"));
    // How long it was to the tenth is the machine's.
    let (begin, middle) = ("Timeout waiting for sandbox ", " to be Running with IP. Elapsed: ");
    let is_so = message.starts_with(begin) && message.contains(middle) && message.ends_with("s, Last state: Pending");
    assert!(is_so, "{message}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_api_server_that_is_silent_does_not_hold_the_answer() {
    let (cluster, gateway) = world(never(), "sandbox_create_timeout_seconds = 3\ncache_max_age_seconds = 1");
    watched(&cluster).await;
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    cluster.server.end_watches();
    cluster.server.fault("GET", "/batchsandboxes/", Action::Hang, usize::MAX);
    cluster.server.fault("GET", "limit=", Action::Hang, usize::MAX);
    let begun = Instant::now();
    let (status, code, _) = error(&create(&gateway, json!({})).await);
    assert_eq!((status, code.as_str()), (504, "KUBERNETES::POD_READY_TIMEOUT"));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_pool_without_room_is_told_when_to_ask_again() {
    let pooled = json!({"extensions": {"poolRef": "*"}});
    let response = outcome(Outcome::NoRoom("no pods left"), "pool_acquisition_timeout_seconds = 1", pooled).await;
    let (status, code, message) = error(&response);
    assert_eq!((status, code.as_str()), (429, "KUBERNETES::POOL_CAPACITY_EXHAUSTED"));
    assert_eq!(message, "No Pool capacity became available before the acquisition timeout.");
    assert_eq!(response.head.field("retry-after"), "1");
}

#[tokio::test]
async fn a_pool_that_has_room_in_time_is_taken_from() {
    let (cluster, gateway) = world(Outcome::NoRoom("no pods left"), "");
    let pool = json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "Pool", "metadata": {"name": "p1"},
        "spec": {"template": {}, "capacitySpec": {"bufferMax": 1, "bufferMin": 0, "poolMax": 2, "poolMin": 0}}});
    cluster.server.create(&POOLS, NAMESPACE, pool);
    // Nothing of the image counts.
    let image = json!({"uri": "reg.example/x", "auth": {"username": "u", "password": "p"}});
    let request = json!({"extensions": {"poolRef": "p1"}, "image": image}).to_string();
    let (created, ()) = tokio::join!(ask(&gateway, "POST", "/v1/sandboxes", &request), async {
        cluster.server.wait_asked("/batchsandboxes?").await;
        cluster.server.operate(Operator::of(ready()));
    });
    // The existing server leaves the command out.
    assert_eq!(created.json()["entrypoint"], json!(["tail", "-f", "/dev/null"]));
    let object = cluster.get(&BATCH, &id(&created)).unwrap();
    assert_eq!((&object["spec"]["poolRef"], &object["spec"]["template"]), (&json!("p1"), &Value::Null));
    assert!(asked(&cluster, "POST", "/secrets").is_empty());
}

#[tokio::test]
async fn a_pool_must_be_there() {
    let (cluster, gateway) = world(ready(), "");
    let from = async |pool: &str| {
        let request = json!({"extensions": {"poolRef": pool}}).to_string();
        error(&ask(&gateway, "POST", "/v1/sandboxes", &request).await)
    };
    let missing = |pool: &str| (404, "KUBERNETES::POOL_NOT_FOUND".to_owned(), format!("Pool '{pool}' not found."));
    assert_eq!(from("nopool").await, missing("nopool"));
    cluster.server.forget_requests();
    assert_eq!(from("../pods/x").await, missing("../pods/x"));
    assert!(asked(&cluster, "GET", "pods/x").is_empty());
    cluster.server.fault("GET", "/pools/", Action::Fail(Failure::new(400, "BadRequest", "no")), 1);
    let (status, code, _) = from("nopool").await;
    assert_eq!((status, code.as_str()), (500, "KUBERNETES::POOL_API_ERROR"));
    assert!(objects(&cluster).is_empty());
}

#[tokio::test]
async fn a_quota_is_told() {
    let cluster = Cluster::start();
    cluster.server.operate(Operator::of(ready()));
    cluster.server.quota(NAMESPACE, "q1", &[("count/batchsandboxes.sandbox.opensandbox.io", 0)]);
    let gateway = cluster.gateway("").start();
    let (status, code, message) = error(&create(&gateway, json!({})).await);
    assert_eq!((status, code.as_str()), (403, "KUBERNETES::QUOTA_EXCEEDED"));
    assert!(message.starts_with("Namespace ResourceQuota exceeded: batchsandboxes"), "{message}");
    assert!(message.contains("exceeded quota: q1"), "{message}");
    assert!(asked(&cluster, "DELETE", "").is_empty(), "nothing was made");
}

#[tokio::test]
async fn a_quota_that_only_the_operator_meets_is_told_when_the_time_is_over() {
    let (cluster, gateway) = world(ready(), "sandbox_create_timeout_seconds = 1");
    cluster.server.quota(NAMESPACE, "q1", &[("pods", 0)]);
    watched(&cluster).await;
    let (status, code, message) = error(&create(&gateway, json!({})).await);
    assert_eq!((status, code.as_str()), (403, "KUBERNETES::QUOTA_EXCEEDED"), "{message}");
    assert!(message.starts_with("Namespace ResourceQuota exceeded: failed to create pod: pods "), "{message}");
    // The operator's event quotes the pod, with its variables.
    let events = cluster.server.list(&EVENTS, NAMESPACE);
    assert!(events[0]["message"].as_str().unwrap().contains(", pod: {"), "{}", events[0]["message"]);
    assert!(message.ends_with("exceeded quota: q1, requested: pods=1, used: pods=0, limited: pods=0"), "{message}");
    assert_eq!(asked(&cluster, "GET", "/events?").len(), 1);
    nothing_is_left(&cluster).await;
}

/// As where a sandbox was deleted a moment ago.
#[tokio::test]
async fn a_quota_that_gets_room_in_time_is_waited_for() {
    let (cluster, gateway) = world(ready(), "");
    cluster.server.quota(NAMESPACE, "q1", &[("pods", 1)]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"},
        "spec": {"containers": [{"name": "a", "image": "x"}]}});
    cluster.server.create(&PODS, NAMESPACE, pod);
    watched(&cluster).await;
    let (created, ()) = tokio::join!(create(&gateway, json!({})), async {
        eventually("the warning", LONG, || !cluster.server.list(&EVENTS, NAMESPACE).is_empty()).await;
        cluster.server.remove(&PODS, NAMESPACE, "other");
    });
    id(&created);
    assert!(asked(&cluster, "GET", "/events?").is_empty());
}

#[tokio::test]
async fn the_operator_s_warning_is_told_when_there_is_no_pod() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("sandbox_create_timeout_seconds = 2").start();
    watched(&cluster).await;
    let (created, ()) = tokio::join!(create(&gateway, json!({})), async {
        eventually("the object", LONG, || !cluster.server.list(&BATCH, NAMESPACE).is_empty()).await;
        let metadata = &cluster.server.list(&BATCH, NAMESPACE)[0]["metadata"];
        let warning = |name: &str, uid: &Value, message: &str| {
            let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": NAMESPACE},
                "involvedObject": {"kind": "BatchSandbox", "name": metadata["name"], "uid": uid}, "type": "Warning",
                "reason": "FailedCreate", "message": message, "lastTimestamp": "2026-11-26T13:08:58Z"});
            cluster.server.create(&EVENTS, NAMESPACE, event);
        };
        let words = "pods \"x\" is forbidden: violates PodSecurity\n\u{1b}[31m\"baseline:latest\": privileged";
        warning("one", &metadata["uid"], words);
        warning("other", &json!("of-another"), "exceeded quota: not this one's");
    });
    let (status, code, message) = error(&created);
    assert_eq!((status, code.as_str()), (504, "KUBERNETES::POD_READY_TIMEOUT"), "{message}");
    let end = "Last state: Pending; the operator makes no pod (FailedCreate: pods \"x\" is forbidden: violates PodSecurity  \
               [31m\"baseline:latest\": privileged)";
    assert!(message.ends_with(end), "{message}");
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_told() {
    let cluster = Cluster::start();
    let gateway = {
        let kubeconfig = cluster.server.kubeconfig(crate::support::kube::Credentials::Certificate("admin"));
        crate::support::gateway::Setup::kubernetes(&kubeconfig, "nope").start()
    };
    let (status, code, message) = error(&create(&gateway, json!({})).await);
    let expected = "Namespace not found: namespaces \"nope\" not found";
    assert_eq!((status, code.as_str(), message.as_str()), (400, "SANDBOX::INVALID_PARAMETER", expected));
}

#[tokio::test]
async fn what_would_blind_the_operator_is_not_written() {
    let (cluster, gateway) = world(ready(), "");
    watched(&cluster).await;
    cluster.server.forget_requests();
    for (request, text) in [
        (json!({"resourceLimits": {"cpu": "lots"}}), "Invalid resourceLimits.cpu: 'lots' is no quantity"),
        (json!({"resourceLimits": {"memory": "1GB"}}), "Invalid resourceLimits.memory: '1GB' is no quantity"),
        (json!({"resourceLimits": {"ephemeral-storage": "x"}}), "Invalid resourceLimits.ephemeral-storage: 'x' is no"),
        (json!({"resourceLimits": {"vendor.example/thing": "1.5"}}), "Invalid resourceLimits.vendor.example/thing"),
        (
            json!({"resourceLimits": {"gpu": "all"}}),
            "Kubernetes runtime requires resourceLimits.gpu to be a positive integer; 'all' is not supported.",
        ),
        (
            json!({"resourceLimits": {"cpu": "1"}, "resourceRequests": {"cpu": "1 "}}),
            "Invalid resourceRequests.cpu: '1 ' is no quantity",
        ),
    ] {
        let (status, code, message) = error(&create(&gateway, request).await);
        assert_eq!((status, code.as_str()), (400, "SANDBOX::INVALID_PARAMETER"));
        assert!(message.starts_with(text), "{message}");
    }
    assert!(asked(&cluster, "POST", "").is_empty());
}

#[tokio::test]
async fn what_this_server_does_not_have_is_told() {
    let (_cluster, gateway) = world(ready(), "");
    let template = r#"{"templateId": "tpl-x", "timeout": 60}"#;
    let (status, code, _) = error(&ask(&gateway, "POST", "/v1/sandboxes", template).await);
    assert_eq!((status, code.as_str()), (501, "FSB::API_NOT_SUPPORTED"));
    let (status, code, _) = error(&create(&gateway, json!({"secureAccess": true})).await);
    assert_eq!((status, code.as_str()), (400, "SANDBOX::INVALID_PARAMETER"));
}
