//! A request's body, whole and bounded.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::extract;
use crate::{causes, error::ApiError};

/// Longest body that is accepted, in bytes. The existing server has no limit; a creation with all its fields is some KiB.
const MAX_BODY: usize = 1024 * 1024;

/// How long a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(60);

/// Reads a request's body.
///
/// # Errors
///
/// It is too long, too slow, or broke off.
pub async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    let collected = tokio::time::timeout(DEADLINE, Limited::new(body, MAX_BODY).collect()).await;
    match collected {
        Err(_) => Err(ApiError::body_unreadable(format_args!("it did not arrive within {} s", DEADLINE.as_secs()))),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large(MAX_BODY)),
        Ok(Err(error)) => Err(ApiError::body_unreadable(causes::chain(&*error))),
    }
}

/// Reads a request's body as JSON.
///
/// # Errors
///
/// As [`read`], or it is empty, does not call itself JSON or is none.
pub async fn read_json(req: Request<Incoming>) -> Result<Value, ApiError> {
    let (head, body) = req.into_parts();
    let body = read(body).await?;
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Ok(extract::json_body(content_type, &body)?)
}
