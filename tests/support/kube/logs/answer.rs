//! The way of a request: the API server's checks in their order, then the kubelet's.

use serde_json::Value;

use super::{
    Container, PodLogs, Seen, StreamGate,
    body::{Answer, Body, LogBody},
    fault::{self, What},
    kubelet,
    node::{Node, Reach},
    query::Query,
    reader::Reader,
    status,
};

/// A `GET` of a pod's log that has passed authentication and RBAC.
#[derive(Debug, Clone, Copy)]
pub struct LogRequest<'a> {
    /// The namespace of the path.
    pub namespace: &'a str,
    /// The pod's name in the path.
    pub name: &'a str,
    /// The query's pairs in their order, decoded.
    pub query: &'a [(String, String)],
    /// The header `Accept`.
    pub accept: Option<&'a str>,
    /// The pod object at this moment, if there is one.
    pub pod: Option<&'a Value>,
}

impl PodLogs {
    /// Answers a request. It resolves when the head is to be sent, which is at once but where a kubelet is frozen, a
    /// fault delays it, or only standard error is followed and nothing was printed there.
    pub async fn answer(&self, request: LogRequest<'_>) -> Answer {
        let what = {
            let mut state = self.state();
            let query = request.query.to_vec();
            let seen = Seen { pod: request.name.to_owned(), query };
            let is_follow = seen.value("follow").is_some_and(|value| value != "false" && value != "0");
            state.requests.push(seen);
            fault::take(&mut state.faults, &request, is_follow)
        };
        for what in &what {
            match what {
                What::LateHead(delay) => tokio::time::sleep(*delay).await,
                What::NoHead => std::future::pending().await,
                What::Refuse { status, content_type, text } => {
                    let content_type = Some(content_type.clone());
                    return Answer { status: *status, content_type, body: Body::Whole(text.clone().into()) };
                }
                What::Cut { .. } | What::Text { .. } => {}
            }
        }
        let (node, container, chosen, query) = match self.choose(&request).await {
            Ok(chosen) => chosen,
            Err(answer) => return answer,
        };
        let (is_follow, is_held) = (query.follow, query.stream.as_deref() == Some("Stderr"));
        let reader = Reader::new(&node, container, chosen, query);
        let mut body = LogBody::new(reader, is_follow, self, request.name);
        for what in what {
            match what {
                What::Cut { after, ending } => body.cut(after, ending),
                What::Text { after, text } => body.text(after, text),
                What::LateHead(_) | What::NoHead | What::Refuse { .. } => {}
            }
        }
        if is_held {
            body.peek().await;
        }
        Answer { status: 200, content_type: Some("text/plain".to_owned()), body: Body::Stream(body) }
    }

    /// What is read, or the answer that says why nothing is.
    async fn choose(
        &self,
        request: &LogRequest<'_>,
    ) -> Result<(Node, Option<Container>, kubelet::Chosen, Query), Answer> {
        check_accept(request.accept)?;
        let name = request.name;
        let gate = self.state().gate;
        let query = Query::read(request.query, name, gate)?;
        let missing = |name: &str| status::not_found("pods", name, &format!("pods {name:?} not found"));
        let pod = request.pod.ok_or_else(|| missing(name))?;
        let container = kubelet::container(pod, name, &query.container).map_err(|text| status::bad_request(&text))?;
        let Some(node_name) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) else {
            return Err(Answer { status: 204, content_type: None, body: Body::None });
        };
        // It names the node, but calls it a pod.
        let node = self.state().nodes.get(node_name).cloned().ok_or_else(|| missing(node_name))?;
        reach(&node, request, container, &query).await?;
        if gate == StreamGate::ApiServerOnly && query.only().is_some() {
            let stream = query.stream.as_deref().unwrap_or_default();
            return Err(status::bad_request(&format!(
                "unable to return the given log stream: {stream:?}. Please enable PodLogsQuerySplitStreams feature gate in kubelet"
            )));
        }
        let chosen = kubelet::instance(pod, container, query.previous).map_err(|text| status::bad_request(&text))?;
        let instance = self.state().containers.get(&chosen.id).cloned();
        Ok((node, instance, chosen, query))
    }
}

/// Reaches the node's kubelet, or tells why it cannot.
async fn reach(node: &Node, request: &LogRequest<'_>, container: &str, query: &Query) -> Result<(), Answer> {
    let (namespace, name, address) = (request.namespace, request.name, node.address());
    let parameters = query.to_kubelet();
    let fails = |why: &str| {
        let url = format!("https://{address}/containerLogs/{namespace}/{name}/{container}{parameters}");
        Err(status::internal(&format!("Get {url:?}: {why}")))
    };
    match node.next_reach() {
        Reach::Up => Ok(()),
        Reach::Untrusted if query.skip_verification => Ok(()),
        Reach::Untrusted => fails("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        Reach::Down => fails(&format!("dial tcp {address}: connect: connection refused")),
        Reach::Frozen => {
            tokio::time::sleep(node.handshake_timeout()).await;
            fails("net/http: TLS handshake timeout")
        }
        Reach::NoAddress => {
            let known = format!("[{{Hostname {}}}]", node.name());
            Err(status::internal(&format!("no preferred addresses found; known addresses: {known}")))
        }
        Reach::Starting => {
            let text = format!("the server could not find the requested resource ( pods/log {name})");
            Err(status::not_found("pods/log", name, &text))
        }
    }
}

/// The answer's type must be allowed, which is JSON here though the log is text (T9).
fn check_accept(accept: Option<&str>) -> Result<(), Answer> {
    const KNOWN: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
    let Some(accept) = accept else { return Ok(()) };
    let types: Vec<&str> =
        accept.split(',').map(|one| one.split_once(';').map_or(one, |(one, _)| one).trim()).collect();
    if types.iter().any(|one| KNOWN.contains(one) || matches!(*one, "*/*" | "application/*" | "")) {
        return Ok(());
    }
    let known = KNOWN.join(", ");
    Err(if types.contains(&"text/plain") {
        status::not_acceptable(&format!("only the following media types are accepted: {known}"), None)
    } else {
        let text = format!("406: Not Acceptable\n\nAvailable representations: text/plain, {known}");
        status::not_acceptable(&text, Some(serde_json::json!({})))
    })
}
