//! The chart, by Helm's own engine (`scripts/chart`).

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::{install, list, objects, only, text};

const SCHEMA: &str = include_str!("../../deploy/helm/opensandbox-gateway/values.schema.json");

fn run(command: &str, input: &str) -> Output {
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/chart"));
    script.arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = script.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The chart's texts with these values beside those that are required, or what Helm says against them.
fn try_render(values: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut all = json!({"image": {"repository": "registry.example/gateway"}, "execdImage": "registry.example/execd:1",
        "apiKey": {"existingSecret": "key"}});
    for (key, value) in values.as_object().unwrap() {
        all[key] = value.clone();
    }
    let output = run("--render", &json!({"name": "gw", "namespace": "ours", "values": all}).to_string());
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).expect("the script prints JSON"));
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn render(values: &Value) -> Vec<Value> {
    let texts = try_render(values).unwrap_or_else(|why| panic!("{values}: {why}"));
    texts.iter().filter(|(name, _)| name.ends_with(".yaml")).flat_map(|(_, text)| objects(text)).collect()
}

fn refusal(values: &Value) -> String {
    match try_render(values) {
        Ok(_) => panic!("{values} is taken"),
        Err(why) => why,
    }
}

#[test]
fn helm_finds_no_fault_and_the_plain_manifests_are_its_rendering() {
    let output = run("--check", "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = &objects(include_str!("../../deploy/helm/opensandbox-gateway/Chart.yaml"))[0];
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((text(&chart["version"]), text(&chart["appVersion"])), (version, version));
}

#[test]
fn every_value_has_a_default_and_a_rule() {
    let values = &objects(include_str!("../../deploy/helm/opensandbox-gateway/values.yaml"))[0];
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut seen = Vec::new();
    compare("", values, &schema, &mut seen);
    assert!(seen.len() > 50, "{seen:?}");
}

/// Each member of the values has a rule, and each rule that names members a value.
fn compare(path: &str, values: &Value, schema: &Value, seen: &mut Vec<String>) {
    let Some(rules) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path}: other members are refused");
    let values = values.as_object().unwrap();
    // What Helm itself gives to charts, and what only few clusters have.
    let without_default = [".global", ".resources.claims"];
    for (key, rule) in rules {
        let path = format!("{path}.{key}");
        if let Some(value) = values.get(key) {
            compare(&path, value, rule, seen);
        } else {
            assert!(without_default.contains(&path.as_str()), "{path} has no default");
        }
        seen.push(path);
    }
    values.keys().for_each(|key| assert!(rules.contains_key(key), "{path}.{key} has no rule"));
}

#[test]
fn what_would_not_work_is_refused_with_the_reason() {
    for (values, reason) in [
        (json!({"image": {"repository": ""}}), "image.repository is needed"),
        (json!({"execdImage": ""}), "execdImage is needed"),
        (json!({"apiKey": {}}), "the gateway does not start without an API key"),
        (json!({"tenants": {"enabled": true}}), "apiKey and tenants exclude each other"),
        (json!({"config": {"toml": "[kubernetes]\nnamespace = \"theirs\"\n"}}), "no line `namespace = \"ours\"`"),
        (json!({"config": {"existingConfigMap": "a", "existingSecret": "b"}}), "exclude each other"),
        (json!({"shutdown": {"gracePeriodSeconds": 39}}), "must be at least shutdown.preStopSeconds + 35"),
        (json!({"networkPolicy": {"clients": []}}), "minItems"),
        (json!({"config": {"extraFiles": {"config.toml": ""}}}), "config.toml"),
        (json!({"replica": 2}), "'replica' not allowed"),
    ] {
        let why = refusal(&values);
        assert!(why.contains(reason), "{values}: {why}");
    }
}

