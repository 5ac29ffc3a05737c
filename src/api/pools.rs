//! `/pools` (http-api.md §15): checked as everywhere, and then refused, since only Kubernetes has pools.

use http::{Request, Response};
use hyper::body::Incoming;

use super::payload;
use crate::{
    body::Body,
    error::{Error, Family, Kind},
    model::pool,
    problem::ApiError,
    router::Collection,
};

/// Answers whatever is asked about pools.
///
/// # Errors
/// Always: that the request breaks a rule of its form, or that there are no pools.
pub async fn answer(asked: Collection, req: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    match asked {
        Collection::Create => payload::read_json(req, pool::check_create).await?,
        Collection::Update(_) => payload::read_json(req, pool::check_update).await?,
        Collection::List | Collection::Get(_) | Collection::Delete(_) => {}
    }
    let text = "Pool management is only available when runtime.type is 'kubernetes'.";
    Err(Error::new(Family::Pool, Kind::Unsupported, text).into())
}
