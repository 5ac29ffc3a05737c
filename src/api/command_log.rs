//! `command=<id>` of a log request: the output of a command that was run in the background through execd (log-api.md §7).

use std::sync::Arc;

use http::HeaderMap;

use super::{Api, execd};
use crate::{
    error::{Error, Family, Kind},
    execd::{PORT, command_log::LocalCommand, remote::RemoteCommand},
    logs::{
        LogQuery,
        command::{CommandLog, CommandSource},
        cursor::{Cursor, RunId},
        record_source::RecordSource,
    },
    model::{endpoint::Backend, sandbox::State},
    runtime::Runtime,
    secret::Secret,
};

/// The longest id, in bytes.
const MAX_ID: usize = 128;

/// Whether a text can be a command's id: it is a segment of a path of execd as it is.
pub fn is_id(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(is_known) && text.bytes().any(|byte| byte != b'.')
}

/// Opens the output of `command`, whose id was checked; none behind the end of one that has ended. While it is followed, execd
/// may be away for [`Api::reconnect`].
///
/// # Errors
/// There is no such sandbox or command, or its execd cannot be asked.
pub async fn open(
    api: &Api,
    id: &str,
    command: &str,
    query: &LogQuery,
    headers: &HeaderMap,
) -> Result<Option<CommandSource>, Error> {
    let log: Box<dyn CommandLog> = match api.runtime.local_execd() {
        Some(local) => Box::new(local_log(&*local.execd(id)?, command)?),
        None => {
            let (runtime, id) = (Arc::clone(&api.runtime), Arc::<str>::from(id));
            let find = move || {
                let (runtime, id) = (Arc::clone(&runtime), Arc::clone(&id));
                Box::pin(async move { place(&*runtime, &id).await }) as _
            };
            // A header that is no text is no token.
            let token = execd::presented(headers).and_then(|token| str::from_utf8(token).ok()).map(Secret::new);
            Box::new(RemoteCommand::new(Arc::new(find), command.to_owned(), token))
        }
    };
    CommandSource::open(log, command, query, api.reconnect).await
}

/// What is left to say to who comes back with `after` when `command` was not opened: of one that is gone as of a log whose
/// sandbox is; nothing at all behind the end.
///
/// # Errors
/// `error` itself, if it says anything else, or the token is not of this command.
pub fn left(command: &str, after: Option<Cursor>, error: Error) -> Result<Option<RecordSource>, Error> {
    let Some(after) = after.filter(|after| after.run == RunId::of(command)) else { return Err(error) };
    let is_gone = error.is_sandbox_missing() || error.key() == (Family::Command, Kind::NotFound);
    // A command runs once: behind its end nothing comes, whether its sandbox is gone or paused.
    let is_over = is_gone || error.key() == (Family::Command, Kind::Conflict);
    if after.ended && is_over {
        Ok(None)
    } else if is_gone {
        Ok(Some(RecordSource::removed(&after)))
    } else {
        Err(error)
    }
}

fn local_log(local: &crate::execd::Execd, command: &str) -> Result<LocalCommand, Error> {
    local.command(command).and_then(LocalCommand::new).map_err(|error| error.within(Family::Command))
}

/// Where a sandbox's execd is.
async fn place(runtime: &dyn Runtime, id: &str) -> Result<Backend, Error> {
    let backend = runtime.backend(id, PORT).await;
    // Its processes do not answer, and nothing says so, unless it is that it has no address.
    let may_be_paused = match &backend {
        Ok(_) => runtime.is_at_hand(id),
        Err(error) => error.key() == (Family::PodAddress, Kind::NotFound),
    };
    if may_be_paused && runtime.get(id).await.is_ok_and(|sandbox| sandbox.status.state == State::Paused) {
        let text = "The sandbox is paused: its execd answers when it goes on.";
        return Err(Error::new(Family::Command, Kind::Conflict, text));
    }
    backend.map_err(|error| match error.key() {
        // No command outlives its sandbox's processes, and no one else's error is told for that.
        (Family::Sandbox | Family::KubeSandbox, Kind::Conflict) => {
            let text = "The sandbox does not run: nothing is left of its commands.";
            Error::new(Family::Command, Kind::NotFound, text)
        }
        (Family::Query, _) => error.within(Family::Logs),
        (Family::Endpoint, Kind::Unavailable) => {
            let text =
                "The sandbox has no port by which its execd (port 44772) is reached: it was created without one.";
            Error::new(Family::Command, Kind::Unavailable, text)
        }
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_to_what_is_gone_is_told_so() {
        let of = |token: &str| Cursor::parse(token).unwrap();
        let (line, end) = ("v1.0000000000000001.o000000ab.188fc1ec825ccd15.0", "v1.end.0000000000000001");
        let answer = |token: Option<&str>, family, kind| {
            left("0000000000000001", token.map(of), Error::new(family, kind, "no")).map(|left| left.is_some()).ok()
        };
        for family in [Family::Sandbox, Family::KubeSandbox, Family::Command] {
            assert_eq!(answer(Some(line), family, Kind::NotFound), Some(true));
            assert_eq!(answer(Some(end), family, Kind::NotFound), Some(false));
            assert_eq!(answer(None, family, Kind::NotFound), None);
            assert_eq!(answer(Some("v1.end.0000000000000002"), family, Kind::NotFound), None, "of another command");
        }
        assert_eq!(answer(Some(end), Family::Command, Kind::Conflict), Some(false));
        assert_eq!(answer(Some(line), Family::Command, Kind::Conflict), None, "it may go on");
        for kind in [Kind::Unavailable, Kind::TimedOut, Kind::Failed, Kind::Unauthenticated, Kind::Invalid] {
            assert_eq!(
                (answer(Some(line), Family::Command, kind), answer(Some(end), Family::Command, kind)),
                (None, None)
            );
        }
    }

    #[test]
    fn an_id_is_a_segment_of_a_path() {
        for good in ["1", "0123456789abcdef", "a.b-c_D", "...x", &"x".repeat(128)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", ".", "..", "...", "a/b", "a%2fb", "a b", "ä", "a?b", "a\r\nx: y", "a#", &"x".repeat(129)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
