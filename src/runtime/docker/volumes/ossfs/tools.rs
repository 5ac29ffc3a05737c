//! The programs that mount and unmount buckets, which are not ours, and what the two ossfs versions are given.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tempfile::NamedTempFile;
use tokio::{
    process::{Child, Command},
    task::spawn_blocking,
};

use super::super::place::plain;
use crate::model::volume::{Ossfs, OssfsVersion};

/// The longest that one program may take.
const TOOL_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of the end of a program's output is quoted, in bytes.
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
        let ended = tokio::time::timeout(TOOL_TIMEOUT, self.status(program, args)).await;
        let (status, output) =
            ended.unwrap_or_else(|_| Err(format!("{program} did not end within {} s", TOOL_TIMEOUT.as_secs())))?;
        if status.success() {
            return Ok(());
        }
        let said = spawn_blocking(move || last_words(output)).await.map_err(io::Error::other).flatten();
        Err(format!("{program}: {status}: {}", said.unwrap_or_default()))
    }

    /// How a program ended, and what it wrote. One that is not waited for any longer is killed.
    async fn status(&self, program: &str, args: &[&OsStr]) -> Result<(ExitStatus, File), String> {
        let failed = |error: io::Error| format!("{program}: {error}");
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let started = spawn_blocking(move || start(command)).await.map_err(io::Error::other).map_err(failed)?;
        let (mut child, output) = started.map_err(|error| match error {
            Unstarted::Output(error) => format!("no temporary file: {error}"),
            Unstarted::Program(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("{program} was not found on PATH")
            }
            Unstarted::Program(error) => failed(error),
        })?;
        Ok((child.wait().await.map_err(failed)?, output))
    }
}

/// Why there is no program to wait for.
enum Unstarted {
    /// There is no file for what it would write.
    Output(io::Error),
    Program(io::Error),
}

/// Starts a program. Blocks. The output goes to a file and not to a pipe: what a program leaves running would keep a pipe
/// open.
fn start(mut command: Command) -> Result<(Child, File), Unstarted> {
    let open = || {
        let output = tempfile::tempfile()?;
        Ok((output.try_clone()?, output.try_clone()?, output))
    };
    let (out, err, output) = open().map_err(Unstarted::Output)?;
    let child = command.stdout(out).stderr(err).spawn().map_err(Unstarted::Program)?;
    Ok((child, output))
}

/// The end of what a program wrote. Blocks.
fn last_words(mut output: File) -> io::Result<String> {
    let length = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
    let mut words = Vec::new();
    output.take(LAST_WORDS).read_to_end(&mut words)?;
    Ok(String::from_utf8_lossy(&words).trim().to_owned())
}

/// The endpoint with its scheme.
pub(super) fn url(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}

/// The part of the bucket in plain form; nothing for the whole of it.
pub(super) fn part(sub_path: Option<&str>) -> Option<String> {
    let part = plain(Path::new(sub_path?));
    part.to_str().filter(|part| !part.is_empty()).map(str::to_owned)
}

/// The file that hands the credentials over; only this user can read it, and it is gone with its value. Blocks.
pub(super) fn hand_over(ossfs: &Ossfs, prefix: Option<&str>) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("opensandbox-ossfs-").tempfile()?;
    let (id, secret) = (ossfs.access_key_id.expose(), ossfs.access_key_secret.expose());
    match ossfs.version {
        OssfsVersion::V1 => write!(file, "{}:{id}:{secret}", ossfs.bucket)?,
        OssfsVersion::V2 => {
            writeln!(file, "--oss_endpoint={}\n--oss_bucket={}", url(&ossfs.endpoint), ossfs.bucket)?;
            writeln!(file, "--oss_access_key_id={id}\n--oss_access_key_secret={secret}")?;
            if let Some(prefix) = prefix {
                writeln!(file, "--oss_bucket_prefix={prefix}/")?;
            }
            ossfs.options.iter().try_for_each(|option| writeln!(file, "--{option}"))?;
        }
    }
    Ok(file)
}

/// The program that mounts a bucket at `path`, and its arguments; `file` has the credentials.
pub(super) fn command(ossfs: &Ossfs, prefix: Option<&str>, path: &Path, file: &Path) -> (&'static str, Vec<OsString>) {
    match ossfs.version {
        OssfsVersion::V1 => {
            let what = prefix.map_or_else(|| ossfs.bucket.clone(), |prefix| format!("{}:/{prefix}", ossfs.bucket));
            let mut passwd = OsString::from("passwd_file=");
            passwd.push(file);
            let own = [OsString::from(format!("url={}", url(&ossfs.endpoint))), passwd];
            let options = own.into_iter().chain(ossfs.options.iter().map(OsString::from));
            let options = options.flat_map(|option| [OsString::from("-o"), option]);
            ("ossfs", [what.into(), path.into()].into_iter().chain(options).collect())
        }
        OssfsVersion::V2 => ("ossfs2", vec!["mount".into(), path.into(), "-c".into(), file.into()]),
    }
}
