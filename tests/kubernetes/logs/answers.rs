//! What an answer is: its format, its head, its refusals.

use super::{fixture::World, records};
use crate::support::{
    client::Client,
    kube::{Action, Failure, logs::StreamGate, resource::PODS},
};

#[tokio::test]
async fn formats_carry_utc_whatever_the_zone_of_the_node() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.node().set_offset(8);
    let time = "2026-11-26T13:14:51.45Z".parse().unwrap();
    sandbox.container.print_at(time, crate::support::kube::logs::Stream::Stdout, "one\n");
    assert_eq!(sandbox.read(&gateway, "").await.body, "one\n");
    assert_eq!(sandbox.read(&gateway, "timestamps=true").await.body, "2026-11-26T13:14:51.450000000Z one\n");
    let all = records(&sandbox.read(&gateway, "format=ndjson").await);
    assert_eq!(
        (all[0]["log"].as_str(), all[0]["time"].as_str()),
        (Some("one\n"), Some("2026-11-26T13:14:51.450000000Z"))
    );
    assert_eq!((all[1]["event"].as_str(), all[1]["reason"].as_str()), (Some("end"), Some("complete")));
    let events = sandbox.read(&gateway, "format=sse").await;
    let text = String::from_utf8_lossy(&events.body).into_owned();
    assert!(text.starts_with("retry: 2000\n") && text.contains("\"log\":\"one\\n\""), "{text}");
    assert!(text.contains("event: end\n"), "{text}");
}

#[tokio::test]
async fn access_that_is_not_granted_is_told() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let message = format!("pods \"{}\" is forbidden: User \"u\" cannot get resource \"pods/log\"", sandbox.pod());
    let failure = Failure::new(403, "Forbidden", message);
    world.server.fault("GET", "/log", Action::Fail(failure), 1);
    assert_eq!(sandbox.read(&gateway, "").await.status(), 403);
    assert!(world.server.get(&PODS, super::fixture::NAMESPACE, &sandbox.pod()).is_some());
}

#[tokio::test]
async fn a_silent_container_has_its_head_at_once() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let mut client = Client::connect(gateway.address()).await;
    let target = sandbox.target("follow=true");
    // Less than the 30 s that the gateway waits for the API server's.
    let head = tokio::time::timeout(std::time::Duration::from_secs(20), client.get(&target));
    assert_eq!(head.await.expect("a head").status, 200);
    sandbox.container.out("first\n");
    assert_eq!(client.body_of(6).await, "first\n");
}

#[tokio::test]
async fn a_refusal_for_another_reason_does_not_prove_that_streams_can_be_told_apart() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.out("out\n");
    // It gives both streams, whichever is asked for.
    world.logs.set_gate(StreamGate::Unknown);
    let probe = "stream=opensandbox-gateway";
    let waits = Failure::bad_request("container \"sandbox\" in pod \"p\" is waiting to start: ContainerCreating");
    for action in [Action::Fail(waits), Action::Html(422, "<html>no</html>")] {
        world.server.fault("GET", probe, action, 1);
        assert_ne!(sandbox.read(&gateway, "stderr=false").await.status(), 200);
        assert_eq!(sandbox.read(&gateway, "stderr=false").await.status(), 422);
    }
}
