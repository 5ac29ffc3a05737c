use crate::{
    error::VolumePart,
    model::{create::lifecycle::Lifecycle, network::NetworkPolicy, volume::Source},
};

use super::*;

fn request() -> CreateRequest {
    CreateRequest {
        image: Some(ImageSource { uri: "busybox".to_owned(), auth: None }),
        entrypoint: vec!["sleep 100000".to_owned()],
        timeout: Some(600),
        ..Default::default()
    }
}

fn plan(request: CreateRequest, options: &DockerOptions) -> Result<Plan, Error> {
    Draft::new(request, options)?.finish(options)
}

fn refused(change: impl FnOnce(&mut CreateRequest)) -> Error {
    let mut request = request();
    change(&mut request);
    plan(request, &DockerOptions::default()).err().unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn makes_the_labels_of_the_contract() {
    let mut request = request();
    request.metadata = pairs(&[("project", "Apollo")]);
    request.platform = Some(Platform { os: " Linux".to_owned(), arch: "AMD64".to_owned() });
    request.extensions =
        pairs(&[("access.renew.extend.seconds", " 600 "), ("opensandbox.extensions.foo", "bar"), ("other", "z")]);
    let made = plan(request, &DockerOptions::default()).unwrap();
    let expires = made.expires_at.unwrap().to_label();
    let expected = [
        ("opensandbox.io/access-renew-extend-seconds", "600"),
        ("opensandbox.io/expires-at", expires.as_str()),
        ("opensandbox.io/extensions.foo", "bar"),
        ("opensandbox.io/id", "x"),
        ("opensandbox.io/platform-arch", "amd64"),
        ("opensandbox.io/platform-os", "linux"),
        ("project", "Apollo"),
    ];
    assert_eq!(made.labels("x"), pairs(&expected));
    assert_eq!(made.extensions.echoed, pairs(&[("opensandbox.extensions.foo", "bar")]));
    assert_eq!(made.command, ["sleep", "100000"]);
    assert_eq!(made.entrypoint, ["sleep 100000"]);
}

#[test]
fn without_timeout_the_clean_up_is_manual() {
    let made = plan(CreateRequest { timeout: None, ..request() }, &DockerOptions::default()).unwrap();
    assert_eq!(made.labels("x"), pairs(&[("opensandbox.io/id", "x"), ("opensandbox.io/manual-cleanup", "true")]));
}

#[test]
fn refuses_what_docker_does_not_do() {
    assert_eq!(refused(|r| r.lifecycle = Some(Lifecycle::default())).key(), (Family::Parameter, Kind::Invalid));
    assert_eq!(refused(|r| r.extensions = pairs(&[("poolRef", "p")])).key(), (Family::Pool, Kind::Invalid));
    assert_eq!(refused(|r| r.entrypoint.clear()).key(), (Family::Entrypoint, Kind::Invalid));
    assert_eq!(refused(|r| r.secure_access = true).key(), (Family::Parameter, Kind::Invalid));
    assert_eq!(
        refused(|r| r.network_policy = Some(NetworkPolicy::default())).key(),
        (Family::Parameter, Kind::Invalid)
    );
    assert_eq!(refused(|r| r.volumes = vec![volume()]).key(), (Family::Volume(VolumePart::HostPath), Kind::Denied));
}

/// A sandbox with NET_ADMIN in its sidecar's network would be free.
#[test]
fn windows_sandboxes_have_no_network_policy() {
    let request = CreateRequest { network_policy: Some(NetworkPolicy::default()), ..request() };
    let error = windows::check_filter(&request).unwrap_err();
    assert_eq!(error.key(), (Family::Parameter, Kind::Invalid));
    windows::check_filter(&CreateRequest::default()).unwrap();
}

fn volume() -> Volume {
    Volume {
        name: "v".to_owned(),
        mount_path: "/x".to_owned(),
        read_only: false,
        sub_path: None,
        source: Source::Host("/etc".to_owned()),
    }
}

#[test]
fn overlays_the_environment() {
    let options = DockerOptions {
        sandbox_env: vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())],
        ..DockerOptions::default()
    };
    let variable = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let mut request = request();
    request.env = vec![
        variable("C", Some("")),
        variable("A", None),
        variable("B", Some("3")),
        variable("OPENSANDBOX_EGRESS_LOG_LEVEL", Some("x")),
    ];
    assert_eq!(plan(request, &options).unwrap().env, ["B=3", "C="]);
}

