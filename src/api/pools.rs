//! `/pools` (http-api.md §15). A request's form is checked first, also where there are no pools.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use super::payload;
use crate::{
    body::Body,
    error::{Error, Family, Kind},
    model::pool::{Capacity, NewPool, Pool},
    problem::ApiError,
    response,
    router::Collection,
    runtime::{Pools, Runtime},
};

/// The list of pools, which has no pages.
#[derive(Debug, Serialize)]
struct List {
    items: Vec<Pool>,
}

/// Answers what is asked about pools.
///
/// # Errors
/// The request breaks a rule of its form, there are no pools here, or the runtime fails.
pub async fn answer(
    runtime: &dyn Runtime,
    asked: Collection,
    req: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    match asked {
        Collection::Create => {
            let new = payload::read_json(req, NewPool::from_json).await?;
            Ok(response::json(StatusCode::CREATED, &pools(runtime)?.create(new).await?))
        }
        Collection::List => Ok(response::json(StatusCode::OK, &List { items: pools(runtime)?.list().await? })),
        Collection::Get(name) => Ok(response::json(StatusCode::OK, &pools(runtime)?.get(&name).await?)),
        Collection::Update(name) => {
            let capacity = payload::read_json(req, Capacity::from_json).await?;
            Ok(response::json(StatusCode::OK, &pools(runtime)?.update(&name, capacity).await?))
        }
        Collection::Delete(name) => {
            pools(runtime)?.delete(&name).await?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
    }
}

fn pools(runtime: &dyn Runtime) -> Result<&dyn Pools, Error> {
    runtime.pools().ok_or_else(|| Error::new(Family::Pool, Kind::Unsupported, runtime.pools_refusal()))
}
