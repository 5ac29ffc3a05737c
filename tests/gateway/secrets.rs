//! What a request and the configuration hand to the engine is in no answer and no line of the log.

use serde_json::{Value, json};

use crate::{
    Pair, Setup,
    support::{
        client::{Response, request},
        engine::{Action, Engine},
        gateway::Gateway,
    },
};

const JSON: &str = "Content-Type: application/json";

/// Values that must never be seen again; `é` and the quote are written differently in JSON.
const SECRETS: [&str; 4] = ["hunter2-of-the-request", "q\"uoted\nand-broken-é", "hunter3-of-the-file", "s3cret-word"];

async fn create(gateway: &Gateway, env: Value) -> Response {
    let body = json!({
        "image": {"uri": "osb-test/busybox:1"}, "resourceLimits": {}, "env": env,
        "entrypoint": ["run", "--password=s3cret-word"],
    });
    request(gateway.address(), "POST", "/v1/sandboxes", &[JSON], &body.to_string()).await
}

fn tells_nothing(gateway: &Gateway, response: &Response) {
    let text = String::from_utf8_lossy(&response.body).into_owned();
    for place in [text, gateway.output()] {
        for secret in SECRETS.iter().flat_map(|secret| secret.split(['"', '\n', 'é'])).filter(|part| part.len() > 3) {
            assert!(!place.contains(secret), "{secret}: {place}");
        }
        assert!(place.lines().all(|line| line.len() < 4096), "a long line");
    }
}

#[tokio::test]
async fn variables_that_no_program_can_have_are_422_before_the_engine_hears_of_them() {
    let pair = Pair::start();
    for env in [
        json!({"": "hunter2-of-the-request"}),
        json!({"=": "hunter2-of-the-request"}),
        json!({"TOKEN=hunter2-of-the-request": "x"}),
        json!({"=hunter2-of-the-request": null}),
        json!({"TOKEN\0": "hunter2-of-the-request"}),
        json!({"TOKEN": "hunter2-of-the-request\0"}),
        json!({"OPENSANDBOX_LIFECYCLE=hunter2-of-the-request": "x"}),
        json!({"OPENSANDBOX_LIFECYCLE=": "hunter2-of-the-request"}),
        json!({"OPENSANDBOX_EGRESS_LOG_LEVEL=hunter2-of-the-request": "x"}),
        json!({"OPENSANDBOX_ID=hunter2-of-the-request": "x"}),
        json!({"TOKEN=hunter2-of-the-request": 3}),
    ] {
        let refused = create(&pair.gateway, env.clone()).await;
        assert_eq!((refused.status(), refused.code().as_str()), (422, "VALIDATION_ERROR"), "{env}: {refused}");
        let detail = refused.json()["detail"][0].clone();
        assert_eq!(
            (&detail["type"], &detail["loc"], &detail["ctx"]),
            (&json!("value_error"), &json!(["body", "env"]), &json!({"error": {}}))
        );
        tells_nothing(&pair.gateway, &refused);
    }
    let reserved = create(&pair.gateway, json!({"OPENSANDBOX_LIFECYCLE=x": "y"})).await;
    let text = "Environment variable 'OPENSANDBOX_LIFECYCLE' is reserved. Use the lifecycle request field instead.";
    assert_eq!(reserved.json()["detail"][0]["msg"], format!("Value error, {text}"));
    let many: Value = (0..1000).map(|n| (format!("A{n}="), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    assert!(create(&pair.gateway, many).await.body.len() < 40_000);
    let body = json!({"image": {"uri": "a"}, "resourceLimits": {}, "entrypoint": ["a", "s3cret-word\0"]}).to_string();
    let refused = request(pair.address(), "POST", "/v1/sandboxes", &[JSON], &body).await;
    assert_eq!(refused.status(), 422, "{refused}");
    tells_nothing(&pair.gateway, &refused);
    assert!(!pair.engine.requests().iter().any(|target| target.contains("/create") || target.contains("/images/")));
}

#[tokio::test]
async fn an_engine_that_quotes_what_it_was_given_is_masked_in_the_answer_and_in_the_log() {
    let engine = Engine::start();
    let config = "[docker]\nsandbox_env = { FROM_FILE = \"hunter3-of-the-file\" }";
    let gateway = Setup::docker(engine.docker_host()).section(config).start();
    let env = json!({"TOKEN": "hunter2-of-the-request", "ODD": "q\"uoted\nand-broken-é", "A": "1"});
    for (method, target) in [("POST", "/containers/create?name=sandbox-"), ("POST", "/start"), ("PUT", "/archive")] {
        // The first creation reads execd, whose own container is made of nothing secret.
        engine.fault(method, target, Action::Quote(400));
        let failed = create(&gateway, env.clone()).await;
        assert_eq!(failed.status() / 100, 5, "{target}: {failed}");
        assert!(failed.json()["message"].as_str().unwrap().len() < 1500, "{failed}");
        tells_nothing(&gateway, &failed);
        engine.heal();
        let made = create(&gateway, env.clone()).await;
        assert_eq!(made.status(), 202, "{made}");
    }
    engine.fault(
        "POST",
        "/start",
        Action::Fail(500, "driver failed: Bind for 0.0.0.0:1 failed: no space left on device"),
    );
    let failed = create(&gateway, env).await;
    let told = failed.json()["message"].as_str().unwrap().to_owned();
    assert!(told.ends_with("no space left on device"), "what tells nothing is told: {told}");
}

#[tokio::test]
async fn a_registry_that_quotes_credentials_is_masked() {
    let pair = Pair::start();
    let secret = "hunter2-of-the-request";
    pair.engine.fault("GET", "/images/", Action::Fail(404, "No such image"));
    pair.engine.fault(
        "POST",
        "/images/create",
        Action::Fail(500, "denied for joe:hunter2-of-the-request (hunter2-of-t"),
    );
    let image = json!({"uri": "r.example/x:1", "auth": {"username": "joe", "password": secret}});
    let body = json!({"image": image, "resourceLimits": {}, "entrypoint": ["a"]}).to_string();
    let failed = request(pair.address(), "POST", "/v1/sandboxes", &[JSON], &body).await;
    assert_eq!(failed.code(), "DOCKER::SANDBOX_IMAGE_PULL_FAILED", "{failed}");
    assert!(!failed.to_string().contains("hunter2") && !pair.gateway.output().contains("hunter2"), "{failed}");
}

#[tokio::test]
async fn a_configured_variable_that_no_program_can_have_is_told_at_start_without_its_value() {
    for (name, told) in [("\\u0000", "NUL"), ("A=hunter3-of-the-file", "'A'"), ("", "empty")] {
        let config = format!("[docker]\nsandbox_env = {{ \"{name}\" = \"hunter3-of-the-file\" }}");
        let mut gateway = Setup::docker("unix:///nowhere").section(&config).spawn();
        assert!(!gateway.wait(std::time::Duration::from_secs(10)).success());
        let output = gateway.output();
        assert!(output.contains("docker.sandbox_env") && output.contains(told), "{output}");
        assert!(!output.contains("hunter3"), "{output}");
    }
}
