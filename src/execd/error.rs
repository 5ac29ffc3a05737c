//! What goes wrong in execd: errors of [`Family::Execd`].

use std::{io, path::Path};

use crate::error::{Error, Family, Kind};

/// How much of a path a message shows, in bytes.
const MAX_SHOWN: usize = 1024;

/// The request asks for what cannot be.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(Family::Execd, Kind::Invalid, message)
}

/// There is no such command, session, file or directory.
pub fn not_found(message: impl Into<String>) -> Error {
    Error::new(Family::Execd, Kind::NotFound, message)
}

/// Local processes do not have it.
pub fn not_supported(message: impl Into<String>) -> Error {
    Error::new(Family::Execd, Kind::Unsupported, message)
}

/// The sandbox's processes do not run.
pub(super) fn not_running(message: &str) -> Error {
    Error::new(Family::Sandbox, Kind::Conflict, message)
}

/// The token is missing or wrong.
pub(super) fn unauthorized() -> Error {
    let text = "The header X-EXECD-ACCESS-TOKEN is missing or wrong. The endpoint of port 44772 tells it \
                (GET /sandboxes/{sandboxId}/endpoints/44772).";
    Error::new(Family::Execd, Kind::Unauthenticated, text)
}

/// The machine's answer to what was to be done (`verb`) with a path. What the caller can mend is told apart from what only the
/// machine's owner can.
pub(super) fn io(verb: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory => Kind::Invalid,
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Kind::Invalid,
        _ => Kind::Failed,
    };
    let text = format!("{} cannot be {verb}: {error}", shown(path));
    Error::new(Family::Execd, kind, text).caused_by(error)
}

/// A path, or a name, as a message shows it: not more than its first kilobyte.
pub(super) fn shown(path: impl AsRef<Path>) -> String {
    let text = path.as_ref().to_string_lossy();
    let end = text.floor_char_boundary(MAX_SHOWN);
    if end == text.len() { text.into_owned() } else { format!("{}…", &text[..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_path_the_beginning_is_shown() {
        assert_eq!(shown("/short"), "/short");
        let long = format!("/{}", "ü".repeat(5000));
        assert_eq!(shown(&long), format!("/{}…", "ü".repeat(511)));
        let error = io("read", Path::new(&long), io::ErrorKind::NotFound.into());
        assert!(error.message.len() < 1200 && error.message.contains("… cannot be read"), "{error}");
    }
}
