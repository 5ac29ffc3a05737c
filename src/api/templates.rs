//! `/templates` (http-api.md §16): checked as everywhere, and then refused, since only Kubernetes has templates.

use http::{Request, Response};
use hyper::body::Incoming;

use super::{payload, sandboxes};
use crate::{
    api::extract::Query,
    body::Body,
    error::{ErrorKind, RuntimeError},
    model::template,
    problem::ApiError,
    router::Collection,
};

/// Answers whatever is asked about templates.
///
/// # Errors
/// Always: that the request breaks a rule of its form, or that there are no templates.
pub async fn answer(asked: Collection, req: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    match asked {
        Collection::Create => payload::read_json(req, template::check_create).await?,
        Collection::List => {
            sandboxes::page(&Query::parse(req.uri().query().unwrap_or_default()))?;
        }
        Collection::Get(_) | Collection::Update(_) | Collection::Delete(_) => {}
    }
    let text = "Template management requires the kubernetes runtime.";
    Err(RuntimeError::new(ErrorKind::TemplatesNotSupported, text).into())
}
