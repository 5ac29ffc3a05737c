//! The objects that the existing server was recorded to create (transcripts 13 and 14), from the requests that it was sent, and one
//! test for each further row of kubernetes-runtime.md §4.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::*;
use crate::{
    config::{Egress, EgressMode, Gateway, Ingress, Resources, RouteMode, SecureKind},
    model::{create::CreateRequest, timestamp::Timestamp},
    runtime::kubernetes::{create::plan::Draft, options},
    secret::Secret,
};

fn options(provider: WorkloadProvider, creation: CreationOptions) -> KubernetesOptions {
    let gateway = Gateway { address: "gw.example.com".to_owned(), route: RouteMode::Header, secure_access: None };
    KubernetesOptions {
        provider,
        allow_windows: true,
        ingress: Ingress { gateway: Some(gateway) },
        creation,
        ..options::tests::options()
    }
}

/// The settings of the recordings.
fn recorded() -> CreationOptions {
    let quantity = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
    let egress = Egress {
        image: Some("reg.example/egress:v1".to_owned()),
        mode: EgressMode::DnsNft,
        disable_ipv6: true,
        otlp_endpoint: Some(Secret::new("http://otel:4318")),
        readiness_timeout: Duration::from_secs(30),
        resources: Resources { requests: quantity("cpu", "50m"), limits: quantity("memory", "128Mi") },
        upstream_proxy: None,
    };
    CreationOptions {
        execd_image: "reg.example/execd:v1".to_owned(),
        egress: Some(egress),
        allowed_host_paths: vec!["/data/opensandbox".to_owned()],
        ..CreationOptions::default()
    }
}

fn planned(request: &Value, options: &KubernetesOptions, template: Option<&Template>, tenant: Option<&str>) -> Plan {
    let request = CreateRequest::from_json(request).unwrap_or_else(|_| panic!("{request}"));
    let draft = Draft::new(request, options, template).unwrap();
    let mut plan = draft.finish(options, template, tenant.map(Arc::from)).unwrap();
    plan.id = "ID".to_owned();
    if plan.secure_access.is_some() {
        plan.secure_access = Some(Secret::new("TOKEN"));
    }
    if let Some(sidecar) = &mut plan.sidecar {
        sidecar.token = Secret::new("TOKEN");
    }
    plan
}

/// The object of a request with the recorded settings, with `change` to them.
fn made(request: Value, change: impl FnOnce(&mut CreationOptions)) -> Value {
    let mut creation = recorded();
    change(&mut creation);
    let options = options(WorkloadProvider::BatchSandbox, creation);
    object(&planned(&request, &options, None, None), &options, None, "ID", "osb")
}

fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Sets the expiry that was recorded.
fn expiring(mut plan: Plan, recorded: &Value) -> Plan {
    assert!(plan.expires_at.is_some());
    plan.expires_at = Timestamp::from_iso(recorded["spec"]["expireTime"].as_str().unwrap());
    plan
}

#[test]
fn a_minimal_request_makes_the_recorded_object() {
    let expected = golden(include_str!("minimal.json"));
    let request = json!({"image": {"uri": "x"}, "entrypoint": ["a"], "resourceLimits": {}, "timeout": 60,
        "metadata": {"quota": "1"}});
    let options = options(WorkloadProvider::BatchSandbox, recorded());
    let plan = expiring(planned(&request, &options, None, None), &expected);
    assert_eq!(object(&plan, &options, None, "ID", "osb"), expected);
}

