//! The sandboxes that are there: shown, listed, renewed, patched, deleted, reached and described, against the test API server.
//! The forms are those of transcripts 12 to 15 and 34.

use serde_json::{Value, json};

use crate::{
    cluster::{self, AGENT, BATCH, Cluster, NAMESPACE},
    fixture::{ID, OTHER, ask, batch, get, is, not_found, pod},
    support::{LONGEST, backend::Backend, client, kube::Action},
};

#[tokio::test]
async fn a_sandbox_is_shown_and_listed_as_by_the_python_server() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("").start();
    let shown = get(&gateway, &format!("/v1/sandboxes/{ID}")).await;
    let object = cluster.get(&BATCH, ID).unwrap();
    let created = object["metadata"]["creationTimestamp"].as_str().unwrap();
    let expected = format!(
        r#"{{"id":"{ID}","image":{{"uri":"reg.example/py:1"}},"status":{{"state":"Running","reason":"RUNNING","message":"Sandbox is running","lastTransitionAt":"{created}"}},"metadata":{{"project":"apollo"}},"entrypoint":["/opt/opensandbox/bootstrap.sh","python","-c","x"],"expiresAt":"2099-11-26T13:18:58.511753Z","createdAt":"{created}"}}"#
    );
    is(&shown, 200, &expected);
    let list = get(&gateway, "/v1/sandboxes").await;
    let page = r#""pagination":{"page":1,"pageSize":20,"totalItems":1,"totalPages":1,"hasNextPage":false}"#;
    is(&list, 200, &format!(r#"{{"items":[{expected}],{page}}}"#));
    let none =
        r#"{"items":[],"pagination":{"page":1,"pageSize":20,"totalItems":0,"totalPages":0,"hasNextPage":false}}"#;
    is(&get(&gateway, "/v1/sandboxes?state=x").await, 200, none);
    is(&get(&gateway, "/v1/sandboxes?metadata=project%3Dzeus").await, 200, none);
    assert_eq!(
        get(&gateway, "/v1/sandboxes?metadata=project%3Dapollo&state=running").await.json()["items"][0]["id"],
        ID
    );
}

#[tokio::test]
async fn what_is_no_sandbox_is_not_found_and_not_asked_for() {
    let cluster = Cluster::start();
    // Another controller's object, and one whose label is another id.
    cluster.put(&BATCH, batch("plain", |object| object["metadata"]["labels"] = json!({"app": "x"})));
    cluster.put(&BATCH, batch("named", |object| object["metadata"]["labels"]["opensandbox.io/id"] = json!("else")));
    let gateway = cluster.gateway("").start();
    for id in ["nope", "plain", "named"] {
        is(&get(&gateway, &format!("/v1/sandboxes/{id}")).await, 404, &not_found(id));
        is(&ask(&gateway, "DELETE", &format!("/v1/sandboxes/{id}"), "").await, 404, &not_found(id));
    }
    assert!(cluster.get(&BATCH, "plain").is_some() && cluster.get(&BATCH, "named").is_some());
    let asked = cluster.requests().len();
    for id in ["..", "a%2Fb", "a,b", "-a", "%C3%A4", &"a".repeat(64)] {
        assert_eq!(get(&gateway, &format!("/v1/sandboxes/{id}")).await.code(), "KUBERNETES::SANDBOX_NOT_FOUND", "{id}");
    }
    let fast = r#"{"code":"FSB::SANDBOX_NOT_FOUND","message":"Sandbox not found."}"#;
    for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/endpoints/80"), ("GET", "/diagnostics/inspect")] {
        is(&ask(&gateway, method, &format!("/v1/sandboxes/fsb-x{path}"), "").await, 404, fast);
    }
    let since = cluster.requests().split_off(asked);
    assert!(!since.iter().any(|request| request.contains("batchsandboxes/")), "{since:?}");
}

#[tokio::test]
async fn an_odd_object_hides_no_other() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let odd = |object: &mut Value| {
        object["spec"] = json!({"expireTime": 7, "poolRef": ["x"], "template": {"spec": {"containers": {"a": 1}}}});
        object["status"] = json!("x");
        object["metadata"]["annotations"]["sandbox.opensandbox.io/endpoints"] = json!("[\"evil.example\"]");
    };
    cluster.server.create(&BATCH, NAMESPACE, batch(OTHER, |_| {}));
    cluster.server.patch(&BATCH, NAMESPACE, OTHER, &batch(OTHER, odd));
    let gateway = cluster.gateway("").start();
    let list = get(&gateway, "/v1/sandboxes").await.json();
    assert_eq!(list["pagination"]["totalItems"], 2, "{list}");
    let shown = get(&gateway, &format!("/v1/sandboxes/{OTHER}")).await.json();
    assert_eq!((&shown["image"]["uri"], &shown["status"]["state"]), (&json!("unknown"), &json!("Pending")), "{shown}");
}

