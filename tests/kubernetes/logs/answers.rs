//! What the gateway answers for a pod in each state of kubernetes-api.md §3, and in each format.

use super::{fixture::World, records};
use crate::support::{
    client::Client,
    kube::{
        Action,
        logs::{Reach, Status},
        resource::PODS,
    },
};

/// The status and the code of an answer.
async fn refusal(world: &World, status: &Status) -> (u16, String, String) {
    let gateway = world.gateway("");
    let container = world.logs.container();
    let sandbox = world.sandbox_of(container, |pod| pod.container("sandbox", status).phase("Pending"));
    let plain = sandbox.read(&gateway, "").await;
    let followed = sandbox.read(&gateway, "follow=true").await;
    assert_eq!((plain.status(), &plain.body), (followed.status(), &followed.body));
    (plain.status(), plain.code().to_owned(), String::from_utf8_lossy(&plain.body).into_owned())
}

#[tokio::test]
async fn waiting_containers_are_not_started_for_a_reason() {
    let world = World::start();
    for reason in
        ["ContainerCreating", "PodInitializing", "CreateContainerConfigError", "ErrImagePull", "ImagePullBackOff"]
    {
        let (status, code, body) = refusal(&world, &Status::waiting(reason)).await;
        assert_eq!((status, code.as_str()), (409, "LOGS::NOT_STARTED"), "{reason}: {body}");
        let words = if reason.contains("Image") { "image" } else { reason };
        assert!(body.contains(words), "{reason}: {body}");
    }
}

#[tokio::test]
async fn a_command_that_is_not_there_is_not_an_empty_log() {
    let world = World::start();
    let gateway = world.gateway("");
    let container = world.logs.container();
    container.exit();
    let status = Status::terminated_by(&container, 128, "StartError");
    let sandbox = world.sandbox_of(container, |pod| pod.container("sandbox", &status).phase("Failed"));
    let answer = sandbox.read(&gateway, "").await;
    assert_eq!((answer.status(), answer.code().as_str()), (409, "LOGS::NOT_STARTED"), "{:?}", answer.body);
}

#[tokio::test]
async fn an_unscheduled_pod_is_not_started() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox_of(world.logs.container(), |pod| pod.unreported("sandbox").node(None));
    let answer = sandbox.read(&gateway, "").await;
    assert_eq!((answer.status(), answer.code().as_str()), (409, "LOGS::NOT_STARTED"), "{:?}", answer.body);
}

#[tokio::test]
async fn crash_loops_show_the_last_instance() {
    let world = World::start();
    let gateway = world.gateway("");
    let container = world.logs.container();
    container.out("last words\n");
    container.exit();
    let status = Status::waiting("CrashLoopBackOff").after(&container, 1);
    let sandbox = world.sandbox_of(container, |pod| pod.container("sandbox", &status));
    assert_eq!(sandbox.read(&gateway, "").await.body, "last words\n");
}

#[tokio::test]
async fn containers_are_named() {
    let world = World::start();
    let gateway = world.gateway("");
    let [main, side, init] = [(); 3].map(|()| world.logs.container());
    main.out("main\n");
    side.out("side\n");
    init.out("init\n");
    init.exit();
    let (running, beside) = (Status::running(&main), Status::running(&side));
    let ended = Status::terminated(&init, 0);
    let sandbox = world.sandbox_of(main.clone(), |pod| {
        pod.init("execd-installer", &ended).container("sandbox", &running).container("egress", &beside)
    });
    assert_eq!(sandbox.read(&gateway, "").await.body, "main\n");
    assert_eq!(sandbox.read(&gateway, "container=egress").await.body, "side\n");
    assert_eq!(sandbox.read(&gateway, "container=execd-installer").await.body, "init\n");
    let unknown = sandbox.read(&gateway, "container=nope").await;
    assert_eq!((unknown.status(), unknown.code().as_str()), (404, "LOGS::CONTAINER_NOT_FOUND"));
    let text = String::from_utf8_lossy(&unknown.body).into_owned();
    for name in ["sandbox", "egress", "execd-installer"] {
        assert!(text.contains(name), "{text}");
    }
    let previous = sandbox.read(&gateway, "previous=true").await;
    assert_eq!((previous.status(), previous.code().as_str()), (404, "LOGS::PREVIOUS_NOT_FOUND"));
}

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
async fn a_node_that_cannot_be_reached_is_not_a_sandbox_that_is_gone() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    for reach in [Reach::Down, Reach::Starting, Reach::Untrusted, Reach::NoAddress] {
        sandbox.container.node().set_reach(reach);
        let answer = sandbox.read(&gateway, "").await;
        assert_eq!(answer.status(), 503, "{reach:?}: {:?}", answer.body);
    }
    sandbox.container.node().set_reach(Reach::Up);
    let unknown = world.sandbox_of(world.logs.container(), |pod| {
        pod.container("sandbox", &Status::running(&sandbox.container)).node(Some("nonode"))
    });
    assert_eq!(unknown.read(&gateway, "").await.status(), 503);
}

#[tokio::test]
async fn access_that_is_not_granted_is_told() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let message = format!("pods \"{}\" is forbidden: User \"u\" cannot get resource \"pods/log\"", sandbox.pod());
    let failure = crate::support::kube::Failure::new(403, "Forbidden", message);
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
    let head = tokio::time::timeout(std::time::Duration::from_secs(5), client.get(&target));
    assert_eq!(head.await.expect("a head").status, 200);
    sandbox.container.out("first\n");
    assert_eq!(client.body_of(6).await, "first\n");
}
