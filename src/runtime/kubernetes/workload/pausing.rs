//! When a sandbox can be paused or resumed, and what is merged into its object for it (kubernetes-runtime.md §9).
//!
//! The operator does the work and tells of it by the phase, or the conditions. A pause that failed has left its wish in the
//! object: that is taken back first, since a wish that does not change is none.

use serde_json::{Value, json};

use crate::{
    model::sandbox::State,
    runtime::kubernetes::objects::{BatchSandbox, Condition, bounded, condition},
};

/// The most characters of a phase that are told back.
const MAX_PHASE: usize = 64;

/// What is wanted of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime::kubernetes) enum PauseChange {
    Pause,
    Resume,
}

/// The next patch of a change.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::runtime::kubernetes) struct Step {
    /// What is merged into the object.
    pub(in crate::runtime::kubernetes) patch: Value,
    /// Whether nothing is to be done after it.
    pub(in crate::runtime::kubernetes) is_last: bool,
}

impl PauseChange {
    /// The verb, for messages.
    pub(in crate::runtime::kubernetes) fn verb(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// The condition that says that it failed before.
    fn failure(self) -> &'static str {
        match self {
            Self::Pause => "PauseFailed",
            Self::Resume => "ResumeFailed",
        }
    }
}

/// The next step with a BatchSandbox, by its phase alone: one without a phase cannot be paused, whatever its state.
/// `is_cleared`: an older wish has been taken back already.
///
/// # Errors
/// Why it cannot be, for the client.
pub(super) fn of_batch(sandbox: &BatchSandbox, change: PauseChange, is_cleared: bool) -> Result<Step, String> {
    let has_failed = condition(&sandbox.status.conditions, change.failure()).is_some_and(Condition::is_true);
    let phase = sandbox.status.phase.as_deref().unwrap_or_default();
    match (change, phase) {
        (PauseChange::Pause, "Succeed") | (PauseChange::Resume, "Paused") => {}
        (PauseChange::Pause, "Paused") => return Err("Sandbox is already paused".to_owned()),
        (PauseChange::Resume, "Succeed") => return Err(not_in_state(change, State::Running)),
        _ => return Err(refusal(change, phase, has_failed)),
    }
    if has_failed && !is_cleared {
        return Ok(Step { patch: json!({"spec": {"pause": null}}), is_last: false });
    }
    Ok(Step { patch: json!({"spec": {"pause": change == PauseChange::Pause}}), is_last: true })
}

/// The next step with an agent-sandbox, by its state.
///
/// # Errors
/// Why it cannot be, for the client.
pub(super) fn of_agent(state: State, change: PauseChange) -> Result<Step, String> {
    let mode = match (change, state) {
        (PauseChange::Pause, State::Running) => "Suspended",
        (PauseChange::Resume, State::Paused) => "Running",
        (PauseChange::Pause, State::Paused) => return Err("Sandbox is already paused".to_owned()),
        (_, State::Pausing) => return Err(format!("Cannot {}: operation in progress (state=Pausing)", change.verb())),
        _ => return Err(not_in_state(change, state)),
    };
    Ok(Step { patch: json!({"spec": {"operatingMode": mode}}), is_last: true })
}

/// Why a BatchSandbox in another phase cannot be paused or resumed.
fn refusal(change: PauseChange, phase: &str, has_failed: bool) -> String {
    let verb = change.verb();
    match (phase, change) {
        ("Pausing" | "Resuming", _) => format!("Cannot {verb}: operation in progress (phase={phase})"),
        ("Pending", _) => format!("Cannot {verb}: sandbox is being created (phase=Pending)"),
        ("Failed", PauseChange::Pause) if has_failed => {
            "Cannot pause: sandbox is not available (pause caused pod loss)".to_owned()
        }
        ("Failed", PauseChange::Resume) if has_failed => {
            "Cannot resume: sandbox is not available (resume caused pod start failure)".to_owned()
        }
        ("Failed", _) => format!("Cannot {verb}: sandbox is not available"),
        (_, PauseChange::Pause) => format!("Cannot pause sandbox in phase {}", bounded(phase, MAX_PHASE)),
        (_, PauseChange::Resume) => {
            format!("Cannot resume sandbox in phase {}, expected Paused", bounded(phase, MAX_PHASE))
        }
    }
}

fn not_in_state(change: PauseChange, state: State) -> String {
    let expected = match change {
        PauseChange::Pause => State::Running,
        PauseChange::Resume => State::Paused,
    };
    format!("Cannot {} sandbox in state {}, expected {}", change.verb(), state.name(), expected.name())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_phase_that_is_told_back_is_bounded() {
        let told = |phase: &str, change| {
            let sandbox: BatchSandbox = serde_json::from_value(json!({"status": {"phase": phase}})).unwrap();
            of_batch(&sandbox, change, false).unwrap_err()
        };
        assert_eq!(told("", PauseChange::Resume), "Cannot resume sandbox in phase , expected Paused");
        assert_eq!(told("Running", PauseChange::Pause), "Cannot pause sandbox in phase Running");
        let long = "x\u{0}".repeat(500_000);
        for change in [PauseChange::Pause, PauseChange::Resume] {
            let text = told(&long, change);
            assert!(text.len() < 150 && !text.contains('\0'), "{text}");
        }
    }
}
