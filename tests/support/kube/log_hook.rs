//! Who answers for `pods/log`.

use std::{future::Future, pin::Pin};

use http::{Response, StatusCode};

use super::{
    body::{self, Body},
    failure::Failure,
    query::Query,
    resource::PODS,
    store::Object,
};

/// A `GET` of a pod's log that may be asked for.
#[derive(Debug, Clone)]
pub struct LogAsked {
    /// The namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The parameters.
    pub query: Query,
    /// The header `Accept`.
    pub accept: Option<String>,
    /// The pod as it is now, if there is one.
    pub pod: Option<Object>,
}

/// What stands behind `pods/log`: the API server's checks of the parameters, and the kubelets. Access is checked before.
pub trait Logs: Send + Sync {
    /// The answer; it resolves when the head is to be sent. Each piece of the body becomes a chunk, an error in it cuts the
    /// connection, and it is dropped when the client leaves.
    fn answer(&self, asked: LogAsked) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
}

/// Logs that are empty.
pub(super) struct NoLogs;

impl Logs for NoLogs {
    fn answer(&self, asked: LogAsked) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        let response = match &asked.pod {
            None => Failure::not_found(&PODS, &asked.name).response(),
            Some(pod) if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() => {
                let mut response = Response::new(body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Some(pod) if !has_container(pod, asked.query.text("container")) => {
                let container = asked.query.text("container");
                Failure::bad_request(format!("container {container} is not valid for pod {}", asked.name)).response()
            }
            Some(_) => body::with_media(Response::new(body::pieces(Vec::new())), "text/plain"),
        };
        Box::pin(std::future::ready(response))
    }
}

/// Whether the pod has this container; the empty name is not given.
fn has_container(pod: &Object, name: &str) -> bool {
    let lists = ["containers", "initContainers"].map(|list| pod["spec"][list].as_array().into_iter().flatten());
    name.is_empty() || lists.into_iter().flatten().any(|container| container["name"] == name)
}