#[test]
fn a_rich_request_makes_the_recorded_object() {
    let request = json!({
        "image": {"uri": "reg.example/ns/py:1", "auth": {"username": "u", "password": "p"}},
        "platform": {"os": "linux", "arch": "arm64"},
        "entrypoint": ["sleep", "10"],
        "resourceLimits": {"cpu": "1", "memory": "1Gi", "gpu": "2"},
        "resourceRequests": {"cpu": "100m"},
        "env": {"A": "1", "B": null, "OPENSANDBOX_EGRESS_LOG_LEVEL": "debug"},
        "metadata": {"project": "Apollo"},
        "networkPolicy": {"defaultAction": "deny", "egress": [{"action": "allow", "target": "*.example.com"}]},
        "credentialProxy": {"enabled": true},
        "extensions": {"access.renew.extend.seconds": "600", "opensandbox.extensions.foo": "bar",
            "bootstrap.execd.isolation": "enable"},
        "volumes": [
            {"name": "h", "mountPath": "/h", "host": {"path": "/data/opensandbox/x"}, "subPath": "a", "readOnly": true},
            {"name": "p", "mountPath": "/p",
             "pvc": {"claimName": "claim-a", "deleteOnSandboxTermination": true, "storage": "2Gi"}},
            {"name": "p2", "mountPath": "/p2", "readOnly": true,
             "pvc": {"claimName": "claim-a", "deleteOnSandboxTermination": true}},
        ],
        "lifecycle": {"preStart": {"command": ["sh", "-c", "true"], "timeoutSeconds": 5},
            "periodic": [{"name": "a", "schedule": "* * * * *", "command": ["x"]}]},
    });
    let made = made(request, |_| {});
    let expected = golden(include_str!("rich.json"));
    assert_eq!(made, expected);
    // A list is compared with its order; so is the environment.
    let names = |object: &Value| {
        let env = object.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap();
        env.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let own = ["OPENSANDBOX_LIFECYCLE", "OPENSANDBOX_ID", "OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT", "EXECD"];
    assert_eq!(names(&made), [&["A", "B"][..], &own].concat());
}

#[test]
fn a_pool_s_pod_makes_the_recorded_object() {
    let expected = golden(include_str!("pool.json"));
    let request = json!({"extensions": {"poolRef": "*"}, "timeout": 60, "env": {"A": "it's"},
        "entrypoint": ["sh", "-c", "echo \"a b\""]});
    let options = options(WorkloadProvider::BatchSandbox, recorded());
    let plan = expiring(planned(&request, &options, None, None), &expected);
    assert_eq!(object(&plan, &options, None, "ID", "osb"), expected);
}

/// Row "Entrypoint default `tail -f /dev/null`", "image, resourceLimits, resourceRequests silently ignored".
#[test]
fn a_pool_s_pod_has_a_command_of_its_own() {
    let request =
        json!({"extensions": {"poolRef": "p1"}, "image": {"uri": "ignored"}, "resourceLimits": {"cpu": "lots"}});
    let object = made(request, |creation| creation.execd_run_as_init = true);
    let process = json!({"command": ["/bin/sh", "-c", "exec /opt/opensandbox/bootstrap.sh tail -f /dev/null"],
        "env": [{"name": "EXECD_INIT", "value": "1"}, {"name": "OPENSANDBOX_ID", "value": "ID"}]});
    let spec = json!({"replicas": 1, "poolRef": "p1", "taskTemplate": {"spec": {"process": process}}});
    assert_eq!(object["spec"], spec);
    assert_eq!(object["metadata"]["labels"]["opensandbox.io/manual-cleanup"], "true");
}

#[test]
fn a_template_makes_the_recorded_object() {
    let expected = golden(include_str!("template.json"));
    let file = "
metadata: {annotations: {tmpl/anno: '1'}, labels: {tmpl-label: file}}
spec:
  replicas: 3
  ttl: 5
  expireTime: '2020-01-01T00:00:00Z'
  template:
    metadata: {labels: {podl: 'y'}}
    spec:
      runtimeClassName: kata
      restartPolicy: Never
      tolerations: [{operator: Exists}]
      nodeSelector: {disk: ssd}
      imagePullSecrets: [{name: regcred}]
      volumes: [{name: extra, emptyDir: {}}]
      initContainers: [{name: other, image: other}]
      containers:
      - name: sandbox
        image: ignored
        imagePullPolicy: Always
        env: [{name: IGNORED, value: x}]
        volumeMounts: [{name: extra, mountPath: /extra}]
        securityContext: {runAsUser: 1000, capabilities: {add: [CHOWN], drop: [ALL]}}
";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("template.yaml");
    std::fs::write(&path, file).unwrap();
    let template = Template::read(&path, WorkloadProvider::BatchSandbox).unwrap();
    let request = json!({"image": {"uri": "reg.example/py:1"}, "entrypoint": ["a"], "resourceLimits": {}, "timeout": 600,
        "secureAccess": true, "metadata": {"tmpl-label": "mine"}});
    let options = options(WorkloadProvider::BatchSandbox, recorded());
    let plan = expiring(planned(&request, &options, Some(&template), Some("team-a")), &expected);
    assert_eq!(object(&plan, &options, Some(&template), "ID", "ns-a"), expected);
}

fn plain(overlay: Value) -> Value {
    let mut request = json!({"image": {"uri": "x"}, "entrypoint": ["a"], "resourceLimits": {}});
    request.as_object_mut().unwrap().extend(overlay.as_object().unwrap().clone());
    request
}

fn pod(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]
}

