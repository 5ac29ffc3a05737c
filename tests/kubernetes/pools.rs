//! Pools over HTTP: what is written into the cluster, what is shown of it, and whose it is (http-api.md §15,
//! kubernetes-runtime.md §11; the forms are those of transcript 13).

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, NAMESPACE, POOLS},
    fixture::{ask, get, is},
    support::{
        client::Response,
        eventually,
        gateway::{Gateway, Setup},
        kube::{Action, Failure, Operator},
    },
    tenants::fixture::{World, with_key},
};

const TEMPLATE: &str = r#"{"spec":{"containers":[{"name":"sandbox","image":"x"}]}}"#;
const CAPACITY: &str = r#"{"bufferMax":1,"bufferMin":0,"poolMax":2,"poolMin":0}"#;
const MORE: &str = r#"{"bufferMax":5,"bufferMin":1,"poolMax":6,"poolMin":1}"#;
const PATH: &str = "/apis/sandbox.opensandbox.io/v1alpha1/namespaces/osb/pools";

fn new(name: &str, template: &str) -> String {
    format!(r#"{{"name":"{name}","template":{template},"capacitySpec":{CAPACITY}}}"#)
}

async fn create(gateway: &Gateway, name: &str) -> Response {
    ask(gateway, "POST", "/v1/pools", &new(name, TEMPLATE)).await
}

fn not_found(name: &str) -> String {
    format!(r#"{{"code":"KUBERNETES::POOL_NOT_FOUND","message":"Pool '{name}' not found."}}"#)
}

/// A pool as it is shown.
fn shown(cluster: &Cluster, name: &str, capacity: &str) -> String {
    let object = cluster.get(&POOLS, name).unwrap();
    let created = object["metadata"]["creationTimestamp"].as_str().unwrap();
    format!(r#"{{"name":"{name}","capacitySpec":{capacity},"createdAt":"{created}"}}"#)
}

/// The writes so far: method, path, type, body.
fn writes(cluster: &Cluster) -> Vec<(String, String, String, Value)> {
    let all = cluster.server.requests().into_iter().filter(|request| request.method != "GET");
    all.map(|request| (request.method, request.path, request.content_type, request.body)).collect()
}

#[tokio::test]
async fn a_pool_is_made_shown_changed_and_deleted_as_by_the_python_server() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    is(&get(&gateway, "/v1/pools").await, 200, r#"{"items":[]}"#);
    let made = create(&gateway, "p1").await;
    let first = shown(&cluster, "p1", CAPACITY);
    is(&made, 201, &first);
    let exists = r#"{"code":"KUBERNETES::POOL_ALREADY_EXISTS","message":"Pool 'p1' already exists."}"#;
    is(&ask(&gateway, "POST", "/v1/pools", &new("p1", "{}")).await, 409, exists);
    is(&get(&gateway, "/v1/pools").await, 200, &format!(r#"{{"items":[{first}]}}"#));
    is(&get(&gateway, "/v1/pools/p1").await, 200, &first);
    let change = format!(r#"{{"capacitySpec":{MORE}}}"#);
    is(&ask(&gateway, "PUT", "/v1/pools/p1", &change).await, 200, &shown(&cluster, "p1", MORE));
    is(&ask(&gateway, "PUT", "/v1/pools/zz", &change).await, 404, &not_found("zz"));
    is(&ask(&gateway, "DELETE", "/v1/pools/p1", "").await, 204, "");
    is(&ask(&gateway, "DELETE", "/v1/pools/p1", "").await, 404, &not_found("p1"));
    is(&get(&gateway, "/v1/pools/p1").await, 404, &not_found("p1"));
    let writes = writes(&cluster);
    let [made, again, changed, missing, deleted, gone] = &writes[..] else { panic!("six writes") };
    let (template, capacity): (Value, Value) =
        (serde_json::from_str(TEMPLATE).unwrap(), serde_json::from_str(CAPACITY).unwrap());
    let object = json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "Pool", "metadata": {"name": "p1",
        "namespace": "osb"}, "spec": {"template": template, "capacitySpec": capacity}});
    assert_eq!((made.0.as_str(), made.1.as_str(), &made.3), ("POST", PATH, &object));
    // To the byte: the order of members too.
    assert_eq!(made.3.to_string(), object.to_string());
    assert_eq!(again.3["spec"]["template"], json!({}));
    let patch = json!({"spec": {"capacitySpec": serde_json::from_str::<Value>(MORE).unwrap()}});
    let media = "application/merge-patch+json";
    assert_eq!(*changed, ("PATCH".to_owned(), format!("{PATH}/p1"), media.to_owned(), patch));
    assert_eq!(missing.1, format!("{PATH}/zz"));
    for one in [deleted, gone] {
        assert_eq!((one.0.as_str(), &one.3["gracePeriodSeconds"]), ("DELETE", &json!(0)), "{one:?}");
    }
}

#[tokio::test]
async fn a_template_is_stored_as_it_came_and_its_status_is_shown() {
    let cluster = Cluster::start();
    cluster.server.operate(Operator::default());
    let gateway = cluster.gateway("").start();
    let template = r#"{"zz":1,"metadata":{"labels":{"b":"1","a":"2"}},"spec":{"nodeSelector":{"x":"y"},"containers":[{"name":"sandbox","resources":{"limits":{"cpu":2,"memory":"1Gi"}},"image":"x","unknown":null}]}}"#;
    assert_eq!(ask(&gateway, "POST", "/v1/pools", &new("p1", template)).await.status(), 201);
    let made = writes(&cluster).remove(0).3;
    assert_eq!(made["spec"]["template"].to_string(), template);
    eventually("the operator", Duration::from_secs(10), || !cluster.get(&POOLS, "p1").unwrap()["status"].is_null())
        .await;
    let status = json!({"total": 0, "allocated": 0, "available": 0, "revision": "r1"});
    let shown = get(&gateway, "/v1/pools/p1").await.json();
    assert_eq!(shown["status"].to_string(), status.to_string());
    let keys: Vec<_> = shown.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["name", "capacitySpec", "status", "createdAt"]);
    // What others made, and half of it.
    cluster.put(
        &POOLS,
        json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "Pool", "metadata": {"name": "odd.one",
            "namespace": NAMESPACE}, "spec": {"capacitySpec": {"poolMax": 3, "poolMin": "x"}}, "status": {"total": 3, "allocated": "2"}}),
    );
    let odd = get(&gateway, "/v1/pools/odd.one").await.json();
    let capacity = json!({"bufferMax": 0, "bufferMin": 0, "poolMax": 3, "poolMin": 0});
    assert_eq!(
        (&odd["capacitySpec"], &odd["status"]),
        (&capacity, &json!({"total": 3, "allocated": 0, "available": 0, "revision": ""}))
    );
    // Whatever it is that the operator has said.
    cluster.put(
        &POOLS,
        json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "Pool", "metadata": {"name": "new.one",
            "namespace": NAMESPACE}, "spec": {}, "status": {"observedGeneration": 1}}),
    );
    let new = get(&gateway, "/v1/pools/new.one").await.json();
    assert_eq!(new["status"], json!({"total": 0, "allocated": 0, "available": 0, "revision": ""}));
}

