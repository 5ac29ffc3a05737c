//! Pools, templates and measurements: what is checked although nothing comes of it here (http-api.md §15–§17).

use crate::{
    Gateway, Setup,
    support::client::{Response, request},
};

const JSON: [&str; 1] = ["Content-Type: application/json"];
const POOL: &str = r#"{"name":"p","template":{},"capacitySpec":{"bufferMax":1,"bufferMin":0,"poolMax":1,"poolMin":0}}"#;

async fn ask(gateway: &Gateway, method: &str, target: &str, body: &str) -> Response {
    request(gateway.address(), method, target, &JSON, body).await
}

#[tokio::test]
async fn pools_are_checked_and_then_refused() {
    let gateway = Setup::process().start();
    for (method, target, body) in [
        ("GET", "/v1/pools", ""),
        ("POST", "/v1/pools", POOL),
        ("POST", "/pools", POOL),
        ("GET", "/v1/pools/x", ""),
        ("PUT", "/v1/pools/x", POOL),
        ("DELETE", "/v1/pools/x", ""),
    ] {
        let response = ask(&gateway, method, target, body).await;
        assert_eq!(response.status(), 501, "{method} {target}");
        let expected = r#"{"code":"KUBERNETES::POOL_NOT_SUPPORTED","message":"Pool management is only available when runtime.type is 'kubernetes'."}"#;
        assert_eq!(response.body, expected);
    }
    let response = ask(&gateway, "POST", "/v1/pools", r#"{"name":"P_"}"#).await;
    assert_eq!((response.status(), response.json()["detail"].as_array().unwrap().len()), (422, 3));
    assert_eq!(ask(&gateway, "PUT", "/v1/pools/x", "").await.status(), 422);
    assert_eq!(ask(&gateway, "PATCH", "/v1/pools/x", "{}").await.status(), 405);
}

#[tokio::test]
async fn templates_are_checked_and_then_refused() {
    let gateway = Setup::process().start();
    for (method, target, body) in [
        ("GET", "/v1/templates?page=2", ""),
        ("POST", "/v1/templates", r#"{"image":"x","publish":"s3://b"}"#),
        ("GET", "/templates/x", ""),
        ("DELETE", "/v1/templates/x", ""),
    ] {
        let response = ask(&gateway, method, target, body).await;
        assert_eq!(response.status(), 501, "{method} {target}");
        let expected =
            r#"{"code":"FSB::API_NOT_SUPPORTED","message":"Template management requires the kubernetes runtime."}"#;
        assert_eq!(response.body, expected);
    }
    let response = ask(&gateway, "POST", "/v1/templates", r#"{"image":"","publish":"s3://b","foo":1}"#).await;
    let rules: Vec<_> =
        response.json()["detail"].as_array().unwrap().iter().map(|violation| violation["type"].clone()).collect();
    assert_eq!((response.status(), rules), (422, vec!["string_too_short".into(), "extra_forbidden".into()]));
    assert_eq!(ask(&gateway, "GET", "/v1/templates?pageSize=201", "").await.status(), 422);
}

#[tokio::test]
async fn measurements_are_taken_without_a_collector() {
    let gateway = Setup::process().start();
    let event = r#"{"eventType":"sandbox.create","createDurationMs":5,"success":"yes"}"#;
    let response = ask(&gateway, "POST", "/v1/metrics/events", event).await;
    assert_eq!((response.status(), response.head.field("content-type"), response.body.len()), (204, "", 0));
    assert_eq!(ask(&gateway, "POST", "/metrics/events", event).await.status(), 404);
    assert_eq!(ask(&gateway, "POST", "/v1/metrics/events", "{}").await.status(), 422);
}