#[tokio::test]
async fn an_expiry_is_moved() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(
        &BATCH,
        batch(OTHER, |object| {
            object["spec"].as_object_mut().unwrap().remove("expireTime");
        }),
    );
    let gateway = cluster.gateway("").start();
    let renew = async |id: &str, time: &str| {
        ask(&gateway, "POST", &format!("/v1/sandboxes/{id}/renew-expiration"), &json!({"expiresAt": time}).to_string())
            .await
    };
    is(&renew(ID, "2098-12-01T00:00:00Z").await, 200, r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#);
    assert_eq!(cluster.get(&BATCH, ID).unwrap()["spec"]["expireTime"], "2098-12-01T00:00:00+00:00");
    // Seen at once.
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}")).await.json()["expiresAt"], "2098-12-01T00:00:00Z");
    let past = r#"{"code":"DOCKER::INVALID_EXPIRATION","message":"New expiration time must be in the future."}"#;
    is(&renew(ID, "2020-12-01T00:00:00Z").await, 400, past);
    // The date goes first.
    is(&renew("nope", "2020-12-01T00:00:00Z").await, 400, past);
    is(&renew("nope", "2098-12-01T00:00:00Z").await, 404, &not_found("nope"));
    let manual = format!(
        r#"{{"code":"DOCKER::INVALID_EXPIRATION","message":"Sandbox {OTHER} does not have automatic expiration enabled."}}"#
    );
    is(&renew(OTHER, "2098-12-01T00:00:00Z").await, 409, &manual);
}

#[tokio::test]
async fn metadata_is_patched_without_a_loss() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("").start();
    let target = format!("/v1/sandboxes/{ID}/metadata");
    let patched = ask(&gateway, "PATCH", &target, r#"{"project":null,"n":"v"}"#).await;
    assert_eq!((patched.status(), &patched.json()["metadata"]), (200, &json!({"n": "v"})));
    let labels = cluster.get(&BATCH, ID).unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels, json!({"n": "v", "opensandbox.io/id": ID}));
    let reserved = ask(&gateway, "PATCH", &target, r#"{"opensandbox.io/id":"x"}"#).await;
    let text = r#"{"code":"INVALID_METADATA_LABEL","message":"Metadata key 'opensandbox.io/id' is reserved (opensandbox.io/ prefix)."}"#;
    is(&reserved, 400, text);
    is(&ask(&gateway, "PATCH", "/v1/sandboxes/nope/metadata", r#"{"a":"b"}"#).await, 404, &not_found("nope"));
    let many = (0..16).map(|n| {
        let body = format!(r#"{{"k{n}":"v"}}"#);
        let (target, gateway) = (&target, &gateway);
        async move { ask(gateway, "PATCH", target, &body).await.status() }
    });
    assert!(futures_util::future::join_all(many).await.iter().all(|status| *status == 200));
    assert_eq!(cluster.get(&BATCH, ID).unwrap()["metadata"]["labels"].as_object().unwrap().len(), 18);
}

#[tokio::test]
async fn a_deletion_takes_the_claims_along() {
    let cluster = Cluster::start();
    let claim = |name: &str, id: &str, by: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE,
            "labels": {"opensandbox.io/id": id, "opensandbox.io/volume-managed-by": by}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    };
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&cluster::CLAIMS, claim("own", ID, "server"));
    cluster.put(&cluster::CLAIMS, claim("kept", ID, "someone"));
    cluster.put(&cluster::CLAIMS, claim("other", OTHER, "server"));
    let gateway = cluster.gateway("").start();
    let target = format!("/v1/sandboxes/{ID}");
    // One that was made anew meanwhile is not gone: its claims stay.
    cluster.server.fault("DELETE", "batchsandboxes", Action::Conflict, 1);
    let refused = ask(&gateway, "DELETE", &target, "").await;
    assert_eq!((refused.status(), refused.code().as_str()), (500, "KUBERNETES::API_ERROR"));
    assert!(cluster.get(&BATCH, ID).is_some() && cluster.get(&cluster::CLAIMS, "own").is_some());
    is(&ask(&gateway, "DELETE", &target, "").await, 204, "");
    assert!(cluster.get(&BATCH, ID).is_none() && cluster.get(&cluster::CLAIMS, "own").is_none());
    assert!(cluster.get(&cluster::CLAIMS, "kept").is_some() && cluster.get(&cluster::CLAIMS, "other").is_some());
    is(&get(&gateway, &target).await, 404, &not_found(ID));
    // What a sandbox left that is gone.
    cluster.put(&cluster::CLAIMS, claim("left", ID, "server"));
    is(&ask(&gateway, "DELETE", &target, "").await, 404, &not_found(ID));
    assert!(cluster.get(&cluster::CLAIMS, "left").is_none());
}

#[tokio::test]
async fn a_deletion_that_a_finalizer_holds_is_shown() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |object| object["metadata"]["finalizers"] = json!(["x.example/y"])));
    let gateway = cluster.gateway("").start();
    let target = format!("/v1/sandboxes/{ID}");
    is(&ask(&gateway, "DELETE", &target, "").await, 204, "");
    let shown = get(&gateway, &target).await.json();
    assert_eq!(
        (&shown["status"]["state"], &shown["status"]["reason"]),
        (&json!("Stopping"), &json!("DELETING")),
        "{shown}"
    );
    let renewed =
        ask(&gateway, "POST", &format!("{target}/renew-expiration"), r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#).await;
    assert_eq!((renewed.status(), renewed.code().as_str()), (409, "KUBERNETES::INVALID_STATE"));
}