/// Row "`runtime.execd_run_as_init`".
#[test]
fn execd_is_asked_to_be_the_first_process() {
    let object = made(plain(json!({"env": {"EXECD_INIT": "0", "A": "1", "OPENSANDBOX_ID": "mine"}})), |creation| {
        creation.execd_run_as_init = true;
    });
    let expected = json!([{"name": "A", "value": "1"}, {"name": "OPENSANDBOX_ID", "value": "ID"},
        {"name": "EXECD_INIT", "value": "1"}, {"name": "EXECD", "value": "/opt/opensandbox/execd"}]);
    assert_eq!(pod(&object)["containers"][0]["env"], expected);
}

/// Rows "`kubernetes.execd_init_resources`" and "`kubernetes.image_pull_policy`".
#[test]
fn the_configuration_has_its_say() {
    let limits = BTreeMap::from([("cpu".to_owned(), "1".to_owned())]);
    let object = made(plain(json!({})), |creation| {
        creation.execd_init_resources.limits = limits;
        creation.image_pull_policy = "Always".to_owned();
    });
    assert_eq!(pod(&object)["initContainers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
    assert_eq!(pod(&object)["containers"][0]["imagePullPolicy"], "Always");
    assert!(pod(&object)["initContainers"][0].get("imagePullPolicy").is_none());
    assert!(pod(&object)["containers"][0].get("resources").is_none(), "no limits, no resources");
}

/// Row "secure runtime".
#[test]
fn a_secure_runtime_is_a_runtime_class() {
    let class = |kind, name: Option<&str>| {
        let object = made(plain(json!({})), |creation| {
            (creation.secure_kind, creation.runtime_class) = (kind, name.map(str::to_owned));
        });
        pod(&object)["runtimeClassName"].as_str().map(str::to_owned)
    };
    for (kind, name, expected) in [
        (None, None, None),
        (Some(SecureKind::Gvisor), None, Some("gvisor")),
        (Some(SecureKind::Kata), None, Some("kata-qemu")),
        (Some(SecureKind::Firecracker), None, Some("kata-fc")),
        (Some(SecureKind::Kata), Some("mine"), Some("mine")),
    ] {
        assert_eq!(class(kind, name).as_deref(), expected, "{kind:?} {name:?}");
    }
}

/// Row "With `egress.disable_ipv6` and a policy".
#[test]
fn ipv6_stays_where_the_operator_says_so() {
    let policy = json!({"networkPolicy": {}});
    let object = made(plain(policy), |creation| {
        if let Some(egress) = &mut creation.egress {
            egress.disable_ipv6 = false;
        }
    });
    let installer = &pod(&object)["initContainers"][0];
    assert!(installer.get("securityContext").is_none());
    assert!(installer["args"][0].as_str().unwrap().starts_with("cp ./execd /opt/opensandbox/execd && "));
}

/// Row "`opensandbox.io/snapshot-id`".
#[test]
fn a_restored_sandbox_names_its_snapshot() {
    let options = options(WorkloadProvider::BatchSandbox, recorded());
    let mut plan = planned(&plain(json!({})), &options, None, None);
    plan.snapshot_id = Some("snap".to_owned());
    let object = object(&plan, &options, None, "ID", "osb");
    assert_eq!(object["metadata"]["labels"]["opensandbox.io/snapshot-id"], "snap");
    assert_eq!(object["spec"]["template"]["metadata"]["labels"]["opensandbox.io/snapshot-id"], "snap");
}

/// §4.8.
#[test]
fn an_agent_sandbox_has_another_frame() {
    let request =
        plain(json!({"timeout": 60, "metadata": {"m": "1"}, "extensions": {"opensandbox.extensions.foo": "bar"}}));
    let of = |policy, request: &Value| {
        let creation = CreationOptions { shutdown_policy: policy, ..recorded() };
        let options = options(WorkloadProvider::AgentSandbox, creation);
        let plan = planned(request, &options, None, None);
        (object(&plan, &options, None, "sandbox-ID", "osb"), plan.expires_at)
    };
    let (mut object, expires_at) = of(ShutdownPolicy::Delete, &request);
    let labels = json!({"opensandbox.io/id": "ID", "m": "1"});
    let pod = object["spec"]["podTemplate"]["spec"].take();
    let expected = json!({
        "apiVersion": "agents.x-k8s.io/v1beta1", "kind": "Sandbox",
        "metadata": {"name": "sandbox-ID", "namespace": "osb", "labels": labels,
            "annotations": {"opensandbox.io/extensions.foo": "bar"}},
        "spec": {"operatingMode": "Running", "service": true, "shutdownPolicy": "Delete",
            "shutdownTime": expires_at.unwrap().to_label(),
            "podTemplate": {"metadata": {"labels": labels}, "spec": null}},
    });
    assert_eq!(object, expected);
    // The same pod, but for the policy by which its image is pulled.
    let mut batch = made(request, |_| {})["spec"]["template"]["spec"].take();
    batch["containers"][0].as_object_mut().unwrap().shift_remove("imagePullPolicy").unwrap();
    assert_eq!(pod, batch);
    let (object, _) = of(ShutdownPolicy::Retain, &plain(json!({"env": {"A": null, "B": ""}})));
    let env = object["spec"]["podTemplate"]["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!(env[..2], [json!({"name": "A"}), json!({"name": "B", "value": ""})]);
    assert_eq!(object["spec"]["shutdownPolicy"], "Retain");
    assert!(object["spec"].get("shutdownTime").is_none());
    assert!(object["metadata"].get("annotations").is_none());
}

#[test]
fn words_are_quoted_as_python_does() {
    for (word, expected) in [
        ("plain-word_1.2/3:4,5@6%7+8=9", "plain-word_1.2/3:4,5@6%7+8=9"),
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", r#"'it'"'"'s'"#),
        ("$HOME;rm", "'$HOME;rm'"),
        ("é", "'é'"),
    ] {
        assert_eq!(quoted(word), expected);
    }
}

#[test]
fn an_object_has_a_largest_size() {
    let of = |text: String| check_size(&Value::from(text)).map_err(|error| error.key());
    assert_eq!(of("x".repeat(MAX_OBJECT - 2)), Ok(()));
    let refused = Err((Family::Parameter, Kind::Invalid));
    assert_eq!(of("x".repeat(MAX_OBJECT)), refused);
    assert_eq!(of("&".repeat(MAX_OBJECT / 5)), refused);
}

/// As the peer makes it.
#[test]
fn a_windows_sandbox_runs_a_machine_in_a_privileged_container() {
    let request = json!({"image": {"uri": "x"}, "entrypoint": ["/run/entry.sh"], "timeout": 60,
        "platform": {"os": "windows", "arch": "amd64"}, "env": {"A": "1", "EXECD": "mine"}, "lifecycle": {},
        "resourceLimits": {"cpu": "2", "memory": "4Gi", "disk": "64Gi"}});
    let object = made(request, |creation| creation.execd_run_as_init = true);
    let pod = &object["spec"]["template"]["spec"];
    let resources = json!({"cpu": "2", "memory": "6Gi"});
    let mount = |name: &str, place: &str| json!({"name": name, "mountPath": place});
    let device = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path, "type": "CharDevice"}});
    let empty = |name: &str| json!({"name": name, "emptyDir": {}});
    let entry = |name: &str, value: &str| json!({"name": name, "value": value});
    let (bin, oem) = (mount("opensandbox-bin", "/opt/opensandbox"), mount("opensandbox-win-oem", "/oem"));
    let expected = json!({
        "automountServiceAccountToken": false,
        "restartPolicy": "Always",
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "initContainers": [{
            "name": "execd-installer",
            "image": "reg.example/execd:v1",
            "command": ["/bin/sh", "-c"],
            "args": ["cp ./install.bat /oem/install.bat && cp ./execd.exe /oem/execd.exe && \
                      chmod 0644 /oem/install.bat /oem/execd.exe"],
            "volumeMounts": [bin, oem],
        }],
        "containers": [{
            "name": "sandbox",
            "image": "x",
            "imagePullPolicy": "IfNotPresent",
            "command": ["/run/entry.sh"],
            "env": [
                entry("A", "1"), entry("EXECD", "mine"), entry("OPENSANDBOX_LIFECYCLE", "{}"), entry("CPU_CORES", "2"),
                entry("RAM_SIZE", "4G"), entry("DISK_SIZE", "64G"), entry("USER_PORTS", "44772,8080,3389,8006"),
            ],
            "resources": {"limits": resources, "requests": resources},
            "volumeMounts": [
                bin, oem, mount("opensandbox-win-kvm", "/dev/kvm"), mount("opensandbox-win-tun", "/dev/net/tun"),
                mount("opensandbox-win-storage", "/storage"),
            ],
            "securityContext": {"privileged": true, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
        }],
        "volumes": [
            empty("opensandbox-bin"), empty("opensandbox-win-oem"), device("opensandbox-win-kvm", "/dev/kvm"),
            device("opensandbox-win-tun", "/dev/net/tun"), empty("opensandbox-win-storage"),
        ],
    });
    assert_eq!(pod, &expected);
}
