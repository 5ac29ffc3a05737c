//! States as outcomes, and how long each is waited for.

use serde_json::{Value, json};

use super::*;

fn batch(status: Value, spec: Value) -> Workload {
    let metadata = json!({"name": "x", "labels": {"opensandbox.io/id": "x"}, "uid": "u",
        "creationTimestamp": "2026-11-26T13:08:58Z"});
    let object = json!({"metadata": metadata, "spec": spec, "status": status});
    Workload::Batch(Arc::new(serde_json::from_value(object).unwrap()))
}

fn shown(workload: &Workload, pods: &[Value]) -> String {
    shown_if(workload, pods, false)
}

fn shown_if(workload: &Workload, pods: &[Value], may_be_late: bool) -> String {
    let pods: Vec<_> = pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect();
    match progress(workload, &pods, may_be_late) {
        Progress::Ready(status) => {
            format!("{} {}: {}", status.state.name(), status.reason.unwrap(), status.message.unwrap())
        }
        Progress::Failed(error) => format!("{:?} {:?}: {}", error.family, error.kind, error.message),
        Progress::Waits(Wait { state, for_pool, stumbles, .. }) => {
            format!("{} {for_pool} {}", state.name(), stumbles.unwrap_or_default()).trim_end().to_owned()
        }
    }
}

fn pod(container: &str, status: Value) -> Value {
    let mut status = status;
    status["name"] = "sandbox".into();
    json!({"status": {container: [status]}})
}

#[test]
fn states_are_outcomes() {
    let selector = json!({"template": {"spec": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}}});
    let mismatch = "3 node(s) didn't match Pod's node affinity/selector";
    let unschedulable = json!([{"type": "Ready", "status": "False", "reason": "Unschedulable", "message": mismatch}]);
    let pool = json!([{"type": "PoolAllocationPending", "status": "True", "message": "no pods left"}]);
    for (status, expected) in [
        (json!({"phase": "Succeed"}), "Running RUNNING: Sandbox is running".to_owned()),
        (json!({"phase": "Failed"}), "KubePod Failed: Sandbox x failed: Operation failed".to_owned()),
        (json!({"phase": "Pending"}), "Pending false".to_owned()),
        (json!({"phase": "Pending", "conditions": pool}), "Pending true".to_owned()),
        (json!({}), "Pending false".to_owned()),
        (json!({"conditions": unschedulable}), format!("Parameter Invalid: Sandbox x is unschedulable: {mismatch}")),
    ] {
        assert_eq!(shown(&batch(status, selector.clone()), &[]), expected);
    }
}

/// "Running or Allocated (reported as Running …)".
#[test]
fn an_address_is_enough() {
    let object = json!({"metadata": {"name": "x", "labels": {"opensandbox.io/id": "x"},
        "annotations": {"sandbox.opensandbox.io/endpoints": "[\"10.0.0.1\"]"}}, "status": {"allocated": 1}});
    let workload = Workload::Batch(Arc::new(serde_json::from_value(object).unwrap()));
    let expected = "Running IP_ASSIGNED: Pod has IP assigned and sandbox is ready for requests";
    assert_eq!(shown(&workload, &[]), expected);
}

#[test]
fn a_quota_of_the_agent_sandbox_operator_is_told() {
    let ready = json!({"type": "Ready", "status": "False", "reason": "ReconcilerError",
        "message": "pods \"x\" is forbidden: exceeded quota: q"});
    let object = json!({"metadata": {"name": "x", "labels": {"opensandbox.io/id": "x"}},
        "status": {"conditions": [ready]}});
    let workload = Workload::Agent(Arc::new(serde_json::from_value(object).unwrap()));
    let expected = "KubeQuota Denied: Namespace ResourceQuota exceeded: pods \"x\" is forbidden: exceeded quota: q";
    assert_eq!(shown(&workload, &[]), expected);
}

/// The kubelet tries again, so it must last; so must the failure of a pull whose secret may have come after it.
#[test]
fn a_container_may_stumble() {
    let workload = batch(json!({"phase": "Pending"}), json!({}));
    let waiting = |reason: &str| pod("containerStatuses", json!({"state": {"waiting": {"reason": reason}}}));
    for reason in STUMBLING {
        let text = shown(&workload, &[waiting(reason)]);
        assert!(text.starts_with("Pending false container 'sandbox': ") && text.contains(reason), "{text}");
    }
    let late = shown_if(&workload, &[waiting(BACK_OFF)], true);
    assert!(late.starts_with("Pending false container 'sandbox': its image cannot be pulled"), "{late}");
    assert!(shown_if(&workload, &[waiting("InvalidImageName")], true).starts_with("KubePod Failed"));
}

