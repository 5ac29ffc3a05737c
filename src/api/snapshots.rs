//! `/snapshots` and `/sandboxes/{id}/snapshots` (http-api.md §14).

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::{
    extract::{self, Query},
    payload,
};
use crate::{
    body::Body,
    model::{
        page::Page,
        snapshot::{NewSnapshot, Snapshot, SnapshotQuery},
        violation::{Invalid, Report},
    },
    problem::ApiError,
    response,
    snapshots::Snapshots,
};

/// `POST /sandboxes/{id}/snapshots`. Its body may be missing.
///
/// # Errors
/// A body that breaks a rule of its form, or what the snapshot fails of.
pub async fn create(snapshots: &Snapshots, sandbox: &str, req: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let (head, body) = req.into_parts();
    let body = payload::read(body).await?;
    let new = payload::parsed(extract::content_type(&head.headers), &body, new_snapshot).await?;
    let snapshot = snapshots.create(sandbox, new.name).await?;
    let mut res = response::json(StatusCode::ACCEPTED, &snapshot);
    // A UUID, which is visible ASCII.
    if let Ok(location) = HeaderValue::try_from(format!("/v1/snapshots/{}", snapshot.id)) {
        res.headers_mut().insert(header::LOCATION, location);
    }
    Ok(res)
}

/// `GET /snapshots`, with the query string as it stands after the `?`.
///
/// # Errors
/// A query that breaks a rule, or the store's failure.
pub async fn list(snapshots: &Snapshots, query: &str) -> Result<Page<Snapshot>, ApiError> {
    Ok(snapshots.page(&list_query(&Query::parse(query))?).await?)
}

fn new_snapshot(content_type: Option<&str>, body: &[u8]) -> Result<NewSnapshot, Invalid> {
    if body.is_empty() {
        return Ok(NewSnapshot::default());
    }
    NewSnapshot::from_json(&extract::json_body(content_type, body)?)
}

fn list_query(query: &Query<'_>) -> Result<SnapshotQuery, Invalid> {
    let mut report = Report::new("query");
    let page = query.page(&mut report);
    report.finish(SnapshotQuery {
        sandbox_id: query.last("sandboxId").filter(|id| !id.is_empty()).map(str::to_owned),
        name: query.last("name").map(str::to_owned),
        states: query.all("state").map(str::to_owned).collect(),
        page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::page::PageRequest;

    #[test]
    fn an_empty_sandbox_is_no_filter_and_an_empty_name_is_one() {
        let query = list_query(&Query::parse("sandboxId=a&sandboxId=&name=&state=Ready&state=x&pageSize=3")).unwrap();
        assert_eq!((query.sandbox_id, query.name.as_deref()), (None, Some("")));
        assert_eq!(
            (query.states, query.page),
            (vec!["Ready".to_owned(), "x".to_owned()], PageRequest { page: 1, page_size: 3 })
        );
    }

    #[test]
    fn pages_have_bounds() {
        let wrong = list_query(&Query::parse("page=0&pageSize=201")).unwrap_err();
        let rules: Vec<_> = wrong.0.iter().map(|violation| violation.rule).collect();
        assert_eq!(rules, ["greater_than_equal", "less_than_equal"]);
    }

    #[test]
    fn no_body_is_as_good_as_null_whatever_its_type() {
        assert_eq!(new_snapshot(Some("text/plain"), b""), Ok(NewSnapshot::default()));
        assert_eq!(new_snapshot(Some("application/json"), b"null"), Ok(NewSnapshot::default()));
        assert_eq!(new_snapshot(Some("text/plain"), b"{}").unwrap_err().0[0].rule, "model_attributes_type");
    }
}
