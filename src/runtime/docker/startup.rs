//! Checks at the start, so that an operator sees a fault then and not with the first request (config.md §4).

use std::{
    env, fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::runtime::docker::{
    Inner,
    engine::{self, Engine, endpoint::Endpoint, is_missing, text},
    ports::host_address,
};
use crate::{
    error::{Error, Family, Kind},
    regular_file,
};

/// The most bytes of a file with the names of users or groups.
const MAX_NAMES: u64 = 4 * 1024 * 1024;

impl Inner {
    /// Logs what the engine lacks of the configuration, and what keeps clients from their sandboxes. The start goes on:
    /// existing sandboxes are served, and a network may be made later.
    pub(super) async fn check_start(&self) {
        if let Err(error) = self.check_network().await {
            let text = error.message.replace("<name>", &self.options.network_mode);
            tracing::error!("docker.network_mode: {text} Until then no sandbox can be created.");
        }
        if let Some(name) = self.options.network_mode.strip_prefix("container:") {
            match self.engine.inspect(name).await {
                Err(error) if is_missing(&error) => tracing::warn!(
                    container = name,
                    "docker.network_mode names a container that does not exist: no sandbox can be created before it does"
                ),
                Err(error) => tracing::warn!(error = text(&error), "docker.network_mode could not be checked"),
                Ok(_) => {}
            }
        }
        if let Some(warning) = host_address::unreachable(&self.options, self.is_contained) {
            tracing::warn!("{warning}");
        }
    }
}

/// Fails unless the engine has the runtime `name`.
pub(super) async fn check_secure_runtime(engine: &Engine, name: &str) -> Result<(), Error> {
    let info = match engine.within(engine.api.info()).await {
        Ok(info) => info,
        Err(error) => return Err(unreachable_engine(&engine::text(&error), "")),
    };
    let mut available: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
    if available.iter().any(|runtime| runtime == name) {
        return Ok(());
    }
    available.sort();
    let text =
        format!("Configured Docker runtime '{name}' is not available. Available runtimes: {}", available.join(", "));
    Err(Error::new(Family::Startup, Kind::Unsupported, text))
}

/// The error for an engine that could not be asked for the reason `cause`, with what can be done about it.
pub(super) async fn no_engine(endpoint: &Endpoint, cause: &str) -> Error {
    let advice = match (endpoint, endpoint.connect().await) {
        (Endpoint::Unix(path), Err(error)) => advice(path, &error),
        _ => String::new(),
    };
    unreachable_engine(cause, &advice)
}

/// The error for an engine that cannot be reached. `advice` is sentences.
pub(super) fn unreachable_engine(cause: &str, advice: &str) -> Error {
    let host = env::var("DOCKER_HOST").unwrap_or_default();
    let gap = if advice.is_empty() { "" } else { " " };
    let text = format!(
        "Failed to initialize Docker service: {cause}.{gap}{advice} Make sure that the Docker daemon is running and that \
         DOCKER_HOST names it (current DOCKER_HOST='{host}')"
    );
    Error::new(Family::Startup, Kind::Failed, text)
}

/// What is wrong with the socket, and the way out.
fn advice(socket: &Path, error: &io::Error) -> String {
    let shown = socket.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => match fs::metadata(socket) {
            Ok(found) => {
                let (user, group) = (user(found.uid()), group(found.gid()));
                let mode = found.mode() & 0o7777;
                format!(
                    "This user may not use the socket {shown} (user {user}, group {group}, mode {mode:04o}). Put the user \
                     into the group {group} ('sudo usermod -aG {group} \"$USER\"', then log in anew; for a service of \
                     systemd 'SupplementaryGroups={group}', for a container '--group-add {gid}'), or run the gateway as \
                     {user}.",
                    gid = found.gid()
                )
            }
            Err(_) => {
                let folder = closed_folder(socket);
                format!("This user may not enter {}, so that the socket {shown} is out of its reach.", folder.display())
            }
        },
        io::ErrorKind::NotFound => format!(
            "There is no socket {shown}: the engine is not installed, does not run, or listens elsewhere; in a container \
             the socket has to be mounted ('-v {shown}:{shown}')."
        ),
        io::ErrorKind::ConnectionRefused => match fs::metadata(socket) {
            Ok(found) if !found.file_type().is_socket() => {
                format!("{shown} is no socket: DOCKER_HOST names something else.")
            }
            _ => format!("Nobody listens on the socket {shown}: the engine has ended ('sudo systemctl start docker')."),
        },
        _ => String::new(),
    }
}

/// The first folder on the way to the socket that cannot be entered.
fn closed_folder(socket: &Path) -> PathBuf {
    let mut folders: Vec<&Path> = socket.ancestors().skip(1).collect();
    folders.reverse();
    let closed = folders.windows(2).find(|pair| fs::metadata(pair[1]).is_err());
    closed.map_or_else(|| socket.parent().unwrap_or(socket).to_owned(), |pair| pair[0].to_owned())
}

fn user(id: u32) -> String {
    name_in("/etc/passwd", id)
}

fn group(id: u32) -> String {
    name_in("/etc/group", id)
}

/// The name of an id in a file of lines `name:password:id:…`; the id where there is none.
fn name_in(file: &str, id: u32) -> String {
    let text = regular_file::read(Path::new(file), MAX_NAMES).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let number = id.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(number.as_str()));
    line.and_then(|line| line.split(':').next()).map_or(number.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_is_told_for_each_kind_of_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let missing = advice(&socket, &io::ErrorKind::NotFound.into());
        assert!(missing.contains(socket.to_str().unwrap()) && missing.contains("-v "), "{missing}");
        fs::write(&socket, "").unwrap();
        let denied = advice(&socket, &io::ErrorKind::PermissionDenied.into());
        assert!(denied.contains("group") && denied.contains("usermod -aG"), "{denied}");
        let refused = advice(&socket, &io::ErrorKind::ConnectionRefused.into());
        assert!(refused.contains("is no socket") && !refused.contains("ended"), "{refused}");
        fs::remove_file(&socket).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(advice(&socket, &io::ErrorKind::ConnectionRefused.into()).contains("Nobody listens"));
        assert_eq!(advice(&socket, &io::ErrorKind::TimedOut.into()), "");
    }

    #[test]
    fn ids_have_the_names_of_this_machine() {
        assert_eq!((user(0), group(0)), ("root".to_owned(), "root".to_owned()));
        assert_eq!(group(4_000_000_000), "4000000000");
    }
}
