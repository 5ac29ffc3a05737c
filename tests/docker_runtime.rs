//! The Docker runtime against a real engine, with the images `osb-test/busybox:1` and `osb-test/execd:stub`.
//!
//! Every test removes its sandboxes; those that fail leave theirs for a look.

#[path = "docker_runtime/by_hand.rs"]
mod by_hand;
#[path = "docker_runtime/creation.rs"]
mod creation;
#[path = "docker_runtime/exchange.rs"]
mod exchange;
#[path = "support/executable.rs"]
#[expect(unreachable_pub, reason = "other programs have it as a module of their own")]
mod executable;
#[path = "docker_runtime/faults.rs"]
mod faults;
#[path = "docker_runtime/fixture.rs"]
mod fixture;
#[path = "docker_runtime/late.rs"]
mod late;
#[path = "docker_runtime/log_driver.rs"]
mod log_driver;
#[path = "docker_runtime/log_records.rs"]
mod log_records;
#[path = "docker_runtime/log_tails.rs"]
mod log_tails;
#[path = "docker_runtime/logged.rs"]
mod logged;
#[path = "docker_runtime/metadata.rs"]
mod metadata;
#[path = "docker_runtime/owner.rs"]
mod owner;
#[path = "docker_runtime/pause.rs"]
mod pause;
#[path = "docker_runtime/proxy.rs"]
mod proxy;
#[path = "docker_runtime/reach.rs"]
mod reach;
#[path = "docker_runtime/registry.rs"]
mod registry;
#[path = "docker_runtime/renew.rs"]
mod renew;
#[path = "docker_runtime/scope.rs"]
mod scope;
#[path = "docker_runtime/sidecar.rs"]
mod sidecar;
#[path = "docker_runtime/snapshots.rs"]
mod snapshots;
#[path = "docker_runtime/strangers.rs"]
mod strangers;
#[path = "docker_runtime/tls.rs"]
mod tls;
#[path = "docker_runtime/unprivileged.rs"]
mod unprivileged;
#[path = "docker_runtime/unreadable.rs"]
mod unreadable;
#[path = "docker_runtime/volumes.rs"]
mod volumes;

use std::time::Duration;

use bollard::query_parameters::RemoveImageOptions;
use opensandbox_gateway::{
    error::{Family, Kind},
    model::{
        create::{CreateRequest, ImageSource, RegistryAuth},
        sandbox::State,
    },
    runtime::{
        Runtime,
        docker::{Docker, DockerOptions, endpoint::Endpoint},
    },
};

