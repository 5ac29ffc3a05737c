//! `POST /v1/metrics/events` (http-api.md §17).

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::payload;
use crate::{
    body::Body,
    metrics::Metrics,
    model::metrics::{CreateEvent, Sdk},
    problem::ApiError,
    response,
};

/// Takes a client's measurement. Without a collector it is checked all the same, and forgotten.
///
/// # Errors
/// A measurement that breaks a rule of its form.
pub async fn ingest(metrics: &Metrics, req: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let agent = req.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let sdk = Sdk::from_user_agent(agent.unwrap_or_default());
    let event = payload::read_json(req, CreateEvent::from_json).await?;
    metrics.created(event, sdk);
    Ok(response::empty(StatusCode::NO_CONTENT))
}
