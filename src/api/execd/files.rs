//! Files and directories, as far as nothing is streamed.

use http::{Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Context, blocking, parsed, query};
use crate::{
    api::{extract::Query, payload},
    body::Body,
    error::Error,
    execd::{
        Execd, error,
        files::{change::Attributes, info::Info, owner::Names, replace::Replacement},
    },
    problem::ApiError,
    response,
};

/// How many paths a request may name.
const MAX_PATHS: usize = 1000;

/// A map that keeps the order in which the client wrote it.
type Paths<T> = Vec<(String, T)>;

#[derive(Deserialize)]
struct Move {
    src: String,
    dest: String,
}

/// Tells of files: a map from the path as the client wrote it.
pub(super) async fn info(context: &Context, head: &Parts) -> Result<Response<Body>, ApiError> {
    let paths = paths(head)?;
    let found = blocking(context, move |execd| {
        let mut names = Names::default();
        let info = |path: String| Ok((path.clone(), to_value(execd.info(&path, &mut names)?)));
        paths.into_iter().map(info).collect::<Result<Map<_, _>, Error>>()
    });
    Ok(response::json(StatusCode::OK, &Value::from(found.await?)))
}

/// Removes files or directories, one after the other, up to the first that cannot be.
pub(super) async fn remove(
    context: &Context,
    head: &Parts,
    remove: fn(&Execd, &str) -> Result<(), Error>,
) -> Result<Response<Body>, ApiError> {
    let paths = paths(head)?;
    blocking(context, move |execd| paths.iter().try_for_each(|path| remove(execd, path))).await?;
    Ok(response::empty(StatusCode::OK))
}

/// Does something with paths and what is wanted of their permissions.
pub(super) async fn set_attributes(
    context: &Context,
    body: Incoming,
    act: fn(&Execd, &str, &Attributes) -> Result<(), Error>,
) -> Result<Response<Body>, ApiError> {
    let body = payload::read(body).await?;
    let done = blocking(context, move |execd| {
        let wanted: Paths<Attributes> = map(&body)?;
        wanted.iter().try_for_each(|(path, attributes)| act(execd, path, attributes))
    });
    done.await?;
    Ok(response::empty(StatusCode::OK))
}

/// Moves files and directories, one after the other, up to the first that cannot be.
pub(super) async fn rename(context: &Context, body: Incoming) -> Result<Response<Body>, ApiError> {
    let body = payload::read(body).await?;
    let done = blocking(context, move |execd| {
        let moves: Vec<Move> = parsed(&body)?;
        check_count(moves.len())?;
        moves.iter().try_for_each(|Move { src, dest }| execd.rename(src, dest))
    });
    done.await?;
    Ok(response::empty(StatusCode::OK))
}

/// Replaces texts in files. With `verbose` it tells how often each was there.
pub(super) async fn replace(context: &Context, head: &Parts, body: Incoming) -> Result<Response<Body>, ApiError> {
    let parsed = Query::parse(query(head));
    let is_verbose = match parsed.last("verbose").map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(error::invalid("verbose: it must be true or false.").into()),
    };
    let body = payload::read(body).await?;
    let counts = blocking(context, move |execd| {
        let replacements: Paths<Replacement> = map(&body)?;
        let replace = |(path, replacement): &(String, Replacement)| {
            Ok((path.clone(), json!({"replacedCount": execd.replace(path, replacement)?})))
        };
        replacements.iter().map(replace).collect::<Result<Map<_, _>, Error>>()
    });
    let counts = counts.await?;
    Ok(if is_verbose { response::json(StatusCode::OK, &Value::from(counts)) } else { response::empty(StatusCode::OK) })
}

/// Files below a directory whose names fit a pattern.
pub(super) async fn search(context: &Context, head: &Parts) -> Result<Response<Body>, ApiError> {
    let query = Query::parse(query(head));
    let path = one_path(&query)?;
    let pattern = query.last("pattern").filter(|pattern| !pattern.is_empty()).unwrap_or("**").to_owned();
    let found: Vec<Info> = blocking(context, move |execd| execd.search(&path, &pattern)).await?;
    Ok(response::json(StatusCode::OK, &found))
}

/// What is in a directory.
pub(super) async fn list(context: &Context, head: &Parts) -> Result<Response<Body>, ApiError> {
    let query = Query::parse(query(head));
    let path = one_path(&query)?;
    let malformed = |_| error::invalid("depth: it must be a whole number from 0 on.");
    let depth = query.last("depth").map_or(Ok(1), str::parse::<u32>).map_err(malformed)?;
    let found: Vec<Info> = blocking(context, move |execd| execd.list(&path, depth as usize)).await?;
    Ok(response::json(StatusCode::OK, &found))
}

/// That there is no isolation, and why.
pub(super) fn capabilities(why: &str) -> Response<Body> {
    let told = json!({"available": false, "isolator": "none", "message": why, "setpriv_available": false,
                      "userns_available": false, "commit_supported": false, "diff_supported": false});
    response::json(StatusCode::OK, &told)
}

/// The path of a query.
pub(super) fn one_path(query: &Query<'_>) -> Result<String, Error> {
    query.last("path").map(str::to_owned).ok_or_else(|| error::invalid("path: it is missing."))
}

fn paths(head: &Parts) -> Result<Vec<String>, Error> {
    let paths: Vec<String> = Query::parse(query(head)).all("path").map(str::to_owned).collect();
    if paths.is_empty() {
        return Err(error::invalid("path: it is missing."));
    }
    check_count(paths.len())?;
    Ok(paths)
}

fn map<T: for<'de> Deserialize<'de>>(body: &bytes::Bytes) -> Result<Paths<T>, Error> {
    let map: Map<String, Value> = parsed(body)?;
    check_count(map.len())?;
    let read = |(path, value): (String, Value)| match serde_json::from_value(value) {
        Ok(value) => Ok((path, value)),
        Err(error) => Err(error::invalid(format!("{path}: {error}."))),
    };
    map.into_iter().map(read).collect()
}

fn check_count(count: usize) -> Result<(), Error> {
    match count > MAX_PATHS {
        true => Err(error::invalid(format!("A request may name at most {MAX_PATHS} paths."))),
        false => Ok(()),
    }
}

fn to_value(info: Info) -> Value {
    // The type has string keys and finite numbers only, which always serialise.
    serde_json::to_value(info).unwrap_or_default()
}
