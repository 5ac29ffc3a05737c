//! `/templates` (http-api.md §16): checked as everywhere, and then refused by every runtime.

use http::{Request, Response};
use hyper::body::Incoming;

use super::{extract::Query, payload};
use crate::{
    body::Body,
    error::{Error, Family, Kind},
    model::{template, violation::Report},
    problem::ApiError,
    router::Collection,
    runtime::Runtime,
};

/// Answers whatever is asked about templates.
///
/// # Errors
/// Always: that the request breaks a rule of its form, or that there are no templates.
pub async fn answer(
    runtime: &dyn Runtime,
    asked: Collection,
    req: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    match asked {
        Collection::Create => payload::read_json(req, template::check_create).await?,
        Collection::List => {
            let mut report = Report::new("query");
            let page = Query::parse(req.uri().query().unwrap_or_default()).page(&mut report);
            report.finish(page)?;
        }
        Collection::Get(_) | Collection::Update(_) | Collection::Delete(_) => {}
    }
    Err(Error::new(Family::Template, Kind::Unsupported, runtime.templates_refusal()).into())
}
