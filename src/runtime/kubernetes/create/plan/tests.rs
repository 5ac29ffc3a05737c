//! The checks of kubernetes-runtime.md §4.1, in their order, with the existing server's texts.

use serde_json::json;

use super::*;
use crate::{
    config::{Gateway, RouteMode},
    error::VolumePart,
    model::create::lifecycle::Lifecycle,
    runtime::{
        egress::tests::egress,
        kubernetes::{CreationOptions, options},
    },
};

fn options(provider: WorkloadProvider) -> KubernetesOptions {
    let creation = CreationOptions {
        allowed_host_paths: vec!["/data/opensandbox".to_owned()],
        max_sandbox_timeout_seconds: Some(86_400),
        ..CreationOptions::default()
    };
    KubernetesOptions { provider, creation, allow_windows: true, ..options::tests::options() }
}

/// A request that passes every check, with changes.
fn request(change: impl FnOnce(&mut CreateRequest)) -> CreateRequest {
    let mut request = CreateRequest {
        image: Some(ImageSource { uri: "x".to_owned(), auth: None }),
        entrypoint: vec!["a".to_owned()],
        timeout: Some(60),
        ..Default::default()
    };
    change(&mut request);
    request
}

fn planned(request: CreateRequest, options: &KubernetesOptions, template: Option<&Template>) -> Result<Plan, Error> {
    Draft::new(request, options, template)?.finish(options, template, None)
}

