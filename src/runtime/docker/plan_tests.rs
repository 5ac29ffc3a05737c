use super::*;

fn request() -> CreateRequest {
    CreateRequest {
        image: Some(ImageSource { uri: "busybox".to_owned(), auth: None }),
        entrypoint: vec!["sleep 100000".to_owned()],
        timeout: Some(600),
        ..Default::default()
    }
}

fn refused(change: impl FnOnce(&mut CreateRequest)) -> RuntimeError {
    let mut request = request();
    change(&mut request);
    Plan::new(request, &DockerOptions::default()).err().unwrap()
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
    let plan = Plan::new(request, &DockerOptions::default()).unwrap();
    let expires = plan.expires_at.unwrap().to_label();
    let expected = [
        ("opensandbox.io/access-renew-extend-seconds", "600"),
        ("opensandbox.io/expires-at", expires.as_str()),
        ("opensandbox.io/extensions.foo", "bar"),
        ("opensandbox.io/id", "x"),
        ("opensandbox.io/platform-arch", "amd64"),
        ("opensandbox.io/platform-os", "linux"),
        ("project", "Apollo"),
    ];
    assert_eq!(plan.labels("x"), pairs(&expected));
    assert_eq!(plan.extensions.echoed, pairs(&[("opensandbox.extensions.foo", "bar")]));
    assert_eq!(plan.command, ["sleep", "100000"]);
    assert_eq!(plan.entrypoint, ["sleep 100000"]);
}

#[test]
fn without_timeout_the_clean_up_is_manual() {
    let plan = Plan::new(CreateRequest { timeout: None, ..request() }, &DockerOptions::default()).unwrap();
    assert_eq!(plan.labels("x"), pairs(&[("opensandbox.io/id", "x"), ("opensandbox.io/manual-cleanup", "true")]));
}

#[test]
fn refuses_what_docker_does_not_do() {
    assert_eq!(refused(|r| r.lifecycle = true).kind, ErrorKind::InvalidParameter);
    assert_eq!(refused(|r| r.extensions = pairs(&[("poolRef", "p")])).kind, ErrorKind::UnsupportedPoolRef);
    assert_eq!(refused(|r| r.entrypoint.clear()).kind, ErrorKind::InvalidEntrypoint);
    assert_eq!(refused(|r| r.secure_access = true).kind, ErrorKind::InvalidParameter);
    assert_eq!(refused(|r| r.network_policy = true).kind, ErrorKind::NotSupported);
    assert_eq!(refused(|r| r.volumes = 1).kind, ErrorKind::NotSupported);
    let windows = Platform { os: "windows".to_owned(), arch: "amd64".to_owned() };
    assert_eq!(refused(|r| r.platform = Some(windows)).kind, ErrorKind::NotSupported);
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
    assert_eq!(Plan::new(request, &options).unwrap().env, ["B=3", "C="]);
}

type Mend = fn(&mut CreateRequest);

/// Every request breaks its rule and all later ones, so the texts tell the order (http-api.md §6.3).
#[test]
fn checks_come_in_the_contract_s_order() {
    let platform = |os: &str| Some(Platform { os: os.to_owned(), arch: "amd64".to_owned() });
    let mut request = CreateRequest {
        extensions: pairs(&[("access.renew.extend.seconds", "1"), ("poolRef", "p"), (extensions::ISOLATION, "enable")]),
        lifecycle: true,
        metadata: pairs(&[("opensandbox.io/x", "y")]),
        platform: platform("plan9"),
        timeout: Some(86_401),
        secure_access: true,
        network_policy: true,
        resource_limits: pairs(&[("memory", "1.5Gi")]),
        env: vec![("OPENSANDBOX_EGRESS_TOKEN".to_owned(), None)],
        ..CreateRequest::default()
    };
    let options = DockerOptions { max_sandbox_timeout_seconds: Some(86_400), ..DockerOptions::default() };
    let mends: [(&str, Mend); 10] = [
        ("Invalid extensions", |r| drop(r.extensions.remove("access.renew.extend.seconds"))),
        ("lifecycle hooks", |r| r.lifecycle = false),
        ("poolRef is not", |r| drop(r.extensions.remove("poolRef"))),
        ("Entrypoint must", |r| r.entrypoint.push("x".to_owned())),
        ("Metadata key", |r| r.metadata.clear()),
        ("Unsupported platform.os", |r| r.platform = None),
        ("Sandbox timeout 86401s exceeds", |r| r.timeout = None),
        ("secureAccess is not", |r| r.secure_access = false),
        ("networkPolicy is not", |r| r.network_policy = false),
        ("extensions[\"bootstrap.execd.isolation\"] is not", |r| r.extensions.clear()),
    ];
    for (start, mend) in mends {
        let error = Plan::new(request.clone(), &options).err().unwrap();
        assert!(error.message.starts_with(start), "{start}: {error}");
        mend(&mut request);
    }
    let error = Plan::new(request.clone(), &options).err().unwrap();
    assert!(error.message.starts_with("Invalid resourceLimits.memory"), "{error}");
    request.resource_limits.clear();
    let error = Plan::new(request, &options).err().unwrap();
    assert!(error.message.starts_with("Environment variable 'OPENSANDBOX_EGRESS_TOKEN'"), "{error}");
}

#[test]
fn isolation_is_the_operator_s_to_allow() {
    let mut request = request();
    request.extensions = pairs(&[(extensions::ISOLATION, "enable")]);
    let options = DockerOptions { allow_isolation_extension: true, ..DockerOptions::default() };
    assert!(Plan::new(request.clone(), &options).unwrap().extensions.isolation);
    let error = Plan::new(request, &DockerOptions::default()).err().unwrap();
    assert_eq!(error.kind, ErrorKind::InvalidParameter);
    assert!(error.message.contains("docker.allow_isolation_extension"), "{error}");
}