#[test]
fn patience_has_ends() {
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    let new = || Patience { begun, deadline: begun + 60 * second, for_pool: 3 * second, stumbles: None };
    let until = |patience: &mut Patience, wait: &Wait, seconds: u32| {
        let until = patience.until("x", wait, begun + seconds * second, second);
        until.map(|until| (until - begun).as_secs()).map_err(|error| error.message)
    };
    let waits = |for_pool, stumbles: Option<&str>| Wait {
        for_pool,
        stumbles: stumbles.map(str::to_owned),
        ..Wait::new(State::Pending)
    };
    let (plain, pooled, stumbling) = (waits(false, None), waits(true, None), waits(false, Some("why")));
    let mut patience = new();
    assert_eq!((until(&mut patience, &plain, 1), until(&mut patience, &pooled, 1)), (Ok(60), Ok(4)));
    assert_eq!((until(&mut patience, &stumbling, 2), until(&mut patience, &stumbling, 21)), (Ok(22), Ok(22)));
    assert_eq!(until(&mut patience, &stumbling, 22), Err("Sandbox x failed: why".to_owned()));
    // One that has begun meanwhile stumbles anew.
    assert_eq!((until(&mut patience, &plain, 23), until(&mut patience, &stumbling, 24)), (Ok(60), Ok(44)));
    let over = until(&mut patience, &stumbling, 60).unwrap_err();
    assert!(over.ends_with("Elapsed: 60.0s, Last state: Pending; why"), "{over}");
    patience = Patience { for_pool: Duration::ZERO, ..new() };
    // What has room is not refused for the time that it waited.
    assert_eq!(until(&mut patience, &plain, 5), Ok(60));
    assert!(until(&mut patience, &pooled, 5).unwrap_err().starts_with("No Pool capacity"));
}

#[test]
fn a_time_that_is_over_is_explained() {
    let late = |message: Option<&str>| {
        let error = timed_out("x", &Wait::new(State::Pending), Duration::from_secs(60));
        with_refusal(error, message.map(|message| Refusal::new("FailedCreate", message)))
    };
    let error = late(Some("exceeded quota: q"));
    assert_eq!(error.key(), (Family::KubeQuota, Kind::Denied));
    assert_eq!(error.message, "Namespace ResourceQuota exceeded: exceeded quota: q");
    for (message, end) in [
        (Some("violates PodSecurity"), "; the operator makes no pod (FailedCreate: violates PodSecurity)"),
        (None, "Last state: Pending"),
    ] {
        let error = late(message);
        assert_eq!(error.key(), (Family::KubePod, Kind::TimedOut));
        assert!(error.message.ends_with(end), "{}", error.message);
    }
}

#[test]
fn the_cluster_s_words_are_cut() {
    let failed = json!([{"type": "PodFailed", "status": "True", "message": "é".repeat(100_000)}]);
    let text = shown(&batch(json!({"phase": "Failed", "conditions": failed}), json!({})), &[]);
    assert!(text.starts_with("KubePod Failed: Sandbox x failed: é") && text.len() < 600, "{}", text.len());
}

/// As the operator of June 2026 does at the first image that cannot be pulled.
#[test]
fn a_failure_that_the_operator_tells_has_the_kubelet_s_words() {
    let message = "1/1 observed pods failed; primary reason=ErrImagePull; sample pod=x-0";
    let failed = json!([{"type": "PodFailed", "status": "True", "message": message}]);
    let workload = batch(json!({"phase": "Failed", "conditions": failed}), json!({}));
    let waiting =
        |reason: &str| pod("containerStatuses", json!({"state": {"waiting": {"reason": reason, "message": "why"}}}));
    let words = "; container 'sandbox': its image cannot be pulled (ErrImagePull: why)";
    for (pods, words) in [(vec![waiting("ErrImagePull")], words), (vec![waiting("PodInitializing")], ""), (vec![], "")]
    {
        assert_eq!(shown(&workload, &pods), format!("KubePod Failed: Sandbox x failed: {message}{words}"));
    }
}

/// The operator of June 2026 says of such a sandbox only that it is pending.
#[test]
fn what_the_scheduler_says_is_told_at_the_end() {
    let condition = |status: &str| {
        let condition =
            json!([{"type": "PodScheduled", "status": status, "reason": "Unschedulable", "message": "0/1 nodes"}]);
        pods::tests::pod(json!({"status": {"conditions": condition}}))
    };
    let workload = batch(json!({"phase": "Pending"}), json!({}));
    let late = |status: &str| match progress(&workload, &[Arc::new(condition(status))], false) {
        Progress::Waits(wait) => timed_out("x", &wait, Duration::from_secs(60)).message,
        Progress::Ready(_) | Progress::Failed(_) => String::new(),
    };
    assert!(late("False").ends_with("Last state: Pending; its pod is on no node yet (Unschedulable: 0/1 nodes)"));
    assert!(late("True").ends_with("Last state: Pending"));
}

#[test]
fn what_cannot_begin_is_told_at_once_and_what_may_is_waited_for() {
    let workload = batch(json!({"phase": "Pending"}), json!({}));
    let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason, "message": "why"}}});
    for reason in BROKEN {
        for list in ["initContainerStatuses", "containerStatuses"] {
            let text = shown(&workload, &[pod(list, waiting(reason))]);
            assert!(text.starts_with("KubePod Failed: Sandbox x failed: container 'sandbox': "), "{text}");
            assert!(text.ends_with(&format!("({reason}: why)")), "{text}");
        }
    }
    for reason in ["ErrImagePull", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"] {
        assert_eq!(shown(&workload, &[pod("containerStatuses", waiting(reason))]), "Pending false", "{reason}");
    }
    let ended = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}});
    let expected =
        "KubePod Failed: Sandbox x failed: container 'sandbox': its command cannot be run (StartError: no such file)";
    assert_eq!(shown(&workload, &[pod("containerStatuses", json!({"state": ended}))]), expected);
    let again = json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended});
    assert_eq!(shown(&workload, &[pod("containerStatuses", again)]), expected);
}

#[test]
fn a_time_is_told_to_a_tenth() {
    let last = Wait::new(State::Pending);
    let error = timed_out("x", &last, Duration::from_millis(4004));
    let expected = "Timeout waiting for sandbox x to be Running with IP. Elapsed: 4.0s, Last state: Pending";
    assert_eq!(error.message, expected);
}