fn refused(change: impl FnOnce(&mut CreateRequest)) -> Error {
    planned(request(change), &options(WorkloadProvider::BatchSandbox), None).err().unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn host(name: &str, path: &str) -> Volume {
    let (name, source) = (name.to_owned(), Source::Host(path.to_owned()));
    Volume { name, mount_path: "/h".to_owned(), read_only: false, sub_path: None, source }
}

fn pooled(request: &mut CreateRequest) {
    request.extensions = pairs(&[("poolRef", "*")]);
}

/// What takes a fault away.
type Mend = fn(&mut CreateRequest, &mut KubernetesOptions);

/// Everything is wrong: each row mends the first fault that is told, and the next one comes to light.
#[test]
fn faults_are_told_in_the_contract_s_order() {
    let mut request = request(|it| {
        it.extensions = pairs(&[("access.renew.extend.seconds", "1"), ("poolRef", "*")]);
        it.network_policy = Some(Default::default());
        it.metadata = pairs(&[("-", "x")]);
        it.platform = Some(Platform { os: "darwin".to_owned(), arch: "amd64".to_owned() });
        it.timeout = Some(86_401);
        it.secure_access = true;
        it.env = vec![("OPENSANDBOX_EGRESS_FOO".to_owned(), None)];
        it.volumes = vec![host("opensandbox-bin", "/etc")];
        it.resource_limits = pairs(&[("gpu", "all")]);
    });
    let mut options = options(WorkloadProvider::BatchSandbox);
    let mend: [(&str, Mend); 12] = [
        ("Invalid extensions[\"access.renew.extend.seconds\"]", |it, _| {
            it.extensions = pairs(&[("poolRef", "*")]);
        }),
        (
            "networkPolicy cannot be used together with extensions.poolRef because pooled pods are pre-created. Remove \
             'networkPolicy' from the request or use template mode.",
            |it, _| it.extensions = BTreeMap::new(),
        ),
        ("Metadata key '-' is invalid", |it, _| it.metadata = BTreeMap::new()),
        ("Unsupported platform.os 'darwin'", |it, _| {
            it.platform = Some(Platform { os: "linux".to_owned(), arch: "amd64".to_owned() });
        }),
        ("Sandbox timeout 86401s exceeds configured maximum of 86400s.", |it, _| it.timeout = Some(60)),
        (
            "secureAccess is currently supported only for Kubernetes sandboxes exposed through ingress.mode='gateway'. \
             Configure ingress gateway mode or disable secureAccess.",
            |_, options| {
                let gateway = Gateway { address: "gw".to_owned(), route: RouteMode::Header, secure_access: None };
                options.ingress.gateway = Some(gateway);
            },
        ),
        ("egress.image must be configured when networkPolicy is provided.", |_, options| {
            options.creation.egress = Some(egress());
        }),
        ("Environment variable 'OPENSANDBOX_EGRESS_FOO' is not allowed", |it, _| it.env = Vec::new()),
        ("Host path '/etc' is not under any allowed prefix. Allowed prefixes: ['/data/opensandbox']", |it, _| {
            it.volumes = vec![host("opensandbox-bin", "/data/opensandbox")];
        }),
        (
            "Kubernetes runtime requires resourceLimits.gpu to be a positive integer; 'all' is not supported.",
            |it, _| it.resource_limits = pairs(&[("cpu", "much")]),
        ),
        ("Invalid resourceLimits.cpu: 'much' is no quantity", |it, _| it.resource_limits = BTreeMap::new()),
        (
            "Volume name 'opensandbox-bin' conflicts with an internal volume. Please use a different volume name.",
            |it, _| it.volumes = Vec::new(),
        ),
    ];
    for (text, mend) in mend {
        let error = planned(request.clone(), &options, None).err().unwrap_or_else(|| panic!("not told: {text}"));
        assert!(error.message.starts_with(text), "{} is not {text}", error.message);
        mend(&mut request, &mut options);
    }
    let plan = planned(request, &options, None).unwrap();
    assert!(plan.secure_access.is_some() && plan.sidecar.is_some());
}

#[test]
fn a_pool_s_pod_is_made_already() {
    let text = |change: fn(&mut CreateRequest)| {
        refused(|it| {
            pooled(it);
            change(it);
        })
        .message
    };
    assert!(text(|it| it.credential_proxy = true).starts_with("credentialProxy.enabled cannot be used together"));
    assert_eq!(
        text(|it| it.volumes = vec![host("h", "/data/opensandbox/x")]),
        "Pool mode (extensions.poolRef) does not support volumes. Remove 'volumes' from the request or use template mode."
    );
    assert_eq!(
        text(|it| it.platform = Some(Platform { os: "linux".to_owned(), arch: "amd64".to_owned() })),
        "platform is not supported together with extensions.poolRef yet. Pool-level platform modeling is not available in \
         this iteration."
    );
    let agent = planned(request(pooled), &options(WorkloadProvider::AgentSandbox), None).err().unwrap();
    assert_eq!(agent.key(), (Family::Pool, Kind::Invalid));
}

#[test]
fn sources_and_volumes_that_there_are_not_are_refused() {
    assert_eq!(refused(|it| it.image = None).key(), (Family::Parameter, Kind::Invalid));
    assert_eq!(refused(|it| it.entrypoint = Vec::new()).key(), (Family::Entrypoint, Kind::Invalid));
    assert_eq!(refused(|it| it.template_id = Some("t".to_owned())).key(), (Family::Template, Kind::Unsupported));
    let bucket = json!({"image": {"uri": "x"}, "entrypoint": ["a"], "resourceLimits": {}, "volumes": [{"name": "h",
        "mountPath": "/h", "ossfs": {"bucket": "abc", "endpoint": "e", "accessKeyId": "a", "accessKeySecret": "b"}}]});
    let bucket = CreateRequest::from_json(&bucket).ok().unwrap();
    assert_eq!(
        refused(|it| it.volumes = bucket.volumes).message,
        "Volume 'h' has no supported backend specified. Supported backends: pvc, host"
    );
    let mut own = host("h", "/data/opensandbox");
    own.mount_path = "/opt/opensandbox/x".to_owned();
    assert_eq!(refused(|it| it.volumes = vec![own]).key(), (Family::Volume(VolumePart::MountPath), Kind::Invalid));
}

#[test]
fn a_template_has_its_own_places_and_platform() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.yaml");
    let file = "{spec: {template: {spec: {nodeSelector: {kubernetes.io/arch: arm64}, volumes: [{name: ca, emptyDir: {}}], \
                containers: [{name: sandbox, volumeMounts: [{name: ca, mountPath: /ca}]}]}}}}";
    std::fs::write(&path, file).unwrap();
    let template = Template::read(&path, WorkloadProvider::BatchSandbox).unwrap();
    let options = options(WorkloadProvider::BatchSandbox);
    let refused =
        |change: fn(&mut CreateRequest)| planned(request(change), &options, Some(&template)).err().unwrap().message;
    let name = refused(|it| it.volumes = vec![host("ca", "/data/opensandbox")]);
    assert_eq!(name, "Volume name 'ca' conflicts with an internal volume. Please use a different volume name.");
    let place = refused(|it| {
        let mut volume = host("h", "/data/opensandbox");
        volume.mount_path = "/ca/".to_owned();
        it.volumes = vec![volume];
    });
    assert_eq!(place, "Mount path '/ca' is taken: something else is mounted there in the sandbox.");
    let platform = refused(|it| it.platform = Some(Platform { os: "linux".to_owned(), arch: "amd64".to_owned() }));
    assert_eq!(
        platform,
        "platform conflict with template nodeSelector: 'kubernetes.io/arch' is 'arm64', request expects 'amd64'."
    );
    let same = request(|it| it.platform = Some(Platform { os: "linux".to_owned(), arch: "arm64".to_owned() }));
    assert!(planned(same, &options, Some(&template)).is_ok());
}

