//! Starting a command.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustix::fs::{Access, access};
use tokio::{
    process::Command as Spawn,
    sync::{AcquireError, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Execd, MAX_RUNNING,
    command::{Command, Finished, Held, Order, Place, Program, Started},
    envs,
    error::{self, shown},
    pump, session,
};
use crate::{
    children::{
        environment::Variables,
        leader::{Leader, is_shortage},
        notes::Note,
    },
    error::{Error, Family, Kind},
};

/// What a shell gives for a program that there is not, and for one that cannot be run.
const NO_PROGRAM: i32 = 127;
const NO_PERMISSION: i32 = 126;

/// How long a command waits for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(500);

/// How many reads a client may lag behind.
const CHANNEL_CAPACITY: usize = 4;

/// A session's lock, and what tells that the session is removed.
type SessionLock = (OwnedMutexGuard<()>, CancellationToken);

/// What a start needs: a permit to run, a permit for what is left afterwards, and the lock that a pause waits for.
struct Needed {
    permit: OwnedSemaphorePermit,
    place: OwnedSemaphorePermit,
    start: OwnedRwLockReadGuard<()>,
}

impl Execd {
    /// Starts a command.
    ///
    /// # Errors
    /// The order cannot be run, there are too many commands, or the machine has no process left.
    pub async fn start(self: &Arc<Self>, order: Order) -> Result<Started, Error> {
        self.start_locked(order, None).await
    }

    pub(super) async fn start_locked(
        self: &Arc<Self>,
        order: Order,
        session: Option<SessionLock>,
    ) -> Result<Started, Error> {
        let too_many = || {
            let text = format!(
                "{MAX_RUNNING} commands run in the sandbox, or left processes behind: as many as may. Interrupt one \
                 (DELETE /command?id=…)."
            );
            Error::new(Family::Execd, Kind::Overloaded, text)
        };
        // A command that has just exited is about to return its permits.
        let permits =
            timeout(PERMIT_TIMEOUT, async { tokio::try_join!(acquire(&self.room), acquire(&self.places)) }).await;
        let (permit, place) = permits.ok().and_then(Result::ok).ok_or_else(too_many)?;
        let start = Arc::clone(&self.starts).read_owned().await;
        let needed = Needed { permit, place, start };
        let execd = Arc::clone(self);
        // Starting a process takes milliseconds. A blocking task runs to its end also when the client has gone; what it gives is
        // dropped then, and the command killed.
        let started = tokio::task::spawn_blocking(move || execd.start_now(order, needed, session)).await;
        started.unwrap_or_else(|error| Err(failed(error)))
    }

    fn start_now(
        self: &Arc<Self>,
        order: Order,
        Needed { permit, place, start }: Needed,
        session: Option<SessionLock>,
    ) -> Result<Started, Error> {
        let variables = self.variables(&order.envs)?;
        let content = content(&order.program);
        let mut spawn = self.spawn(&order, &variables)?;
        let pipes = pump::connect(&mut spawn, order.is_background).map_err(failed)?;
        let command = Arc::new(Command::new(content, order.is_background));
        let (session, deleted) = session.unzip();
        let client = CancellationToken::new();

        self.check_running(&self.state())?;
        // Not under the lock: a program on a file system that hangs would block every request for the sandbox.
        let spawned = Leader::spawn_with_outputs(spawn);
        let mut state = self.state();
        let leader = match spawned {
            Ok(started) => started,
            Err(error) if is_shortage(&error) => return Err(failed(error)),
            Err(error) => {
                command.finish(not_started(&order.program, &error));
                state.commands.insert(command.id().to_owned(), Arc::clone(&command));
                state.finished(command.id().to_owned());
                return Ok(Started { command, batches: None, is_background: false, _client: None });
            }
        };
        // If the sandbox was ended or paused meanwhile, the command is killed with its leader, or stopped. From here on a pause
        // and the end of the sandbox find it by themselves.
        if self.ended.is_cancelled() {
            drop(state);
            return Err(error::not_running("The sandbox is not running."));
        }
        command.group.set(leader.group());
        if state.is_paused {
            drop(command.group.pause());
        }
        state.commands.insert(command.id().to_owned(), Arc::clone(&command));
        drop((state, start));

        let note = Note::write(&self.leaders, leader.pid());
        if let Err(error) = &note {
            tracing::warn!(%error, "a command is not noted: it would outlive a gateway that is killed");
        }
        let place = Arc::new(Place { execd: Arc::clone(self), id: command.id().to_owned(), _permit: place });
        let held = Held { permit, note: note.ok(), session, place: Arc::clone(&place) };
        let (exit, exited) = oneshot::channel();
        let (sender, batches) = match order.is_background {
            true => (None, None),
            false => Some(mpsc::channel(CHANNEL_CAPACITY)).unzip(),
        };
        let guard = (!order.is_background).then(|| client.clone().drop_guard());
        tokio::spawn(pump::run(pipes, Arc::clone(&command), sender, exited, self.ended.clone(), place));
        if let Some(deleted) = deleted {
            let command = Arc::clone(&command);
            let over = client.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = deleted.cancelled() => command.interrupt(),
                    () = over.cancelled() => {}
                }
            });
        }
        tokio::spawn(Arc::clone(self).watch(Arc::clone(&command), leader, order.timeout, client, exit, held));
        Ok(Started { command, batches, is_background: order.is_background, _client: guard })
    }

    /// The variables of a command: the sandbox's, those of its file, and the request's.
    pub(super) fn variables(&self, envs: &[(String, String)]) -> Result<Variables, Error> {
        let mut variables = self.environment.variables();
        envs::load(&mut variables)?;
        for (name, value) in envs {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let text = "envs: a name must be neither empty nor hold '=', and neither name nor value a NUL.";
                return Err(error::invalid(text));
            }
            variables.insert(name.into(), value.into());
        }
        envs::check(&variables)?;
        Ok(variables)
    }

    /// A directory to run something in; the sandbox's own without one.
    pub(super) fn directory(&self, cwd: Option<&str>, variables: &Variables) -> Result<PathBuf, Error> {
        let Some(cwd) = cwd.filter(|cwd| !cwd.is_empty()) else { return Ok(self.environment.work.clone()) };
        let text = envs::replaced(cwd, variables, None).map_err(|error| error.of("cwd"))?;
        let home = || variables.get(OsStr::new("HOME")).map_or_else(|| self.environment.work.clone(), PathBuf::from);
        let path = match text.strip_prefix('~') {
            Some("") => home(),
            Some(below) if below.starts_with('/') => home().join(below.trim_start_matches('/')),
            _ => PathBuf::from(&text),
        };
        let path = self.environment.work.join(path);
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(path),
            Ok(_) => Err(error::invalid(format!("cwd: {} is no directory.", shown(&path)))),
            Err(error) => Err(error::invalid(format!("cwd: {} cannot be entered: {error}.", shown(&path)))),
        }
    }

    fn spawn(&self, order: &Order, variables: &Variables) -> Result<Spawn, Error> {
        let shell = || shell(variables.get(OsStr::new("PATH")));
        let directory = || self.directory(order.cwd.as_deref(), variables);
        let (program, arguments, directory): (OsString, Vec<OsString>, PathBuf) = match &order.program {
            Program::Shell(line) => (shell().0, vec!["-c".into(), line.into()], directory()?),
            Program::Argv(argv) => {
                let (program, arguments) = argv.split_first().ok_or_else(|| error::invalid("argv: it is empty."))?;
                let directory = directory()?;
                // A relative path is one below the command's directory, not below the gateway's.
                let program: OsString = match program.contains('/') {
                    true => directory.join(program).into(),
                    false => program.into(),
                };
                (program, arguments.iter().map(OsString::from).collect(), directory)
            }
            Program::InSession { line, state, begin } => {
                let (shell, is_bash) = shell();
                let to = order.cwd.as_ref().map(|_| directory()).transpose()?;
                let script = session::script(is_bash, line, state, to.as_deref());
                (shell, vec!["-c".into(), script.into()], begin.clone())
            }
        };
        let mut spawn = Spawn::new(program);
        spawn.args(arguments).current_dir(directory).env_clear().envs(variables);
        Ok(spawn)
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AcquireError> {
    Arc::clone(permits).acquire_owned().await
}

/// The shell of a search path, and whether it is bash; without one there, `sh`.
fn shell(path: Option<&OsString>) -> (OsString, bool) {
    let directories = path.map(std::env::split_paths).into_iter().flatten();
    let bash = directories
        .map(|directory| directory.join("bash"))
        .find(|bash| bash.is_absolute() && bash.is_file() && access(bash, Access::EXEC_OK).is_ok());
    bash.map_or_else(|| ("sh".into(), false), |bash| (bash.into(), true))
}

/// What a command is shown as.
fn content(program: &Program) -> String {
    match program {
        Program::Shell(line) | Program::InSession { line, .. } => line.clone(),
        Program::Argv(argv) => shlex::try_join(argv.iter().map(String::as_str)).unwrap_or_else(|_| argv.join(" ")),
    }
}

/// As a shell tells it of a program.
fn not_started(program: &Program, error: &io::Error) -> Finished {
    let name = match program {
        Program::Argv(argv) => argv.first().map_or("", String::as_str),
        Program::Shell(_) | Program::InSession { .. } => "the shell",
    };
    let code = if error.kind() == io::ErrorKind::NotFound { NO_PROGRAM } else { NO_PERMISSION };
    let name = shown(name);
    Finished::not_started(code, format!("cannot start {name}: {error}"))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(Family::Execd, Kind::Failed, format!("The command cannot be started: {error}."))
}
