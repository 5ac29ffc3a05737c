use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::StatusCode;

use super::*;
use crate::{
    error::Error,
    model::{
        sandbox::{State, Status},
        timestamp::Timestamp,
    },
    runtime::stub::Stub,
};

/// Remembers what it was asked to create.
#[derive(Default)]
struct Recorder {
    created: Mutex<Vec<CreateRequest>>,
}

fn sandbox(id: &str) -> Sandbox {
    Sandbox {
        id: id.to_owned(),
        image: None,
        snapshot_id: None,
        platform: None,
        status: running(),
        metadata: BTreeMap::from([("project".to_owned(), "a b".to_owned())]),
        extensions: BTreeMap::new(),
        allocation: None,
        entrypoint: vec!["a".to_owned()],
        expires_at: None,
        created_at: Timestamp::from(jiff::Timestamp::UNIX_EPOCH),
    }
}

fn running() -> Status {
    Status { state: State::Running, reason: None, message: None, last_transition_at: None }
}

#[async_trait]
impl Stub for Recorder {
    async fn create(&self, request: CreateRequest) -> Result<CreatedSandbox, Error> {
        let entrypoint = request.entrypoint.clone();
        self.created.lock().unwrap().push(request);
        Ok(CreatedSandbox {
            id: "new".to_owned(),
            status: running(),
            metadata: BTreeMap::new(),
            extensions: BTreeMap::new(),
            platform: None,
            expires_at: None,
            created_at: Timestamp::now(),
            entrypoint,
        })
    }

    async fn get(&self, id: &str) -> Result<Sandbox, Error> {
        if id == "a" { Ok(sandbox(id)) } else { Err(Error::not_found(id)) }
    }

    async fn list(&self) -> Result<Vec<Sandbox>, Error> {
        Ok(vec![sandbox("b"), sandbox("a")])
    }
}

fn none() -> Snapshots {
    Snapshots::none(Arc::new(Recorder::default()))
}

async fn ids(query: &str) -> Vec<String> {
    let page = list(&Recorder::default(), query).await.unwrap();
    let page: serde_json::Value = serde_json::from_slice(&page.to_json()).unwrap();
    let ids = page["items"].as_array().unwrap().iter().map(|sandbox| sandbox["id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn a_good_request_reaches_the_runtime() {
    let runtime = Recorder::default();
    let body = br#"{"image":{"uri":"x"},"entrypoint":["a"],"resource_limits":{},"timeout":60}"#;
    let created = create(&runtime, &none(), Some("application/json"), body).await.unwrap();
    assert_eq!(created.entrypoint, ["a"]);
    assert_eq!(runtime.created.lock().unwrap()[0].timeout, Some(60));
}

#[tokio::test]
async fn a_bad_request_does_not() {
    let runtime = Recorder::default();
    for body in [r#"{}"#, r#"{"image":{"uri":"x"},"entrypoint":["a"],"resourceLimits":{},"timeout":59}"#] {
        let created = create(&runtime, &none(), Some("application/json"), body.as_bytes()).await;
        assert_eq!(created.unwrap_err().status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    assert!(runtime.created.lock().unwrap().is_empty());
}

#[tokio::test]
async fn where_there_are_no_snapshots_none_can_be_restored() {
    let runtime = Recorder::default();
    for (extensions, code) in
        [("{}", "SNAPSHOT::NOT_FOUND"), (r#"{"access.renew.extend.seconds":"1"}"#, "SANDBOX::INVALID_PARAMETER")]
    {
        let body = format!(r#"{{"snapshotId":"nope","resourceLimits":{{}},"extensions":{extensions}}}"#);
        let refused = create(&runtime, &none(), Some("application/json"), body.as_bytes()).await.unwrap_err();
        assert_eq!(refused.body.code, code);
    }
    assert!(runtime.created.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_sandbox_is_shown_or_not_found() {
    assert_eq!(get(&Recorder::default(), "a").await.unwrap().id, "a");
    let error = delete(&Recorder::default(), "nope").await.unwrap_err();
    assert_eq!((error.status, error.body.message.as_str()), (StatusCode::NOT_FOUND, "Sandbox nope not found."));
}

#[tokio::test]
async fn the_list_is_filtered() {
    assert_eq!(ids("").await, ["a", "b"]);
    assert_eq!(ids("metadata=").await, ["a", "b"]);
    assert_eq!(ids("metadata=project%3Da%2Bb").await, ["a", "b"]);
    assert_eq!(ids("metadata=project%3Da%2520b").await, ["a", "b"]);
    assert_eq!(ids("state=running&state=paused&pageSize=1&page_size=2").await, ["a"]);
    assert!(ids("metadata=project%3D").await.is_empty());
    assert!(ids("metadata=project%3Da%2520b&metadata=project%3Dx").await.is_empty());
}

#[tokio::test]
async fn broken_metadata_is_a_bad_request() {
    for (query, part) in [("metadata=a%3D1%26broken", "broken"), ("metadata=a%3D1%26", "")] {
        let error = list(&Recorder::default(), query).await.unwrap_err();
        assert_eq!((error.status, error.body.code), (StatusCode::BAD_REQUEST, "INVALID_METADATA_FORMAT"));
        assert_eq!(error.body.message, format!("Invalid metadata format: bad query field: '{part}'"));
    }
}

#[tokio::test]
async fn both_page_numbers_are_checked_before_the_metadata() {
    let error = list(&Recorder::default(), "page=0&pageSize=201&metadata=x").await.unwrap_err();
    assert_eq!(error.status, StatusCode::UNPROCESSABLE_ENTITY);
    let detail = error.body.detail.unwrap();
    let rules: Vec<_> = detail.as_array().unwrap().iter().map(|violation| &violation["type"]).collect();
    assert_eq!(rules, ["greater_than_equal", "less_than_equal"]);
}

#[test]
fn the_description_lists_both_mounts() {
    let text = include_str!("../../../specs/sandbox-lifecycle.yml");
    let description: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
    let paths = description["paths"].as_object().unwrap();
    for path in ["/sandboxes", "/sandboxes/{sandbox_id}", "/sandboxes/{sandboxId}/logs"] {
        assert!(paths[path]["get"].is_object(), "{path}");
        assert_eq!(paths[path], paths[&format!("/v1{path}")], "{path}");
    }
    assert_eq!(description["info"]["title"], "OpenSandbox Lifecycle API");
}
