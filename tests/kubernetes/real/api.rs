//! The real API server, asked in plain JSON.

use std::path::{Path, PathBuf};

use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

use crate::support::kube::Resource;

/// The cluster's API server, as the kubeconfig file's user.
#[derive(Clone)]
pub(super) struct Api(Client);

/// The file that `--kubeconfig` named.
pub(super) fn kubeconfig() -> PathBuf {
    let path = std::env::var_os("KUBERNETES_TEST_KUBECONFIG")
        .expect("KUBERNETES_TEST_KUBECONFIG is not set: run scripts/test kubernetes --kubeconfig FILE");
    std::path::absolute(path).unwrap()
}

impl Api {
    /// A client with the credentials of this file.
    pub(super) async fn new(kubeconfig: &Path) -> Self {
        let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig file");
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a cluster");
        Self(Client::try_from(config).unwrap())
    }

    /// A request, with a body of this type if there is one; the code of a refusal.
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<Value, u16> {
        let request = Request::builder().method(method).uri(path);
        let request = match body {
            Some((kind, body)) => request.header("content-type", kind).body(body.to_string().into_bytes()),
            None => request.body(Vec::new()),
        };
        match self.0.request(request.unwrap()).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Reads an object or a list; none if it is not there.
    pub(super) async fn get(&self, path: &str) -> Option<Value> {
        match self.send("GET", path, None).await {
            Ok(object) => Some(object),
            Err(404) => None,
            Err(code) => panic!("GET {path}: {code}"),
        }
    }

    /// Creates an object; says whether it was not there already.
    pub(super) async fn create(&self, path: &str, object: &Value) -> bool {
        match self.send("POST", path, Some(("application/json", object))).await {
            Ok(_) => true,
            Err(409) => false,
            Err(code) => panic!("POST {path}: {code}"),
        }
    }

    /// Changes an object; nothing if it is gone.
    pub(super) async fn patch(&self, path: &str, change: &Value) {
        match self.send("PATCH", path, Some(("application/merge-patch+json", change))).await {
            Ok(_) | Err(404) => {}
            Err(code) => panic!("PATCH {path}: {code}"),
        }
    }

    /// Deletes an object; nothing if it is gone.
    pub(super) async fn delete(&self, path: &str) {
        match self.send("DELETE", path, None).await {
            Ok(_) | Err(404) => {}
            Err(code) => panic!("DELETE {path}: {code}"),
        }
    }

    /// The objects of a kind in a namespace.
    pub(super) async fn list(&self, resource: &Resource, namespace: &str) -> Vec<Value> {
        let mut list = self.get(&resource.path(namespace, "")).await.unwrap_or_default();
        list["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }
}
