//! execd of a sandbox that is a local process: `/sandboxes/{sandboxId}/proxy/44772/…`, answered here (contract `execd-api.md`).

mod commands;
mod download;
mod events;
mod files;
mod streams;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::payload;
use crate::{
    body::Body,
    client::ClientWatch,
    drain,
    error::{Error, Family, Kind},
    execd::{self, Execd, error},
    problem::ApiError,
    response,
};

/// The index of the last line of a command's output; where a client reads on.
pub const CURSOR: HeaderName = HeaderName::from_static("execd-commands-tail-cursor");

/// Who answers, and for whom.
struct Context {
    execd: Arc<Execd>,
    client: ClientWatch,
    drain: drain::Watch,
}

/// What is asked for; the table of execd's API.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Ping,
    Metrics,
    MetricsWatch,
    Command,
    CommandStatus(String),
    CommandLogs(String),
    Sessions,
    Session(String),
    RunInSession(String),
    Files,
    FilesInfo,
    FilesPermissions,
    FilesMove,
    FilesSearch,
    FilesReplace,
    FilesUpload,
    FilesDownload,
    Directories,
    DirectoriesList,
    /// Code that a kernel runs, and its contexts.
    Code,
    /// Sessions with an isolation of their own.
    Isolated,
    IsolationCapabilities,
}

/// Answers a request for `path`, which is what follows the port, of a client that was admitted ([`Execd::admit`]).
///
/// # Errors
/// There is no such call, or it fails.
pub async fn answer(
    execd: Arc<Execd>,
    path: &str,
    req: Request<Incoming>,
    client: ClientWatch,
    drain: drain::Watch,
) -> Result<Response<Body>, ApiError> {
    let (place, identity) = find(path).ok_or_else(|| ApiError::no_route_of("execd has no such route here."))?;
    let allowed = place.methods();
    let method = if req.method() == Method::HEAD { Method::GET } else { req.method().clone() };
    if !allowed.split(", ").any(|allowed| allowed == method.as_str()) {
        return Err(ApiError::method_not_allowed(allowed));
    }
    check_identity(identity)?;
    let context = Context { execd, client, drain };
    let (head, body) = req.into_parts();
    let is = |wanted: Method| method == wanted;
    match place {
        Place::Ping => Ok(response::empty(StatusCode::OK)),
        Place::Metrics => streams::metrics().await,
        Place::MetricsWatch => Ok(streams::watch(context)),
        Place::Command if is(Method::DELETE) => commands::interrupt(&context, &head),
        Place::Command => commands::run(context, body).await,
        Place::CommandStatus(id) => commands::status(&context, &id),
        Place::CommandLogs(id) => commands::logs(&context, &id, &head),
        Place::Sessions => commands::create_session(&context, body).await,
        Place::Session(id) => commands::delete_session(&context, &id).await,
        Place::RunInSession(id) => commands::run_in_session(context, id, body).await,
        Place::Files => files::remove(&context, &head, Execd::remove_file).await,
        Place::FilesInfo => files::info(&context, &head).await,
        Place::FilesPermissions => files::set_attributes(&context, body, Execd::set_rights).await,
        Place::FilesMove => files::rename(&context, body).await,
        Place::FilesSearch => files::search(&context, &head).await,
        Place::FilesReplace => files::replace(&context, &head, body).await,
        Place::FilesUpload => upload::receive(&context, &head, body).await,
        Place::FilesDownload => download::send(context, &head).await,
        Place::Directories if is(Method::DELETE) => files::remove(&context, &head, Execd::remove_directory).await,
        Place::Directories => files::set_attributes(&context, body, Execd::make_directory).await,
        Place::DirectoriesList => files::list(&context, &head).await,
        Place::Code => Err(error::not_supported(NO_KERNEL).into()),
        Place::Isolated => Err(error::not_supported(NO_ISOLATION).into()),
        Place::IsolationCapabilities => Ok(files::capabilities(NO_ISOLATION)),
    }
}

const NO_KERNEL: &str = "Code contexts are not supported by the process runtime: there is no kernel to run code in. \
                         Run a program with POST /command, or use a Docker sandbox with a code interpreter's image.";

const NO_ISOLATION: &str = "Isolated sessions are not supported by the process runtime: it isolates nothing.";

