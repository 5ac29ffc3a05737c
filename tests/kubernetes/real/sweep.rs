//! The end of a run on a real cluster.

use std::time::Duration;

use super::{
    api::{self, Api},
    crds, tell,
};
use crate::support::kube::resource::NAMESPACES;

/// Longer than it takes to end all pods of a run.
const PATIENCE: Duration = Duration::from_secs(180);

/// Deletes the namespaces that tests left, waits until all are gone, and then takes the suite's own CRDs away if no sandbox of
/// theirs is left. `scripts/test kubernetes` runs it last; it is not for a time when other tests of the suite run.
#[tokio::test]
#[ignore = "the last step of scripts/test kubernetes"]
async fn the_cluster_is_left_as_it_was() {
    let api = Api::new(&api::kubeconfig()).await;
    let start = std::time::Instant::now();
    let selector = format!("{}?labelSelector={}%3Dtrue", NAMESPACES.path("", ""), crds::LABEL);
    loop {
        let list = api.get(&selector).await.unwrap();
        let left: Vec<_> = list["items"].as_array().unwrap().iter().collect();
        if left.is_empty() {
            break;
        }
        for namespace in left.iter().filter(|namespace| namespace["metadata"]["deletionTimestamp"].is_null()) {
            api.delete(&NAMESPACES.path("", namespace["metadata"]["name"].as_str().unwrap())).await;
        }
        assert!(start.elapsed() < PATIENCE, "{} namespaces do not go: {left:?}", left.len());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for kind in crds::all() {
        let path = crds::path(kind);
        if api.get(&path).await.is_some_and(|crd| crds::is_own(&crd)) {
            // Of all namespaces.
            let all = format!("/apis/{}/{}/{}", kind.group, kind.version, kind.plural);
            let objects = api.get(&all).await.unwrap();
            if objects["items"].as_array().is_some_and(Vec::is_empty) {
                api.delete(&path).await;
                // One in deletion would be in the way of the next run.
                crds::gone(&api, kind).await;
            } else {
                tell(&format!("the CRD {} stays: somebody has objects of it", kind.qualified()));
            }
        }
    }
}
