//! A gateway that may not do all that it needs.

use serde_json::{Value, json};

use super::stage::Real;
use crate::{
    portable::{Program, Stage, Step, text},
    support::{client, gateway::Setup, kube::Role},
};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces";

/// A token of a service account that may do this. None if the cluster does not know the rules.
async fn token(stage: &Real, name: &str, rules: Value) -> String {
    let (api, namespace) = (&stage.api, &stage.namespace);
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    api.create(&accounts, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})).await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules});
    api.create(&format!("{RBAC}/{namespace}/roles"), &role).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]});
    api.create(&format!("{RBAC}/{namespace}/rolebindings"), &binding).await;
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let answer = api.send("POST", &format!("{accounts}/{name}/token"), Some(("application/json", &request))).await;
    answer.expect("a token")["status"]["token"].as_str().expect("a token").to_owned()
}

/// The rules of `deploy/` for one namespace, with or without the logs.
fn rules(with_logs: bool) -> Value {
    let mut rules = Role::BatchSandbox.in_namespace();
    rules.retain(|rule| with_logs || rule["resources"] != json!(["pods/log"]));
    rules.into()
}

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn a_service_account_needs_what_deploy_gives_it_and_a_refusal_is_told() {
    let stage = Real::start().await;
    let id = stage.sandbox(Program::exits([Step::Lines(0..3)], 0)).await;
    for (name, with_logs) in [("reader", true), ("blind", false)] {
        let token = token(&stage, name, rules(with_logs)).await;
        let (_dir, kubeconfig) = stage.kubeconfig_with(&token);
        let gateway = Setup::kubernetes(&kubeconfig, &stage.namespace).start();
        let target = format!("/v1/sandboxes/{id}");
        assert_eq!(client::get_once(gateway.address(), &target).await.status(), 200, "{name}");
        let log = client::get_once(gateway.address(), &format!("{target}/logs")).await;
        if with_logs {
            assert_eq!((log.status(), &*log.body), (200, text(&stage, &id, "").await.as_slice()));
            assert_eq!(client::request(gateway.address(), "DELETE", "/v1/sandboxes/nope", &[], "").await.status(), 404);
        } else {
            assert_eq!((log.status(), log.code().as_str()), (403, "KUBERNETES::FORBIDDEN"), "{log}");
            assert!(log.to_string().contains("pods/log"), "{log}");
        }
        assert!(!gateway.output().contains(&token), "the token is in the gateway's log");
    }
}