fn windows(change: impl FnOnce(&mut CreateRequest)) -> CreateRequest {
    request(|it| {
        it.platform = Some(Platform { os: "windows".to_owned(), arch: "amd64".to_owned() });
        it.resource_limits = pairs(&[("cpu", "2"), ("memory", "4Gi"), ("disk", "64Gi"), ("gpu", "x")]);
        change(it);
    })
}

#[test]
fn a_windows_sandbox_is_a_machine() {
    let options = options(WorkloadProvider::BatchSandbox);
    let plan = planned(windows(|_| {}), &options, None).unwrap();
    let container = json!({"cpu": "2", "memory": "6Gi"});
    assert_eq!(plan.resources, Some(json!({"limits": container, "requests": container})));
    assert_eq!(plan.windows.unwrap().size.len(), 3);
    let refused = |change: fn(&mut CreateRequest)| planned(windows(change), &options, None).err().unwrap().message;
    let small = "Windows profile requires resourceLimits.cpu >= 2 (received: 1).";
    assert_eq!(refused(|it| it.resource_limits = pairs(&[("cpu", "1"), ("gpu", "all")])), small);
    let gpus = "Kubernetes runtime requires resourceLimits.gpu to be a positive integer; 'all' is not supported.";
    assert_eq!(refused(|it| it.resource_limits = pairs(&[("gpu", "ALL")])), gpus.replace("'all'", "'ALL'"));
    assert_eq!(refused(|it| it.resource_requests = pairs(&[("gpu", "all")])), gpus);
    let spaced = refused(|it| it.resource_limits = pairs(&[("cpu", " 2 ")]));
    assert!(spaced.starts_with("Invalid resourceLimits.cpu: ' 2 ' is no quantity"), "{spaced}");
    let above = refused(|it| it.resource_requests = pairs(&[("memory", "5Gi")]));
    assert_eq!(above, "Invalid resourceRequests.memory: '7Gi' is above its limit '6Gi'.");
    for name in windows::volume_names() {
        let error = planned(windows(|it| it.volumes = vec![host(name, "/data/opensandbox")]), &options, None);
        assert!(error.err().unwrap().message.ends_with("Please use a different volume name."), "{name}");
    }
    for place in ["/oem", "/oem/x", "/storage", "/dev/kvm", "/dev/net/tun"] {
        let at = Volume { mount_path: place.to_owned(), ..host("h", "/data/opensandbox") };
        let error = planned(windows(|it| it.volumes = vec![at]), &options, None).err().unwrap();
        assert_eq!(error.key(), (Family::Volume(VolumePart::MountPath), Kind::Invalid), "{place}");
    }
    let unallowed = KubernetesOptions { allow_windows: false, ..options.clone() };
    let error = planned(windows(|_| {}), &unallowed, None).err().unwrap();
    assert!(error.key() == (Family::Parameter, Kind::Invalid) && error.message.contains("kubernetes.allow_windows"));
    let below = Volume { mount_path: "/storage/x".to_owned(), ..host("h", "/data/opensandbox") };
    assert!(planned(windows(|it| it.volumes = vec![below]), &options, None).is_ok());
}

/// Its network is the sidecar's, and it may change that.
#[test]
fn a_windows_sandbox_has_no_network_policy() {
    let mut options = options(WorkloadProvider::BatchSandbox);
    options.creation.egress = Some(egress());
    let error = planned(windows(|it| it.network_policy = Some(Default::default())), &options, None).err().unwrap();
    assert!(error.message.starts_with("networkPolicy is not supported when platform.os='windows'"), "{error}");
}

