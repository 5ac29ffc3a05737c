//! Connections, and the way of a request through the server.

use std::{collections::BTreeMap, io, net::TcpListener as StdTcpListener, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Shared,
    access::Certificate,
    body::{self, Body},
    delete::{self, DeleteOptions, Deleted},
    failure::Failure,
    fault::{Action, Tracked},
    list::{self, Listing},
    log_hook::LogAsked,
    query::Query,
    record::Recorded,
    resource::{self, ALL, PODS, Target},
    store::{Key, Store},
    tls,
    watch::Watch,
    write::{Options, Part, PatchKind, Written},
};

/// A request's body may have this many bytes.
const BODY: usize = 3 * 1024 * 1024;

/// Accepts until it is dropped.
pub(super) async fn accept(listener: StdTcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (io, _) = listener.accept().await.unwrap();
        io.set_nodelay(true).unwrap();
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        tokio::spawn(async move {
            match acceptor {
                None => serve(io, Certificate::None, false, shared).await,
                Some(acceptor) => serve_tls(io, &acceptor, shared).await,
            }
        });
    }
}

async fn serve_tls(mut io: TcpStream, acceptor: &TlsAcceptor, shared: Arc<Shared>) {
    let mut first = [0];
    if matches!(io.peek(&mut first).await, Ok(1) if first[0].is_ascii_alphabetic()) {
        let answer = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        // One that does not wait for it has nothing to be told.
        let _ = io.write_all(answer).await;
        return;
    }
    let Ok(io) = acceptor.accept(io).await else { return };
    let (_, session) = io.get_ref();
    let certificate = tls::identify(session.peer_certificates());
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    serve(io, certificate, is_h2, shared).await;
}

async fn serve<S>(io: S, certificate: Certificate, is_h2: bool, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| handle(shared.clone(), certificate.clone(), request));
    let io = TokioIo::new(io);
    // A connection that breaks is the test's will or the client's.
    if is_h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .initial_stream_window_size(262_144)
            .max_frame_size(262_144)
            .serve_connection(io, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .title_case_headers(true)
            .serve_connection(io, service)
            .await;
    }
}

async fn handle(
    shared: Arc<Shared>,
    certificate: Certificate,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, incoming) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let body = match Limited::new(incoming, BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let message = format!("Request entity too large: limit is {BODY}");
            Err(Failure::new(413, "RequestEntityTooLarge", message))
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    let user = shared.access().user(&head.headers, &certificate);
    let text = body.clone().unwrap_or_default();
    let number = shared.record(Recorded::new(&head, &text, user.as_deref().unwrap_or_default()));
    let action = shared.fault_for(head.method.as_str(), &target);
    let is_watch = Query::parse(head.uri.query().unwrap_or_default()).flag("watch");
    let instead = match &action {
        Some(Action::Hang) => std::future::pending().await,
        Some(Action::Drop) => return Err(io::ErrorKind::ConnectionAborted.into()),
        Some(Action::Delay(time)) => {
            tokio::time::sleep(*time).await;
            None
        }
        Some(Action::Fail(failure)) => Some(failure.response()),
        Some(Action::Conflict) => Some(conflict(head.uri.path()).response()),
        Some(Action::Html(status, page)) => {
            let mut page = body::with_media(Response::new(body::full(*page)), "text/html");
            *page.status_mut() = StatusCode::from_u16(*status).expect("a status");
            Some(page)
        }
        Some(Action::Expired) => Some(expired(is_watch)),
        Some(Action::End(_) | Action::Cut(_) | Action::Silence(_)) | None => None,
    };
    let is_log = head.uri.path().ends_with("/log");
    let mut response = match (instead, user, body) {
        (Some(response), ..) => response,
        (None, Err(failure), _) | (None, _, Err(failure)) => failure.response(),
        (None, Ok(user), Ok(body)) => {
            let asked = Asked { shared: &shared, method: &head.method, headers: &head.headers, user: &user };
            let query = Query::parse(head.uri.query().unwrap_or_default());
            asked.route(head.uri.path(), query, &body).await.unwrap_or_else(|failure| failure.response())
        }
    };
    let status = response.status();
    let headers = response.headers_mut();
    let own = || HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).expect("a header");
    headers.insert("audit-id", head.headers.get("audit-id").cloned().unwrap_or_else(own));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if !is_log && status != StatusCode::UNAUTHORIZED {
        for name in ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"] {
            headers.insert(name, HeaderValue::from_static("383ca63a-91df-4750-b1c2-c59657ed4ce9"));
        }
    }
    shared.note_status(number, status.as_u16());
    Ok(response.map(|body| Tracked::wrapped(body, action.as_ref(), shared.clone(), target)))
}

fn conflict(path: &str) -> Failure {
    resource::target(path, |_| true)
        .map_or_else(|failure| failure, |target| Failure::modified(target.resource, &target.name))
}

