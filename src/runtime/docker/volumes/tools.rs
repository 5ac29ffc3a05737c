//! The programs that mount and unmount buckets, which are not ours.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::process::Command;

/// The longest that one program may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of a program's last words is told, in bytes.
const LAST_WORDS: u64 = 1024;

/// The programs, by name on a PATH.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    /// The PATH; this process's own when absent.
    pub(super) path: Option<OsString>,
}

impl Tools {
    /// Runs a program to its end.
    ///
    /// # Errors
    /// Why it did not succeed, in words for a person. They may repeat what the program was given.
    pub(super) async fn run(&self, program: &str, args: &[&OsStr]) -> Result<(), String> {
        let mut output = tempfile::tempfile().map_err(|error| format!("no temporary file: {error}"))?;
        match tokio::time::timeout(PATIENCE, self.status(program, args, &output)).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{program}: {status}: {}", last_words(&mut output).unwrap_or_default())),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("{program} was not found on PATH"))
            }
            Ok(Err(error)) => Err(format!("{program}: {error}")),
            Err(_) => Err(format!("{program} did not end within {} s", PATIENCE.as_secs())),
        }
    }

    /// The output goes to a file and not to a pipe: what a program leaves running would keep a pipe open.
    async fn status(&self, program: &str, args: &[&OsStr], output: &File) -> io::Result<ExitStatus> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command.status().await
    }
}

fn last_words(output: &mut File) -> io::Result<String> {
    let length = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
    let mut words = Vec::new();
    output.take(LAST_WORDS).read_to_end(&mut words)?;
    Ok(String::from_utf8_lossy(&words).trim().to_owned())
}
