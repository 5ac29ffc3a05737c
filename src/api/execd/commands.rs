//! Commands and shell sessions.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::{CURSOR, Context, blocking, json, parsed, query, streams};
use crate::{
    api::{extract::Query, payload},
    body::Body,
    error::Error,
    execd::{
        Execd,
        command::{Order, Program},
        error,
    },
    model::timestamp::Timestamp,
    problem::ApiError,
    response,
};

/// How many lines after a client's cursor are no longer there. Ours.
const LOST: HeaderName = HeaderName::from_static("execd-commands-lost-lines");

#[derive(Deserialize)]
struct Run {
    command: Option<String>,
    argv: Option<Vec<String>>,
    cwd: Option<String>,
    background: Option<bool>,
    timeout: Option<i64>,
    uid: Option<u32>,
    gid: Option<u32>,
    envs: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RunInSession {
    command: String,
    cwd: Option<String>,
    timeout: Option<i64>,
}

#[derive(Default, Deserialize)]
struct CreateSession {
    cwd: Option<String>,
}

#[derive(Serialize)]
struct Status<'a> {
    id: &'a str,
    content: &'a str,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Session {
    session_id: String,
}

impl Run {
    fn order(self) -> Result<Order, Error> {
        let program = match (self.command, self.argv) {
            (Some(line), None) => Program::Shell(checked_line(line)?),
            (None, Some(argv)) => Program::Argv(checked_argv(argv)?),
            (None, None) => return Err(error::invalid("command: it is missing.")),
            (Some(_), Some(_)) => return Err(error::invalid("command and argv exclude each other.")),
        };
        check_identity(self.uid, self.gid)?;
        Ok(Order {
            program,
            cwd: self.cwd,
            envs: self.envs.unwrap_or_default().into_iter().collect(),
            timeout: timeout(self.timeout)?,
            is_background: self.background.unwrap_or(false),
        })
    }
}

/// Runs a command.
pub(super) async fn run(context: Context, body: Incoming) -> Result<Response<Body>, ApiError> {
    let order = json::<Run>(body).await?.order()?;
    let started = context.execd.start(order).await?;
    Ok(streams::command(context, started))
}

/// Interrupts a command. One that has ended is no error.
pub(super) fn interrupt(context: &Context, head: &Parts) -> Result<Response<Body>, ApiError> {
    let query = Query::parse(query(head));
    let id = query.last("id").filter(|id| !id.is_empty()).ok_or_else(|| error::invalid("id: it is missing."))?;
    context.execd.command(id)?.interrupt();
    Ok(response::empty(StatusCode::OK))
}

/// How a command goes.
pub(super) fn status(context: &Context, id: &str) -> Result<Response<Body>, ApiError> {
    let command = context.execd.command(id)?;
    let finished = command.finished();
    let status = Status {
        id: command.id(),
        content: command.content(),
        running: finished.is_none(),
        exit_code: finished.as_ref().map(|finished| finished.code),
        error: finished.as_ref().and_then(|finished| finished.error.clone()),
        started_at: command.started().into(),
        finished_at: finished.map(|finished| finished.at.into()),
    };
    Ok(response::json(StatusCode::OK, &status))
}

/// What a command in the background has printed so far, after the line of the cursor.
pub(super) fn logs(context: &Context, id: &str, head: &Parts) -> Result<Response<Body>, ApiError> {
    let query = Query::parse(query(head));
    let malformed = |_| error::invalid("cursor: it must be the index of a line, a whole number from 0 on.");
    let cursor = query.last("cursor").map(str::parse::<u64>).transpose().map_err(malformed)?;
    let command = context.execd.command(id)?;
    let streamed =
        || error::invalid("The command does not run in the background: its output went to who waits for it.");
    let excerpt = command.output(cursor).ok_or_else(streamed)?;
    let mut res = Response::new(Body::full(excerpt.text));
    let headers = res.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(last) = excerpt.last {
        headers.insert(CURSOR, last.into());
    }
    if excerpt.lost > 0 {
        headers.insert(LOST, excerpt.lost.into());
    }
    Ok(res)
}

/// Makes a session. A body is not needed.
pub(super) async fn create_session(context: &Context, body: Incoming) -> Result<Response<Body>, ApiError> {
    let body = payload::read(body).await?;
    let session: CreateSession = if body.trim_ascii().is_empty() { CreateSession::default() } else { parsed(&body)? };
    check_cwd(session.cwd.as_deref())?;
    let session_id = blocking(context, move |execd| execd.create_session(session.cwd.as_deref())).await?;
    Ok(response::json(StatusCode::OK, &Session { session_id }))
}

/// Runs a line in a session.
pub(super) async fn run_in_session(context: Context, id: String, body: Incoming) -> Result<Response<Body>, ApiError> {
    let RunInSession { command, cwd, timeout: limit } = json(body).await?;
    let line = checked_line(command)?;
    let order = Order {
        program: Program::Shell(String::new()),
        cwd: cwd.filter(|cwd| !cwd.is_empty()),
        envs: Vec::new(),
        timeout: timeout(limit)?,
        is_background: false,
    };
    let started = context.execd.run_in_session(&id, line, order).await?;
    Ok(streams::command(context, started))
}

/// Removes a session.
pub(super) async fn delete_session(context: &Context, id: &str) -> Result<Response<Body>, ApiError> {
    context.execd.delete_session(id).await?;
    Ok(response::empty(StatusCode::OK))
}

fn checked_line(line: String) -> Result<String, Error> {
    match () {
        () if line.trim().is_empty() => Err(error::invalid("command: it must not be blank.")),
        () if line.contains('\0') => Err(error::invalid("command: it must not hold a NUL.")),
        () => Ok(line),
    }
}

fn checked_argv(argv: Vec<String>) -> Result<Vec<String>, Error> {
    match argv.first().map(String::as_str) {
        None | Some("") => Err(error::invalid("argv: its first, the program, must not be empty.")),
        Some(_) if argv.iter().any(|word| word.contains('\0')) => Err(error::invalid("argv: it must not hold a NUL.")),
        Some(_) => Ok(argv),
    }
}

fn check_cwd(cwd: Option<&str>) -> Result<(), Error> {
    match cwd {
        Some(cwd) if cwd.contains('\0') => Err(error::invalid("cwd: it must not hold a NUL.")),
        Some(_) | None => Ok(()),
    }
}

/// Everything is run as the gateway's own user.
fn check_identity(uid: Option<u32>, gid: Option<u32>) -> Result<(), Error> {
    let own = Execd::identity();
    match (uid, gid) {
        (None, Some(_)) => Err(error::invalid("gid: it needs a uid besides.")),
        (uid, gid) if uid.is_none_or(|uid| uid == own.0) && gid.is_none_or(|gid| gid == own.1) => Ok(()),
        _ => Err(error::invalid(format!(
            "uid, gid: the process runtime runs everything as its own user: uid {}, gid {}.",
            own.0, own.1
        ))),
    }
}

/// A limit in milliseconds; 0 is none.
fn timeout(milliseconds: Option<i64>) -> Result<Option<Duration>, Error> {
    match milliseconds.map(u64::try_from) {
        None | Some(Ok(0)) => Ok(None),
        Some(Ok(milliseconds)) => Ok(Some(Duration::from_millis(milliseconds))),
        Some(Err(_)) => Err(error::invalid("timeout: it must not be negative.")),
    }
}
