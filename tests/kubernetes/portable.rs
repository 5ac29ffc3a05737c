//! What holds on every cluster. Each scenario is a function of a [`Stage`], and runs twice: on the test API server here, and on
//! a real cluster in [`crate::real`]. What differs there is the test API server's fault.

pub(crate) mod creation;
pub(crate) mod lifecycle;
pub(crate) mod logs;
mod program;
mod scripted;

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

pub(crate) use self::{
    logs::{lines, stream, text},
    program::{Program, Step},
};
use crate::support::client::{self, Response};

/// Longer than anything takes that is not a failure: a real cluster pulls an image first.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// When the sandboxes of a stage expire.
pub(crate) const EXPIRES: &str = "2099-11-26T13:18:58+00:00";

/// The metadata of the sandboxes of a stage.
pub(crate) const METADATA: (&str, &str) = ("project", "apollo");

/// Why a sandbox's container does not come to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// Its image is nowhere.
    Image,
    /// Its command is not in its image.
    Command,
    /// No node will have its pod.
    Unscheduled,
}

/// A cluster with a namespace, somebody who makes pods of BatchSandboxes, and a gateway in front of it.
pub(crate) trait Stage {
    /// Where the gateway listens.
    fn address(&self) -> SocketAddr;

    /// Creates a sandbox whose container does what the program says, and waits until the container has started. Gives its id.
    async fn sandbox(&self, program: Program) -> String;

    /// Creates a sandbox whose container cannot run. Gives its id; the cluster may not know of the trouble yet.
    async fn stuck(&self, how: Stuck) -> String;

    /// Sees to it that images of `registry.invalid` cannot be pulled.
    async fn cannot_pull(&self);

    /// The image of the containers; it has a shell.
    fn image(&self) -> String;

    /// Whether somebody takes the pod of a sandbox away that is to pause, and makes it again.
    fn pauses(&self) -> bool;

    /// Does to a sandbox that the gateway deleted what the operator and the cluster do by themselves.
    async fn collect(&self, id: &str);
}

/// Sends a request with a JSON body, or without one.
pub(crate) async fn ask(stage: &impl Stage, method: &str, target: &str, body: &str) -> Response {
    let lines: &[&str] = if body.is_empty() { &[] } else { &["content-type: application/json"] };
    client::request(stage.address(), method, target, lines, body).await
}

/// Sends a GET until the answer is as the test wants it.
///
/// # Panics
///
/// If it is not so within [`PATIENCE`].
pub(crate) async fn ask_until(stage: &impl Stage, target: &str, is_so: impl Fn(&Response) -> bool) -> Response {
    let start = std::time::Instant::now();
    loop {
        let answer = ask(stage, "GET", target, "").await;
        if is_so(&answer) {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{target}: {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What a record says that ends a stream.
pub(crate) fn reason(records: &[Value]) -> &str {
    records.last().and_then(|record| record["reason"].as_str()).unwrap_or_default()
}

/// Writes a test for each scenario: `scenarios!(Stage)`, or with an attribute for the tests, `scenarios!(Stage, #[ignore])`.
macro_rules! scenarios {
    ($stage:ident $(, #[$attribute:meta])?) => {
        scenarios! { @each $stage [$(#[$attribute])?]
            creation::a_creation_is_answered_when_the_sandbox_runs,
            creation::creations_at_once_wait_for_their_own_pods_alone,
            creation::a_creation_that_cannot_be_leaves_nothing,
            creation::an_image_that_cannot_be_pulled_fails_a_creation_and_nothing_is_left,
            creation::a_sandbox_is_paused_and_resumed,
            creation::a_snapshot_is_of_a_sandbox_whose_pod_runs,
            creation::a_pool_is_made_changed_and_deleted,
            lifecycle::a_sandbox_is_shown_and_listed,
            lifecycle::an_expiry_is_moved_and_metadata_patched,
            lifecycle::an_endpoint_is_the_address_of_the_pod,
            lifecycle::a_pod_is_described,
            lifecycle::a_deleted_sandbox_is_gone,
            logs::every_format_has_every_line,
            logs::a_follow_is_complete_and_tells_the_exit_code,
            logs::a_text_follow_ends_cleanly_with_the_container,
            logs::a_tail_counts_lines,
            logs::times_bound_a_log_to_the_nanosecond,
            logs::a_token_resumes_behind_its_record,
            logs::a_last_line_without_an_end_is_kept,
            logs::long_lines_are_whole,
            logs::bytes_are_kept,
            logs::streams_are_told_apart_or_it_is_said_that_they_cannot_be,
            logs::a_restart_ends_a_follow_or_is_told_in_it,
            logs::a_deletion_ends_a_follow,
            logs::an_unknown_container_is_told_with_the_names,
            logs::an_image_that_is_nowhere_is_told,
            logs::a_command_that_is_not_there_is_told,
            logs::a_pod_without_a_node_is_told,
            logs::a_silent_container_has_its_head_at_once,
            logs::a_burst_is_whole,
        }
    };
    (@each $stage:ident $attributes:tt $($module:ident::$name:ident,)*) => {
        $(scenarios! { @one $stage $attributes $module $name })*
    };
    (@one $stage:ident [$($attributes:tt)*] $module:ident $name:ident) => {
        #[tokio::test]
        $($attributes)*
        async fn $name() {
            $crate::portable::$module::$name(&$stage::start().await).await;
        }
    };
}
pub(crate) use scenarios;
