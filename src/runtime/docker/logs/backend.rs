//! A container's log as a backend for records.

use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{Container, GRACE, RECORD_LIMIT, refused, source::EngineLog, target};
use crate::{
    error::{Error, Family},
    logs::{
        backend::{Backend, Exit, RecordReader, Start, State, Window},
        cursor::RunId,
        record_exchange::RecordExchange,
    },
    runtime::docker::{engine::is_missing, state::find::query_failed},
};

/// Drivers that tell when a line is whole. Docker's `local` does not, in whose form engines also keep what other drivers send away.
const KEEP_NEWLINES: [&str; 2] = ["json-file", "journald"];

/// The log of the sandbox `sandbox`.
pub(super) struct ContainerLog {
    container: Container,
    sandbox: String,
}

impl ContainerLog {
    pub(super) fn new(container: Container, sandbox: &str) -> Self {
        Self { container, sandbox: sandbox.to_owned() }
    }
}

#[async_trait]
impl Backend for ContainerLog {
    async fn read(&self, window: Window) -> Result<Box<dyn RecordReader>, Error> {
        let Container { engine, id, tty, buffer, .. } = &self.container;
        let target = target::records(&engine.api_version, id, window);
        let answer = self.container.send_request(target, window.follow);
        let (tty, buffer) = (*tty, *buffer);
        let exchange = move |answer| Box::new(RecordExchange::new(answer, tty, RECORD_LIMIT, buffer));
        let silence = (!window.follow).then_some(engine.timeout);
        let mut log = Box::new(EngineLog::open(answer, exchange, silence));
        let grace = if window.follow { GRACE } else { Duration::MAX };
        match timeout(grace, log.opened()).await {
            Ok(Err(error)) => Err(refused(&self.sandbox, error)),
            Ok(Ok(())) | Err(_) => Ok(log),
        }
    }

    async fn state(&self) -> Result<State, Error> {
        let Container { engine, id, .. } = &self.container;
        match engine.within(engine.api.inspect_container(id, None)).await {
            Ok(inspected) => Ok(state_of(&inspected)),
            Err(error) if is_missing(&error) => Ok(State::Removed),
            Err(error) => Err(query_failed(error).within(Family::Logs)),
        }
    }

    fn run(&self) -> RunId {
        RunId::of(&self.container.id)
    }

    fn repeats(&self) -> bool {
        true
    }

    fn drops_newlines(&self) -> bool {
        !KEEP_NEWLINES.contains(&self.container.driver.as_str())
    }
}

/// How an inspected container's main process does.
pub(super) fn state_of(inspected: &ContainerInspectResponse) -> State {
    let Some(state) = &inspected.state else { return State::Created };
    let flag = |value: Option<bool>| value.unwrap_or(false);
    match state.status {
        Some(Status::REMOVING | Status::DEAD) => State::Removed,
        _ if flag(state.dead) => State::Removed,
        // Between two runs: the engine waits before it starts the process again.
        Some(Status::RESTARTING) => ended(state),
        _ if flag(state.restarting) => ended(state),
        Some(Status::RUNNING | Status::PAUSED) => State::Running { started: start(state) },
        _ if flag(state.running) => State::Running { started: start(state) },
        Some(Status::CREATED) => State::Created,
        _ => ended(state),
    }
}

fn start(state: &ContainerState) -> Option<Start> {
    // The engine keeps the end of the run before.
    let previous_end = time(state.finished_at.as_deref());
    Some(Start::new(time(state.started_at.as_deref())?, previous_end))
}

fn ended(state: &ContainerState) -> State {
    // The engine keeps one end, which is this run's now.
    let started = time(state.started_at.as_deref()).map(|at| Start::new(at, Some(i64::MIN)));
    State::Ended { exit: exit(state), started }
}

fn exit(state: &ContainerState) -> Exit {
    let finished_at = time(state.finished_at.as_deref());
    Exit { code: state.exit_code, oom: state.oom_killed.unwrap_or(false), finished_at }
}

/// A time of the engine, in nanoseconds since 1970. The year 1 is none.
fn time(text: Option<&str>) -> Option<i64> {
    let time: Timestamp = text?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().filter(|time| *time > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(status: Status, state: ContainerState) -> ContainerInspectResponse {
        let started_at = Some("2026-11-23T02:01:21.5Z".to_owned());
        let finished_at = Some("2026-11-23T02:01:22.5Z".to_owned());
        let state = ContainerState { status: Some(status), started_at, finished_at, exit_code: Some(137), ..state };
        ContainerInspectResponse { state: Some(state), ..Default::default() }
    }

    #[test]
    fn a_container_s_state_is_its_process_s() {
        let begun = 1_795_399_281_500_000_000;
        let running = State::Running { started: Some(Start::new(begun, Some(begun + 1_000_000_000))) };
        let ended = |oom| State::Ended {
            exit: Exit { code: Some(137), oom, finished_at: Some(begun + 1_000_000_000) },
            started: Some(Start::new(begun, Some(i64::MIN))),
        };
        let of = |status, state| state_of(&inspected(status, state));
        let none = ContainerState::default;
        assert_eq!(of(Status::RUNNING, none()), running);
        assert_eq!(of(Status::PAUSED, none()), running);
        assert_eq!(of(Status::CREATED, none()), State::Created);
        assert_eq!(of(Status::EXITED, none()), ended(false));
        assert_eq!(of(Status::EXITED, ContainerState { oom_killed: Some(true), ..none() }), ended(true));
        assert_eq!(of(Status::RESTARTING, ContainerState { running: Some(true), ..none() }), ended(false));
        assert_eq!(of(Status::REMOVING, none()), State::Removed);
        assert_eq!(of(Status::DEAD, none()), State::Removed);
        assert_eq!(of(Status::EXITED, ContainerState { dead: Some(true), ..none() }), State::Removed);
    }

    #[test]
    fn the_year_1_is_no_time() {
        assert_eq!(time(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(time(Some("")), None);
        assert_eq!(time(None), None);
    }
}
