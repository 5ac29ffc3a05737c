//! One installation: that its objects fit each other, and the gateway.

use std::{fs, path::Path};

use opensandbox_gateway::{
    config::{Config, RuntimeKind, WorkloadProvider},
    router::HEALTH_CHECKS,
};
use serde_json::{Value, json};

use crate::{list, only, schema, text};

/// How long the gateway may take from SIGTERM to its end, in seconds, if `server.timeout_graceful_shutdown` is at its default:
/// creations that are under way have 30, the last metrics 3, and threads less than 1.
const DRAIN_SECONDS: u64 = 34;

/// Checks the objects of one installation.
///
/// # Panics
///
/// With what is wrong.
pub(crate) fn check(objects: &[Value]) {
    objects.iter().for_each(schema::check);
    let deployment = only(objects, "Deployment");
    is_confined(deployment);
    has_time_to_end(deployment);
    selectors_find_the_pod(objects, deployment);
    roles_are_bound_to_the_pod(objects, deployment);
    if objects.iter().any(|object| object["kind"] == "ConfigMap") {
        the_gateway_takes_its_configuration(objects, deployment);
    }
}

/// The only container of the pod.
fn container(deployment: &Value) -> &Value {
    let containers = list(&deployment["spec"]["template"]["spec"]["containers"]);
    assert_eq!(containers.len(), 1);
    &containers[0]
}

/// The pod is what the profile `restricted` of Kubernetes' Pod Security Standards takes, and has a root that it cannot change.
fn is_confined(deployment: &Value) {
    let pod = &deployment["spec"]["template"]["spec"];
    for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "shareProcessNamespace"] {
        assert_eq!(pod[key], Value::Null, "{key}");
    }
    let context = &pod["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert!(context["runAsUser"].as_u64().unwrap() > 0);
    assert_eq!(context["seccompProfile"], json!({"type": "RuntimeDefault"}));
    let expected = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(container(deployment)["securityContext"], expected);
    let volumes = list(&pod["volumes"]);
    let kinds = ["configMap", "secret", "emptyDir", "persistentVolumeClaim"];
    assert!(volumes.iter().all(|volume| kinds.iter().any(|kind| volume[kind].is_object())), "{volumes:?}");
}

fn has_time_to_end(deployment: &Value) {
    let pod = &deployment["spec"]["template"]["spec"];
    let hook = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or_default();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a grace period");
    assert!(grace > hook + DRAIN_SECONDS, "{grace} s are too few");
}

fn selectors_find_the_pod(objects: &[Value], deployment: &Value) {
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let ports: Vec<_> = list(&container(deployment)["ports"]).iter().map(|port| text(&port["name"])).collect();
    let finds = |selector: &Value| {
        let wanted = selector.as_object().expect("a selector");
        assert!(!wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value), "{selector}");
    };
    finds(&deployment["spec"]["selector"]["matchLabels"]);
    for object in objects {
        match text(&object["kind"]) {
            "Service" => {
                finds(&object["spec"]["selector"]);
                for port in list(&object["spec"]["ports"]) {
                    assert!(ports.contains(&text(&port["targetPort"])), "{port}");
                }
            }
            "NetworkPolicy" => {
                finds(&object["spec"]["podSelector"]["matchLabels"]);
                let rules = list(&object["spec"]["ingress"]);
                // A rule without peers lets everybody in.
                assert!(rules.iter().all(|rule| !list(&rule["from"]).is_empty()), "{rules:?}");
                let named: Vec<_> =
                    rules.iter().flat_map(|rule| list(&rule["ports"])).map(|port| text(&port["port"])).collect();
                assert_eq!(named, ports, "every port has a rule of its own");
            }
            "PodDisruptionBudget" => finds(&object["spec"]["selector"]["matchLabels"]),
            _ => {}
        }
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let ask = &container(deployment)[probe]["httpGet"];
        assert!(HEALTH_CHECKS.contains(&text(&ask["path"])) && ports.contains(&text(&ask["port"])), "{probe}: {ask}");
    }
    // A gateway that cannot reach the API server does not serve, but is not to be started again.
    assert_eq!(container(deployment)["livenessProbe"]["httpGet"]["path"], "/health");
    assert_eq!(container(deployment)["readinessProbe"]["httpGet"]["path"], "/ready");
}