fn expired(is_watch: bool) -> Response<Body> {
    if is_watch {
        let status = Failure::new(410, "Expired", "too old resource version: 1 (248)").json();
        return body::json(&json!({"type": "ERROR", "object": status}));
    }
    Failure::new(410, "Expired", "The resourceVersion for the provided list is too old.").response()
}

/// A request that has a user.
struct Asked<'a> {
    shared: &'a Arc<Shared>,
    method: &'a Method,
    headers: &'a HeaderMap,
    user: &'a str,
}

impl Asked<'_> {
    async fn route(&self, path: &str, query: Query, body: &[u8]) -> Result<Response<Body>, Failure> {
        match path {
            "/readyz" | "/livez" | "/healthz" => return Ok(body::text("ok")),
            "/version" => {
                return Ok(body::json(&json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2",
                    "platform": "linux/amd64"})));
            }
            _ => {}
        }
        if let Some(document) = discovery(path, &self.shared.store()) {
            return Ok(body::json(&document));
        }
        let target = {
            let store = self.shared.store();
            resource::target(path, |resource| store.is_there(resource))?
        };
        let verb = target.verb(self.method.as_str(), &query);
        self.shared.access().check(self.user, verb, &target)?;
        let is_one = !target.name.is_empty();
        let is_allowed = match self.method.as_str() {
            "GET" => true,
            "POST" => !is_one,
            "PUT" | "PATCH" => is_one,
            "DELETE" => target.subresource.is_empty(),
            _ => false,
        };
        if !is_allowed || target.subresource == "log" && *self.method != Method::GET {
            return Err(Failure::method_not_allowed());
        }
        if target.subresource == "log" {
            return Ok(self.log(target, query).await);
        }
        let accept = self.accept()?;
        match verb {
            "get" => {
                let object = self.shared.store().find(target.resource, &target.namespace, &target.name)?;
                Ok(body::json(&object))
            }
            "list" => self.list(target, &query, accept).await,
            "watch" => {
                let watch = Watch::read(target, &query)?;
                let body = watch.body(self.shared.clone());
                Ok(body::with_media(Response::new(body), "application/json"))
            }
            _ => self.write(verb, &target, &query, body),
        }
    }

    /// Whether the client takes JSON, and whether it asks for metadata alone.
    fn accept(&self) -> Result<bool, Failure> {
        let Some(accept) = self.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()) else {
            return Ok(false);
        };
        for one in accept.split(',') {
            let (media, parameters) = one.split_once(';').unwrap_or((one, ""));
            if !matches!(media.trim(), "*/*" | "application/*" | "application/json" | "") {
                continue;
            }
            if parameters.contains("as=PartialObjectMetadataList") {
                return Ok(true);
            }
            if !parameters.contains("as=") {
                return Ok(false);
            }
        }
        Err(Failure::not_acceptable())
    }

    async fn log(&self, target: Target, query: Query) -> Response<Body> {
        let pod = self.shared.store().get(&PODS, &Key::new(&target.namespace, &target.name));
        let accept = self.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).map(str::to_owned);
        let asked = LogAsked { namespace: target.namespace, name: target.name, query, accept, pod };
        let hook = self.shared.state().logs.clone();
        hook.answer(asked).await
    }

    async fn list(&self, target: Target, query: &Query, metadata_only: bool) -> Result<Response<Body>, Failure> {
        let listing = Listing::read(target, query)?;
        let awaited = listing.awaited();
        let mut changes = self.shared.store().changes();
        let reached = tokio::time::timeout(list::PATIENCE, changes.wait_for(|version| *version >= awaited)).await;
        // What `wait_for` gives locks the version, which a writer changes while it has the store's lock.
        let is_reached = matches!(reached, Ok(Ok(_)));
        drop(reached);
        if !is_reached {
            return Err(list::too_large(awaited, self.shared.store().version()));
        }
        let mut list = listing.answer(&self.shared.store())?;
        if metadata_only {
            list["kind"] = "PartialObjectMetadataList".into();
            list["apiVersion"] = "meta.k8s.io/v1".into();
            for item in list["items"].as_array_mut().expect("a list") {
                *item = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                    "metadata": item["metadata"]});
            }
        }
        let text = body::json_text(&list) + "\n";
        Ok(body::with_media(body::streamed(text.into_bytes()), "application/json"))
    }

    fn write(&self, verb: &str, target: &Target, query: &Query, body: &[u8]) -> Result<Response<Body>, Failure> {
        let resource = target.resource;
        let key = Key::new(&target.namespace, &target.name);
        let agent = self.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
        let agent = agent.split('/').next().unwrap_or_default();
        let options = Options {
            is_dry: query.text("dryRun") == "All",
            is_strict: query.text("fieldValidation") == "Strict",
            manager: query.get("fieldManager").unwrap_or(agent).to_owned(),
        };
        let part = if target.subresource == "status" { Part::Status } else { Part::Main };
        let media = self.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        let mut store = self.shared.store();
        match verb {
            "create" => {
                let object = parse(resource, media, body)?;
                let mut answer = written(store.create(resource, &target.namespace, object, &options)?);
                *answer.status_mut() = StatusCode::CREATED;
                Ok(answer)
            }
            "update" => {
                let object = parse(resource, media, body)?;
                Ok(written(store.replace(resource, &key, part, object, &options)?))
            }
            "patch" => {
                let (kind, patch) = parse_patch(resource, media, body)?;
                Ok(written(store.patch(resource, &key, part, (kind, &patch), &options)?))
            }
            "delete" => {
                let body = serde_json::from_slice(body).unwrap_or_default();
                let options = DeleteOptions::read(query, &body)?;
                Ok(match store.delete(resource, &key, &options)? {
                    Deleted::Gone(object) => body::json(&delete::success(resource, &object)),
                    Deleted::Marked(object) => body::json(&object),
                })
            }
            _ => {
                let listing = Listing::read(target.clone(), query)?;
                let list = listing.answer(&store)?;
                let body = serde_json::from_slice(body).unwrap_or_default();
                let options = DeleteOptions::read(query, &body)?;
                for item in list["items"].as_array().into_iter().flatten() {
                    let [namespace, name] =
                        ["namespace", "name"].map(|key| item["metadata"][key].as_str().unwrap_or_default());
                    // One that went with its owner meanwhile is as well.
                    let _ = store.delete(resource, &Key::new(namespace, name), &options);
                }
                Ok(body::json(&list))
            }
        }
    }
}

