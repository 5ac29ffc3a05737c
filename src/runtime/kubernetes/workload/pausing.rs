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

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime::kubernetes) enum Way {
    Pause,
    Resume,
}

/// The next patch on the way.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::runtime::kubernetes) struct Step {
    /// What is merged into the object.
    pub(in crate::runtime::kubernetes) patch: Value,
    /// Whether nothing is to be done after it.
    pub(in crate::runtime::kubernetes) is_last: bool,
}

impl Way {
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
pub(super) fn of_batch(sandbox: &BatchSandbox, way: Way, is_cleared: bool) -> Result<Step, String> {
    let has_failed = condition(&sandbox.status.conditions, way.failure()).is_some_and(Condition::is_true);
    let phase = sandbox.status.phase.as_deref().unwrap_or_default();
    match (way, phase) {
        (Way::Pause, "Succeed") | (Way::Resume, "Paused") => {}
        (Way::Pause, "Paused") => return Err("Sandbox is already paused".to_owned()),
        (Way::Resume, "Succeed") => return Err(not_in_state(way, State::Running)),
        _ => return Err(refusal(way, phase, has_failed)),
    }
    if has_failed && !is_cleared {
        return Ok(Step { patch: json!({"spec": {"pause": null}}), is_last: false });
    }
    Ok(Step { patch: json!({"spec": {"pause": way == Way::Pause}}), is_last: true })
}

/// The next step with an agent-sandbox, by its state.
///
/// # Errors
/// Why it cannot be, for the client.
pub(super) fn of_agent(state: State, way: Way) -> Result<Step, String> {
    let mode = match (way, state) {
        (Way::Pause, State::Running) => "Suspended",
        (Way::Resume, State::Paused) => "Running",
        (Way::Pause, State::Paused) => return Err("Sandbox is already paused".to_owned()),
        (_, State::Pausing) => return Err(format!("Cannot {}: operation in progress (state=Pausing)", way.verb())),
        _ => return Err(not_in_state(way, state)),
    };
    Ok(Step { patch: json!({"spec": {"operatingMode": mode}}), is_last: true })
}

/// Why a BatchSandbox in another phase cannot be paused or resumed.
fn refusal(way: Way, phase: &str, has_failed: bool) -> String {
    let verb = way.verb();
    match (phase, way) {
        ("Pausing" | "Resuming", _) => format!("Cannot {verb}: operation in progress (phase={phase})"),
        ("Pending", _) => format!("Cannot {verb}: sandbox is being created (phase=Pending)"),
        ("Failed", Way::Pause) if has_failed => {
            "Cannot pause: sandbox is not available (pause caused pod loss)".to_owned()
        }
        ("Failed", Way::Resume) if has_failed => {
            "Cannot resume: sandbox is not available (resume caused pod start failure)".to_owned()
        }
        ("Failed", _) => format!("Cannot {verb}: sandbox is not available"),
        (_, Way::Pause) => format!("Cannot pause sandbox in phase {}", bounded(phase, MAX_PHASE)),
        (_, Way::Resume) => format!("Cannot resume sandbox in phase {}, expected Paused", bounded(phase, MAX_PHASE)),
    }
}

fn not_in_state(way: Way, state: State) -> String {
    let expected = match way {
        Way::Pause => State::Running,
        Way::Resume => State::Paused,
    };
    format!("Cannot {} sandbox in state {}, expected {}", way.verb(), state.name(), expected.name())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_phase_that_is_told_back_is_bounded() {
        let told = |phase: &str, way| {
            let sandbox: BatchSandbox = serde_json::from_value(json!({"status": {"phase": phase}})).unwrap();
            of_batch(&sandbox, way, false).unwrap_err()
        };
        assert_eq!(told("", Way::Resume), "Cannot resume sandbox in phase , expected Paused");
        assert_eq!(told("Running", Way::Pause), "Cannot pause sandbox in phase Running");
        let long = "x\u{0}".repeat(500_000);
        for way in [Way::Pause, Way::Resume] {
            let text = told(&long, way);
            assert!(text.len() < 150 && !text.contains('\0'), "{text}");
        }
    }
}
