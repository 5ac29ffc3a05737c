//! What goes wrong in execd, for a program (`kind`) and for a person (`message`).

use std::{fmt, io, path::Path};

/// How much of a path a message shows, in bytes.
const MAX_SHOWN: usize = 1024;

/// An error of execd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecdError {
    /// Which row of [`crate::problem`]'s table it is.
    pub kind: ErrorKind,
    /// Text for the client: free of secrets.
    pub message: String,
}

/// Kinds of errors; [`crate::problem`] gives each its status and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The token is missing or wrong.
    Unauthorized,
    /// The request asks for what cannot be.
    Invalid,
    /// The gateway's user may not do this.
    Denied,
    /// No such command, session, file or directory.
    NotFound,
    /// As much of it as there may be at once.
    TooMany,
    /// The sandbox's processes do not run.
    NotRunning,
    /// The range lies outside of the file, which has this length in bytes.
    OutOfRange(u64),
    /// Local processes do not have it.
    NotSupported,
    /// The machine failed.
    Failed,
}

impl ExecdError {
    /// An error of `kind` with a text for the client.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The request asks for what cannot be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Local processes do not have it.
    pub fn not_supported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSupported, message)
    }

    pub(super) fn not_running(message: &str) -> Self {
        Self::new(ErrorKind::NotRunning, message)
    }

    pub(super) fn unauthorized() -> Self {
        let text = "The header X-EXECD-ACCESS-TOKEN is missing or wrong. The endpoint of port 44772 tells it \
                    (GET /sandboxes/{sandboxId}/endpoints/44772).";
        Self::new(ErrorKind::Unauthorized, text)
    }

    /// The machine's answer to what was to be done (`verb`) with a path. What the caller can mend is told apart from what
    /// only the machine's owner can.
    pub(super) fn io(verb: &str, path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::AlreadyExists
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory => ErrorKind::Invalid,
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => ErrorKind::Invalid,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, format!("{} cannot be {verb}: {error}", shown(path)))
    }
}

/// A path, or a name, as a message shows it: not more than its first kilobyte.
pub(super) fn shown(path: impl AsRef<Path>) -> String {
    let text = path.as_ref().to_string_lossy();
    let end = text.floor_char_boundary(MAX_SHOWN);
    if end == text.len() { text.into_owned() } else { format!("{}…", &text[..end]) }
}

impl fmt::Display for ExecdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExecdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_path_the_beginning_is_shown() {
        assert_eq!(shown("/short"), "/short");
        let long = format!("/{}", "ü".repeat(5000));
        assert_eq!(shown(&long), format!("/{}…", "ü".repeat(511)));
        let error = ExecdError::io("read", Path::new(&long), &io::ErrorKind::NotFound.into());
        assert!(error.message.len() < 1200 && error.message.contains("… cannot be read"), "{error}");
    }
}
