//! One sandbox: what is known about it, and the task that is its life.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    leader::{Leader, Pipes},
    log::Log,
    pump,
    request::Plan,
};
use crate::model::{
    sandbox::{CreatedSandbox, Image, Sandbox as Shown, State, Status},
    timestamp::Timestamp as ShownTime,
};

/// How long the pipes are read after the group was killed. Only a process that left the group can need it.
const DRAIN: Duration = Duration::from_secs(2);
/// The longest sleep before the wall clock is looked at again.
const CLOCK: Duration = Duration::from_secs(60);

/// A sandbox, from its creation until it is removed.
pub(super) struct Sandbox {
    id: String,
    plan: Plan,
    /// What it printed.
    pub(super) log: Arc<Log>,
    exit: watch::Sender<Option<Exit>>,
    stop: CancellationToken,
    gone: CancellationToken,
}

/// How a sandbox's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit {
    /// The exit code as a shell would tell it.
    pub(super) code: i32,
    /// When it ended.
    pub(super) at: Timestamp,
}

impl Sandbox {
    /// A sandbox whose process runs, or has ended already.
    pub(super) fn new(id: String, plan: Plan, log: Arc<Log>, exit: Option<Exit>) -> Self {
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        Self { id, plan, log, exit: watch::Sender::new(exit), stop, gone }
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// How its process ended, if it has.
    pub(super) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Asks for its end and removal. Returns at once.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether it is being removed.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until nothing is left of it.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Lives until the sandbox is to be removed: by request, or because its time is over. `remove` comes last.
    pub(super) async fn live(self: Arc<Self>, running: Option<(Leader, Pipes)>, remove: impl Future<Output = ()>) {
        let _gone = self.gone.clone().drop_guard();
        let life = async {
            if let Some((leader, pipes)) = running {
                self.run(leader, pipes).await;
            }
            self.stop.cancelled().await;
        };
        tokio::select! {
            () = life => {}
            never = self.expire() => match never {},
        }
        remove.await;
    }

    async fn run(&self, mut leader: Leader, (stdout, stderr): Pipes) {
        let mut pump = tokio::spawn(pump::run(stdout, stderr, Arc::clone(&self.log)));
        tokio::select! {
            () = leader.exited() => {}
            () = self.stop.cancelled() => {}
        }
        let code = leader.end().await;
        let at = Timestamp::now();
        match timeout(DRAIN, &mut pump).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, sandbox = self.id, "a log pump failed"),
            Err(_) => pump.abort(),
        }
        // As with the engine, a sandbox has ended only when its log is complete.
        self.log.finish();
        self.exit.send_replace(Some(Exit { code, at }));
    }

    /// Stops the sandbox when its time is over; never returns.
    async fn expire(&self) -> Infallible {
        if let Some(expires) = self.plan.expires {
            // The wall clock can be set, and stands still for no suspended machine.
            while let Ok(left) = Duration::try_from(expires.to_jiff().duration_since(Timestamp::now()))
                && !left.is_zero()
            {
                sleep(left.min(CLOCK)).await;
            }
            tracing::info!(sandbox = self.id, "the sandbox has expired");
            self.stop();
        }
        pending().await
    }

    /// The sandbox as the API shows it.
    pub(super) fn show(&self) -> Shown {
        let plan = &self.plan;
        Shown {
            id: self.id.clone(),
            image: plan.image.clone().map(|uri| Image { uri }),
            snapshot_id: None,
            platform: plan.platform.clone(),
            status: status(*self.exit.borrow(), plan.created),
            metadata: plan.metadata.clone(),
            extensions: plan.extensions.clone(),
            entrypoint: plan.command.clone(),
            expires_at: plan.expires,
            created_at: plan.created,
        }
    }

    /// The answer to its creation.
    pub(super) fn show_created(&self) -> CreatedSandbox {
        let plan = &self.plan;
        CreatedSandbox {
            id: self.id.clone(),
            status: Status {
                message: Some("Sandbox container started successfully.".to_owned()),
                ..status(None, plan.created)
            },
            metadata: plan.metadata.clone(),
            extensions: plan.extensions.clone(),
            platform: plan.platform.clone(),
            expires_at: plan.expires,
            created_at: plan.created,
            entrypoint: plan.entrypoint.clone(),
        }
    }
}

/// The same mapping as for containers (docker-runtime.md §9).
fn status(exit: Option<Exit>, created: ShownTime) -> Status {
    let (state, reason, message) = match exit.map(|exit| exit.code) {
        None => (State::Running, "CONTAINER_RUNNING", "Sandbox container is running.".to_owned()),
        Some(0) => (State::Terminated, "CONTAINER_EXITED", "Sandbox container exited successfully.".to_owned()),
        Some(code) => (State::Failed, "CONTAINER_EXITED_ERROR", format!("Sandbox container exited with code {code}.")),
    };
    let since = exit.map_or(created, |exit| exit.at.into());
    Status { state, reason: Some(reason), message: Some(message), last_transition_at: Some(since) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_of_containers() {
        let (created, at) = (Timestamp::UNIX_EPOCH, "2026-11-23T02:01:21Z".parse().unwrap());
        let shown = |code: Option<i32>| {
            let status = status(code.map(|code| Exit { code, at }), created.into());
            (status.state, status.reason.unwrap(), status.message.unwrap(), status.last_transition_at.unwrap())
        };
        assert_eq!(
            shown(None),
            (State::Running, "CONTAINER_RUNNING", "Sandbox container is running.".to_owned(), created.into())
        );
        assert_eq!(
            shown(Some(0)),
            (State::Terminated, "CONTAINER_EXITED", "Sandbox container exited successfully.".to_owned(), at.into())
        );
        assert_eq!(
            shown(Some(137)),
            (State::Failed, "CONTAINER_EXITED_ERROR", "Sandbox container exited with code 137.".to_owned(), at.into())
        );
    }
}
