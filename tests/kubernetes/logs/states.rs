//! The rows of kubernetes-api.md §3: what the gateway answers where the API server answers so.

use serde_json::Value;

use super::{
    fixture::{MAIN, NAMESPACE, Sandbox, World},
    records,
};
use crate::support::{
    gateway::{Gateway, Setup},
    kube::{
        Credentials, Rule,
        logs::{Container, Fault, PodObject, Reach, Runtime, Status},
        resource::{BATCH_SANDBOXES, PODS},
    },
};

/// An answer: status, code, and words of the message.
type Row = (u16, &'static str, &'static str);

const NOT_STARTED: &str = "LOGS::NOT_STARTED";
const API_ERROR: &str = "KUBERNETES::API_ERROR";

/// Checks that a log is refused so, followed or not: the pod tells.
async fn is_refused(sandbox: &Sandbox<'_>, gateway: &Gateway, what: &str, row: Row) {
    is_refused_for(sandbox, gateway, what, &["", "follow=true", "format=ndjson&follow=true", "tail=5"], row).await;
}

/// Checks that a log that is not followed is refused so: who follows has an answer after 50 ms, whatever the node does.
async fn is_refused_plain(sandbox: &Sandbox<'_>, gateway: &Gateway, what: &str, row: Row) {
    is_refused_for(sandbox, gateway, what, &["", "format=sse", "tail=5"], row).await;
}

async fn is_refused_for(
    sandbox: &Sandbox<'_>,
    gateway: &Gateway,
    what: &str,
    queries: &[&str],
    (status, code, words): Row,
) {
    for query in queries {
        let answer = sandbox.read(gateway, query).await;
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status(), answer.code().as_str()), (status, code), "{what} {query}: {message}");
        assert!(message.contains(words), "{what} {query}: {message}");
    }
}

/// What is printed, and how the log ends.
async fn read(sandbox: &Sandbox<'_>, gateway: &Gateway, query: &str) -> (String, Value) {
    let mut all = records(&sandbox.read(gateway, &format!("format=ndjson&{query}")).await);
    let end = all.pop().unwrap();
    let text = all.iter().map(|record| record["log"].as_str().unwrap_or_else(|| panic!("{record}"))).collect();
    (text, end)
}

fn printed(world: &World, text: &str) -> Container {
    let container = world.logs.container();
    container.out(text);
    container
}

#[tokio::test]
async fn a_container_that_was_not_started_waits_for_something() {
    let world = World::start();
    let gateway = world.gateway("");
    let waiting = |reason: &str| {
        let status = Status::waiting(reason);
        world.sandbox_of(world.logs.container(), |pod| pod.container(MAIN, &status).phase("Pending"))
    };
    for (reason, words) in [
        ("ContainerCreating", "it is being created (ContainerCreating)"),
        ("PodInitializing", "the init containers have not ended (PodInitializing)"),
        ("CreateContainerConfigError", "its configuration cannot be used (CreateContainerConfigError)"),
        ("ErrImageNeverPull", "its image is not on the node and may not be pulled (ErrImageNeverPull)"),
        ("InvalidImageName", "the name of its image is not valid (InvalidImageName)"),
        ("ErrImagePull", "its image cannot be pulled (ErrImagePull)"),
        ("ImagePullBackOff", "its image cannot be pulled, which is tried again (ImagePullBackOff)"),
    ] {
        is_refused(&waiting(reason), &gateway, reason, (409, NOT_STARTED, words)).await;
    }
    let unreported = world.sandbox_of(world.logs.container(), |pod| pod.unreported(MAIN).phase("Pending"));
    is_refused(&unreported, &gateway, "no status", (409, NOT_STARTED, "its node has not begun to start it")).await;
    let unscheduled = world.sandbox_of(world.logs.container(), |pod| pod.unreported(MAIN).node(None));
    is_refused(&unscheduled, &gateway, "no node", (409, NOT_STARTED, "its pod is on no node yet")).await;
    let none = world.sandbox();
    world.server.remove(&PODS, NAMESPACE, &none.pod());
    is_refused(&none, &gateway, "no pod", (409, NOT_STARTED, "it has no pod yet")).await;
}