fn roles_are_bound_to_the_pod(objects: &[Value], deployment: &Value) {
    let account = &deployment["spec"]["template"]["spec"]["serviceAccountName"];
    let namespace = &deployment["metadata"]["namespace"];
    let subject = json!([{"kind": "ServiceAccount", "name": account, "namespace": namespace}]);
    let of = |kinds: [&str; 2]| -> Vec<&Value> {
        objects.iter().filter(|object| kinds.contains(&text(&object["kind"]))).collect()
    };
    let mut roles = of(["Role", "ClusterRole"]);
    for binding in of(["RoleBinding", "ClusterRoleBinding"]) {
        assert_eq!(binding["subjects"], subject);
        let wanted = &binding["roleRef"];
        let is_meant = |role: &&Value| {
            role["kind"] == wanted["kind"]
                && role["metadata"]["name"] == wanted["name"]
                && (role["kind"] == "ClusterRole" || role["metadata"]["namespace"] == binding["metadata"]["namespace"])
        };
        assert!(of(["Role", "ClusterRole"]).iter().any(is_meant), "{binding:#}");
        roles.retain(|role| !is_meant(role));
    }
    assert!(roles.is_empty(), "nobody has them: {roles:?}");
    let account_object = only(objects, "ServiceAccount");
    assert_eq!(account_object["metadata"]["name"], *account);
}

/// The configuration as the program reads it in the pod: it is right, nothing in it is without effect, and the ports, the
/// namespace and the kind of sandboxes are those of the other objects.
fn the_gateway_takes_its_configuration(objects: &[Value], deployment: &Value) {
    let files = only(objects, "ConfigMap");
    let container = container(deployment);
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files["data"].as_object().unwrap() {
        fs::write(dir.path().join(name), text(content)).unwrap();
    }
    let [option, path] = list(&container["args"]) else { panic!("two arguments: {container}") };
    assert_eq!(option, "--config");
    let mount = list(&container["volumeMounts"]).iter().find(|mount| mount["name"] == "config").unwrap();
    let name = Path::new(text(path)).strip_prefix(text(&mount["mountPath"])).unwrap();
    let env = |name: &str| {
        let entry = list(&container["env"]).iter().find(|entry| entry["name"] == name)?;
        Some(entry["value"].as_str().unwrap_or("of-a-secret").to_owned())
    };
    let loaded = Config::load(Some(&dir.path().join(name)), &env).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = loaded.config;
    let port = |name: &str| {
        let ports = list(&container["ports"]);
        ports.iter().find(|port| port["name"] == name).map(|port| port["containerPort"].as_u64().unwrap())
    };
    assert_eq!((config.server.host.as_str(), Some(u64::from(config.server.port))), ("0.0.0.0", port("http")));
    assert_eq!(config.metrics.listen.map(|listen| u64::from(listen.port)), port("metrics"));
    assert_eq!(config.runtime.kind, RuntimeKind::Kubernetes);
    let kubernetes = config.kubernetes.unwrap();
    assert_eq!(kubernetes.kubeconfig_path, None);
    let roles: Vec<_> = objects.iter().filter(|object| object["kind"] == "Role").collect();
    assert!(roles.iter().all(|role| role["metadata"]["namespace"] == *kubernetes.namespace.as_ref().unwrap()));
    let rules: Vec<_> =
        objects.iter().filter(|object| object["rules"].is_array()).flat_map(|role| list(&role["rules"])).collect();
    let may = |resource: &str| rules.iter().any(|rule| list(&rule["resources"]).contains(&json!(resource)));
    let is_agent = kubernetes.workload_provider == WorkloadProvider::AgentSandbox;
    assert_eq!((may("sandboxes"), may("batchsandboxes")), (is_agent, !is_agent));
    assert_eq!((config.tenants.is_some(), config.tenants.is_some()), (roles.is_empty(), may("namespaces")));
}
