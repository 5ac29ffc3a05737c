//! The kinds of sandboxes, snapshots and pools. What the cluster has is used as it is; a kind that it lacks is added with a schema
//! that takes all.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::Api;
use crate::{
    portable::PATIENCE,
    support::kube::{
        Resource,
        resource::{AGENT_SANDBOXES, BATCH_SANDBOXES, POOLS, SNAPSHOTS},
    },
};

/// The label of what the suite added to the cluster.
pub(super) const LABEL: &str = "opensandbox-gateway.test/suite";

/// How often it is looked whether a CRD came or went.
const POLL: Duration = Duration::from_millis(100);

/// Where CRDs are.
const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Both kinds of sandboxes.
pub(super) fn kinds() -> [&'static Resource; 2] {
    [&BATCH_SANDBOXES, &AGENT_SANDBOXES]
}

/// All kinds that the gateway needs.
pub(super) fn all() -> [&'static Resource; 4] {
    [&BATCH_SANDBOXES, &AGENT_SANDBOXES, &SNAPSHOTS, &POOLS]
}

/// Whether a CRD is one of the suite's.
pub(super) fn is_own(crd: &Value) -> bool {
    crd["metadata"]["labels"][LABEL] == "true"
}

/// Adds the CRDs that are missing and waits until all kinds are served. Says whether that of a kind of sandboxes is the suite's.
pub(super) async fn ensure(api: &Api) -> [bool; 2] {
    let mut own = Vec::new();
    for kind in all() {
        own.push(is_own(&added(api, kind).await));
        served(api, kind).await;
    }
    [own[0], own[1]]
}

/// The CRD of a kind, which is added if it is missing. One that is going is waited for: it takes its objects with it.
async fn added(api: &Api, kind: &Resource) -> Value {
    let (start, path) = (Instant::now(), path(kind));
    loop {
        match api.get(&path).await {
            Some(crd) if crd["metadata"]["deletionTimestamp"].is_null() => return crd,
            Some(_) => tokio::time::sleep(POLL).await,
            // Tests beside each other add it at the same time: one wins.
            None => {
                api.create(PATH, &crd(kind)).await;
            }
        }
        assert!(start.elapsed() < PATIENCE, "the CRD {} is not there, or does not go", kind.qualified());
    }
}

/// Waits until the CRD of a kind is gone.
pub(super) async fn gone(api: &Api, kind: &Resource) {
    let start = Instant::now();
    while api.get(&path(kind)).await.is_some() {
        assert!(start.elapsed() < PATIENCE, "the CRD {} does not go", kind.qualified());
        tokio::time::sleep(POLL).await;
    }
}

/// Where the CRD of a kind is.
pub(super) fn path(kind: &Resource) -> String {
    format!("{PATH}/{}", kind.qualified())
}

async fn served(api: &Api, kind: &Resource) {
    let start = Instant::now();
    // 404 at first, then 429 for a moment (kubernetes-api.md, L8).
    while let Err(code) = api.send("GET", &format!("{}?limit=1", kind.path("default", "")), None).await {
        assert!(start.elapsed() < PATIENCE, "{}: {code}", kind.qualified());
        tokio::time::sleep(POLL).await;
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