/// Finds the place of a path, and the user and group before it, if any.
fn find(path: &str) -> Option<(Place, Option<(u32, u32)>)> {
    let decoded = |id: &str| percent_decode_str(id).decode_utf8_lossy().into_owned();
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let (segments, identity) = match segments.as_slice() {
        ["v1", "filesystem", user, group, rest @ ..] if matches!(rest, ["files" | "directories", ..]) => {
            (rest, Some((user.parse().ok()?, group.parse().ok()?)))
        }
        all => (all, None),
    };
    let place = match segments {
        ["ping"] => Place::Ping,
        ["metrics"] => Place::Metrics,
        ["metrics", "watch"] => Place::MetricsWatch,
        ["command"] => Place::Command,
        ["command", "status", id] => Place::CommandStatus(decoded(id)),
        ["command", id, "logs"] => Place::CommandLogs(decoded(id)),
        ["session"] => Place::Sessions,
        ["session", id] => Place::Session(decoded(id)),
        ["session", id, "run"] => Place::RunInSession(decoded(id)),
        ["files"] => Place::Files,
        ["files", "info"] => Place::FilesInfo,
        ["files", "permissions"] => Place::FilesPermissions,
        ["files", "mv"] => Place::FilesMove,
        ["files", "search"] => Place::FilesSearch,
        ["files", "replace"] => Place::FilesReplace,
        ["files", "upload"] => Place::FilesUpload,
        ["files", "download"] => Place::FilesDownload,
        ["directories"] => Place::Directories,
        ["directories", "list"] => Place::DirectoriesList,
        ["code" | "pty", ..] => Place::Code,
        ["v1", "isolated", "capabilities"] => Place::IsolationCapabilities,
        ["v1", "isolated", ..] => Place::Isolated,
        _ => return None,
    };
    Some((place, identity))
}

impl Place {
    /// The methods that it has, as `Allow` writes them. HEAD is a GET without its body.
    fn methods(&self) -> &'static str {
        match self {
            Self::Ping
            | Self::Metrics
            | Self::MetricsWatch
            | Self::CommandStatus(_)
            | Self::CommandLogs(_)
            | Self::FilesInfo
            | Self::FilesSearch
            | Self::FilesDownload
            | Self::DirectoriesList
            | Self::IsolationCapabilities => "GET",
            Self::Command | Self::Directories => "DELETE, POST",
            Self::Session(_) | Self::Files => "DELETE",
            Self::Sessions
            | Self::RunInSession(_)
            | Self::FilesPermissions
            | Self::FilesMove
            | Self::FilesReplace
            | Self::FilesUpload => "POST",
            Self::Code | Self::Isolated => "DELETE, GET, PATCH, POST, PUT",
        }
    }
}

/// What a request presents.
pub fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(execd::TOKEN).map(|token| token.as_bytes())
}

/// Everything is done as the gateway's user: another identity is refused before it is taken for granted.
fn check_identity(identity: Option<(u32, u32)>) -> Result<(), Error> {
    let own = Execd::identity();
    match identity {
        Some(wanted) if wanted != own => Err(error::not_supported(format!(
            "The process runtime does everything as its own user: uid {}, gid {}.",
            own.0, own.1
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Does what blocks, on a thread that serves no connections. It goes on to its end also when the client leaves.
async fn blocking<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Arc<Execd>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let execd = Arc::clone(&context.execd);
    let done = tokio::task::spawn_blocking(move || work(&execd)).await;
    done.unwrap_or_else(|error| Err(Error::new(Family::Execd, Kind::Failed, format!("The work broke off: {error}."))))
}

/// Reads a JSON body.
async fn json<T: DeserializeOwned>(body: Incoming) -> Result<T, ApiError> {
    Ok(parsed(&payload::read(body).await?)?)
}

fn parsed<T: DeserializeOwned>(body: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| error::invalid(format!("The request's body is not as it must be: {error}.")))
}

fn query(head: &Parts) -> &str {
    head.uri.query().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_places() {
        let place = |path: &str| find(path).map(|(place, _)| place);
        assert_eq!(place("/ping"), Some(Place::Ping));
        assert_eq!(place("/command/status/a%20b"), Some(Place::CommandStatus("a b".to_owned())));
        assert_eq!(place("/command/x/logs"), Some(Place::CommandLogs("x".to_owned())));
        assert_eq!(place("/session/x/run"), Some(Place::RunInSession("x".to_owned())));
        assert_eq!(find("/v1/filesystem/7/8/files/info"), Some((Place::FilesInfo, Some((7, 8)))));
        assert_eq!(place("/code/contexts/x"), Some(Place::Code));
        assert_eq!(place("/v1/isolated/session/x/files/info"), Some(Place::Isolated));
        for nowhere in [
            "",
            "/",
            "//ping",
            "/ping/",
            "/command/",
            "/files/x",
            "/v1/ping",
            "/v1/filesystem/x/8/files",
            "/v1/filesystem/7/8/ping",
        ] {
            assert!(!matches!(place(nowhere), Some(Place::Ping)) && place(nowhere).is_none(), "{nowhere}");
        }
    }
}