/// Kubernetes answers with an empty log and 200.
#[tokio::test]
async fn a_command_that_cannot_be_run_has_no_log() {
    let world = World::start();
    let gateway = world.gateway("");
    let words = "its command cannot be run (StartError)";
    let container = world.logs.container();
    container.exit();
    let failed = Status::terminated_by(&container, 128, "StartError");
    let never = world.sandbox_of(container.clone(), |pod| pod.container(MAIN, &failed).phase("Failed"));
    is_refused(&never, &gateway, "restartPolicy Never", (409, NOT_STARTED, words)).await;
    let always = world.sandbox_of(container.clone(), |pod| pod.container(MAIN, &failed).phase("Running"));
    is_refused(&always, &gateway, "restartPolicy Always", (409, NOT_STARTED, words)).await;
}

#[tokio::test]
async fn pods_that_have_ended_have_their_whole_log() {
    let world = World::start();
    let gateway = world.gateway("");
    for (phase, code) in [("Succeeded", 0), ("Failed", 3)] {
        let container = printed(&world, "a\nb\n");
        container.exit();
        let ended = Status::terminated(&container, code);
        let sandbox = world.sandbox_of(container, |pod| pod.container(MAIN, &ended).phase(phase));
        let (text, end) = read(&sandbox, &gateway, "").await;
        assert_eq!((text.as_str(), end["reason"].as_str()), ("a\nb\n", Some("complete")), "{phase}");
        let (text, end) = read(&sandbox, &gateway, "follow=true").await;
        assert_eq!((text.as_str(), end["reason"].as_str()), ("a\nb\n", Some("exited")), "{phase}");
        assert_eq!(end["exit_code"].as_i64(), Some(code.into()), "{phase}");
    }
}

#[tokio::test]
async fn a_container_in_back_off_shows_its_last_instance() {
    let world = World::start();
    let gateway = world.gateway("");
    let container = printed(&world, "last words\n");
    container.exit();
    let status = Status::waiting("CrashLoopBackOff").after(&container, 7);
    let sandbox = world.sandbox_of(container, |pod| pod.container(MAIN, &status));
    assert_eq!(read(&sandbox, &gateway, "").await.0, "last words\n");
    let (text, end) = read(&sandbox, &gateway, "follow=true").await;
    assert_eq!((text.as_str(), end["reason"].as_str()), ("last words\n", Some("exited")), "{end}");
    assert_eq!(end["exit_code"], 7);
    // Kubernetes gives the same.
    assert_eq!(read(&sandbox, &gateway, "previous=true").await.0, "last words\n");
}

#[tokio::test]
async fn a_restart_shows_the_present_instance_and_keeps_one_before() {
    let world = World::start();
    let gateway = world.gateway("");
    let mut sandbox = world.sandbox();
    is_refused_previous(&sandbox, &gateway).await;
    sandbox.container.out("first\n");
    let first = sandbox.container.clone();
    sandbox.restart(1);
    sandbox.container.out("second\n");
    assert_eq!(sandbox.read(&gateway, "").await.body, "second\n");
    assert_eq!(sandbox.read(&gateway, "previous=true").await.body, "first\n");
    // It is no log that goes on.
    let (text, end) = read(&sandbox, &gateway, "previous=true&follow=true").await;
    assert_eq!(
        (text.as_str(), end["reason"].as_str(), end["exit_code"].as_i64()),
        ("first\n", Some("exited"), Some(1))
    );
    let second = sandbox.container.clone();
    sandbox.restart(2);
    world.logs.forget(&first);
    sandbox.container.out("third\n");
    assert_eq!(sandbox.read(&gateway, "").await.body, "third\n");
    assert_eq!(sandbox.read(&gateway, "previous=true").await.body, "second\n");
    // A node removes it when the third dies, though the pod goes on to name it: seen on Kubernetes 1.36.
    world.logs.forget(&second);
    is_refused_previous(&sandbox, &gateway).await;
}

async fn is_refused_previous(sandbox: &Sandbox<'_>, gateway: &Gateway) {
    let answer = sandbox.read(gateway, "previous=true").await;
    assert_eq!((answer.status(), answer.code().as_str()), (404, "LOGS::PREVIOUS_NOT_FOUND"), "{answer}");
}