#[tokio::test]
async fn what_would_blind_the_operator_is_not_stored() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    for (template, why) in [
        (
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}"#,
            "template.spec.containers[0].resources.limits.cpu: 'lots' is no quantity such as 500m or 1Gi.",
        ),
        (
            r#"{"spec":{"containers":"x"}}"#,
            r#"template is no pod template: invalid type: string \"x\", expected a sequence."#,
        ),
        (
            r#"{"metadata":{"creationTimestamp":"2026-11-23 02:11:02Z"}}"#,
            r#"template.metadata.creationTimestamp: \"2026-11-23 02:11:02Z\" is no time such as 2026-11-23T02:11:02Z."#,
        ),
    ] {
        let text = format!(r#"{{"code":"SANDBOX::INVALID_PARAMETER","message":"{why}"}}"#);
        is(&ask(&gateway, "POST", "/v1/pools", &new("p1", template)).await, 400, &text);
    }
    let large = r#"{"bufferMax":2147483648,"bufferMin":0,"poolMax":2,"poolMin":0}"#;
    let text =
        r#"{"code":"SANDBOX::INVALID_PARAMETER","message":"capacitySpec.bufferMax must be at most 2147483647."}"#;
    let body = format!(r#"{{"name":"p1","template":{{}},"capacitySpec":{large}}}"#);
    is(&ask(&gateway, "POST", "/v1/pools", &body).await, 400, text);
    is(&ask(&gateway, "PUT", "/v1/pools/p1", &format!(r#"{{"capacitySpec":{large}}}"#)).await, 400, text);
    assert_eq!(writes(&cluster), []);
}

#[tokio::test]
async fn the_form_goes_first_and_no_name_leads_elsewhere() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    let asked = cluster.requests().len();
    assert_eq!(ask(&gateway, "POST", "/v1/pools", r#"{"name":"P"}"#).await.status(), 422);
    assert_eq!(ask(&gateway, "PUT", "/v1/pools/zz", "{}").await.status(), 422);
    let long = "a".repeat(300);
    for name in ["..", "P", "a_b", "%2e%2e%2fpods", "a%3Fb", "-a", &long] {
        for (method, body) in [("GET", ""), ("DELETE", ""), ("PUT", &*format!(r#"{{"capacitySpec":{MORE}}}"#))] {
            let answer = ask(&gateway, method, &format!("/v1/pools/{name}"), body).await;
            assert_eq!(
                (answer.status(), answer.code().as_str()),
                (404, "KUBERNETES::POOL_NOT_FOUND"),
                "{method} {name}"
            );
        }
    }
    assert!(!cluster.requests()[asked..].iter().any(|request| request.contains("pools")), "{:?}", cluster.requests());
}

#[tokio::test]
async fn all_pages_of_the_list_are_shown() {
    let cluster = Cluster::start();
    many(&cluster, 230);
    let gateway = cluster.gateway("").start();
    let all = get(&gateway, "/v1/pools").await.json();
    let sizes: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|pool| pool["capacitySpec"]["poolMax"].clone()).collect();
    assert_eq!(sizes, (0..230).map(|number| json!(number)).collect::<Vec<_>>());
    let lists =
        cluster.requests().into_iter().filter(|request| request.starts_with("GET") && request.contains("/pools"));
    assert_eq!(lists.count(), 23);
}

fn many(cluster: &Cluster, count: usize) {
    for number in 0..count {
        cluster.put(
            &POOLS,
            json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "Pool", "metadata": {"name": format!("p{number:03}"),
                "namespace": NAMESPACE}, "spec": {"template": {}, "capacitySpec": {"poolMax": number}}}),
        );
    }
}

#[tokio::test]
async fn a_list_whose_next_page_is_too_old_is_begun_anew() {
    let cluster = Cluster::start();
    many(&cluster, 25);
    let gateway = cluster.gateway("").start();
    cluster.server.fault("GET", "continue=", Action::Expired, 1);
    let all = get(&gateway, "/v1/pools").await;
    assert_eq!((all.status(), all.json()["items"].as_array().map(Vec::len)), (200, Some(25)), "{all}");
    assert!(cluster.requests().iter().filter(|request| request.contains("/pools?")).count() > 3);
}

#[tokio::test]
async fn lists_of_one_namespace_wait_for_each_other() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    cluster.server.fault("GET", "/pools?", Action::Delay(Duration::from_secs(2)), 1);
    let lists = || cluster.requests().iter().filter(|request| request.contains("/pools?")).count();
    let all = futures_util::future::join_all((0..8).map(|_| get(&gateway, "/v1/pools")));
    let watched = async {
        eventually("the first", Duration::from_secs(10), || lists() > 0).await;
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(100) {
            assert_eq!(lists(), 1);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (all, ()) = tokio::join!(all, watched);
    assert!(all.iter().all(|answer| answer.status() == 200), "{all:?}");
    assert_eq!(lists(), 8);
}

#[tokio::test]
async fn a_refusal_that_is_no_other_pool_is_not_told_as_one() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    cluster.server.fault("POST", "/pools", Action::Fail(Failure::new(409, "Conflict", "a webhook's")), 1);
    let answer = create(&gateway, "p1").await;
    assert_eq!((answer.status(), answer.code().as_str()), (500, "KUBERNETES::POOL_API_ERROR"), "{answer}");
}

#[tokio::test]
async fn a_cluster_without_pools_has_none() {
    let cluster = Cluster::start();
    cluster.server.set_there(&POOLS, false);
    let gateway = cluster.gateway("").start();
    is(&get(&gateway, "/v1/pools").await, 200, r#"{"items":[]}"#);
    is(&get(&gateway, "/v1/pools/p1").await, 404, &not_found("p1"));
    is(&ask(&gateway, "PUT", "/v1/pools/p1", &format!(r#"{{"capacitySpec":{MORE}}}"#)).await, 404, &not_found("p1"));
    is(&ask(&gateway, "DELETE", "/v1/pools/p1", "").await, 404, &not_found("p1"));
    let refused = create(&gateway, "p1").await;
    assert_eq!((refused.status(), refused.code().as_str()), (500, "KUBERNETES::POOL_API_ERROR"), "{refused}");
}

#[tokio::test]
async fn an_api_server_that_refuses_or_is_away_is_told() {
    let mut cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    let change = format!(r#"{{"capacitySpec":{MORE}}}"#);
    let made = new("p1", TEMPLATE);
    let requests: [(&'static str, &str, &str); 5] =
        [("POST", "", &made), ("GET", "", ""), ("GET", "/p1", ""), ("PUT", "/p1", &change), ("DELETE", "/p1", "")];
    for (failure, status, code, again) in [
        (Failure::new(403, "Forbidden", "no"), 403, "KUBERNETES::FORBIDDEN", ""),
        (Failure::too_many_requests(), 429, "KUBERNETES::POOL_API_ERROR", "1"),
        (Failure::new(500, "InternalError", "no"), 500, "KUBERNETES::POOL_API_ERROR", ""),
        (Failure::new(503, "ServiceUnavailable", "no"), 503, "KUBERNETES::POOL_API_ERROR", "5"),
    ] {
        for (method, path, body) in requests {
            let sent = if method == "PUT" { "PATCH" } else { method };
            cluster.server.fault(sent, "/pools", Action::Fail(failure.clone()), 1);
            let answer = ask(&gateway, method, &format!("/v1/pools{path}"), body).await;
            assert_eq!((answer.status(), answer.code().as_str()), (status, code), "{method} {path}: {answer}");
            assert_eq!(answer.head.field("retry-after"), again, "{method} {path}");
        }
    }
    assert!(cluster.get(&POOLS, "p1").is_none());
    cluster.server.kill();
    for (method, path, body) in requests {
        let answer = ask(&gateway, method, &format!("/v1/pools{path}"), body).await;
        assert_eq!((answer.status(), answer.code().as_str()), (503, "KUBERNETES::POOL_API_ERROR"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_tenant_has_the_pools_of_its_namespace_but_for_those_of_others() {
    let world = World::start();
    let gateway = world.gateway();
    let made = with_key(&gateway, "key-a1", "POST", "/v1/pools", &new("p1", TEMPLATE)).await;
    assert_eq!(made.status(), 201, "{made}");
    let object = world.cluster.server.get(&POOLS, "a", "p1").unwrap();
    assert_eq!(object["metadata"]["labels"], json!({"opensandbox.io/tenant": "team-a"}));
    world.cluster.server.create(
        &POOLS,
        "a",
        json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "Pool", "metadata": {"name": "all-s",
            "namespace": "a"}, "spec": {"template": {}, "capacitySpec": {}}}),
    );
    let names = async |key: &str| -> Vec<String> {
        let list = with_key(&gateway, key, "GET", "/v1/pools", "").await.json();
        list["items"].as_array().unwrap().iter().map(|pool| pool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("key-a2").await, ["all-s", "p1"]);
    assert_eq!(names("key-as").await, ["all-s"]);
    assert_eq!(names("key-b").await, <[String; 0]>::default());
    let change = format!(r#"{{"capacitySpec":{MORE}}}"#);
    for key in ["key-as", "key-b"] {
        for (method, body) in [("GET", ""), ("PUT", &*change), ("DELETE", "")] {
            is(&with_key(&gateway, key, method, "/v1/pools/p1", body).await, 404, &not_found("p1"));
        }
    }
    assert_eq!(world.cluster.server.get(&POOLS, "a", "p1"), Some(object), "nothing has changed");
    // The same name in another namespace is another pool; in the same it is taken.
    assert_eq!(with_key(&gateway, "key-b", "POST", "/v1/pools", &new("p1", TEMPLATE)).await.status(), 201);
    let taken = with_key(&gateway, "key-as", "POST", "/v1/pools", &new("p1", TEMPLATE)).await;
    assert_eq!((taken.status(), taken.code().as_str()), (409, "KUBERNETES::POOL_ALREADY_EXISTS"));
    assert_eq!(with_key(&gateway, "key-a1", "PUT", "/v1/pools/p1", &change).await.json()["capacitySpec"]["poolMax"], 6);
    assert_eq!(with_key(&gateway, "key-b", "DELETE", "/v1/pools/p1", "").await.status(), 204);
    assert!(world.cluster.server.get(&POOLS, "a", "p1").is_some());
    // A pool that was made anew under the name since it was looked at is another one.
    world.cluster.server.fault("DELETE", "/pools/p1", Action::Delay(Duration::from_millis(300)), 1);
    let deletion = with_key(&gateway, "key-a1", "DELETE", "/v1/pools/p1", "");
    let replaced = async {
        world.cluster.server.wait_asked("/namespaces/a/pools/p1").await;
        let is_asked =
            || writes(&world.cluster).iter().any(|write| write.0 == "DELETE" && write.1.contains("/a/pools/p1"));
        eventually("the deletion", Duration::from_secs(10), is_asked).await;
        world.cluster.server.remove(&POOLS, "a", "p1");
        let of_another = json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "Pool", "metadata": {"name": "p1",
            "namespace": "a", "labels": {"opensandbox.io/tenant": "shadow"}}, "spec": {"template": {}, "capacitySpec": {}}});
        world.cluster.server.create(&POOLS, "a", of_another);
    };
    let (deletion, ()) = tokio::join!(deletion, replaced);
    is(&deletion, 404, &not_found("p1"));
    assert!(world.cluster.server.get(&POOLS, "a", "p1").is_some());
}

#[tokio::test]
async fn a_runtime_without_pools_says_so_behind_the_form() {
    let gateway = Setup::process().start();
    let none = r#"{"code":"KUBERNETES::POOL_NOT_SUPPORTED","message":"Pool management is only available when runtime.type is 'kubernetes'."}"#;
    is(&get(&gateway, "/v1/pools").await, 501, none);
    is(&create(&gateway, "p1").await, 501, none);
    assert_eq!(ask(&gateway, "POST", "/v1/pools", "{}").await.status(), 422);
}

#[tokio::test]
async fn there_are_no_templates() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    let none = r#"{"code":"FSB::API_NOT_SUPPORTED","message":"Template management needs the fast-sandbox backend, which this server does not have."}"#;
    for (method, path, body) in [
        ("GET", "", ""),
        ("POST", "", r#"{"image":"x","publish":"s3://b/p"}"#),
        ("GET", "/tpl-1", ""),
        ("DELETE", "/tpl-1", ""),
    ] {
        is(&ask(&gateway, method, &format!("/v1/templates{path}"), body).await, 501, none);
    }
}
