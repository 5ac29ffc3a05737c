//! Creations that wait for nobody, cost few calls, and leave nothing when they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use opensandbox_gateway::{
    error::{Family, Kind},
    model::{
        create::{CreateRequest, ImageSource},
        sandbox::Platform,
        volume::{Claim, Source, Volume},
    },
    runtime::Runtime,
};

use crate::fixture::{Fixture, request};

fn image(uri: &str) -> CreateRequest {
    CreateRequest { image: Some(ImageSource { uri: uri.to_owned(), auth: None }), ..request(&["sleep", "1000"]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_another_s_pull() {
    let fixture = Fixture::start().await;
    let gate = fixture.proxy.hold("POST", "fromImage=localhost%3A1%2Fslow");
    let slow = fixture.docker.create(image("localhost:1/slow:1"));
    let quick = async {
        gate.reached().await;
        let id = fixture.docker.create(image("osb-test/busybox:1")).await.unwrap().id;
        fixture.docker.delete(&id).await.unwrap();
        gate.open();
    };
    let (slow, ()) = tokio::join!(slow, quick);
    assert_eq!(slow.unwrap_err().key(), (Family::Image, Kind::Failed));
}

/// One that was made anew, which only its first user may have filled.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_another_s_pull_before_it_has_a_volume() {
    let fixture = Fixture::start().await;
    let name = format!("osb-test-{}", fixture.run);
    let claim =
        Claim { name: name.clone(), create_if_not_exists: true, delete_on_termination: true, ..Default::default() };
    let volume = Volume {
        name: "v".to_owned(),
        source: Source::Claim(claim),
        mount_path: "/data".to_owned(),
        read_only: false,
        sub_path: None,
    };
    let with = |uri: &str| CreateRequest { volumes: vec![volume.clone()], ..image(uri) };
    let gate = fixture.proxy.hold("POST", "fromImage=localhost%3A1%2Fslow");
    let slow = fixture.docker.create(with("localhost:1/slow:1"));
    let quick = async {
        gate.reached().await;
        let created = fixture.docker.create(with("osb-test/busybox:1"));
        let created = tokio::time::timeout(Duration::from_secs(20), created).await;
        gate.open();
        created.expect("it waits for the other's pull").unwrap().id
    };
    let (slow, id) = tokio::join!(slow, quick);
    assert_eq!(slow.unwrap_err().key(), (Family::Image, Kind::Failed));
    assert!(fixture.has_volume(&name).await, "it is used");
    fixture.docker.delete(&id).await.unwrap();
    let _ = Command::new("docker").args(["volume", "rm", &name]).output();
}

/// A program that ends while execd is read takes the container for that along.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_ends_with_the_program_leaves_no_execd_container() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let gate = proxy.hold("GET", "/archive?path=%2Fexecd");
    let creations = futures_util::future::join_all((0..3).map(|_| fixture.docker.create(request(&["sleep", "1000"]))));
    let ending = async {
        gate.reached().await;
        fixture.docker.shutdown().await;
    };
    let (creations, ()) = tokio::join!(creations, ending);
    assert!(creations.iter().all(Result::is_err));
    let lines = proxy.lines();
    let made = lines.iter().filter_map(|line| line.split_once("/create?name=sandbox-execd-"));
    let names: Vec<String> = made.map(|(_, random)| format!("sandbox-execd-{}", &random[..36])).collect();
    assert!(!names.is_empty());
    for name in names {
        assert!(fixture.engine.inspect_container(&name, None).await.is_err(), "{name} is left");
    }
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_another_platform_s_execd() {
    let fixture = Fixture::start().await;
    let foreign = format!("osb-test/foreign:{}", fixture.run);
    load_foreign(&foreign);
    let gate = fixture.proxy.hold("POST", "fromImage=osb-test%2Fexecd");
    let platform = Some(Platform { os: "linux".to_owned(), arch: "arm64".to_owned() });
    let slow = fixture.docker.create(CreateRequest { platform, ..image(&foreign) });
    let quick = async {
        gate.reached().await;
        let id = fixture.docker.create(image("osb-test/busybox:1")).await.unwrap().id;
        fixture.docker.delete(&id).await.unwrap();
        fixture.proxy.fail("POST", "fromImage=osb-test%2Fexecd", 1, "no such platform");
        gate.open();
    };
    let (slow, ()) = tokio::join!(slow, quick);
    assert_eq!(slow.unwrap_err().message, "Failed to pull image osb-test/execd:stub: no such platform");
    assert!(Command::new("docker").args(["rmi", &foreign]).output().unwrap().status.success());
}

/// Gives the engine an image for another processor: one layer without a file.
fn load_foreign(name: &str) {
    let layer = [0; 1024];
    let config = r#"{"architecture":"arm64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#;
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":["layer.tar"]}}]"#);
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in
        [("layer.tar", &layer[..]), ("config.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, content).unwrap();
    }
    let mut load = Command::new("docker").arg("load").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    load.stdin.take().unwrap().write_all(&archive.into_inner().unwrap()).unwrap();
    assert!(load.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_sandbox_costs_seven_calls() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let warm = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    proxy.clear();
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.container_ids(std::slice::from_ref(&id)).await.remove(0);
    fixture.docker.delete(&id).await.unwrap();
    // The event stream asks for sandboxes of other tests too, and for this one after its end.
    let is_own = |line: &&String| [id.as_str(), &container, "/images/"].iter().any(|part| line.contains(*part));
    let lines: Vec<String> = proxy.lines().iter().filter(is_own).cloned().collect();
    let mut calls: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    calls.truncate(calls.iter().position(|call| *call == "DELETE").unwrap() + 1);
    assert_eq!(calls, ["GET", "POST", "PUT", "POST", "GET", "GET", "DELETE"], "{lines:#?}");
    fixture.docker.delete(&warm).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_step_of_a_creation_leaves_anything_when_it_fails() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    for (method, text, kind) in [
        ("GET", "/images/osb-test", (Family::Image, Kind::Failed)),
        ("POST", "/containers/create?name=sandbox-", (Family::ExecdDelivery, Kind::Unavailable)),
        ("GET", "/archive?path=%2Fexecd", (Family::ExecdDelivery, Kind::Failed)),
        ("PUT", "/archive", (Family::ExecdDelivery, Kind::Failed)),
        ("POST", "/containers/create?name=sandbox-", (Family::Creation, Kind::Failed)),
        ("POST", "/start", (Family::Creation, Kind::Failed)),
    ] {
        proxy.fail(method, text, 1, "a bad day");
        let error = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap_err();
        assert_eq!(error.key(), kind, "{method} {text}: {error}");
        assert!(error.message.ends_with("a bad day"), "{error}");
        assert!(fixture.left_behind().await.is_empty(), "{method} {text}");
    }
    // The engine makes the container and its answer is lost.
    let gate = proxy.hold("POST", "/start");
    let creation = fixture.docker.create(request(&["sleep", "1000"]));
    let breaking = async {
        gate.reached().await;
        proxy.break_off();
        gate.open();
    };
    let (created, ()) = tokio::join!(creation, breaking);
    assert_eq!(created.unwrap_err().key(), (Family::Creation, Kind::Failed));
    assert!(fixture.left_behind().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_sandboxes_get_their_machine_or_a_refusal() {
    let fixture = Fixture::start().await;
    let platform = Some(Platform { os: "windows".to_owned(), arch: "amd64".to_owned() });
    let mut request = CreateRequest { platform, ..request(&["sleep", "1000"]) };
    request.resource_limits.insert("memory".to_owned(), "8G".to_owned());
    let created = fixture.docker.create(request).await;
    if ["/dev/kvm", "/dev/net/tun"].iter().any(|device| !std::path::Path::new(device).exists()) {
        let error = created.unwrap_err();
        assert_eq!(error.key(), (Family::Parameter, Kind::Invalid));
        assert!(error.message.starts_with("Windows profile requires /dev/"), "{error}");
        return;
    }
    let id = created.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    let (config, host) = (container.config.unwrap(), container.host_config.unwrap());
    assert_eq!(config.entrypoint, None);
    let env = config.env.unwrap();
    assert!(env.contains(&"RAM_SIZE=8G".to_owned()) && env.contains(&"USER_PORTS=44772,8080,3389,8006".to_owned()));
    let bindings = host.port_bindings.unwrap();
    assert!(
        ["44772/tcp", "8080/tcp", "3389/tcp", "3389/udp", "8006/tcp"].iter().all(|port| bindings.contains_key(*port))
    );
    assert!(host.memory.is_none_or(|memory| memory == 0));
    assert!(fixture.has_volume(&format!("opensandbox-win-oem-{id}")).await);
    let oem = Command::new("docker").args(["exec", &format!("sandbox-{id}"), "ls", "/oem"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&oem.stdout), "execd.exe\ninstall.bat\n");
    fixture.docker.delete(&id).await.unwrap();
    assert!(fixture.left_behind().await.is_empty());
}