#[tokio::test]
async fn containers_of_every_kind_are_read_by_their_names() {
    let world = World::start();
    let gateway = world.gateway("");
    let [main, side, init, debug] = ["main\n", "side\n", "init\n", "debug\n"].map(|text| printed(&world, text));
    init.exit();
    let running = [&main, &side, &debug].map(Status::running);
    let ended = Status::terminated(&init, 0);
    let sandbox = world.sandbox_of(main, |pod| {
        let pod = pod.init("execd-installer", &ended).container("egress", &running[1]);
        pod.container(MAIN, &running[0]).ephemeral("debugger", &running[2])
    });
    // The API server would refuse a request without a name.
    for (query, text) in [
        ("", "main\n"),
        ("container=sandbox", "main\n"),
        ("container=egress", "side\n"),
        ("container=execd-installer", "init\n"),
        ("container=debugger", "debug\n"),
    ] {
        assert_eq!(sandbox.read(&gateway, query).await.body, text, "{query}");
    }
    for query in ["container=nope", "container=nope&follow=true"] {
        let answer = sandbox.read(&gateway, query).await;
        assert_eq!((answer.status(), answer.code().as_str()), (404, "LOGS::CONTAINER_NOT_FOUND"), "{answer}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        let names = "It has: egress, sandbox, execd-installer, debugger.";
        assert!(message.contains("\"nope\"") && message.ends_with(names), "{message}");
    }
    let waiting = Status::waiting("ContainerCreating");
    let waits = world.sandbox_of(world.logs.container(), |pod| pod.container(MAIN, &waiting).phase("Pending"));
    let answer = waits.read(&gateway, "container=nope").await;
    assert_eq!((answer.status(), answer.code().as_str()), (404, "LOGS::CONTAINER_NOT_FOUND"), "{answer}");
}

#[tokio::test]
async fn a_pod_in_deletion_is_read_as_long_as_it_is_there() {
    let world = World::start();
    let gateway = world.gateway("");
    world.server.pod_stop(None);
    let sandbox = world.sandbox();
    sandbox.container.out("one\n");
    world.server.delete(&PODS, NAMESPACE, &sandbox.pod());
    assert_eq!(sandbox.read(&gateway, "").await.body, "one\n");
    // For a moment the kubelet says in its answer that the container is gone (E2).
    sandbox.container.exit();
    world.logs.forget(&sandbox.container);
    let answer = sandbox.read(&gateway, "").await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "LOGS::ENGINE_UNAVAILABLE"), "{answer}");
    world.server.remove(&PODS, NAMESPACE, &sandbox.pod());
    world.server.remove(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id);
    let gone = async || sandbox.read(&gateway, "").await.status() == 404;
    let begun = std::time::Instant::now();
    while !gone().await {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "it is not gone");
    }
}

#[tokio::test]
async fn what_lies_behind_the_api_server_is_away_and_the_sandbox_is_not() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let node = sandbox.container.node().clone();
    node.set_handshake_timeout(std::time::Duration::from_millis(200));
    let unreachable = (503, API_ERROR, "the API server cannot reach the pod's node");
    for reach in [Reach::Down, Reach::Frozen, Reach::Untrusted, Reach::NoAddress] {
        node.set_reach(reach);
        is_refused_plain(&sandbox, &gateway, &format!("{reach:?}"), unreachable).await;
    }
    let unknown = (503, API_ERROR, "its node does not know the pod at the moment");
    node.set_reach(Reach::Starting);
    is_refused_plain(&sandbox, &gateway, "kubelet just started", unknown).await;
    node.set_reach(Reach::Up);
    let running = Status::running(&sandbox.container);
    let elsewhere =
        world.sandbox_of(sandbox.container.clone(), |pod| pod.container(MAIN, &running).node(Some("nonode")));
    is_refused_plain(&elsewhere, &gateway, "a node that is missing", unknown).await;
    assert_eq!(sandbox.read(&gateway, "").await.status(), 200);
}

#[tokio::test]
async fn answers_of_other_programs_are_told_as_such() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    for (status, told, words) in [
        (400, 500, "the answer 400 is not the API server's"),
        (404, 503, "its node does not know the pod at the moment"),
        (500, 500, "the answer 500 is not the API server's"),
        (502, 503, "the answer 502 is not the API server's"),
    ] {
        world.logs.fault(Fault::refuse(status, "text/html", "<html>lb-7.internal not found").always());
        is_refused_plain(&sandbox, &gateway, &format!("HTML of a {status}"), (told, API_ERROR, words)).await;
        let told = sandbox.read(&gateway, "").await.to_string();
        assert!(!told.contains("lb-7"), "{told}");
        world.logs.heal();
    }
}

