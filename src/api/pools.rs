//! `/pools` (http-api.md §15): checked as everywhere, and then refused by every runtime.

use http::{Request, Response};
use hyper::body::Incoming;

use super::payload;
use crate::{
    body::Body,
    error::{Error, Family, Kind},
    model::pool,
    problem::ApiError,
    router::Collection,
    runtime::Runtime,
};

/// Answers whatever is asked about pools.
///
/// # Errors
/// Always: that the request breaks a rule of its form, or that there are no pools.
pub async fn answer(
    runtime: &dyn Runtime,
    asked: Collection,
    req: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    match asked {
        Collection::Create => payload::read_json(req, pool::check_create).await?,
        Collection::Update(_) => payload::read_json(req, pool::check_update).await?,
        Collection::List | Collection::Get(_) | Collection::Delete(_) => {}
    }
    Err(Error::new(Family::Pool, Kind::Unsupported, runtime.pools_refusal()).into())
}
