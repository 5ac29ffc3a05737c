//! Sandboxes with a network policy, behind the sidecar `osb-test/egress:stub`.

use std::time::Duration;

use opensandbox_gateway::{
    config::{Egress, EgressMode, Resources},
    error::{Family, Kind, VolumePart},
    model::{
        create::CreateRequest,
        network::{NetworkPolicy, NetworkRule},
        volume::{Claim, Source, Volume},
    },
    runtime::{Runtime, docker::DockerOptions},
};

use crate::fixture::{self, Fixture, eventually, options, request};

pub(crate) fn with_sidecar() -> DockerOptions {
    let egress = Egress {
        image: Some("osb-test/egress:stub".to_owned()),
        mode: EgressMode::DnsNft,
        disable_ipv6: true,
        otlp_endpoint: None,
        readiness_timeout: Duration::from_secs(20),
        resources: Resources::default(),
        upstream_proxy: None,
    };
    DockerOptions { egress: Some(egress), ..options() }
}

pub(crate) fn filtered(entrypoint: &[&str]) -> CreateRequest {
    let rule = NetworkRule { action: "allow".to_owned(), target: "*.example.com".to_owned() };
    let policy = NetworkPolicy { default_action: Some("deny".to_owned()), egress: vec![rule] };
    CreateRequest { network_policy: Some(policy), ..request(entrypoint) }
}