#[test]
fn other_installations_fit_as_well() {
    for values in [
        json!({"sandboxNamespace": "theirs"}),
        json!({"metrics": {"enabled": false}}),
        json!({"replicas": 3, "service": {"type": "LoadBalancer"}}),
        json!({"workloadProvider": "agent-sandbox", "fullnameOverride": "another"}),
        json!({"apiKey": {}, "tenants": {"enabled": true, "existingSecret": "keys", "namespaces": ["a", "b"]}}),
        json!({"apiKey": {}, "tenants": {"enabled": true}}),
        json!({"config": {"existingSecret": "theirs"}}),
        json!({"shutdown": {"preStopSeconds": 0, "gracePeriodSeconds": 40}}),
        json!({"metrics": {"serviceMonitor": {"enabled": true, "labels": {"a": "b"}}, "prometheusRule": {"enabled": true}}}),
        json!({"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high",
            "affinity": {"nodeAffinity": {}}, "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"},
            "imagePullSecrets": [{"name": "pull"}], "serviceAccount": {"name": "own", "annotations": {"a": "b"}},
            "extraEnv": [{"name": "FORWARDED_ALLOW_IPS", "value": "10.0.0.0/8"}],
            "networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}}),
    ] {
        install::check(&render(&values));
    }
}

#[test]
fn a_key_is_in_a_secret_and_nowhere_else() {
    let objects = render(&json!({"apiKey": {"value": "very secret"}}));
    install::check(&objects);
    assert_eq!(only(&objects, "Secret")["data"], json!({"api-key": "dmVyeSBzZWNyZXQ="}));
    assert!(!json!(objects).to_string().contains("very secret"));
    let deployment = only(&objects, "Deployment").to_string();
    assert!(
        deployment.contains(r#"{"secretKeyRef":{"name":"gw-opensandbox-gateway","key":"api-key"}}"#),
        "{deployment}"
    );
}

#[test]
fn the_configuration_of_a_python_server_is_taken_as_it_is() {
    let toml = "# Their {{ own }} file.\n[server]\nmax_sandbox_timeout_seconds = 3600\n\n[metrics]\nlisten = '0.0.0.0:9090'\n\n\
        [runtime]\ntype = \"kubernetes\"\nexecd_image = \"theirs\"\n\n[kubernetes]\nnamespace = \"ours\"\n\
        batchsandbox_template_file = \"/etc/opensandbox/batch.yaml\"\n";
    let template = "spec:\n  template:\n    spec: {}\n";
    let objects = render(&json!({"execdImage": "", "config": {"toml": toml, "extraFiles": {"batch.yaml": template}}}));
    install::check(&objects);
    let data = &only(&objects, "ConfigMap")["data"];
    assert_eq!((text(&data["config.toml"]), text(&data["batch.yaml"])), (toml, template));
}

#[test]
fn a_change_of_the_configuration_starts_other_pods() {
    let sum = |values: &Value| {
        let objects = render(values);
        only(&objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
    };
    let first = sum(&json!({}));
    assert!(first.is_string() && first == sum(&json!({"replicas": 2})));
    assert_ne!(first, sum(&json!({"execdImage": "another"})));
    assert_eq!(sum(&json!({"config": {"existingConfigMap": "theirs"}})), Value::Null);
}

#[test]
fn snapshots_can_be_kept_and_then_no_two_pods_have_their_file() {
    let objects = render(&json!({"persistence": {"enabled": true, "size": "2Gi", "storageClassName": "fast"}}));
    install::check(&objects);
    assert_eq!(only(&objects, "PersistentVolumeClaim")["spec"]["storageClassName"], "fast");
    let deployment = only(&objects, "Deployment");
    assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
    let volumes = list(&deployment["spec"]["template"]["spec"]["volumes"]);
    let home = volumes.iter().find(|volume| volume["name"] == "home").unwrap();
    assert_eq!(home["persistentVolumeClaim"], json!({"claimName": "gw-opensandbox-gateway"}));
}

#[test]
fn tenants_have_the_gateway_in_their_namespaces_alone_if_they_are_named() {
    let objects = render(&json!({"apiKey": {}, "tenants": {"enabled": true, "namespaces": ["a", "b"]}}));
    let namespaces: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "RoleBinding")
        .map(|binding| text(&binding["metadata"]["namespace"]))
        .collect();
    assert_eq!(namespaces, ["a", "b"]);
    let wide = only(&objects, "ClusterRoleBinding");
    assert!(text(&wide["roleRef"]["name"]).ends_with(":runtimeclasses"), "{wide}");
}

#[test]
fn a_grafana_finds_the_dashboard_by_its_label() {
    let objects = render(&json!({"metrics": {"dashboard": {"enabled": true}}}));
    let found: Vec<_> =
        objects.iter().filter(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1").collect();
    assert_eq!((found.len(), text(&found[0]["kind"])), (1, "ConfigMap"));
    let shown: Value = serde_json::from_str(text(&found[0]["data"]["opensandbox-gateway.json"])).unwrap();
    let shipped: Value = serde_json::from_str(include_str!("../../deploy/grafana/opensandbox-gateway.json")).unwrap();
    assert_eq!(shown, shipped);
}
