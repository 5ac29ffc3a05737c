//! execd for sandboxes that are local processes: runs commands and handles files in a sandbox, for the official clients.
//!
//! In a container execd is a daemon of its own, on port 44772. Here it is a part of the gateway's process, one for each sandbox,
//! and its requests arrive through the gateway's proxy. Its answers follow that daemon's public description, as far as the
//! clients 1.1.1 use it (contract `execd-api.md`, `clients.md`). This module knows no HTTP; [`crate::api::execd`] does.
//! [`remote`] asks the daemon of a container, for one thing: the output of a command ([`crate::logs::command`]).
//!
//! ```text
//! start ─▶ Leader (process group) ─┬─▶ pump ─▶ cutter ─▶ Batch ─▶ the stream of a command that is waited for
//!                                  │                 └─▶ Output   of one in the background: the last of it is kept
//!                                  └─▶ watch: exit, time-out, interruption, a client that left, the sandbox's end
//! ```
//!
//! Nothing is isolated: a command is a process of the gateway's user, and a path is a path of the machine. A relative one
//! begins at the sandbox's working directory.
//!
//! Everything is bounded: the commands that run, those that are remembered, the sessions, the output that is kept, and what a
//! stream holds for a slow client. A client that does not read makes its own command wait at its pipe, and nothing else.

pub mod command;
pub mod command_log;
pub mod cutter;
pub mod envs;
pub mod error;
pub mod files;
pub mod load;
pub mod output;
mod pump;
pub mod remote;
pub mod session;
mod start;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{RwLock, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::{command::Command, session::Session};
use crate::{children::environment::Environment, error::Error, keys::KeyRing, secret::Secret};

/// The port at which clients look for execd.
pub const PORT: u16 = 44_772;

/// The header in which clients present a token.
pub const TOKEN: &str = "X-EXECD-ACCESS-TOKEN";

/// How many commands of a sandbox may run at once. One that has exited counts as long as processes of it are left, in its
/// process group or with its outputs open.
pub const MAX_RUNNING: u32 = 64;

/// How long the end of a sandbox waits for the processes that it killed. A program that hangs in the kernel (a dead file server)
/// or at its start dies later.
pub const END_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a pause waits for programs that are being started. One that takes longer is stopped once it has started.
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// How many finished commands are remembered, those without any process left.
const MAX_FINISHED: usize = 100;

/// How many bytes of them are remembered: their command lines and their output.
const MAX_REMEMBERED: usize = 32 * 1024 * 1024;

/// How many shell sessions a sandbox may have.
const MAX_SESSIONS: usize = 32;

/// One sandbox's execd.
pub struct Execd {
    environment: Environment,
    /// The directory of the sessions' files.
    sessions: PathBuf,
    /// The directory of the notes of leaders.
    leaders: PathBuf,
    /// The token that a client must present while the gateway has keys.
    token: Secret,
    keys: Arc<KeyRing>,
    state: Mutex<State>,
    /// A permit for each command that runs.
    room: Arc<Semaphore>,
    /// A permit for each command that has processes left or outputs open.
    places: Arc<Semaphore>,
    /// Read-locked by each start until its program can be signalled, or has ended.
    starts: Arc<RwLock<()>>,
    /// Cancelled when the sandbox ends.
    ended: CancellationToken,
}

/// Where an execd keeps its files.
#[derive(Debug)]
pub struct Places {
    /// A directory for what sessions remember.
    pub sessions: PathBuf,
    /// A directory for notes of leaders ([`crate::children::notes`]).
    pub leaders: PathBuf,
}

#[derive(Default)]
struct State {
    is_paused: bool,
    commands: HashMap<String, Arc<Command>>,
    /// The ids of the finished ones, the oldest first.
    finished: VecDeque<String>,
    /// The bytes that those take.
    remembered: usize,
    sessions: HashMap<String, Arc<Session>>,
}

impl Execd {
    /// The execd of a sandbox with this environment. Callers must present `token` while there are `keys`. Without keys anyone may
    /// ask for the token, so it would protect nothing.
    pub fn new(environment: Environment, places: Places, token: Secret, keys: Arc<KeyRing>) -> Self {
        let Places { sessions, leaders } = places;
        let permits = || Arc::new(Semaphore::new(MAX_RUNNING as usize));
        let (room, places, ended) = (permits(), permits(), CancellationToken::new());
        let (state, starts) = (Mutex::default(), Arc::default());
        Self { environment, sessions, leaders, token, keys, state, room, places, starts, ended }
    }

    /// The token that clients must present now, if any.
    pub fn token(&self) -> Option<&Secret> {
        (!self.keys.is_open()).then_some(&self.token)
    }

    /// Checks what a client presents, and that the sandbox's processes run.
    ///
    /// # Errors
    /// The token is missing or wrong, or the sandbox does not run.
    pub fn admit(&self, presented: Option<&[u8]>) -> Result<(), Error> {
        if let Some(token) = self.token()
            && !presented.is_some_and(|presented| token.matches(presented))
        {
            return Err(error::unauthorized());
        }
        self.check_running(&self.state())
    }

    fn check_running(&self, state: &State) -> Result<(), Error> {
        match (self.ended.is_cancelled(), state.is_paused) {
            (true, _) => Err(error::not_running("The sandbox is not running.")),
            (false, true) => Err(error::not_running("The sandbox is paused.")),
            (false, false) => Ok(()),
        }
    }

    /// A command that runs, or is remembered.
    ///
    /// # Errors
    /// There is no such command.
    pub fn command(&self, id: &str) -> Result<Arc<Command>, Error> {
        let unknown = || error::not_found(format!("There is no command {id:?}, or it ended long ago."));
        self.state().commands.get(id).cloned().ok_or_else(unknown)
    }

    /// Stops all commands (SIGSTOP); no other starts until [`Self::resume`]. [`Self::starts_are_over`] waits for those that are
    /// being started.
    pub fn pause(&self) {
        let mut state = self.state();
        state.is_paused = true;
        // A group that ends just now is in the wrong state, and needs no pause.
        state.commands.values().for_each(|command| drop(command.group.pause()));
    }

    /// Waits until each program whose start was under way can be signalled; in a paused sandbox it is stopped by then.
    pub async fn starts_are_over(&self) {
        let over = timeout(START_TIMEOUT, self.starts.write()).await;
        if over.is_err() {
            tracing::warn!(
                sandbox = self.environment.id,
                "a program hangs at its start; it is paused when it is there"
            );
        }
    }

    /// Lets all commands go on.
    pub fn resume(&self) {
        let mut state = self.state();
        state.is_paused = false;
        state.commands.values().for_each(|command| drop(command.group.resume()));
    }

    /// Kills all commands, and waits until nothing is left of them, or for [`END_TIMEOUT`]. No other starts afterwards.
    pub async fn end(&self) {
        self.ended.cancel();
        if timeout(END_TIMEOUT, self.room.acquire_many(MAX_RUNNING)).await.is_err() {
            let sandbox = &self.environment.id;
            tracing::warn!(sandbox, "programs of the sandbox hang, and die when they no longer do");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Execd {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl State {
    /// Notes that a command is finished. The oldest finished commands are forgotten if there are too many.
    fn finished(&mut self, id: String) {
        // From now on it prints no more.
        self.remembered += self.commands.get(&id).map_or(0, |command| command.cost());
        self.finished.push_back(id);
        while self.finished.len() > MAX_FINISHED || self.remembered > MAX_REMEMBERED {
            let Some(oldest) = self.finished.pop_front().and_then(|id| self.commands.remove(&id)) else { break };
            self.remembered -= oldest.cost();
        }
    }
}
