//! Credential helpers: programs named `docker-credential-<name>` that are told a registry and answer with its credentials
//! (docker/docker-credential-helpers, "Development").

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bollard::auth::DockerCredentials;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

/// The longest answer, in bytes. Tokens of clouds have a few kilobytes.
const LONGEST: usize = 64 * 1024;

/// The user's name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// What helpers say when they know no such registry, on their standard output.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Asks the helper `name`, in `folder` or on the `PATH`, for the credentials of a registry; nothing when it has none.
/// Killed with its children if it takes longer than `limit`.
///
/// # Errors
/// Why it cannot be used, in words that hold nothing of its answer.
pub(super) async fn get(
    folder: Option<&Path>,
    name: &str,
    registry: &str,
    limit: Duration,
) -> Result<Option<DockerCredentials>, String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_word) {
        return Err("its name may have letters, digits, '.', '_' and '-' only".to_owned());
    }
    let program = format!("docker-credential-{name}");
    let mut command = Command::new(folder.map_or_else(|| PathBuf::from(&program), |folder| folder.join(&program)));
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own: a helper may be a script, whose children would keep the pipe.
    let child = command.kill_on_drop(true).process_group(0).spawn();
    let child = child.map_err(|error| format!("'{program}' cannot be started: {error}"))?;
    let mut group = Group { child };
    let (answer, is_success) = match tokio::time::timeout(limit, group.talk(registry)).await {
        Ok(talked) => talked.map_err(|error| format!("'{program}' cannot be talked to: {error}"))?,
        Err(_) => return Err(format!("'{program}' did not end within {} s", limit.as_secs())),
    };
    if !is_success {
        let is_unknown = String::from_utf8_lossy(&answer).contains(NOT_FOUND);
        return if is_unknown { Ok(None) } else { Err(format!("'{program}' failed")) };
    }
    parse(&answer, registry).map(Some).ok_or_else(|| format!("the answer of '{program}' has no Username and Secret"))
}

fn parse(answer: &[u8], registry: &str) -> Option<DockerCredentials> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let text = |name: &str| answer.get(name)?.as_str().map(str::to_owned);
    let (username, secret) = (text("Username")?, text("Secret")?);
    let credentials = DockerCredentials { serveraddress: Some(registry.to_owned()), ..Default::default() };
    Some(if username == TOKEN_USER {
        DockerCredentials { identitytoken: Some(secret), ..credentials }
    } else {
        DockerCredentials { username: Some(username), password: Some(secret), ..credentials }
    })
}

/// A helper with its children; all are killed when this is dropped before their end.
struct Group {
    child: Child,
}

impl Group {
    /// Tells the registry and gives what the helper answers.
    async fn talk(&mut self, registry: &str) -> io::Result<(Vec<u8>, bool)> {
        let (Some(mut input), Some(output)) = (self.child.stdin.take(), self.child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // A helper that looks at nothing may have closed it.
        let _ = input.write_all(registry.as_bytes()).await;
        drop(input);
        let mut answer = Vec::new();
        output.take(LONGEST as u64 + 1).read_to_end(&mut answer).await?;
        if answer.len() > LONGEST {
            return Err(io::Error::other(format!("its answer is longer than {LONGEST} bytes")));
        }
        Ok((answer, self.child.wait().await?.success()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // There is no id any more once it was waited for.
        let leader = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // It may have ended at this moment.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