fn env(name: &str, value: &str) -> Vec<(String, Option<String>)> {
    vec![(name.to_owned(), Some(value.to_owned()))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_sandbox_has_its_sidecar_s_network() {
    let fixture = Fixture::start_with(with_sidecar()).await;
    let mut request = filtered(&["httpd", "-f", "-p", "8080", "-h", "/etc"]);
    request.env = env("OPENSANDBOX_EGRESS_LOG_LEVEL", "debug");
    let id = fixture.docker.create(request).await.unwrap().id;
    let sandbox = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    let sidecar = fixture.engine.inspect_container(&format!("sandbox-egress-{id}"), None).await.unwrap();
    let (config, host) = (sandbox.config.unwrap(), sandbox.host_config.unwrap());
    assert_eq!(host.network_mode, sidecar.id.map(|sidecar| format!("container:{sidecar}")));
    assert!(!config.env.unwrap().iter().any(|entry| entry.starts_with("OPENSANDBOX_EGRESS_")));
    let labels = config.labels.unwrap();
    let token = &labels["opensandbox.io/egress-auth-token"];
    assert_eq!(token.len(), 32);
    assert_eq!(labels["opensandbox.io/volume-managed-by"], format!("[\"opensandbox-runtime-{id}\"]"));
    let env = sidecar.config.unwrap().env.unwrap();
    let rules = r#"OPENSANDBOX_EGRESS_RULES={"defaultAction": "deny", "egress": [{"action": "allow", "target": "*.example.com"}]}"#;
    for entry in [rules, "OPENSANDBOX_EGRESS_LOG_LEVEL=debug", &format!("OPENSANDBOX_EGRESS_TOKEN={token}")] {
        assert!(env.contains(&entry.to_owned()), "{entry}");
    }
    let port = |label: &str| labels[label].parse::<u16>().unwrap();
    let (http, execd) = (port("opensandbox.io/http-port"), port("opensandbox.io/embedding-proxy-port"));
    eventually("the sandbox's port answers", async || {
        fixture::http_get(http, "/hostname").await.is_some_and(|answer| answer.contains("200"))
    })
    .await;
    eventually("execd answers", async || fixture::http_get(execd, "/ping").await.is_some_and(|a| a.contains("ok")))
        .await;
    let listed = fixture.docker.list().await.unwrap();
    assert_eq!(listed.iter().filter(|sandbox| sandbox.id == id).count(), 1);

    fixture.docker.delete(&id).await.unwrap();
    assert!(fixture.left_behind().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_never_ready_takes_all_with_it() {
    let mut options = with_sidecar();
    options.egress.as_mut().unwrap().readiness_timeout = Duration::from_millis(1500);
    let fixture = Fixture::start_with(options).await;
    let mut request = filtered(&["sleep", "1000"]);
    request.env = env("OPENSANDBOX_EGRESS_LOG_LEVEL", "never-ready");
    let error = fixture.docker.create(request).await.unwrap_err();
    assert_eq!(error.key(), (Family::Creation, Kind::Failed));
    assert!(error.message.starts_with("Egress sidecar did not become ready within 1.5s for sandbox "), "{error}");
    assert!(fixture.left_behind().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_step_of_a_filtered_creation_leaves_anything_when_it_fails() {
    let fixture = Fixture::start_with(with_sidecar()).await;
    let proxy = &fixture.proxy;
    let warm = fixture.docker.create(filtered(&["sleep", "1000"])).await.unwrap().id;
    fixture.docker.delete(&warm).await.unwrap();
    let sidecar = "Egress sidecar container failed to start.";
    for (method, text, times, message) in [
        ("GET", "/images/osb-test/egress:stub", 1, "Failed to inspect image osb-test/egress:stub: a bad day"),
        ("POST", "/volumes/create", 1, sidecar),
        ("POST", "/containers/create?name=sandbox-egress-", 1, sidecar),
        ("POST", "/start", 1, sidecar),
        ("PUT", "/archive", 1, "Failed to put execd into the sandbox: a bad day"),
    ] {
        proxy.fail(method, text, times, "a bad day");
        let error = fixture.docker.create(filtered(&["sleep", "1000"])).await.unwrap_err();
        assert_eq!(error.message, message, "{method} {text}");
        assert!(fixture.left_behind().await.is_empty(), "{method} {text}");
    }
    // The sandbox's own steps, which look like the sidecar's: the second start, and a create that the engine refuses.
    let mut broken = filtered(&["sleep", "1000"]);
    broken.resource_limits.insert("memory".to_owned(), "1".to_owned());
    let error = fixture.docker.create(broken).await.unwrap_err();
    assert!(error.message.starts_with("Failed to create or start container: "), "{error}");
    assert!(fixture.left_behind().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_of_a_filtered_sandbox_may_fail_too() {
    let options = DockerOptions { sandbox_binds: vec!["/etc/hostname:/dev/null/x:ro".to_owned()], ..with_sidecar() };
    let fixture = Fixture::start_with(options).await;
    let error = fixture.docker.create(filtered(&["sleep", "1000"])).await.unwrap_err();
    assert!(error.message.starts_with("Failed to create or start container: "), "{error}");
    assert!(fixture.left_behind().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_does_without_what_the_engine_cannot_do() {
    let fixture = Fixture::start_with(with_sidecar()).await;
    let text = "open /proc/sys/net/ipv6/conf/all/disable_ipv6: no such file or directory";
    fixture.proxy.fail("POST", "/start", 1, text);
    let id = fixture.docker.create(filtered(&["sleep", "1000"])).await.unwrap().id;
    let sidecar = fixture.engine.inspect_container(&format!("sandbox-egress-{id}"), None).await.unwrap();
    assert!(sidecar.host_config.unwrap().sysctls.is_none_or(|sysctls| sysctls.is_empty()));
    fixture.docker.delete(&id).await.unwrap();
    assert!(fixture.left_behind().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_a_sidecar_finds_taken_is_replaced() {
    let fixture = Fixture::start_with(with_sidecar()).await;
    fixture.proxy.fail("POST", "/start", 1, "Bind for 127.0.0.1:4 failed: port is already allocated");
    let id = fixture.docker.create(filtered(&["sleep", "1000"])).await.unwrap().id;
    fixture.docker.delete(&id).await.unwrap();
    assert!(fixture.left_behind().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_sandbox_with_a_volume_shares_the_other_one_with_its_sidecar() {
    let fixture = Fixture::start_with(with_sidecar()).await;
    let name = format!("osb-test-{}", fixture.run);
    let claim =
        Claim { name: name.clone(), create_if_not_exists: true, delete_on_termination: true, ..Default::default() };
    let volume = |mount_path: &str| Volume {
        name: "v".to_owned(),
        mount_path: mount_path.to_owned(),
        read_only: false,
        sub_path: None,
        source: Source::Claim(claim.clone()),
    };
    let request =
        |mount_path: &str| CreateRequest { volumes: vec![volume(mount_path)], ..filtered(&["sleep", "1000"]) };
    let error = fixture.docker.create(request("/opt/opensandbox")).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::MountPath), Kind::Invalid));
    let id = fixture.docker.create(request("/data")).await.unwrap().id;
    let sandbox = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    let runtime = format!("opensandbox-runtime-{id}:/opt/opensandbox:rw");
    assert_eq!(sandbox.host_config.unwrap().binds.unwrap(), [format!("{name}:/data:rw"), runtime]);
    let labels = sandbox.config.unwrap().labels.unwrap();
    assert_eq!(labels["opensandbox.io/volume-managed-by"], format!("[\"{name}\",\"opensandbox-runtime-{id}\"]"));
    let execd = labels["opensandbox.io/embedding-proxy-port"].parse::<u16>().unwrap();
    eventually("execd answers", async || fixture::http_get(execd, "/ping").await.is_some_and(|a| a.contains("ok")))
        .await;
    fixture.docker.delete(&id).await.unwrap();
    assert!(fixture.left_behind().await.is_empty() && !fixture.has_volume(&name).await);
}
