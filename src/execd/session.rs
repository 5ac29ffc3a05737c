//! Shell sessions: each line finds the directory, variables, functions and options that the lines before it left.
//!
//! A session has no process between its lines. Each line is run by a new shell, which first reads the state that the last one
//! saved at its end. So a line that hangs, exits or is killed does not end the session, which continues with the state before
//! it. What a shell cannot save is lost: its jobs, and the arguments of the session (`$1`).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::{
    Execd, MAX_SESSIONS, State,
    command::{Order, Program, Started},
    error,
};
use crate::error::{Error, Family, Kind};

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    directory: PathBuf,
    begin: PathBuf,
    /// Its lines are run one after the other.
    lock: Arc<Mutex<()>>,
    deleted: CancellationToken,
}

impl Session {
    /// Removes what it keeps. Blocks.
    fn remove(&self) {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a session's directory could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

impl Execd {
    /// Makes a session that begins in `cwd`, by default the sandbox's working directory. Gives its id. Blocks.
    ///
    /// # Errors
    /// There is no such directory, or there are too many sessions.
    pub fn create_session(&self, cwd: Option<&str>) -> Result<String, Error> {
        let begin = self.directory(cwd, &self.variables(&[])?)?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let directory = self.sessions.join(&id);
        // Not under the lock, which every request for the sandbox takes: a disk may be slow.
        self.check_room_for_session(&self.state())?;
        fs::create_dir(&directory).map_err(|error| error::io("made for the session", &directory, error))?;
        let session = Session { directory, begin, lock: Arc::default(), deleted: CancellationToken::new() };
        let mut state = self.state();
        if let Err(refused) = self.check_room_for_session(&state) {
            drop(state);
            session.remove();
            return Err(refused);
        }
        state.sessions.insert(id.clone(), Arc::new(session));
        Ok(id)
    }

    fn check_room_for_session(&self, state: &State) -> Result<(), Error> {
        self.check_running(state)?;
        if state.sessions.len() >= MAX_SESSIONS {
            let text = format!("There are {MAX_SESSIONS} sessions, as many as a sandbox may have: delete one.");
            return Err(Error::new(Family::Execd, Kind::Overloaded, text));
        }
        Ok(())
    }

    /// Runs a line in a session, after those that are under way.
    ///
    /// # Errors
    /// There is no such session (any more), or the line cannot be run.
    pub async fn run_in_session(self: &Arc<Self>, id: &str, line: String, order: Order) -> Result<Started, Error> {
        let session = self.session(id)?;
        let lock = tokio::select! {
            lock = Arc::clone(&session.lock).lock_owned() => lock,
            () = session.deleted.cancelled() => return Err(no_session(id)),
            () = self.ended.cancelled() => return Err(error::not_running("The sandbox is not running.")),
        };
        let program = Program::InSession { line, state: session.directory.join("state"), begin: session.begin.clone() };
        self.start_locked(Order { program, ..order }, Some((lock, session.deleted.clone()))).await
    }

    /// Removes a session, and ends the line that runs in it.
    ///
    /// # Errors
    /// There is no such session.
    pub async fn delete_session(&self, id: &str) -> Result<(), Error> {
        let session = self.state().sessions.remove(id).ok_or_else(|| no_session(id))?;
        session.deleted.cancel();
        let lock: OwnedMutexGuard<()> = Arc::clone(&session.lock).lock_owned().await;
        let removed = tokio::task::spawn_blocking(move || {
            let _lock = lock;
            session.remove();
        });
        removed.await.map_err(|error| Error::new(Family::Execd, Kind::Failed, format!("The session: {error}.")))
    }

    fn session(&self, id: &str) -> Result<Arc<Session>, Error> {
        self.state().sessions.get(id).cloned().ok_or_else(|| no_session(id))
    }
}

fn no_session(id: &str) -> Error {
    error::not_found(format!("There is no session {id:?}."))
}

/// A script that runs a line as the session's shell would. `to` is a directory for this line alone.
pub(super) fn script(is_bash: bool, line: &str, state: &Path, to: Option<&Path>) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let there = to.map_or_else(String::new, |to| format!("cd -- {} || exit 1", path(to)));
    let (state, new, line) = (path(state), path(&state.with_extension("new")), quoted(line));
    let mut parts = if is_bash { BASH } else { SH }.split('@');
    // Every second part is the name of a placeholder; a value that was put in may hold anything.
    let mut script = parts.next().unwrap_or_default().to_owned();
    while let (Some(place), Some(after)) = (parts.next(), parts.next()) {
        script.push_str(match place {
            "STATE" => &state,
            "NEW" => &new,
            "THERE" => &there,
            _ => &line,
        });
        script.push_str(after);
    }
    script
}

/// `declare -p` has variables that cannot be set again; that is not worth a word. A line that exits, or a session with
/// `set -e`, comes to the trap; one with a trap of its own comes to the end.
const BASH: &str = r#"[ -f @STATE@ ] && . @STATE@ 2>/dev/null
__osb_back=$PWD
@THERE@
__osb_here=$PWD
__osb_keep() {
if [ "$PWD" = "$__osb_here" ]; then __osb_here=$__osb_back; else __osb_here=$PWD; fi
{ unset BASH_EXECUTION_STRING; declare -p; declare -f; alias -p; shopt -p; set +o; printf 'cd -- %q; OLDPWD=%q\n' "$__osb_here" "${OLDPWD-}"; } 2>/dev/null >|@NEW@ && command mv -f @NEW@ @STATE@
}
trap __osb_keep EXIT
eval @LINE@
__osb_code=$?
[ "$(trap -p EXIT)" = "trap -- '__osb_keep' EXIT" ] || __osb_keep
exit $__osb_code
"#;

/// What any shell can write down: variables and the directory.
const SH: &str = r#"[ -f @STATE@ ] && . @STATE@ 2>/dev/null
__osb_back=$PWD
@THERE@
__osb_here=$PWD
__osb_keep() {
if [ "$PWD" = "$__osb_here" ]; then __osb_here=$__osb_back; else __osb_here=$PWD; fi
{ set; export -p; echo 'cd -- "$__osb_here"'; } 2>/dev/null >|@NEW@ && command mv -f @NEW@ @STATE@
}
trap __osb_keep EXIT
eval @LINE@
exit $?
"#;