#[tokio::test]
async fn a_user_without_the_right_to_logs_is_told_of_it() {
    let world = World::start();
    world.server.token("t", "gateway");
    world.server.rules("gateway", vec![Rule::new("get,list,watch,patch,delete", "batchsandboxes,pods", NAMESPACE)]);
    let gateway = Setup::kubernetes(&world.server.kubeconfig(Credentials::Token("t")), NAMESPACE).start();
    let sandbox = world.sandbox();
    let words = "the cluster does not allow it to the gateway";
    is_refused_plain(&sandbox, &gateway, "RBAC", (403, "KUBERNETES::FORBIDDEN", words)).await;
    let message = sandbox.read(&gateway, "").await.to_string();
    assert!(message.contains("cannot get resource \\\"pods/log\\\""), "{message}");
}

/// Of several pods the newest that runs is the sandbox's, and a follow stays with it (log-pitfalls.md C14).
#[tokio::test]
async fn the_newest_pod_that_runs_is_read() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.out("runs\n");
    let add = |name: &str, container: &Container, phase: &str| {
        let pod = PodObject::new(NAMESPACE, name)
            .label("opensandbox.io/id", &sandbox.id)
            .label("batch-sandbox.sandbox.opensandbox.io/name", &sandbox.id)
            .container(MAIN, &Status::running(container))
            .phase(phase);
        world.server.create(&PODS, NAMESPACE, pod.json());
    };
    add(&format!("{}-1", sandbox.id), &printed(&world, "pending\n"), "Pending");
    add(&format!("{}-2", sandbox.id), &printed(&world, "failed\n"), "Failed");
    assert_eq!(sandbox.read(&gateway, "").await.body, "runs\n");
    let mut follow = sandbox.follow(&gateway, "").await;
    assert_eq!(follow.body_of(5).await, "runs\n");
    // Times of creation are whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    add(&format!("{}-3", sandbox.id), &printed(&world, "newer\n"), "Running");
    assert_eq!(sandbox.read(&gateway, "").await.body, "newer\n");
    sandbox.container.out("goes on\n");
    assert_eq!(follow.body_of(8).await, "goes on\n");
}

/// A runtime that hangs gives the head and nothing behind it (F8).
#[tokio::test]
async fn a_runtime_that_hangs_delays_a_log_and_loses_nothing() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.out("one\n");
    let node = sandbox.container.node().clone();
    node.set_runtime(Runtime::Frozen);
    let target = sandbox.target("follow=true");
    let mut follow = crate::support::client::Client::connect(gateway.address()).await;
    // Less than the 30 s that the gateway waits for the API server's.
    let head = tokio::time::timeout(std::time::Duration::from_secs(20), follow.get(&target)).await;
    assert_eq!(head.expect("a head at once").status, 200);
    let mut plain = std::pin::pin!(sandbox.read(&gateway, ""));
    assert!(tokio::time::timeout(std::time::Duration::from_secs(1), &mut plain).await.is_err(), "it waits");
    sandbox.container.out("two\n");
    node.set_runtime(Runtime::Up);
    assert_eq!(plain.await.body, "one\ntwo\n");
    assert_eq!(follow.body_of(8).await, "one\ntwo\n");
}

/// With other types or encodings the API server refuses, or may hold lines back (kubernetes-api.md T9, kubernetes.md C9). Without a
/// container's name it refuses where there are several, without times nothing can be gone on with.
#[tokio::test]
async fn every_request_for_a_log_is_one_that_the_api_server_takes() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.out("one\n");
    let mut follow = sandbox.follow(&gateway, "tail=1").await;
    assert_eq!(follow.body_of(4).await, "one\n");
    assert_eq!(sandbox.read(&gateway, "since=10m").await.body, "one\n");
    let all = world.server.requests();
    let logs: Vec<_> = all.iter().filter(|request| request.path.ends_with("/log")).collect();
    assert!(logs.len() >= 3, "{logs:?}");
    for asked in logs {
        assert_eq!((asked.accept.as_str(), asked.accept_encoding.as_str()), ("*/*", "identity"), "{asked:?}");
        assert_eq!((asked.query.text("container"), asked.query.text("timestamps")), (MAIN, "true"), "{asked:?}");
        assert!(asked.user_agent.starts_with("opensandbox-gateway/"), "{asked:?}");
    }
}