fn written((object, warnings): Written) -> Response<Body> {
    let mut answer = body::json(&object);
    for warning in warnings {
        // A quoted string escapes its quotes.
        let warning = format!("299 - {}", Value::from(warning));
        answer.headers_mut().append("warning", HeaderValue::try_from(warning).expect("plain text"));
    }
    answer
}

/// What Go says of JSON that ends too early or goes on wrongly.
fn syntax(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Err(error) if !error.is_eof() => format!("invalid JSON: {error}"),
        _ => "unexpected end of JSON input".to_owned(),
    }
}

fn parse(resource: &resource::Resource, media: &str, body: &[u8]) -> Result<Value, Failure> {
    if !matches!(media, "" | "application/json") {
        let accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        return Err(Failure::unsupported_body(accepted));
    }
    serde_json::from_slice(body).map_err(|_| {
        let shown = if body.is_empty() { "<empty>".into() } else { String::from_utf8_lossy(body) };
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {} \
             ({shown})",
            resource.kind,
            syntax(body)
        ))
    })
}

fn parse_patch(resource: &resource::Resource, media: &str, body: &[u8]) -> Result<(PatchKind, Value), Failure> {
    let kind = match media {
        "application/merge-patch+json" => PatchKind::Merge,
        "application/json-patch+json" => PatchKind::Json,
        "application/strategic-merge-patch+json" if !resource.custom => PatchKind::Strategic,
        // Apply is not there; what is named here are the types of the real one.
        _ if resource.custom => {
            let accepted = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            return Err(Failure::unsupported_body(accepted));
        }
        _ => {
            let accepted = "application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json, application/apply-patch+yaml";
            return Err(Failure::unsupported_body(accepted));
        }
    };
    let patch: Value = serde_json::from_slice(body)
        .map_err(|_| Failure::bad_request(format!("error decoding patch: {}", syntax(body))))?;
    if patch.is_array() && !matches!(kind, PatchKind::Json) {
        let why = "json: cannot unmarshal array into Go value of type map[string]interface {}";
        return Err(Failure::bad_request(format!("error decoding patch: {why}")));
    }
    Ok((kind, patch))
}

fn discovery(path: &str, store: &Store) -> Option<Value> {
    let path = path.trim_end_matches('/');
    if path == "/api" {
        return Some(json!({"kind": "APIVersions", "versions": ["v1"]}));
    }
    if path == "/apis" {
        return Some(groups(store));
    }
    let (group, version) = match path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let is_inside = |resource: &&&'static resource::Resource| {
        resource.group == group && resource.version == version && store.is_there(resource)
    };
    let all: Vec<_> = ALL.iter().filter(is_inside).collect();
    let first = all.first()?;
    let verbs = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
    let shown = |resource: &&&resource::Resource| {
        json!({"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs})
    };
    let resources: Vec<_> = all.iter().map(shown).collect();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(),
        "resources": resources}))
}

/// The groups but the core's. None has two versions.
fn groups(store: &Store) -> Value {
    let there = ALL.iter().filter(|resource| !resource.group.is_empty() && store.is_there(resource));
    let groups: BTreeMap<_, _> = there.map(|resource| (resource.group, resource)).collect();
    let groups = groups.into_iter().map(|(name, resource)| {
        let version = json!({"groupVersion": resource.api_version(), "version": resource.version});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    });
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()})
}
