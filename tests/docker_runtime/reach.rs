//! Where ports are: for clients, and for this program itself without asking the engine.

use std::time::Duration;

use bollard::models::{NetworkConnectRequest, NetworkDisconnectRequest};
use opensandbox_gateway::{
    error::{Family, Kind},
    model::sandbox::State,
    runtime::{Pausing, Runtime, docker::DockerOptions},
};

use crate::{
    by_hand,
    fixture::{Fixture, eventually, options, request},
};

const PORTS: [(&str, &str); 2] =
    [("opensandbox.io/embedding-proxy-port", "40001"), ("opensandbox.io/http-port", "40002")];

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_where_the_ports_are_published() {
    let fixture = Fixture::start_with(DockerOptions { host: "box.example".to_owned(), ..options() }).await;
    let id = by_hand::sandbox(&fixture, &PORTS, "none").await;
    let told = async |id: &str, port| fixture.docker.endpoint(id, port, None).await.unwrap();
    assert_eq!(told(&id, 8080).await.endpoint, "box.example:40002");
    assert_eq!(told(&id, 44772).await.endpoint, "box.example:40001/proxy/44772");
    assert_eq!(told(&id, 3000).await.endpoint, "box.example:40001/proxy/3000");
    assert!(told(&id, 18080).await.headers.is_empty());
    fixture.engine.kill_container(&format!("sandbox-{id}"), None).await.unwrap();
    assert_eq!(told(&id, 8080).await.endpoint, "box.example:40002", "also of one that has ended");

    let error = async |id: &str, port, expires| {
        let error = fixture.docker.endpoint(id, port, expires).await.unwrap_err();
        (error.key(), error.message)
    };
    let text = "Signed routes (expires parameter) are not supported when runtime.type='docker'. \
                Use the Kubernetes runtime for signed routes.";
    assert_eq!(error("nope", 0, Some(5)).await, ((Family::Endpoint, Kind::Unsupported), text.to_owned()));
    let text = "Port must be between 1 and 65535.";
    assert_eq!(error("nope", 0, None).await, ((Family::Endpoint, Kind::Invalid), text.to_owned()));
    assert_eq!(error("nope", 1, None).await.0, (Family::Sandbox, Kind::NotFound));
    fixture.docker.delete(&id).await.unwrap();

    let token = [("opensandbox.io/egress-auth-token", "tok"), PORTS[0]];
    let guarded = by_hand::sandbox(&fixture, &token, "none").await;
    assert_eq!(told(&guarded, 18080).await.headers["OPENSANDBOX-EGRESS-AUTH"], "tok");
    assert!(told(&guarded, 44772).await.headers.is_empty());
    let missing =
        ((Family::Endpoint, Kind::Unavailable), "Missing host port mapping for container port 8080.".to_owned());
    assert_eq!(error(&guarded, 8080, None).await, missing);
    let backend = fixture.docker.backend(&guarded, 18080).await.unwrap();
    assert_eq!((backend.authority.as_str(), backend.path_prefix.as_str()), ("127.0.0.1:40001", "/proxy/18080"));
    assert_eq!(backend.egress_token.unwrap().expose(), "tok");
    fixture.docker.delete(&guarded).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_on_the_host_s_network_are_the_host_s() {
    let fixture = Fixture::start_with(DockerOptions { eip: Some("1.2.3.4".to_owned()), ..options() }).await;
    let id = by_hand::sandbox(&fixture, &[], "host").await;
    assert_eq!(fixture.docker.endpoint(&id, 8080, None).await.unwrap().endpoint, "1.2.3.4:8080");
    assert_eq!(fixture.docker.backend(&id, 3000).await.unwrap().authority, "127.0.0.1:3000");
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn published_ports_serve_where_containers_cannot_be_reached() {
    let fixture = Fixture::start_with(DockerOptions { resolve_internal: false, ..options() }).await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let backend = fixture.docker.backend(&id, 44772).await.unwrap();
    assert_eq!(backend.path_prefix, "/proxy/44772");
    let port = backend.authority.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
    let answers = async || crate::fixture::http_get(port, "/proxy/44772/ping").await.is_some();
    eventually("execd answers", answers).await;
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_shown_and_reached_without_asking_the_engine() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    eventually("the event stream is open", async || proxy.count("GET", "/events") > 0).await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.container_ids(std::slice::from_ref(&id)).await.remove(0);
    let asked = || proxy.count("GET", &container) + proxy.count("GET", &format!("sandbox-{id}"));
    proxy.clear();
    for _ in 0..100 {
        fixture.docker.get(&id).await.unwrap();
        fixture.docker.endpoint(&id, 8080, None).await.unwrap();
        fixture.docker.backend(&id, 8080).await.unwrap();
    }
    assert_eq!(asked(), 0);
    // The stream breaks: nobody tells changes, so the engine is asked again.
    proxy.break_off();
    fixture.engine.pause_container(&container).await.unwrap();
    let shown = async || fixture.docker.get(&id).await.unwrap().status.state;
    eventually("the pause is seen", async || shown().await == State::Paused).await;
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sandbox_costs_the_engine_nothing_and_what_another_made_is_there() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let unknown = uuid::Uuid::new_v4().to_string();
    let asked = || proxy.count("GET", &unknown);
    eventually("all sandboxes are known", async || {
        let before = asked();
        assert!(fixture.docker.get(&unknown).await.is_err());
        asked() == before
    })
    .await;
    proxy.clear();
    for _ in 0..50 {
        for error in [fixture.docker.get(&unknown).await.err(), fixture.docker.backend(&unknown, 80).await.err()] {
            assert_eq!(error.unwrap().key(), (Family::Sandbox, Kind::NotFound));
        }
    }
    assert_eq!(asked(), 0);
    for _ in 0..5 {
        let id = by_hand::sandbox(&fixture, &[], "bridge").await;
        fixture.docker.get(&id).await.unwrap();
        fixture.engine.remove_container(&format!("sandbox-{id}"), Some(removal())).await.unwrap();
        let is_gone = async || fixture.docker.get(&id).await.is_err();
        eventually("its end is known", is_gone).await;
    }
}

fn removal() -> bollard::query_parameters::RemoveContainerOptions {
    bollard::query_parameters::RemoveContainerOptions { force: true, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_who_ask_for_what_is_not_known_ask_the_engine_once() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    eventually("the event stream is open", async || proxy.count("GET", "/events") > 0).await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    tokio::time::sleep(Duration::from_millis(300)).await;
    fixture.docker.pause(&id).await.unwrap();
    let container = fixture.container_ids(std::slice::from_ref(&id)).await.remove(0);
    proxy.clear();
    let gets = (0..100).map(|_| fixture.docker.get(&id));
    for sandbox in futures_util::future::join_all(gets).await {
        assert_eq!(sandbox.unwrap().status.state, State::Paused);
    }
    let asked = proxy.count("GET", &container) + proxy.count("GET", &format!("sandbox-{id}"));
    assert!(asked <= 5, "{asked} with those that the events of the pause and of others on this engine cause");
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_follows_its_container_s_address() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    eventually("the event stream is open", async || proxy.count("GET", "/events") > 0).await;
    let id = by_hand::sandbox(&fixture, &[], "bridge").await;
    let name = format!("sandbox-{id}");
    let address = async || {
        let container = fixture.engine.inspect_container(&name, None).await.unwrap();
        container.network_settings.unwrap().networks.unwrap()["bridge"].ip_address.clone().unwrap()
    };
    let authority = async || fixture.docker.backend(&id, 3000).await.map(|backend| backend.authority);
    assert_eq!(authority().await.unwrap(), format!("{}:3000", address().await));

    // The network is left and entered again, and another container takes the address in between.
    let before = address().await;
    let disconnect = NetworkDisconnectRequest { container: name.clone(), force: Some(true) };
    fixture.engine.disconnect_network("bridge", disconnect).await.unwrap();
    let rival = by_hand::sandbox(&fixture, &[], "bridge").await;
    let unreachable =
        async || authority().await.is_err_and(|error| error.key() == (Family::Endpoint, Kind::Unavailable));
    eventually("the address is gone", unreachable).await;
    let connect = NetworkConnectRequest { container: name.clone(), ..Default::default() };
    fixture.engine.connect_network("bridge", connect).await.unwrap();
    let now = format!("{}:3000", address().await);
    assert_ne!(now, format!("{before}:3000"), "the rival has that");
    eventually("the new address is known", async || authority().await.is_ok_and(|known| known == now)).await;

    fixture.engine.kill_container(&name, None).await.unwrap();
    let stopped = async || authority().await.is_err_and(|error| error.key() == (Family::Sandbox, Kind::Conflict));
    eventually("the end is seen", stopped).await;
    fixture.engine.start_container(&name, None).await.unwrap();
    assert_eq!(authority().await.unwrap(), format!("{}:3000", address().await), "a start is seen at once");
    for id in [id, rival] {
        fixture.docker.delete(&id).await.unwrap();
    }
}
