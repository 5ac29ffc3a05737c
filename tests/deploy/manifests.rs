//! The plain manifests.

use serde_json::{Value, json};

use crate::{install, list, only, plain, schema, text, variant};

#[test]
fn the_objects_of_each_installation_fit_each_other() {
    install::check(&plain(""));
    install::check(&variant("agent-sandbox"));
    install::check(&variant("tenants"));
    install::check(&[plain(""), plain("monitoring")].concat());
}

#[test]
fn every_manifest_is_in_a_namespace_unless_its_kind_is_in_none() {
    for object in ["", "agent-sandbox", "tenants", "monitoring"].into_iter().flat_map(plain) {
        schema::check(&object);
        let is_cluster_wide = text(&object["kind"]).starts_with("Cluster");
        assert_eq!(object["metadata"]["namespace"].is_null(), is_cluster_wide, "{object:#}");
    }
}

#[test]
fn one_tenant_has_no_right_outside_of_its_namespace_but_to_read_runtime_classes() {
    let objects = plain("");
    let wide = only(&objects, "ClusterRole");
    assert_eq!(
        wide["rules"],
        json!([{"apiGroups": ["node.k8s.io"], "resources": ["runtimeclasses"], "verbs": ["get"]}])
    );
}

#[test]
fn no_right_is_given_to_everything() {
    for role in ["", "agent-sandbox", "tenants"].into_iter().flat_map(plain) {
        for rule in list(&role["rules"]) {
            for key in ["apiGroups", "resources", "verbs"] {
                assert!(!list(&rule[key]).is_empty() && !rule[key].to_string().contains('*'), "{rule}");
            }
        }
    }
}

#[test]
fn prometheus_finds_the_metrics_and_has_the_alerts() {
    let objects = plain("monitoring");
    let monitor = only(&objects, "ServiceMonitor");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let others = plain("");
    let found: Vec<_> = others
        .iter()
        .filter(|object| object["kind"] == "Service")
        .filter(|service| wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value))
        .collect();
    assert_eq!(found.len(), 1, "one of the services");
    let named = |ports: &Value, name: &Value| list(ports).iter().any(|port| port["name"] == *name);
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert!(named(&found[0]["spec"]["ports"], &endpoint["port"]));
    assert_eq!(endpoint["path"], "/metrics");
    // The rules' own text asks for this job.
    let job = &endpoint["relabelings"][0];
    assert_eq!((text(&job["targetLabel"]), text(&job["replacement"])), ("job", "opensandbox-gateway"));
    let alerts = crate::objects(include_str!("../../deploy/alerts.yml"));
    assert_eq!(only(&objects, "PrometheusRule")["spec"], alerts[0]);
}