#[tokio::test]
async fn endpoints_are_direct_or_through_the_server() {
    let cluster = Cluster::start();
    cluster.put(
        &BATCH,
        batch(ID, |object| {
            object["metadata"]["annotations"]["opensandbox.io/egress-auth-token"] =
                json!("2kzLhwFAlfPiclOOvtoTSiOfSdyibmpU");
        }),
    );
    cluster.put(&BATCH, batch(OTHER, |object| object["metadata"]["annotations"] = json!({})));
    let gateway = cluster.gateway("").start();
    let endpoint = async |id: &str, rest: &str| get(&gateway, &format!("/v1/sandboxes/{id}/endpoints/{rest}")).await;
    is(&endpoint(ID, "8080").await, 200, r#"{"endpoint":"127.0.0.1:8080"}"#);
    let egress =
        r#"{"endpoint":"127.0.0.1:18080","headers":{"OPENSANDBOX-EGRESS-AUTH":"2kzLhwFAlfPiclOOvtoTSiOfSdyibmpU"}}"#;
    is(&endpoint(ID, "18080").await, 200, egress);
    let proxied = format!(r#"{{"endpoint":"localhost/v1/sandboxes/{ID}/proxy/44772"}}"#);
    is(&endpoint(ID, "44772?use_server_proxy=true").await, 200, &proxied);
    let invalid = |text: &str| format!(r#"{{"code":"SANDBOX::INVALID_PARAMETER","message":"{text}"}}"#);
    let unsigned =
        "Signed routes require ingress.mode = 'gateway'. Configure ingress gateway or omit the expires parameter.";
    is(&endpoint(ID, "44772?expires=9999999999").await, 400, &invalid(unsigned));
    is(&endpoint(ID, "1?expires=-1").await, 400, &invalid("expires must be a non-negative Unix timestamp (uint64)."));
    is(&endpoint(ID, "1?expires=99999999999999999999").await, 400, &invalid("expires exceeds uint64 maximum value."));
    assert!(endpoint("nope", "1?expires=1").await.code() == "SANDBOX::INVALID_PARAMETER");
    is(
        &endpoint(ID, "0").await,
        400,
        r#"{"code":"DOCKER::INVALID_PORT","message":"Port must be between 1 and 65535."}"#,
    );
    is(&endpoint("nope", "80").await, 404, &not_found("nope"));
    let pending = r#"{"code":"KUBERNETES::POD_IP_NOT_AVAILABLE","message":"Pod IP is not yet available. The Pod may still be starting."}"#;
    is(&endpoint(OTHER, "80").await, 404, pending);
}

#[tokio::test]
async fn endpoints_behind_a_gateway_are_signed() {
    let cluster = Cluster::start();
    cluster.put(
        &BATCH,
        batch(OTHER, |object| {
            object["metadata"]["annotations"] =
                json!({"opensandbox.io/secure-access-token": "KlgBdNq1gynMaQDWH76dA-tF5VNoFBKK"});
        }),
    );
    let ingress = "[ingress]\nmode = \"gateway\"\n[ingress.gateway]\naddress = \"gw.example.com:8443\"\n[ingress.gateway.route]\n\
                   mode = \"header\"\n[ingress.secure_access]\nactive_key = \"k\"\n[[ingress.secure_access.keys]]\nkey_id = \"k\"\n\
                   key = \"c2VjcmV0\"\n";
    let gateway = cluster.gateway("").section(ingress).start();
    let endpoint = async |rest: &str| get(&gateway, &format!("/v1/sandboxes/{OTHER}/endpoints/{rest}")).await;
    let unsigned = format!(
        r#"{{"endpoint":"gw.example.com:8443","headers":{{"OpenSandbox-Ingress-To":"{OTHER}-8080","OpenSandbox-Secure-Access":"KlgBdNq1gynMaQDWH76dA-tF5VNoFBKK"}}}}"#
    );
    is(&endpoint("8080").await, 200, &unsigned);
    let signed = format!(
        r#"{{"endpoint":"gw.example.com:8443","headers":{{"OpenSandbox-Ingress-To":"{OTHER}-8080-vf7lds-70ec432bk"}}}}"#
    );
    is(&endpoint("8080?expires=1900000000").await, 200, &signed);
}

#[tokio::test]
async fn the_proxy_connects_to_the_pod_and_wants_the_token() {
    let cluster = Cluster::start();
    let server = Backend::mirror().await;
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(
        &BATCH,
        batch(OTHER, |object| {
            object["metadata"]["annotations"]["opensandbox.io/secure-access-token"] = json!("t0ken");
        }),
    );
    let gateway = cluster.gateway("").start();
    let port = server.port;
    let through = get(&gateway, &format!("/v1/sandboxes/{ID}/proxy/{port}/x?y=1")).await;
    assert!(through.status() == 200 && String::from_utf8_lossy(&through.body).contains("GET /x?y=1"), "{through:?}");
    let target = format!("/v1/sandboxes/{OTHER}/proxy/{port}/");
    assert_eq!(get(&gateway, &target).await.code(), "MISSING_OR_INVALID_SECURE_ACCESS");
    let lines = ["opensandbox-secure-access: t0ken"];
    assert_eq!(client::request(gateway.address(), "GET", &target, &lines, "").await.status(), 200);
    is(&get(&gateway, &format!("/v1/sandboxes/nope/proxy/{port}/")).await, 404, &not_found("nope"));
}

#[tokio::test]
async fn a_pod_and_its_events_are_described() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&BATCH, batch(OTHER, |_| {}));
    let name = format!("{ID}-0");
    cluster.put(&cluster::PODS, pod(&name, ID));
    let gateway = cluster.gateway("").start();
    let text = async |id: &str, kind: &str| get(&gateway, &format!("/v1/sandboxes/{id}/diagnostics/{kind}")).await;
    let expected = format!(
        "Pod Name:       {name}\nNamespace:      {NAMESPACE}\nNode:           n1\nPhase:          Running\nPod IP:         127.0.0.1\n\
         Host IP:        10.0.0.1\nStart Time:     None\n\nLabels:\n  opensandbox.io/id={ID}\n\nResources:\n  sandbox:"
    );
    is(&text(ID, "inspect").await, 200, &expected);
    is(&text(ID, "events").await, 200, "(no events)");
    let uid = cluster.get(&cluster::PODS, &name).unwrap()["metadata"]["uid"].clone();
    for (event, uid, time) in [
        ("b", &uid, "2026-11-26T13:08:59Z"),
        ("a", &uid, "2026-11-26T13:09:00Z"),
        ("c", &json!("old"), "2026-11-26T13:09:01Z"),
    ] {
        cluster.put(&cluster::EVENTS, json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": event, "namespace": NAMESPACE},
            "involvedObject": {"kind": "Pod", "name": name, "uid": uid}, "type": "Normal", "reason": "Pulled", "message": event,
            "lastTimestamp": time}));
    }
    let events = "[2026-11-26 13:08:59+00:00] Normal   Pulled               b\n[2026-11-26 13:09:00+00:00] Normal   Pulled               a";
    is(&text(ID, "events").await, 200, events);
    let none = format!(r#"{{"code":"KUBERNETES::SANDBOX_NOT_FOUND","message":"No pod found for sandbox '{OTHER}'"}}"#);
    is(&text(OTHER, "inspect").await, 404, &none);
}

