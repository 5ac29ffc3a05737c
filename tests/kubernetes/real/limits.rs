//! A container that needs more memory than it may have.

use super::stage::Real;
use crate::{
    portable::{reason, stream},
    support::kube::resource::BATCH_SANDBOXES,
};

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn a_container_without_memory_is_told_as_such() {
    let stage = Real::start().await;
    // A line without an end fills the memory of the container's first process.
    let pod = stage.spec("echo line-0; sleep 1; exec tail /dev/zero", |spec| {
        spec["containers"][0]["resources"] = serde_json::json!({"limits": {"memory": "32Mi"}});
    });
    let id = stage.create(&BATCH_SANDBOXES, pod).await;
    stage.started(&id).await;
    let seen = stream(&stage, &id, "").await.until(|record| record["event"] == "end").await;
    let end = seen.last().unwrap();
    assert_eq!(
        (reason(&seen), end["exit_code"].as_i64(), end["oom"].as_bool()),
        ("exited", Some(137), Some(true)),
        "{end}"
    );
}
