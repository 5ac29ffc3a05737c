//! The kinds of sandboxes. What the cluster has is used as it is; a kind that it lacks is added with a schema that takes all.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::Api;
use crate::{
    portable::PATIENCE,
    support::kube::{
        Resource,
        resource::{AGENT_SANDBOXES, BATCH_SANDBOXES},
    },
};

/// The label of what the suite added to the cluster.
pub(super) const LABEL: &str = "opensandbox-gateway.test/suite";

/// Where CRDs are.
pub(super) const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Both kinds.
pub(super) fn kinds() -> [&'static Resource; 2] {
    [&BATCH_SANDBOXES, &AGENT_SANDBOXES]
}

/// Whether a CRD is one of the suite's.
pub(super) fn is_own(crd: &Value) -> bool {
    crd["metadata"]["labels"][LABEL] == "true"
}

/// Adds the CRDs that are missing and waits until both kinds are served. Says whether that of a kind is the suite's.
pub(super) async fn ensure(api: &Api) -> [bool; 2] {
    let mut own = [false; 2];
    for (kind, own) in kinds().into_iter().zip(&mut own) {
        let path = format!("{PATH}/{}", kind.qualified());
        // Tests beside each other add it at the same time: one wins.
        if api.get(&path).await.is_none() {
            api.create(PATH, &crd(kind)).await;
        }
        *own = is_own(&api.get(&path).await.expect("it was just added"));
        served(api, kind).await;
    }
    own
}

async fn served(api: &Api, kind: &Resource) {
    let start = std::time::Instant::now();
    // 404 at first, then 429 for a moment (kubernetes-api.md, L8).
    while let Err(code) = api.send("GET", &format!("{}?limit=1", kind.path("default", "")), None).await {
        assert!(start.elapsed() < PATIENCE, "{}: {code}", kind.qualified());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn crd(kind: &Resource) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.qualified(), "labels": {LABEL: "true"}, "annotations": {
            // The API server wants to know of who approved a group of the project's own.
            "api-approved.kubernetes.io": "unapproved, a test's stand-in"}},
        "spec": {
            "group": kind.group, "scope": "Namespaced",
            "names": {"plural": kind.plural, "singular": kind.singular, "kind": kind.kind},
            "versions": [{"name": kind.version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}}}],
        },
    })
}
