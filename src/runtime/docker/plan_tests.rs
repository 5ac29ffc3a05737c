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
    assert_eq!(plan.extensions, pairs(&[("opensandbox.extensions.foo", "bar")]));
    assert_eq!(plan.command, ["sleep", "100000"]);
    assert_eq!(plan.entrypoint, ["sleep 100000"]);
}

#[test]
fn without_timeout_the_clean_up_is_manual() {
    let plan = Plan::new(CreateRequest { timeout: None, ..request() }, &DockerOptions::default()).unwrap();
    assert_eq!(plan.labels("x"), pairs(&[("opensandbox.io/id", "x"), ("opensandbox.io/manual-cleanup", "true")]));
}

#[test]
fn splits_only_a_lone_string_with_a_space() {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(command(&owned(&["sh -c 'a b' \"c\""])), ["sh", "-c", "a b", "c"]);
    assert_eq!(command(&owned(&["a b", "c"])), ["a b", "c"]);
    assert_eq!(command(&owned(&["sleep"])), ["sleep"]);
    assert_eq!(command(&owned(&["unclosed 'quote"])), ["unclosed 'quote"]);
}

#[test]
fn refuses_what_docker_does_not_do() {
    assert_eq!(refused(|r| r.lifecycle = true).kind, ErrorKind::InvalidParameter);
    assert_eq!(refused(|r| r.extensions = pairs(&[("poolRef", "p")])).kind, ErrorKind::UnsupportedPoolRef);
    assert_eq!(refused(|r| r.entrypoint.clear()).kind, ErrorKind::InvalidEntrypoint);
    assert_eq!(refused(|r| r.secure_access = true).kind, ErrorKind::InvalidParameter);
    assert_eq!(refused(|r| r.network_policy = true).kind, ErrorKind::NotSupported);
    assert_eq!(refused(|r| r.volumes = 1).kind, ErrorKind::NotSupported);
    assert_eq!(refused(|r| r.snapshot_id = Some("s".to_owned())).kind, ErrorKind::NotSupported);
    let windows = Platform { os: "windows".to_owned(), arch: "amd64".to_owned() };
    assert_eq!(refused(|r| r.platform = Some(windows)).kind, ErrorKind::NotSupported);
}

#[test]
fn bounds_the_timeout() {
    let options = DockerOptions { max_sandbox_timeout_seconds: Some(86_400), ..Default::default() };
    let error = Plan::new(CreateRequest { timeout: Some(86_401), ..request() }, &options).err().unwrap();
    assert_eq!(error.message, "Sandbox timeout 86401s exceeds configured maximum of 86400s.");
    assert!(refused(|r| r.timeout = Some(u64::MAX)).message.ends_with("is too large to represent safely."));
    assert!(refused(|r| r.timeout = Some(1 << 50)).message.ends_with("is too large to represent safely."));
}

#[test]
fn reads_resource_limits() {
    let read = |pairs_: &[(&str, &str)]| limits(&pairs(pairs_));
    let some = read(&[("memory", " 64Mi "), ("cpu", "500m"), ("gpu", "all"), ("disk", "?")]).unwrap();
    assert_eq!(some, Limits { memory: Some(64 << 20), nano_cpus: Some(500_000_000), gpus: Some(-1) });
    let error = read(&[("memory", "1.5Gi")]).unwrap_err();
    assert_eq!(error.message, "Invalid resourceLimits.memory: '1.5Gi'; must resolve to a positive resource limit.");
    for (key, value) in
        [("memory", "0"), ("memory", "1KiB"), ("memory", "-1"), ("cpu", "nan"), ("cpu", "-1"), ("gpu", "-1")]
    {
        assert!(read(&[(key, value)]).is_err(), "{key}={value}");
    }
}

#[test]
fn overlays_the_environment() {
    let defaults = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())];
    let request = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let all = env(&defaults, &[request("C", Some("")), request("A", None), request("B", Some("3"))]).unwrap();
    assert_eq!(all, ["B=3", "C="]);
    assert!(env(&[], &[request("OPENSANDBOX_EGRESS_LOG_LEVEL", Some("x"))]).unwrap().is_empty());
    let error = env(&[], &[request("OPENSANDBOX_EGRESS_TOKEN", Some("x"))]).unwrap_err();
    assert!(error.message.contains("['OPENSANDBOX_EGRESS_CREDENTIAL_VAULT_REQUIRE_SCOPED_MATCH', "), "{error}");
}

#[test]
fn checks_the_renewal() {
    assert_eq!(renew_seconds(&pairs(&[("access.renew.extend.seconds", "+600")])).unwrap().as_deref(), Some("+600"));
    for text in ["", "abc", "299"] {
        assert!(renew_seconds(&pairs(&[("access.renew.extend.seconds", text)])).is_err(), "{text}");
    }
}

#[test]
fn checks_metadata() {
    assert!(check_metadata(&pairs(&[("team.example.com/x", "y"), ("a", "")])).is_ok());
    for (key, value) in
        [("opensandbox.io/x", "y"), ("-a", "b"), ("A.b/", "c"), ("UP/x", "c"), ("a", "b\n"), ("a", "b c")]
    {
        assert_eq!(check_metadata(&pairs(&[(key, value)])).unwrap_err().kind, ErrorKind::InvalidMetadata, "{key}");
    }
}
