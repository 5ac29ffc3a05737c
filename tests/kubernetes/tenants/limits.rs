//! What tenants cost: watches while they are used, and calls no faster than is allowed.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fixture::{World, get, seen, with_key};
use crate::{
    cluster::{BATCH, Cluster},
    fixture::batch,
    fixture::{ID, OTHER, ask},
    support::{
        eventually,
        gateway::Setup,
        kube::{Action, Credentials, Rule},
    },
};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_namespace_is_watched_while_it_is_used() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "");
    world.sandbox(OTHER, "b", "team-b", "");
    // So a namespace is let go after 12 s.
    let gateway = world.setup("cache_max_age_seconds = 0.2").start();
    let open = |namespace: &str| world.cluster.server.open(&format!("/namespaces/{namespace}/"));
    world.cluster.server.wait_asked("/namespaces/osb/").await;
    let asked = world.cluster.requests();
    assert!(!asked.iter().any(|request| request.contains("namespaces/a/")), "{asked:?}");
    assert_eq!([seen(&gateway, "key-a1").await, seen(&gateway, "key-b").await], [json!(1), json!(1)]);
    eventually("watches", LONG, || open("a") == 2 && open("b") == 2).await;
    // Two tenants of one namespace share its watches.
    assert_eq!(seen(&gateway, "key-as").await, 0);
    // One is used, the other is not. A watch lasts for a second, and another one follows at once.
    let asked = || world.cluster.requests().iter().filter(|request| request.contains("/namespaces/a/")).count();
    let (begun, mut last, mut count) = (Instant::now(), Instant::now(), asked());
    while last.elapsed() < Duration::from_secs(4) {
        assert_eq!(seen(&gateway, "key-b").await, 1);
        assert!(begun.elapsed() < LONG, "the watches that nobody needs");
        let now = asked();
        if now != count {
            (last, count) = (Instant::now(), now);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(14), "{:?}", begun.elapsed());
    assert_eq!(open("a"), 0);
    eventually("the watches that somebody needs", LONG, || open("b") == 2).await;
    assert_eq!(seen(&gateway, "key-a1").await, 1, "they begin anew");
}

#[tokio::test]
async fn a_namespace_that_is_closed_to_the_gateway_is_one_tenant_s_trouble() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "");
    world.sandbox(OTHER, "b", "team-b", "");
    let server = &world.cluster.server;
    server.token("t", "gateway");
    let all = "get,list,watch,patch,delete";
    server.rules("gateway", vec![Rule::new(all, "*", "a"), Rule::new("get", "namespaces", "*")]);
    let setup = Setup::kubernetes(&server.kubeconfig(Credentials::Token("t")), "osb").section("[tenants]");
    let gateway = setup.env("SANDBOX_TENANTS_CONFIG_PATH", world.file().to_str().unwrap()).start();
    assert_eq!(seen(&gateway, "key-a1").await, 1);
    assert_eq!(seen(&gateway, "key-b").await, "SANDBOX_LIST_UNAVAILABLE");
    let refused = get(&gateway, "key-b", &format!("/v1/sandboxes/{OTHER}")).await;
    assert_eq!((refused.status(), refused.code().as_str()), (403, "KUBERNETES::FORBIDDEN"));
    // The server's own namespace is closed too, which is no reason to send everyone elsewhere.
    assert_eq!(get(&gateway, "", "/ready").await.status(), 200);
}

#[tokio::test]
async fn writes_are_no_faster_than_allowed_and_who_would_wait_too_long_is_told_when() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("write_qps = 0.05\nwrite_burst = 2").start();
    let target = format!("/v1/sandboxes/{ID}/metadata");
    let patch = async |body: &str| ask(&gateway, "PATCH", &target, body).await;
    assert_eq!([patch(r#"{"a":"1"}"#).await.status(), patch(r#"{"a":"2"}"#).await.status()], [200, 200]);
    let refused = patch(r#"{"a":"3"}"#).await;
    assert_eq!((refused.status(), refused.code().as_str()), (429, "KUBERNETES::API_ERROR"));
    let after: u64 = refused.head.field("retry-after").parse().unwrap();
    assert!((15..=20).contains(&after), "{after}");
    let text = "Failed to patch sandbox labels: more calls of the API server are waiting than kubernetes.read_qps or write_qps allow";
    assert_eq!(refused.json()["message"], text);
    // Reads are from memory, and have a limit of their own.
    for _ in 0..20 {
        assert_eq!(ask(&gateway, "GET", &format!("/v1/sandboxes/{ID}"), "").await.status(), 200);
    }
}

#[tokio::test]
async fn changes_of_one_tenant_that_hang_leave_room_for_those_of_others() {
    const NEIGHBOUR: &str = "neighbour";
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "");
    world.sandbox(NEIGHBOUR, "a", "shadow", "");
    world.sandbox(OTHER, "b", "team-b", "");
    let gateway = world.gateway();
    let target = |id: &str| format!("/v1/sandboxes/{id}/metadata");
    for (key, id) in [("key-a1", ID), ("key-as", NEIGHBOUR), ("key-b", OTHER)] {
        assert_eq!(with_key(&gateway, key, "PATCH", &target(id), r#"{"n":"v"}"#).await.status(), 200);
    }
    world.cluster.server.fault("PATCH", ID, Action::Hang, usize::MAX);
    let hanging = target(ID);
    let all = (0..300).map(|_| with_key(&gateway, "key-a1", "PATCH", &hanging, r#"{"n":"w"}"#));
    let crowd = futures_util::future::join_all(all);
    let hung = || {
        world.cluster.requests().iter().filter(|request| request.starts_with("PATCH") && request.contains(ID)).count()
    };
    let other = async {
        eventually("changes that hang", LONG, || hung() > 60).await;
        let begun = Instant::now();
        // One of another namespace, and one of the same.
        for (key, id) in [("key-b", OTHER), ("key-as", NEIGHBOUR)] {
            let answer = with_key(&gateway, key, "PATCH", &target(id), r#"{"n":"w"}"#).await;
            assert_eq!(answer.status(), 200, "{answer:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        // The last of them may be in their handshakes still.
        eventually("all that there are places for", LONG, || hung() > 64).await;
        assert_eq!(hung(), 1 + 64);
    };
    tokio::select! { () = other => {}, _ = crowd => panic!("none of them hung") }
}

#[tokio::test]
async fn tenants_have_no_templates_either() {
    let world = World::start();
    let gateway = world.gateway();
    for (method, body) in [("GET", ""), ("POST", r#"{"image":"x","publish":"s3://b/p"}"#)] {
        let answer = with_key(&gateway, "key-a1", method, "/v1/templates", body).await;
        assert_eq!((answer.status(), answer.code().as_str()), (501, "FSB::API_NOT_SUPPORTED"), "{method}");
    }
}
