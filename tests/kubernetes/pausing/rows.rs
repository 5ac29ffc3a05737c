//! What is answered to a pause and to a resumption in each state, and what is written then (kubernetes-runtime.md §9).

use serde_json::{Value, json};

use super::{of_agents, patches, phase, refused, state};
use crate::{
    cluster::{AGENT, BATCH, Cluster},
    fixture::{ID, ask, batch},
    support::{gateway::Gateway, kube::Resource},
};

/// Puts an object in a state and asks for a pause and for a resumption of it: what is answered (nothing for a 202), and what is
/// written.
async fn row(
    cluster: &Cluster,
    gateway: &Gateway,
    (resource, mut object): (&'static Resource, Value),
    id: &str,
    [paused, resumed]: [&str; 2],
    written: &[Value],
) {
    object["metadata"]["name"] = json!(id);
    object["metadata"]["labels"]["opensandbox.io/id"] = json!(id);
    let before = patches(cluster).len();
    for (verb, expected) in [("pause", paused), ("resume", resumed)] {
        let status = object["status"].clone();
        cluster.put(resource, object.clone());
        let answer = ask(gateway, "POST", &format!("/v1/sandboxes/{id}/{verb}"), "").await;
        let (code, body) = if expected.is_empty() { (202, String::new()) } else { (409, refused(expected)) };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!((answer.status(), text), (code, body), "{verb} {status}");
    }
    assert_eq!(patches(cluster)[before..], *written, "{}", object["status"]);
}

#[tokio::test]
async fn each_phase_has_its_answer() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway("").start();
    let running = "Cannot resume sandbox in state Running, expected Paused";
    let already = "Sandbox is already paused";
    let [wish, no_wish, none] = [json!(true), json!(false), Value::Null].map(|pause| json!({"pause": pause}));
    type Row<'a> = (&'a str, &'a [&'a str], [&'a str; 2], &'a [Value]);
    let rows: &[Row<'_>] = &[
        ("Succeed", &[], ["", running], std::slice::from_ref(&wish)),
        ("Succeed", &["ResumeFailed", "PodFailed"], ["", running], std::slice::from_ref(&wish)),
        ("Succeed", &["PauseFailed"], ["", running], &[none.clone(), wish.clone()]),
        ("Paused", &[], [already, ""], std::slice::from_ref(&no_wish)),
        ("Paused", &["PauseFailed"], [already, ""], std::slice::from_ref(&no_wish)),
        ("Paused", &["ResumeFailed"], [already, ""], &[none.clone(), no_wish.clone()]),
        (
            "Pausing",
            &[],
            [
                "Cannot pause: operation in progress (phase=Pausing)",
                "Cannot resume: operation in progress (phase=Pausing)",
            ],
            &[],
        ),
        (
            "Resuming",
            &[],
            [
                "Cannot pause: operation in progress (phase=Resuming)",
                "Cannot resume: operation in progress (phase=Resuming)",
            ],
            &[],
        ),
        (
            "Pending",
            &[],
            [
                "Cannot pause: sandbox is being created (phase=Pending)",
                "Cannot resume: sandbox is being created (phase=Pending)",
            ],
            &[],
        ),
        (
            "Failed",
            &["PodFailed"],
            ["Cannot pause: sandbox is not available", "Cannot resume: sandbox is not available"],
            &[],
        ),
        (
            "Failed",
            &["PauseFailed"],
            [
                "Cannot pause: sandbox is not available (pause caused pod loss)",
                "Cannot resume: sandbox is not available",
            ],
            &[],
        ),
        (
            "Failed",
            &["ResumeFailed"],
            [
                "Cannot pause: sandbox is not available",
                "Cannot resume: sandbox is not available (resume caused pod start failure)",
            ],
            &[],
        ),
        // An operator that tells no phase: the sandbox runs, and cannot be paused.
        ("", &[], ["Cannot pause sandbox in phase ", "Cannot resume sandbox in phase , expected Paused"], &[]),
    ];
    for (number, (name, conditions, answers, written)) in rows.iter().enumerate() {
        let object = batch(ID, phase(name, conditions));
        row(&cluster, &gateway, (&BATCH, object), &format!("row-{number}"), *answers, written).await;
    }
    assert_eq!(state(&gateway, &format!("row-{}", rows.len() - 1)).await, "Running");
}

#[tokio::test]
async fn each_state_of_an_agent_sandbox_has_its_answer() {
    let cluster = Cluster::start();
    let gateway = of_agents(&cluster);
    let condition =
        |kind: &str, status: &str, reason: &str| json!([{"type": kind, "status": status, "reason": reason}]);
    let ready = |status: &str, reason: &str| condition("Ready", status, reason);
    let suspended = condition("Suspended", "True", "s");
    let [pause, resume] = ["Suspended", "Running"].map(|mode| json!({"operatingMode": mode}));
    let progress = |verb: &str| format!("Cannot {verb}: operation in progress (state=Pausing)");
    let states = |state: &str| {
        ["pause", "resume"].map(|verb| {
            let expected = if verb == "pause" { "Running" } else { "Paused" };
            format!("Cannot {verb} sandbox in state {state}, expected {expected}")
        })
    };
    let [_, not_paused] = states("Running");
    let rows: Vec<(&str, Value, [String; 2], Vec<Value>)> = vec![
        ("Running", ready("True", "r"), [String::new(), not_paused], vec![pause]),
        ("Suspended", suspended.clone(), ["Sandbox is already paused".to_owned(), String::new()], vec![resume]),
        ("Suspended", ready("True", "r"), [progress("pause"), progress("resume")], vec![]),
        ("Running", suspended, states("Resuming"), vec![]),
        ("Running", ready("False", "r"), states("Pending"), vec![]),
        ("Running", json!([]), states("Pending"), vec![]),
        ("Running", ready("False", "SandboxExpired"), states("Terminated"), vec![]),
        ("Running", ready("False", "PodSucceeded"), states("Terminated"), vec![]),
        ("Running", ready("False", "PodFailed"), states("Failed"), vec![]),
    ];
    for (number, (mode, conditions, answers, written)) in rows.into_iter().enumerate() {
        let object = super::agent("b0b", |object| {
            object["spec"]["operatingMode"] = json!(mode);
            object["status"]["conditions"] = conditions;
        });
        let answers = answers.each_ref().map(String::as_str);
        row(&cluster, &gateway, (&AGENT, object), &format!("row-{number}"), answers, &written).await;
    }
}