use fixture::{Fixture, eventually, options, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_lives_and_goes() {
    let fixture = Fixture::start().await;
    let mut request = request(&["sleep 1000"]);
    request.metadata.insert("owner".to_owned(), "alice".to_owned());
    request.env = vec![("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)];
    request.resource_limits.insert("memory".to_owned(), "64Mi".to_owned());
    assert!(fixture.docker.api_version().starts_with("1."), "{}", fixture.docker.api_version());
    let created = fixture.docker.create(request).await.unwrap();
    assert_eq!(created.status.message.as_deref(), Some("Sandbox container started successfully."));
    assert_eq!(created.entrypoint, ["sleep 1000"]);

    let got = fixture.docker.get(&created.id).await.unwrap();
    assert_eq!((got.status.state, got.entrypoint.join(" ")), (State::Running, "sleep 1000".to_owned()));
    assert_eq!(got.entrypoint.len(), 2);
    assert_eq!(got.image.as_ref().unwrap().uri, "osb-test/busybox:1");
    assert_eq!((got.expires_at, &got.metadata), (created.expires_at, &created.metadata));
    let listed = fixture.docker.list().await.unwrap().into_iter().find(|sandbox| sandbox.id == created.id);
    assert_eq!(listed.as_ref(), Some(&got));

    let container = fixture.engine.inspect_container(&format!("sandbox-{}", created.id), None).await.unwrap();
    let (config, host) = (container.config.unwrap(), container.host_config.unwrap());
    let env = config.env.unwrap();
    assert!(env.contains(&"A=1".to_owned()) && !env.iter().any(|entry| entry.starts_with("B=")));
    assert!(env.contains(&format!("OPENSANDBOX_ID={}", created.id)));
    assert_eq!(host.memory, Some(64 << 20));
    assert_eq!(host.pids_limit, Some(4096));
    let port: u16 = config.labels.unwrap()["opensandbox.io/embedding-proxy-port"].parse().unwrap();
    eventually("execd answers", async || {
        fixture::http_get(port, "/ping").await.is_some_and(|body| body.contains("ok"))
    })
    .await;

    fixture.docker.delete(&created.id).await.unwrap();
    let gone = fixture.docker.get(&created.id).await.unwrap_err();
    assert_eq!(
        (gone.key(), gone.message),
        ((Family::Sandbox, Kind::NotFound), format!("Sandbox {} not found.", created.id))
    );
    assert_eq!(fixture.docker.delete(&created.id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    fixture.docker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exits_are_told_apart() {
    let fixture = Fixture::start().await;
    for (command, state, message) in [
        (["/bin/true", ""], State::Terminated, "Sandbox container exited successfully."),
        (["/no/such", ""], State::Failed, "Sandbox container exited with code 127."),
    ] {
        let created = fixture.docker.create(request(&command)).await.unwrap();
        let status = async || fixture.docker.get(&created.id).await.unwrap().status;
        eventually("the sandbox exits", async || status().await.state == state).await;
        assert_eq!(status().await.message.as_deref(), Some(message));
        let listed = fixture.docker.list().await.unwrap().into_iter().find(|sandbox| sandbox.id == created.id);
        assert_eq!(listed.unwrap().status, status().await);
        fixture.docker.delete(&created.id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_leaves_nothing() {
    for broken in [
        DockerOptions { sandbox_binds: vec!["relative/path:nowhere".to_owned()], ..options() },
        DockerOptions { seccomp_profile: Some("no such profile".to_owned()), ..options() },
    ] {
        let fixture = Fixture::start_with(broken).await;
        let mut request = request(&["sleep", "9"]);
        request.metadata.insert("run".to_owned(), fixture.run.clone());
        let error = fixture.docker.create(request).await.unwrap_err();
        assert_eq!(error.key(), (Family::Creation, Kind::Failed));
        assert!(error.message.starts_with("Failed to create or start container: "), "{error}");
        assert_eq!(fixture.containers_with(&format!("run={}", fixture.run)).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_goes_on_without_its_client() {
    let fixture = Fixture::start().await;
    let mut request = request(&["sleep", "1000"]);
    request.metadata.insert("run".to_owned(), fixture.run.clone());
    let gate = fixture.proxy.hold("POST", "/containers/create?name=sandbox-");
    tokio::select! {
        created = fixture.docker.create(request) => panic!("it was not held: {created:?}"),
        () = gate.reached() => {}
    }
    gate.open();
    let find = async || {
        let sandboxes = fixture.docker.list().await.unwrap();
        sandboxes.into_iter().find(|sandbox| sandbox.metadata.get("run") == Some(&fixture.run))
    };
    eventually("the sandbox runs", async || find().await.is_some_and(|sandbox| sandbox.status.state == State::Running))
        .await;
    fixture.docker.delete(&find().await.unwrap().id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deletions_at_once_do_not_fail() {
    let fixture = Fixture::start().await;
    for _ in 0..3 {
        let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
        let (first, second, third) =
            tokio::join!(fixture.docker.delete(&id), fixture.docker.delete(&id), fixture.docker.delete(&id));
        let outcomes = [first, second, third];
        assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(error.key(), (Family::Sandbox, Kind::NotFound), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sandbox_is_shown_and_removed() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    fixture.docker.list().await.unwrap();
    fixture.engine.pause_container(&format!("sandbox-{id}")).await.unwrap();
    let listed = fixture.docker.list().await.unwrap().into_iter().find(|sandbox| sandbox.id == id).unwrap();
    assert_eq!(listed.status.reason.as_deref(), Some("CONTAINER_PAUSED"));
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_outlives_its_image_s_name() {
    let fixture = Fixture::start().await;
    let image = format!("osb-test/gone:{}", fixture.run);
    let (repo, tag) = image.split_once(':').unwrap();
    let options = bollard::query_parameters::TagImageOptions { repo: Some(repo.to_owned()), tag: Some(tag.to_owned()) };
    fixture.engine.tag_image("osb-test/busybox:1", Some(options)).await.unwrap();
    let source = ImageSource { uri: image.clone(), auth: None };
    let id = fixture.docker.create(CreateRequest { image: Some(source), ..request(&["/bin/true"]) }).await.unwrap().id;
    let force = RemoveImageOptions { force: true, ..Default::default() };
    fixture.engine.remove_image(&image, Some(force), None).await.unwrap();
    assert_eq!(fixture.docker.get(&id).await.unwrap().image.unwrap().uri, image);
    let listed = fixture.docker.list().await.unwrap().into_iter().find(|sandbox| sandbox.id == id).unwrap();
    assert_eq!(listed.image.unwrap().uri, image);
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_pull_tells_no_secret() {
    let fixture = Fixture::start().await;
    let auth = Some(RegistryAuth { username: "localhost".to_owned(), password: "connection".to_owned() });
    let source = ImageSource { uri: "localhost:1/no/such:1".to_owned(), auth };
    let error = fixture.docker.create(CreateRequest { image: Some(source), ..request(&["x"]) }).await.unwrap_err();
    assert_eq!(error.key(), (Family::Image, Kind::Failed));
    let (start, cause) = error.message.split_at("Failed to pull image localhost:1/no/such:1: ".len());
    assert_eq!(start, "Failed to pull image localhost:1/no/such:1: ");
    assert!(!cause.contains("localhost") && !cause.contains("connection"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_ends_a_sandbox_also_after_a_restart() {
    let mut fixture = Fixture::start().await;
    let short = |seconds| CreateRequest { timeout: Some(seconds), ..request(&["sleep", "1000"]) };
    let id = fixture.docker.create(short(2)).await.unwrap().id;
    eventually("the sandbox ends", async || fixture.docker.get(&id).await.is_err()).await;

    let id = fixture.docker.create(short(2)).await.unwrap().id;
    fixture.restart().await;
    eventually("the sandbox ends", async || fixture.docker.get(&id).await.is_err()).await;
}

/// The label says ten minutes, so that no other runtime on this engine takes part.
#[tokio::test(flavor = "multi_thread")]
async fn the_renewed_time_counts() {
    let mut fixture = Fixture::start().await;
    let (moved, ended) = (request(&["sleep", "1000"]), request(&["sleep", "1000"]));
    let moved = fixture.docker.create(moved).await.unwrap().id;
    let ended = fixture.docker.create(ended).await.unwrap().id;
    let folder = fixture.state.path().join("metadata/_expiration");
    std::fs::create_dir_all(&folder).unwrap();
    let renew = |id: &str, time: &str| {
        std::fs::write(folder.join(format!("{id}.json")), format!(r#"{{"expires_at":"{time}"}}"#)).unwrap();
    };
    // Longer than a start and what follows it take.
    let soon = (jiff::Timestamp::now() + Duration::from_secs(10)).to_string();
    renew(&moved, &soon);
    renew(&ended, &soon);
    fixture.restart().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    renew(&moved, "2999-12-02T00:00:00+00:00");
    eventually("the sandbox ends", async || fixture.docker.get(&ended).await.is_err()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let expires = fixture.docker.get(&moved).await.unwrap().expires_at.unwrap();
    assert_eq!(expires.to_string(), "2999-12-02T00:00:00Z");
    fixture.docker.delete(&moved).await.unwrap();
    assert!(std::fs::read_dir(&folder).unwrap().next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_one_call_and_execd_is_read_once() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    eventually("the event stream is open", async || proxy.count("GET", "/events") > 0).await;
    let creations = (0..10).map(|_| fixture.docker.create(request(&["sleep", "1000"])));
    let ids: Vec<String> =
        futures_util::future::join_all(creations).await.into_iter().map(|created| created.unwrap().id).collect();
    assert_eq!(proxy.count("POST", "sandbox-execd-"), 1);

    let containers = fixture.container_ids(&ids).await;
    let inspects = async || {
        proxy.clear();
        let listed = fixture.docker.list().await.unwrap();
        assert!(ids.iter().all(|id| listed.iter().any(|sandbox| &sandbox.id == id)));
        // Searches for one id are of the expiry task: other tests' sandboxes end meanwhile.
        assert_eq!(proxy.count("GET", "opensandbox.io%2Fid%22"), 1);
        containers.iter().map(|container| proxy.count("GET", container)).sum::<usize>()
    };
    assert_eq!(inspects().await, 0, "also at once after the creations");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(inspects().await, 0, "also when all their events have come");

    fixture.engine.pause_container(&containers[0]).await.unwrap();
    assert!(inspects().await <= 2);
    fixture.engine.unpause_container(&containers[0]).await.unwrap();
    for id in &ids {
        fixture.docker.delete(id).await.unwrap();
    }
    assert_eq!(fixture.container_ids(&ids).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_id_reaches_the_engine_s_paths() {
    let fixture = Fixture::start().await;
    let long = "x".repeat(8192);
    for id in ["../../info", "a/b", "", ".", "a\"],\"x\":[\"", "a\r\nX: y", "a?all=1", "%2e%2e", "a#", long.as_str()] {
        assert_eq!(fixture.docker.get(id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound), "{id}");
        assert_eq!(fixture.docker.delete(id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound), "{id}");
    }
    let proxy = &fixture.proxy;
    assert_eq!(proxy.count("DELETE", ""), 0);
    assert!(proxy.count("GET", "/info") <= 2, "only those of the event stream and of the search for leftovers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_network_is_refused_by_its_own_name() {
    let fixture = Fixture::start_with(DockerOptions { network_mode: "No-Such-Net".to_owned(), ..options() }).await;
    let error = fixture.docker.create(request(&["x"])).await.unwrap_err();
    let text = "Docker network 'No-Such-Net' does not exist. Create it first with 'docker network create <name>'.";
    assert_eq!((error.key(), error.message.as_str()), ((Family::Parameter, Kind::Invalid), text));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_keeps_its_capitals() {
    let name = format!("Osb-Test-{}", uuid::Uuid::new_v4());
    let fixture = Fixture::start_with(DockerOptions { network_mode: name.clone(), ..options() }).await;
    let network = bollard::models::NetworkCreateRequest { name: name.clone(), ..Default::default() };
    fixture.engine.create_network(network).await.unwrap();
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    assert!(container.network_settings.unwrap().networks.unwrap().contains_key(&name));
    fixture.docker.delete(&id).await.unwrap();
    fixture.engine.remove_network(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_volumes_go_with_their_sandbox() {
    let loose = DockerOptions { sandbox_binds: vec!["/data".to_owned()], allow_isolation_extension: true, ..options() };
    let fixture = Fixture::start_with(loose).await;
    let mut request = request(&["sleep", "1000"]);
    request.extensions.insert("bootstrap.execd.isolation".to_owned(), "enable".to_owned());
    let id = fixture.docker.create(request).await.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    assert_eq!(container.state.unwrap().running, Some(true));
    assert_eq!(container.host_config.unwrap().masked_paths, Some(Vec::new()));
    let volume = container.mounts.unwrap().into_iter().find_map(|mount| mount.name).unwrap();
    fixture.engine.inspect_volume(&volume).await.unwrap();
    fixture.docker.delete(&id).await.unwrap();
    assert!(fixture.engine.inspect_volume(&volume).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_host_s_network_no_port_is_published() {
    let fixture = Fixture::start_with(DockerOptions { network_mode: "host".to_owned(), ..options() }).await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    assert_eq!(container.host_config.unwrap().network_mode.as_deref(), Some("host"));
    assert!(!container.config.unwrap().labels.unwrap().contains_key("opensandbox.io/http-port"));
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_of_another_server_ends_in_time() {
    let mark = owner::Mark::new();
    let fixture = Fixture::start_with(mark.all()).await;
    let proxy = &fixture.proxy;
    eventually("the event stream is open", async || proxy.count("GET", "/events") > 0).await;
    let time = (jiff::Timestamp::now() + Duration::from_secs(3)).to_string();
    let id = by_hand::sandbox(&fixture, &[("opensandbox.io/expires-at", &time)], "none").await;
    assert!(fixture.docker.get(&id).await.is_ok());
    eventually("the sandbox ends", async || fixture.docker.get(&id).await.is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secure_runtime_is_the_engine_s_or_there_is_none() {
    let runc = DockerOptions { secure_runtime: Some("runc".to_owned()), ..options() };
    let fixture = Fixture::start_with(runc).await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    assert_eq!(container.host_config.unwrap().runtime.as_deref(), Some("runc"));
    fixture.docker.delete(&id).await.unwrap();

    let runsc = DockerOptions { secure_runtime: Some("runsc".to_owned()), ..options() };
    let error = Docker::connect(Endpoint::Unix(fixture::socket()), runsc).await.err().unwrap();
    assert_eq!(error.key(), (Family::Startup, Kind::Unsupported));
    let start = "Configured Docker runtime 'runsc' is not available. Available runtimes: ";
    assert!(error.message.starts_with(start) && error.message.contains("runc"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_there_is_no_runtime() {
    let endpoint = Endpoint::Unix("/nowhere/docker.sock".into());
    let error = Docker::connect(endpoint, options()).await.err().unwrap();
    assert_eq!(error.key(), (Family::Startup, Kind::Failed));
    assert!(error.message.starts_with("Failed to initialize Docker service: "), "{error}");
    assert!(error.message.contains("(current DOCKER_HOST='"), "{error}");
}
