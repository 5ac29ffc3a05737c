//! Sandboxes and sidecars made past the runtime, as another server makes them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use bollard::{
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{CreateContainerOptions, RemoveContainerOptions},
};

use crate::fixture::Fixture;

/// A running container with a sandbox's name and id, and these labels besides; gives the id.
pub(crate) async fn sandbox(fixture: &Fixture, labels: &[(&str, &str)], network_mode: &str) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    let mut all = vec![("opensandbox.io/id", id.as_str())];
    all.extend(labels);
    container(fixture, &format!("sandbox-{id}"), &all, network_mode).await;
    id
}

/// A running container with a sidecar's name and label; gives the name.
pub(crate) async fn sidecar(fixture: &Fixture, id: &str) -> String {
    let name = format!("sandbox-egress-{id}");
    container(fixture, &name, &[("opensandbox.io/egress-sidecar-for", id)], "none").await;
    name
}

/// Removes a container.
pub(crate) async fn remove(fixture: &Fixture, name: &str) {
    let options = RemoveContainerOptions { force: true, ..Default::default() };
    fixture.engine.remove_container(name, Some(options)).await.unwrap();
}

/// The engine's name for a container's state.
pub(crate) async fn state(fixture: &Fixture, name: &str) -> String {
    fixture.engine.inspect_container(name, None).await.unwrap().state.unwrap().status.unwrap().to_string()
}

async fn container(fixture: &Fixture, name: &str, labels: &[(&str, &str)], network_mode: &str) {
    let scope = fixture.scope();
    let labels = labels.iter().copied().chain(scope.split_once('='));
    let body = ContainerCreateBody {
        image: Some("osb-test/busybox:1".to_owned()),
        cmd: Some(vec!["sleep".to_owned(), "1000".to_owned()]),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
        host_config: Some(HostConfig { network_mode: Some(network_mode.to_owned()), ..Default::default() }),
        ..Default::default()
    };
    let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
    fixture.engine.create_container(Some(options), body).await.unwrap();
    fixture.engine.start_container(name, None).await.unwrap();
}
