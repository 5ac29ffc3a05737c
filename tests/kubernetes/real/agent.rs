//! Sandboxes of the agent-sandbox project.

use serde_json::json;

use super::stage::Real;
use crate::{
    portable::{Program, Step, ask, ask_until, stream},
    support::kube::resource::AGENT_SANDBOXES,
};

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn an_agent_sandbox_is_shown_renewed_read_and_deleted() {
    let stage = Real::start_with("workload_provider = \"agent-sandbox\"\n").await;
    let pod = stage.spec(&Program::stays([Step::Lines(0..3)]).script(), |_| {});
    let id = stage.create(&AGENT_SANDBOXES, pod).await;
    stage.started(&id).await;
    let target = format!("/v1/sandboxes/{id}");
    let shown =
        ask_until(&stage, &target, |answer| answer.status() == 200 && answer.json()["status"]["state"] == "Running")
            .await;
    assert_eq!(shown.json()["expiresAt"], "2099-11-26T13:18:58Z", "{shown}");
    let expires = r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#;
    assert_eq!(ask(&stage, "POST", &format!("{target}/renew-expiration"), expires).await.status(), 200);
    assert_eq!(ask(&stage, "GET", &target, "").await.json()["expiresAt"], json!("2098-12-01T00:00:00Z"));
    let seen = stream(&stage, &id, "").await.until(|record| record["log"] == "line-2\n").await;
    assert_eq!(seen.len(), 3);
    assert_eq!(ask(&stage, "DELETE", &target, "").await.status(), 204);
    ask_until(&stage, &target, |answer| answer.status() == 404).await;
}
