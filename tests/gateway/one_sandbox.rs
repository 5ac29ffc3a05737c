//! A gateway with one sandbox.

use crate::{
    Setup,
    support::{
        client::{Response, request},
        gateway::Gateway,
    },
};

pub(crate) const JSON: &str = "Content-Type: application/json";

/// A gateway with one sandbox, which sleeps.
pub(crate) struct OneSandbox {
    pub(crate) gateway: Gateway,
    /// The sandbox's.
    pub(crate) path: String,
}

impl OneSandbox {
    /// `extra` is put behind the creation's other fields, and begins with a comma.
    pub(crate) async fn create(setup: Setup, extra: &str) -> Self {
        let gateway = setup.start();
        let image = r#""image":{"uri":"osb-test/busybox:1"},"entrypoint":["sleep","100"],"resourceLimits":{}"#;
        let body = format!("{{{image}{extra}}}");
        let created = request(gateway.address(), "POST", "/v1/sandboxes", &[JSON], &body).await;
        assert_eq!(created.status(), 202, "{created}");
        let path = format!("/v1/sandboxes/{}", created.json()["id"].as_str().unwrap());
        Self { gateway, path }
    }

    /// Asks for what is `below` the sandbox's path.
    pub(crate) async fn ask(&self, method: &str, below: &str, lines: &[&str], body: &str) -> Response {
        request(self.gateway.address(), method, &format!("{}{below}", self.path), lines, body).await
    }
}
