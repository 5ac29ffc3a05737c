//! One sandbox: what is known about it, and the task that is its life.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{log::Log, pump, request::Plan};
use crate::{
    children::{
        group::Group,
        leader::{self, Leader, Pipes},
        notes::Note,
    },
    execd::{END_TIMEOUT, Execd},
    model::{
        sandbox::{CreatedSandbox, Image, Sandbox as Shown, State, Status},
        timestamp::Timestamp as ShownTime,
    },
};

/// How long the pipes are waited for after the group was killed. Only a process that left the group can need it.
const DRAIN: Duration = Duration::from_secs(2);
/// The longest sleep before the wall clock is read again.
const CLOCK: Duration = Duration::from_secs(60);

/// A sandbox, from its creation until it is removed.
pub(super) struct Sandbox {
    id: String,
    plan: Plan,
    /// What it printed.
    pub(super) log: Arc<Log>,
    /// What runs commands in it.
    pub(super) execd: Arc<Execd>,
    exit: watch::Sender<Option<Exit>>,
    /// Its processes, as long as they may be signalled.
    pub(super) group: Group,
    /// When it ends by itself.
    pub(super) expires: watch::Sender<Option<ShownTime>>,
    metadata: Mutex<BTreeMap<String, String>>,
    /// Held while its own processes and those of its commands are stopped, or go on: all of them do.
    changes: Mutex<()>,
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
    pub(super) fn new(id: String, plan: Plan, log: Arc<Log>, execd: Arc<Execd>, exit: Option<Exit>) -> Self {
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        let (exit, expires) = (watch::Sender::new(exit), watch::Sender::new(plan.expires));
        let metadata = Mutex::new(plan.metadata.clone());
        let (group, changes) = (Group::default(), Mutex::default());
        Self { id, plan, log, execd, exit, group, expires, metadata, changes, stop, gone }
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The seconds by which an access extends its life, if it asked for that.
    pub(super) fn renewal(&self) -> Option<i64> {
        self.plan.renewal
    }

    /// Its metadata, to be changed.
    pub(super) fn metadata(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a pause and a resumption apart.
    pub(super) fn changes(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its process has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
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
    pub(super) async fn live(
        self: Arc<Self>,
        running: Option<(Leader, Pipes, Note)>,
        remove: impl Future<Output = ()>,
    ) {
        let _gone = self.gone.clone().drop_guard();
        let life = async {
            match running {
                Some((leader, pipes, _note)) => self.run(leader, pipes).await,
                None => self.execd.end().await,
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
        let is_over = CancellationToken::new();
        let mut pump = tokio::spawn(pump::run(stdout, stderr, Arc::clone(&self.log), is_over.clone()));
        tokio::select! {
            _ = leader.exited() => {}
            () = self.stop.cancelled() => {}
        }
        // From here on the kernel may reuse the group's id.
        self.group.clear();
        let code = timeout(END_TIMEOUT, leader.end()).await.unwrap_or_else(|_| {
            tracing::warn!(sandbox = self.id, "the sandbox's program hangs, and dies when it no longer does");
            leader::UNKNOWN
        });
        let at = Timestamp::now();
        // As in a container, nothing outlives its main process.
        self.execd.end().await;
        let drain = async {
            match timeout(DRAIN, &mut pump).await {
                Ok(done) => done,
                // What was printed is written first, however long a slow or full disk takes.
                Err(_) => {
                    is_over.cancel();
                    (&mut pump).await
                }
            }
        };
        let removed = async {
            self.stop.cancelled().await;
            sleep(DRAIN).await;
        };
        let drained = tokio::select! {
            done = drain => Some(done),
            () = removed => None,
        };
        match drained {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, sandbox = self.id, "a log pump failed"),
            // Its log goes with it.
            None => pump.abort(),
        }
        // As with the engine, a sandbox has ended only when its log is complete.
        self.exit.send_replace(Some(Exit { code, at }));
        // Followers that are through ask how it ended.
        self.log.finish();
    }

    /// Stops the sandbox when its time is over; never returns.
    async fn expire(&self) -> Infallible {
        let mut expires = self.expires.subscribe();
        if expires.borrow().is_none() {
            // A sandbox that never ends by itself stays so.
            return pending().await;
        }
        while let Some(left) = self.left() {
            // The wall clock can be set, and stands still for no suspended machine. An error is impossible: the sender
            // is this sandbox's own.
            tokio::select! {
                () = sleep(left.min(CLOCK)) => {}
                _ = expires.changed() => {}
            }
        }
        tracing::info!(sandbox = self.id, "the sandbox has expired");
        pending().await
    }

    /// The time that is left to it; nothing when it is over, and then the sandbox is stopped. Both in one step, so that
    /// no renewal comes in between.
    fn left(&self) -> Option<Duration> {
        let mut left = None;
        self.expires.send_if_modified(|expires| {
            let time = expires.map(|expires| expires.to_jiff().duration_since(Timestamp::now()));
            left = time.and_then(|time| Duration::try_from(time).ok()).filter(|left| !left.is_zero());
            if left.is_none() {
                self.stop();
            }
            false
        });
        left
    }

    /// Moves the expiry to what `to` makes of the present one, unless the sandbox is being removed. Answers with the
    /// expiry and whether there is a sandbox at all.
    pub(super) fn move_expiry(&self, to: impl FnOnce(ShownTime) -> ShownTime) -> Moved {
        let mut moved = Moved::Gone;
        self.expires.send_if_modified(|expires| {
            if self.is_stopping() {
                return false;
            }
            moved = Moved::Never;
            if let Some(expires) = expires {
                let before = std::mem::replace(expires, to(*expires));
                moved = Moved::To(*expires);
                return before != *expires;
            }
            false
        });
        moved
    }

    /// The sandbox as the API shows it.
    pub(super) fn show(&self) -> Shown {
        let plan = &self.plan;
        Shown {
            id: self.id.clone(),
            image: plan.image.clone().map(|uri| Image { uri }),
            snapshot_id: None,
            platform: plan.platform.clone(),
            status: status(*self.exit.borrow(), self.group.is_paused(), plan.created),
            metadata: self.metadata().clone(),
            extensions: plan.extensions.clone(),
            allocation: None,
            entrypoint: plan.command.clone(),
            expires_at: *self.expires.borrow(),
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
                ..status(None, false, plan.created)
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

/// What became of a renewal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// The sandbox ends then.
    To(ShownTime),
    /// The sandbox never ends by itself.
    Never,
    /// The sandbox is being removed.
    Gone,
}

/// The same mapping as for containers (docker-runtime.md §9).
fn status(exit: Option<Exit>, is_paused: bool, created: ShownTime) -> Status {
    let (state, reason, message) = match exit.map(|exit| exit.code) {
        None if is_paused => (State::Paused, "CONTAINER_PAUSED", "Sandbox container is paused.".to_owned()),
        None => (State::Running, "CONTAINER_RUNNING", "Sandbox container is running.".to_owned()),
        Some(0) => (State::Terminated, "CONTAINER_EXITED", "Sandbox container exited successfully.".to_owned()),
        Some(code) => (State::Failed, "CONTAINER_EXITED_ERROR", format!("Sandbox container exited with code {code}.")),
    };
    let since = exit.map_or(created, |exit| exit.at.into());
    Status { state, reason: Some(reason.into()), message: Some(message), last_transition_at: Some(since) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_of_containers() {
        let (created, at) = (Timestamp::UNIX_EPOCH, "2026-11-23T02:01:21Z".parse().unwrap());
        let shown = |code: Option<i32>| {
            let status = status(code.map(|code| Exit { code, at }), false, created.into());
            (
                status.state,
                status.reason.unwrap().into_owned(),
                status.message.unwrap(),
                status.last_transition_at.unwrap(),
            )
        };
        assert_eq!(
            shown(None),
            (
                State::Running,
                "CONTAINER_RUNNING".to_owned(),
                "Sandbox container is running.".to_owned(),
                created.into()
            )
        );
        assert_eq!(status(None, true, created.into()).reason.as_deref(), Some("CONTAINER_PAUSED"));
        assert_eq!(status(Some(Exit { code: 0, at }), true, created.into()).state, State::Terminated);
        assert_eq!(
            shown(Some(0)),
            (
                State::Terminated,
                "CONTAINER_EXITED".to_owned(),
                "Sandbox container exited successfully.".to_owned(),
                at.into()
            )
        );
        assert_eq!(
            shown(Some(137)),
            (
                State::Failed,
                "CONTAINER_EXITED_ERROR".to_owned(),
                "Sandbox container exited with code 137.".to_owned(),
                at.into()
            )
        );
    }
}
