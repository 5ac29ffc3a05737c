//! From the engine's container states to the API's (docker-runtime.md §9).

use bollard::models::ContainerState;

use crate::model::{
    sandbox::{State, Status},
    timestamp::Timestamp,
};

/// The status that an inspected container has. `created` stands in for a time that the engine does not give.
pub(in crate::runtime::docker) fn of_inspected(state: &ContainerState, created: Timestamp) -> Status {
    let finished = state.finished_at.as_deref().and_then(time);
    let name = state.status.map(|status| status.to_string()).unwrap_or_default();
    let flag = |value: Option<bool>| value.unwrap_or(false);
    let name = match (flag(state.running), flag(state.paused), flag(state.restarting)) {
        (true, false, _) => "running",
        (_, true, _) => "paused",
        (false, false, true) => "restarting",
        (false, false, false) => &name,
    };
    of_name(name, state.exit_code, finished.unwrap_or(created))
}

/// The status that a container has by the name of its state alone; `exit_code` where it is known.
pub(in crate::runtime::docker) fn of_name(name: &str, exit_code: Option<i64>, since: Timestamp) -> Status {
    let (state, reason, message) = match (name, exit_code) {
        ("running", _) => (State::Running, "CONTAINER_RUNNING", "Sandbox container is running.".to_owned()),
        ("paused", _) => (State::Paused, "CONTAINER_PAUSED", "Sandbox container is paused.".to_owned()),
        ("restarting", _) => (State::Running, "CONTAINER_RESTARTING", "Sandbox container is restarting.".to_owned()),
        ("created" | "starting", _) => {
            (State::Pending, "CONTAINER_STARTING", "Sandbox container is starting.".to_owned())
        }
        ("exited" | "dead", Some(0)) => {
            (State::Terminated, "CONTAINER_EXITED", "Sandbox container exited successfully.".to_owned())
        }
        ("exited" | "dead", Some(code)) => {
            (State::Failed, "CONTAINER_EXITED_ERROR", format!("Sandbox container exited with code {code}."))
        }
        _ => (State::Unknown, "CONTAINER_STATE_UNKNOWN", format!("Sandbox container is in state '{name}'.")),
    };
    Status { state, reason: Some(reason.into()), message: Some(message), last_transition_at: Some(since) }
}

/// The exit code in a summary's words, such as `Exited (3) 5 minutes ago`.
pub(in crate::runtime::docker) fn exit_code(words: &str) -> Option<i64> {
    words.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

/// A time of the engine; its zero time (year 1) and what cannot be read count as none.
pub(in crate::runtime::docker) fn time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().filter(|time| time.as_second() > 0).map(Timestamp::from)
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerStateStatusEnum;

    use super::*;

    const CREATED: &str = "2026-11-23T02:01:21.828350999Z";

    fn inspected(status: ContainerStateStatusEnum, running: bool, paused: bool, code: i64, finished: &str) -> Status {
        let state = ContainerState {
            status: Some(status),
            running: Some(running),
            paused: Some(paused),
            restarting: Some(false),
            exit_code: Some(code),
            finished_at: Some(finished.to_owned()),
            ..Default::default()
        };
        of_inspected(&state, time(CREATED).unwrap())
    }

    #[test]
    fn running_shows_the_creation_time() {
        let status = inspected(ContainerStateStatusEnum::RUNNING, true, false, 0, "0001-01-01T00:00:00Z");
        assert_eq!((status.state, status.reason.as_deref()), (State::Running, Some("CONTAINER_RUNNING")));
        assert_eq!(status.last_transition_at.unwrap().to_string(), "2026-11-23T02:01:21.828350Z");
    }

    #[test]
    fn paused_runs_as_well() {
        let status = inspected(ContainerStateStatusEnum::PAUSED, true, true, 0, "0001-01-01T00:00:00Z");
        assert_eq!(status.state, State::Paused);
    }

    #[test]
    fn the_exit_code_divides_terminated_from_failed() {
        let finished = "2026-11-23T02:05:43.884708302Z";
        let ok = inspected(ContainerStateStatusEnum::EXITED, false, false, 0, finished);
        assert_eq!((ok.state, ok.reason.as_deref()), (State::Terminated, Some("CONTAINER_EXITED")));
        let bad = inspected(ContainerStateStatusEnum::DEAD, false, false, 3, finished);
        assert_eq!(bad.state, State::Failed);
        assert_eq!(bad.message.as_deref(), Some("Sandbox container exited with code 3."));
        assert_eq!(bad.last_transition_at.unwrap().to_string(), "2026-11-23T02:05:43.884708Z");
    }

    #[test]
    fn other_states_are_named() {
        let status = inspected(ContainerStateStatusEnum::REMOVING, false, false, 0, "");
        assert_eq!(status.state, State::Unknown);
        assert_eq!(status.message.as_deref(), Some("Sandbox container is in state 'removing'."));
        assert_eq!(of_name("created", None, time(CREATED).unwrap()).reason.as_deref(), Some("CONTAINER_STARTING"));
    }

    #[test]
    fn reads_a_summary_s_exit_code() {
        assert_eq!(exit_code("Exited (137) 2 hours ago"), Some(137));
        assert_eq!(exit_code("Up 3 minutes"), None);
    }
}