#[test]
fn an_agent_sandbox_has_no_windows() {
    let options = options(WorkloadProvider::AgentSandbox);
    let small = windows(|it| it.resource_limits = pairs(&[("cpu", "1")]));
    let error = planned(small, &options, None).err().unwrap();
    assert_eq!(error.message, "agent-sandbox does not support platform.os=windows.");
}

/// Nodes with virtual machines are of Linux; and no pod is privileged that may not gain rights.
#[test]
fn a_template_may_exclude_windows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.yaml");
    let options = options(WorkloadProvider::BatchSandbox);
    let with = |spec: &str| {
        std::fs::write(&path, format!("{{spec: {{template: {{spec: {spec}}}}}}}")).unwrap();
        let template = Template::read(&path, WorkloadProvider::BatchSandbox).unwrap();
        planned(windows(|_| {}), &options, Some(&template)).map(drop).map_err(|error| error.message)
    };
    assert_eq!(with("{nodeSelector: {kubernetes.io/os: linux, kubernetes.io/arch: amd64}}"), Ok(()));
    let other = with("{nodeSelector: {kubernetes.io/arch: arm64}}").unwrap_err();
    assert!(other.starts_with("platform conflict with template nodeSelector: 'kubernetes.io/arch'"), "{other}");
    let forbidden = with("{containers: [{name: sandbox, securityContext: {allowPrivilegeEscalation: false}}]}");
    assert!(forbidden.unwrap_err().ends_with("forbids with allowPrivilegeEscalation: false."));
}

/// What would be found out by the pod alone, after a minute.
#[test]
fn what_no_pod_or_annotation_can_be_is_refused() {
    let image = refused(|it| it.image = Some(ImageSource { uri: " x".to_owned(), auth: None }));
    assert_eq!(image.message, "image.uri must not begin or end with blanks.");
    for name in ["é", "a\tb"] {
        let error = refused(|it| it.env = vec![(name.to_owned(), None)]);
        assert!(error.message.ends_with("printable ASCII characters."), "{}", error.message);
    }
    let long_name = "x".repeat(53);
    for name in ["", "a b", "-", long_name.as_str()] {
        let key = format!("opensandbox.extensions.{name}");
        let error = refused(|it| it.extensions = pairs(&[(key.as_str(), "1")]));
        assert!(error.message.starts_with("Invalid extension 'opensandbox.extensions."), "{}", error.message);
    }
    let value = "x".repeat(256 * 1024);
    let long = refused(|it| it.extensions = pairs(&[("opensandbox.extensions.a", value.as_str())]));
    assert!(long.message.ends_with("the most is 196608."), "{}", long.message);
    let key = format!("opensandbox.extensions.{}", "x".repeat(52));
    let good = request(|it| {
        it.env = vec![("a b".to_owned(), None)];
        it.extensions = pairs(&[(key.as_str(), "1")]);
    });
    assert!(planned(good, &options(WorkloadProvider::BatchSandbox), None).is_ok());
}

#[test]
fn labels_and_annotations_are_the_contract_s() {
    let request = request(|it| {
        it.timeout = None;
        it.snapshot_id = Some("s".to_owned());
        it.metadata = pairs(&[("project", "a")]);
        it.lifecycle = Some(Lifecycle::default());
        it.extensions = pairs(&[
            ("access.renew.extend.seconds", " 600 "),
            ("opensandbox.extensions.foo", "bar"),
            ("other", "ignored"),
        ]);
    });
    let options = options(WorkloadProvider::BatchSandbox);
    let plan = Draft::new(request, &options, None).unwrap().finish(&options, None, Some("team-a".into())).unwrap();
    let expected = [
        ("opensandbox.io/id", plan.id.as_str()),
        ("opensandbox.io/manual-cleanup", "true"),
        ("opensandbox.io/snapshot-id", "s"),
        ("opensandbox.io/tenant", "team-a"),
        ("project", "a"),
    ];
    assert_eq!(plan.labels(), pairs(&expected));
    let expected = [("opensandbox.io/access-renew-extend-seconds", "600"), ("opensandbox.io/extensions.foo", "bar")];
    assert_eq!(plan.annotations(), pairs(&expected));
    assert_eq!(plan.lifecycle.as_deref(), Some("{}"));
}
