//! `/sandboxes`: create, get, list, delete.

use std::collections::BTreeMap;

use super::{
    extract::{self, Query},
    payload,
};
use crate::{
    error::{Error, Family, Kind},
    model::{
        create::CreateRequest,
        page::{ListQuery, Page},
        sandbox::{CreatedSandbox, Sandbox, SandboxJson},
        violation::{Invalid, Report},
    },
    problem::ApiError,
    runtime::Runtime,
    snapshots::Snapshots,
};

/// `POST /sandboxes`. The rules of a request's form are checked here (422); those of its meaning (400) by the runtime,
/// since their order is a runtime's own (http-api.md §6.3).
///
/// # Errors
/// A request that breaks a rule of its form, or the runtime's failure.
pub async fn create(
    runtime: &dyn Runtime,
    snapshots: &Snapshots,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<CreatedSandbox, ApiError> {
    let mut request = payload::parsed(content_type, body, read).await?;
    snapshots.resolve(&mut request).await?;
    Ok(runtime.create(request).await?)
}

fn read(content_type: Option<&str>, body: &[u8]) -> Result<CreateRequest, Invalid> {
    CreateRequest::from_json(&extract::json_body(content_type, body)?)
}

/// `GET /sandboxes`, with the query string as it stands after the `?`.
///
/// # Errors
/// A query that breaks a rule, or the runtime's failure.
pub async fn list(runtime: &dyn Runtime, query: &str) -> Result<Page<SandboxJson>, ApiError> {
    let query = list_query(&Query::parse(query))?;
    Ok(runtime.page(&query).await?)
}

/// `GET /sandboxes/{sandbox_id}`.
///
/// # Errors
/// The runtime's, above all that there is no such sandbox.
pub async fn get(runtime: &dyn Runtime, id: &str) -> Result<Sandbox, ApiError> {
    Ok(runtime.get(id).await?)
}

/// `DELETE /sandboxes/{sandbox_id}`.
///
/// # Errors
/// The runtime's, above all that there is no such sandbox.
pub async fn delete(runtime: &dyn Runtime, id: &str) -> Result<(), ApiError> {
    Ok(runtime.delete(id).await?)
}

/// The form is checked before the metadata, so a 422 goes before a 400.
fn list_query(query: &Query<'_>) -> Result<ListQuery, ApiError> {
    let mut report = Report::new("query");
    let page = query.page(&mut report);
    let page = report.finish(page)?;
    Ok(ListQuery {
        states: query.all("state").map(str::to_owned).collect(),
        metadata: query.last("metadata").map(metadata).transpose()?.unwrap_or_default(),
        page,
    })
}

/// The parameter's value is itself a form: `k=v&k2=v2`. Every part needs its `=`; the last of one key counts.
fn metadata(form: &str) -> Result<BTreeMap<String, String>, ApiError> {
    if form.is_empty() {
        return Ok(BTreeMap::new());
    }
    if let Some(part) = form.split('&').find(|part| !part.contains('=')) {
        let message = format!("Invalid metadata format: bad query field: '{part}'");
        return Err(Error::new(Family::MetadataFilter, Kind::Invalid, message).into());
    }
    Ok(form_urlencoded::parse(form.as_bytes()).into_owned().collect())
}

#[cfg(test)]
mod tests;