type Mend = fn(&mut CreateRequest);

/// Every request breaks its rule and all later ones, so the texts tell the order (http-api.md §6.3).
#[test]
fn checks_come_in_the_contract_s_order() {
    let platform = |os: &str| Some(Platform { os: os.to_owned(), arch: "amd64".to_owned() });
    let mut request = CreateRequest {
        extensions: pairs(&[("access.renew.extend.seconds", "1"), ("poolRef", "p"), (extensions::ISOLATION, "enable")]),
        lifecycle: Some(Lifecycle::default()),
        metadata: pairs(&[("opensandbox.io/x", "y")]),
        platform: platform("plan9"),
        timeout: Some(86_401),
        secure_access: true,
        network_policy: Some(NetworkPolicy::default()),
        volumes: vec![volume()],
        resource_limits: pairs(&[("memory", "1.5Gi")]),
        env: vec![("OPENSANDBOX_EGRESS_TOKEN".to_owned(), None)],
        ..CreateRequest::default()
    };
    let options = DockerOptions { max_sandbox_timeout_seconds: Some(86_400), ..DockerOptions::default() };
    let mends: [(&str, Mend); 10] = [
        ("Invalid extensions", |r| drop(r.extensions.remove("access.renew.extend.seconds"))),
        ("lifecycle hooks", |r| r.lifecycle = None),
        ("poolRef is not", |r| drop(r.extensions.remove("poolRef"))),
        ("Entrypoint must", |r| r.entrypoint.push("x".to_owned())),
        ("Metadata key", |r| r.metadata.clear()),
        ("Unsupported platform.os", |r| r.platform = None),
        ("Sandbox timeout 86401s exceeds", |r| r.timeout = None),
        ("secureAccess is not", |r| r.secure_access = false),
        ("networkPolicy is not", |r| r.network_policy = None),
        ("extensions[\"bootstrap.execd.isolation\"] is not", |r| r.extensions.clear()),
    ];
    for (start, mend) in mends {
        let error = plan(request.clone(), &options).err().unwrap();
        assert!(error.message.starts_with(start), "{start}: {error}");
        mend(&mut request);
    }
    let error = plan(request.clone(), &options).err().unwrap();
    assert!(error.message.starts_with("Invalid resourceLimits.memory"), "{error}");
    request.resource_limits.clear();
    // Between these the engine is asked for the network.
    Draft::new(request.clone(), &options).map(|_| ()).unwrap();
    let error = plan(request.clone(), &options).err().unwrap();
    assert!(error.message.starts_with("Environment variable 'OPENSANDBOX_EGRESS_TOKEN'"), "{error}");
    request.env.clear();
    let error = plan(request, &options).err().unwrap();
    assert!(error.message.starts_with("Host path '/etc' is not under any allowed prefix"), "{error}");
}

#[test]
fn isolation_is_the_operator_s_to_allow() {
    let mut request = request();
    request.extensions = pairs(&[(extensions::ISOLATION, "enable")]);
    let options = DockerOptions { allow_isolation_extension: true, ..DockerOptions::default() };
    assert!(plan(request.clone(), &options).unwrap().extensions.isolation);
    let error = plan(request, &DockerOptions::default()).err().unwrap();
    assert_eq!(error.key(), (Family::Parameter, Kind::Invalid));
    assert!(error.message.contains("docker.allow_isolation_extension"), "{error}");
}
