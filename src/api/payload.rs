//! A request's body, whole and bounded.

use std::{panic::resume_unwind, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::extract;
use crate::{error_chain, model::violation::Invalid, problem::ApiError};

/// Longest body that is accepted, in bytes. The existing server has no limit; a creation with all its fields is some KiB.
const MAX_BODY: usize = 1024 * 1024;

/// Longest body that is parsed at once, in bytes.
const MAX_INLINE_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads a request's body.
///
/// # Errors
///
/// It is too long, too slow, or broke off.
pub async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    let collected = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    match collected {
        Err(_) => Err(ApiError::body_unreadable(format_args!("it did not arrive within {} s", READ_TIMEOUT.as_secs()))),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large(MAX_BODY)),
        Ok(Err(error)) => Err(ApiError::body_unreadable(error_chain::text(&*error))),
    }
}

/// Makes something of a body and its type. A long one takes as long as many requests do, and is left to a thread that
/// serves no connections.
///
/// # Errors
///
/// Those of `parse`.
pub async fn parsed<T: Send + 'static>(
    content_type: Option<&str>,
    body: &[u8],
    parse: impl FnOnce(Option<&str>, &[u8]) -> Result<T, Invalid> + Send + 'static,
) -> Result<T, Invalid> {
    if body.len() <= MAX_INLINE_BODY {
        return parse(content_type, body);
    }
    let (content_type, body) = (content_type.map(str::to_owned), body.to_vec());
    let parsed = tokio::task::spawn_blocking(move || parse(content_type.as_deref(), &body)).await;
    parsed.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))
}

/// Reads a request's body as JSON, and makes something of it.
///
/// # Errors
///
/// As [`read`], or it is empty, does not call itself JSON or is none; or those of `check`.
pub async fn read_json<T: Send + 'static>(
    req: Request<Incoming>,
    check: impl FnOnce(&Value) -> Result<T, Invalid> + Send + 'static,
) -> Result<T, ApiError> {
    let (head, body) = req.into_parts();
    let body = read(body).await?;
    let check = move |content_type: Option<&str>, body: &[u8]| check(&extract::json_body(content_type, body)?);
    Ok(parsed(extract::content_type(&head.headers), &body, check).await?)
}