#[tokio::test]
async fn a_failed_task_has_the_operator_s_words() {
    let cluster = Cluster::start();
    cluster.put(
        &BATCH,
        batch(ID, |object| {
            object["status"]["taskFailed"] = json!(1);
            object["status"]["taskLastErrorMessage"] = json!("exit code 3");
        }),
    );
    let gateway = cluster.gateway("").start();
    let status = get(&gateway, &format!("/v1/sandboxes/{ID}")).await.json()["status"].clone();
    assert_eq!(
        (&status["state"], &status["reason"], &status["message"]),
        (&json!("Failed"), &json!("TASK_FAILED"), &json!("exit code 3"))
    );
}

#[tokio::test]
async fn an_agent_sandbox_has_its_own_places() {
    let cluster = Cluster::start();
    cluster.put(&AGENT, json!({
        "apiVersion": "agents.x-k8s.io/v1beta1", "kind": "Sandbox",
        "metadata": {"name": format!("sandbox-{OTHER}"), "namespace": NAMESPACE, "labels": {"opensandbox.io/id": OTHER}},
        "spec": {"operatingMode": "Running", "shutdownTime": "2099-11-23T02:23:13.891958+00:00", "podTemplate": {"spec": {"containers": [
            {"name": "sandbox", "image": "x", "command": ["/opt/opensandbox/bootstrap.sh", "a"]}]}}},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "DependenciesReady", "message": "ok",
            "lastTransitionTime": "2026-11-23T02:00:00Z"}], "podIPs": ["127.0.0.1"]},
    }));
    let gateway = cluster.gateway("workload_provider = \"agent-sandbox\"\n").start();
    let target = format!("/v1/sandboxes/{OTHER}");
    let status = get(&gateway, &target).await.json()["status"].clone();
    let expected = json!({"state": "Running", "reason": "DependenciesReady", "message": "ok", "lastTransitionAt": "2026-11-23T02:00:00Z"});
    assert_eq!(status, expected);
    let renewed =
        ask(&gateway, "POST", &format!("{target}/renew-expiration"), r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#).await;
    is(&renewed, 200, r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#);
    let name = format!("sandbox-{OTHER}");
    assert_eq!(cluster.get(&AGENT, &name).unwrap()["spec"]["shutdownTime"], "2098-12-01T00:00:00+00:00");
    is(&get(&gateway, &format!("{target}/endpoints/80")).await, 200, r#"{"endpoint":"127.0.0.1:80"}"#);
    is(&ask(&gateway, "DELETE", &target, "").await, 204, "");
    assert!(cluster.get(&AGENT, &name).is_none());
}

#[tokio::test]
async fn an_own_write_and_another_s_are_seen() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    is(&get(&gateway, &format!("/v1/sandboxes/{ID}")).await, 404, &not_found(ID));
    cluster.put(&BATCH, batch(ID, |_| {}));
    let address = gateway.address();
    let target = format!("/v1/sandboxes/{ID}");
    let begun = std::time::Instant::now();
    // That it is not there is believed for a second, unless the watch tells.
    while get(&gateway, &target).await.status() != 200 {
        assert!(begun.elapsed() < LONGEST);
    }
    // A name that nobody asked for is asked for at once.
    cluster.server.create(&BATCH, NAMESPACE, batch(OTHER, |_| {}));
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{OTHER}")).await.status(), 200);
    cluster.put(&BATCH, batch(ID, |object| object["status"]["phase"] = json!("Paused")));
    loop {
        let state = client::get_once(address, &target).await.json()["status"]["state"].clone();
        if state == "Paused" {
            break;
        }
        assert!(begun.elapsed() < LONGEST, "{state}");
    }
}

#[test]
fn a_namespace_is_needed() {
    let config = "[runtime]\ntype = \"kubernetes\"\nexecd_image = \"x\"\n[kubernetes]\n";
    let home = crate::support::program::Home::with(&format!("[server]\nport = 8080\n{config}"));
    let ended = home.run(&[("OPENSANDBOX_INSECURE_SERVER", "YES")]);
    assert!(ended.code == Some(1) && ended.stderr.contains("kubernetes.namespace must be set"), "{ended:?}");
}
