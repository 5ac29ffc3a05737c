//! Metadata, pause and resume, renewals and endpoints as clients see them (http-api.md §8 to §11).

use serde_json::{Value, json};

use crate::{
    Setup,
    one_sandbox::{JSON, OneSandbox},
    support::{
        client::{Client, Response, request},
        docker,
    },
};

type Life = OneSandbox;

impl Life {
    async fn process(extra: &str) -> Self {
        Self::create(Setup::process(), extra).await
    }

    async fn patch(&self, body: Value) -> Response {
        self.ask("PATCH", "/metadata", &[JSON], &body.to_string()).await
    }

    async fn renew(&self, body: Value) -> Response {
        self.ask("POST", "/renew-expiration", &[JSON], &body.to_string()).await
    }

    async fn show(&self) -> Value {
        self.ask("GET", "", &[], "").await.json()
    }

    fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }
}

fn is(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status(), response.code().as_str()), (status, code), "{response}");
}

#[tokio::test]
async fn a_patch_answers_with_the_whole_sandbox() {
    let life = Life::process(r#","metadata":{"project":"apollo","team.example.com/x":"y"}"#).await;
    let patched = life.patch(json!({"project": null, "new": "v1"})).await;
    assert_eq!(patched.status(), 200, "{patched}");
    assert_eq!(patched.json()["metadata"], json!({"new": "v1", "team.example.com/x": "y"}));
    assert_eq!(patched.json(), life.show().await);
    assert_eq!(life.patch(json!({})).await.json(), life.show().await);
    let merge = ["Content-Type: application/merge-patch+json"];
    assert_eq!(life.ask("PATCH", "/metadata", &merge, r#"{"mp":"1"}"#).await.json()["metadata"]["mp"], "1");
    let nothing = life.patch(json!({"new": null, "mp": null, "team.example.com/x": null})).await.json();
    assert!(nothing["id"].is_string() && nothing.get("metadata").is_none(), "{nothing}");
}

#[tokio::test]
async fn a_bad_patch_is_refused_in_the_contract_s_order() {
    let life = Life::process("").await;
    let reserved = life.patch(json!({"a b": "x", "opensandbox.io/id": null})).await;
    is(&reserved, 400, "INVALID_METADATA_LABEL");
    assert_eq!(reserved.json()["message"], "Metadata key 'opensandbox.io/id' is reserved (opensandbox.io/ prefix).");
    let bad = life.patch(json!({"a b": "x"})).await;
    is(&bad, 400, "SANDBOX::INVALID_METADATA_LABEL");
    assert!(bad.json()["message"].as_str().unwrap().starts_with("Metadata key 'a b' is invalid: must be either"));
    let types = life.patch(json!({"a": 1})).await;
    is(&types, 422, "VALIDATION_ERROR");
    assert_eq!(
        types.json()["detail"],
        json!([{"type": "string_type", "loc": ["body", "a"], "msg": "Input should be a valid string", "input": 1}])
    );
    assert_eq!(life.patch(json!([])).await.json()["detail"][0]["type"], "dict_type");
    let text = life.ask("PATCH", "/metadata", &["Content-Type: text/plain"], "{}").await;
    assert_eq!(text.json()["detail"][0]["type"], "dict_type");
    let empty = life.ask("PATCH", "/metadata", &[JSON], "").await;
    assert_eq!(empty.json()["detail"][0]["type"], "missing");
    let gone = "/v1/sandboxes/nope/metadata";
    let missing = request(life.gateway.address(), "PATCH", gone, &[JSON], r#"{"opensandbox.io/id":"x"}"#).await;
    is(&missing, 404, "DOCKER::SANDBOX_NOT_FOUND");
    let malformed = request(life.gateway.address(), "PATCH", gone, &[JSON], "[]").await;
    is(&malformed, 422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn pause_and_resume_have_empty_answers_and_take_any_body() {
    let life = Life::process("").await;
    for (body, lines) in [("", vec![]), ("{broken", vec![JSON]), ("\0\u{1}", vec!["Content-Type: image/png"])] {
        for (verb, state) in [("/pause", "Paused"), ("/resume", "Running")] {
            let mut client = Client::connect(life.gateway.address()).await;
            let done = client.request("POST", &format!("{}{verb}", life.path), &lines, body).await;
            assert_eq!((done.status(), done.body.len()), (202, 0), "{done}");
            assert_eq!(done.head.field("content-length"), "0");
            assert!(done.head.headers.get("content-type").is_none(), "{done}");
            // The connection is still good.
            assert_eq!(client.request("GET", &life.path, &[], "").await.json()["status"]["state"], state);
        }
    }
    is(&life.ask("POST", "/resume", &[], "").await, 409, "DOCKER::SANDBOX_NOT_PAUSED");
    assert_eq!(life.ask("POST", "/pause", &[], "").await.status(), 202);
    is(&life.ask("POST", "/pause", &[], "").await, 409, "DOCKER::SANDBOX_NOT_RUNNING");
    for verb in ["pause", "resume"] {
        let missing = request(life.gateway.address(), "POST", &format!("/sandboxes/nope/{verb}"), &[], "").await;
        is(&missing, 404, "DOCKER::SANDBOX_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_renewal_answers_with_the_new_time() {
    let life = Life::process(r#","timeout":600"#).await;
    for (given, told) in [
        (json!("2999-12-01T02:00:00.1234567+02:00"), "2999-12-01T00:00:00.123456Z"),
        (json!("2999-12-01"), "2999-12-01T00:00:00Z"),
        (json!(32_500_000_000_000_u64), "2999-11-19T09:46:40Z"),
    ] {
        let renewed = life.renew(json!({"expiresAt": given})).await;
        assert_eq!((renewed.status(), renewed.json()), (200, json!({"expiresAt": told})), "{given}");
        assert_eq!(life.show().await["expiresAt"], told);
    }
    let snake = life.renew(json!({"expires_at": "2999-12-02T00:00:00Z"})).await;
    assert_eq!(snake.json()["expiresAt"], "2999-12-02T00:00:00Z");
    let past = life.renew(json!({"expiresAt": "2020-01-01T00:00:00Z"})).await;
    is(&past, 400, "DOCKER::INVALID_EXPIRATION");
    assert_eq!(past.json()["message"], "New expiration time must be in the future.");
    for (body, rule) in [
        (json!({}), "missing"),
        (json!({"expiresAt": "x"}), "datetime_from_date_parsing"),
        (json!({"expiresAt": null}), "datetime_type"),
        (json!([]), "model_attributes_type"),
    ] {
        let refused = life.renew(body).await;
        is(&refused, 422, "VALIDATION_ERROR");
        assert_eq!(refused.json()["detail"][0]["type"], rule);
    }
    let past = r#"{"expiresAt":"2020-01-01T00:00:00Z"}"#;
    let missing = request(life.gateway.address(), "POST", "/sandboxes/nope/renew-expiration", &[JSON], past).await;
    is(&missing, 404, "DOCKER::SANDBOX_NOT_FOUND");

    let manual = Life::process("").await;
    let refused = manual.renew(json!({"expiresAt": "2999-01-01T00:00:00Z"})).await;
    is(&refused, 409, "DOCKER::INVALID_EXPIRATION");
    let text = format!("Sandbox {} does not have automatic expiration enabled.", manual.id());
    assert_eq!(refused.json()["message"], text);
}

#[tokio::test]
async fn an_endpoint_through_the_server_is_under_the_client_s_own_name_for_it() {
    let life = Life::process("").await;
    let endpoint = async |below: &str, lines: &[&str]| {
        let told = life.ask("GET", &format!("/endpoints/{below}"), lines, "").await;
        assert_eq!(told.status(), 200, "{told}");
        assert!(told.head.headers.get("open-sandbox-origin").is_none());
        told.json()
    };
    let id = life.id();
    assert_eq!(endpoint("8080", &[]).await, json!({"endpoint": "127.0.0.1:8080"}));
    let proxied = json!({"endpoint": format!("localhost/v1/sandboxes/{id}/proxy/8080")});
    assert_eq!(endpoint("8080?use_server_proxy=true", &[]).await, proxied);
    assert_eq!(endpoint("8080?use_server_proxy=1", &["X-Forwarded-Host: fwd.example"]).await, proxied);
    let root = format!("/sandboxes/{id}/endpoints/80?use_server_proxy=yes");
    let told = request(life.gateway.address(), "GET", &root, &[], "").await.json();
    assert_eq!(told["endpoint"], format!("localhost/sandboxes/{id}/proxy/80"));
    for (below, status, code) in [
        ("8080?expires=5", 400, "SANDBOX::API_NOT_SUPPORTED"),
        ("8080?expires=5&use_server_proxy=false", 400, "SANDBOX::API_NOT_SUPPORTED"),
        ("0?expires=5&use_server_proxy=1", 400, "SANDBOX::INVALID_PARAMETER"),
        ("0", 400, "DOCKER::INVALID_PORT"),
        ("65536", 400, "DOCKER::INVALID_PORT"),
        ("abc?expires=x&use_server_proxy=u", 422, "VALIDATION_ERROR"),
    ] {
        is(&life.ask("GET", &format!("/endpoints/{below}"), &[], "").await, status, code);
    }
    let missing = request(life.gateway.address(), "GET", "/v1/sandboxes/fsb-1/endpoints/80", &[], "").await;
    is(&missing, 404, "DOCKER::SANDBOX_NOT_FOUND");
}

#[tokio::test]
async fn on_docker_endpoints_are_published_ports_or_the_configured_address() {
    let docker = "[docker]\nnetwork_mode = \"bridge\"\npublish_host = \"127.0.0.1\"";
    let life = Life::create(Setup::docker(&docker::host()).section(docker), r#","timeout":600"#).await;
    let name = format!("sandbox-{}", life.id());
    let label = |key: &str| {
        let format = format!("{{{{index .Config.Labels \"opensandbox.io/{key}\"}}}}");
        docker::docker(&["inspect", "--format", &format, &name]).trim().to_owned()
    };
    let told = life.ask("GET", "/endpoints/8080", &[], "").await.json();
    assert_eq!(told, json!({"endpoint": format!("127.0.0.1:{}", label("http-port"))}));
    let told = life.ask("GET", "/endpoints/44772", &[], "").await.json();
    assert_eq!(told, json!({"endpoint": format!("127.0.0.1:{}/proxy/44772", label("embedding-proxy-port"))}));

    let setup = Setup::docker(&docker::host()).section(docker).server("eip = \"https://gate.example:9/x/\"");
    let other = setup.start();
    let target = format!("{}/endpoints/3000?use_server_proxy=true", life.path);
    let told = request(other.address(), "GET", &target, &[], "").await.json();
    assert_eq!(told["endpoint"], format!("gate.example:9/x/sandboxes/{}/proxy/3000", life.id()));
    assert!(!other.output().contains("not supported by this version"), "{}", other.output());
    assert_eq!(life.ask("DELETE", "", &[], "").await.status(), 204);
}
