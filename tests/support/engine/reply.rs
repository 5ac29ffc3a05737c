//! Requests to the scripted engine and its answers, in the forms that engine 20.10.24 was seen to use.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{Sandbox, Shared, State, create};

const IMAGE: &str = "sha256:22278e362ad12ff5acb239ca23557a0a79b254cb86ee176598cf8d8b0a48ee01";

/// A request, as far as the engine reads it.
pub(super) struct Request {
    /// The method.
    pub(super) method: String,
    /// Path and query as the peer wrote them.
    pub(super) target: String,
    /// The peer asked for the connection to be closed.
    pub(super) close: bool,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Takes a complete request, body included, off the front of `bytes`.
    pub(super) fn parse(bytes: &mut Vec<u8>) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (mut close, mut body) = (false, 0);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "connection" => close = value.trim().eq_ignore_ascii_case("close"),
                "content-length" => body = value.trim().parse().ok()?,
                _ => {}
            }
        }
        if bytes.len() < end + body {
            return None;
        }
        let body = bytes[end..end + body].to_vec();
        bytes.drain(..end + body.len());
        Some(Self { method, target, close, body })
    }

    /// The path without the version in front and without the query.
    pub(super) fn path(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        match path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|slash| &rest[slash..])) {
            Some(rest) => rest,
            None => path,
        }
    }

    pub(super) fn query(&self, key: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
    }
}

/// The sandbox that a container's id or name stands for.
pub(super) fn find<'a>(state: &'a State, name: &str) -> Option<&'a Sandbox> {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let by_name = name.strip_prefix("sandbox-").and_then(|id| state.sandboxes.get(id));
    by_name.or_else(|| state.sandboxes.values().find(|sandbox| container_id(sandbox) == name))
}

/// How long the answer is to take.
pub(super) fn delay(request: &Request, shared: &Shared) -> Duration {
    let inspected = request.path().strip_prefix("/containers/").and_then(|rest| rest.strip_suffix("/json"));
    inspected.and_then(|name| find(&shared.state(), name).map(|sandbox| sandbox.inspect_delay)).unwrap_or_default()
}

/// The request is for the engine's events.
pub(super) fn is_events(request: &Request) -> bool {
    request.path() == "/events"
}

/// The complete answer to a request that is neither for a log nor for events.
pub(super) fn answer(request: &Request, shared: &Shared) -> Vec<u8> {
    let mut state = shared.state();
    if let Some(answer) = create::answer(request, &mut state) {
        return answer;
    }
    match (request.method.as_str(), request.path()) {
        ("GET" | "HEAD", "/_ping") => response(200, "text/plain; charset=utf-8", "OK"),
        ("GET", "/version") => json_response(200, &version()),
        ("GET", "/info") => json_response(200, &json!({"ID": "scripted", "OSType": "linux", "Architecture": "x86_64"})),
        ("GET", "/images/json") => json_response(200, &json!([{"Id": IMAGE, "RepoTags": ["osb-test/busybox:1"]}])),
        ("GET", "/networks") => {
            json_response(200, &json!([{"Name": "bridge", "Id": "n1"}, {"Name": "Made-Net", "Id": "n2"}]))
        }
        ("GET", "/containers/json") => json_response(200, &list(&state, request)),
        ("GET", path) if path.starts_with("/images/") => {
            json_response(200, &json!({"Id": IMAGE, "RepoTags": ["osb-test/busybox:1"], "Os": "linux"}))
        }
        ("GET", path) => match path.strip_prefix("/containers/").and_then(|rest| rest.strip_suffix("/json")) {
            Some(name) => match find(&state, name) {
                Some(sandbox) => json_response(200, &inspect(sandbox)),
                None => error(404, &format!("No such container: {name}")),
            },
            None => no_such(path),
        },
        (_, path) => error(404, &format!("the scripted engine has no {path}")),
    }
}

fn no_such(path: &str) -> Vec<u8> {
    match path.strip_prefix("/containers/").and_then(|rest| rest.strip_suffix("/logs")) {
        Some(name) => error(404, &format!("No such container: {name}")),
        None => error(404, "page not found"),
    }
}

/// A complete answer in the engine's form for errors.
pub(super) fn error(status: u16, message: &str) -> Vec<u8> {
    json_response(status, &json!({ "message": message }))
}

/// The head of a log stream, on a connection that is kept or not.
pub(super) fn log_head(keep: bool) -> Vec<u8> {
    let connection = if keep { "" } else { "Connection: close\r\n" };
    format!("HTTP/1.1 200 OK\r\n{COMMON}{connection}Transfer-Encoding: chunked\r\n\r\n").into_bytes()
}

/// The head of the events stream.
pub(super) fn stream_head() -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{COMMON}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .into_bytes()
}

const COMMON: &str = "Api-Version: 1.41\r\nDocker-Experimental: false\r\nOstype: linux\r\n\
                      Server: Docker/20.10.24 (linux)\r\nDate: Mon, 23 Nov 2026 07:05:02 GMT\r\n";

pub(super) fn json(text: &str) -> Vec<u8> {
    response(200, "application/json", text)
}

/// The same, of what is yet to be written as JSON.
pub(super) fn json_response(status: u16, body: &Value) -> Vec<u8> {
    response(status, "application/json", &format!("{body}\n"))
}

fn response(status: u16, kind: &str, body: &str) -> Vec<u8> {
    response_of(status, kind, body.as_bytes())
}

pub(super) fn response_of(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} Scripted\r\n{COMMON}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// An answer without a body.
pub(super) fn empty(status: u16) -> Vec<u8> {
    let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
    format!("HTTP/1.1 {status} Scripted\r\n{COMMON}{length}\r\n").into_bytes()
}

/// An event of a sandbox's container, in the engine's form.
pub(super) fn event(sandbox: &Sandbox, action: &str) -> String {
    let mut attributes = labels(sandbox);
    attributes["image"] = "osb-test/busybox:1".into();
    attributes["name"] = format!("sandbox-{}", sandbox.id).into();
    let event = json!({
        "status": action, "id": container_id(sandbox), "Type": "container", "Action": action, "scope": "local",
        "Actor": {"ID": container_id(sandbox), "Attributes": attributes},
        "time": 1_795_417_501, "timeNano": 1_795_417_501_278_057_724_u64,
    });
    format!("{event}\n")
}

fn version() -> Value {
    json!({
        "Platform": {"Name": ""}, "Components": [], "Version": "20.10.24", "ApiVersion": "1.41",
        "MinAPIVersion": "1.12", "GitCommit": "5d6db84", "GoVersion": "go1.19.8", "Os": "linux", "Arch": "amd64",
    })
}

/// A container id in the engine's form, made of the sandbox's.
pub(super) fn container_id(sandbox: &Sandbox) -> String {
    let digits = sandbox.id.replace('-', "");
    format!("{digits}{digits}")
}

fn labels(sandbox: &Sandbox) -> Value {
    let own = [("opensandbox.io/id".to_owned(), sandbox.id.clone())];
    let all = own.iter().chain(&sandbox.labels);
    Value::Object(all.map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect())
}

fn inspect(sandbox: &Sandbox) -> Value {
    let id = container_id(sandbox);
    let state = sandbox.state.as_str();
    let running = matches!(state, "running" | "paused" | "restarting");
    json!({
        "Id": id, "Name": format!("/sandbox-{}", sandbox.id), "Created": "2026-11-23T07:05:01.278057724Z",
        "Path": "/bin/sh", "Args": ["-c", "sleep 100"],
        "State": {
            "Status": state, "Running": running, "Paused": state == "paused", "Restarting": state == "restarting",
            "OOMKilled": false, "Dead": state == "dead", "Pid": if running { 7278 } else { 0 }, "ExitCode": 0,
            "Error": "", "StartedAt": "2026-11-23T07:05:00.718498989Z",
            "FinishedAt": if running { "0001-01-01T00:00:00Z" } else { "2026-11-23T07:06:01.718498989Z" },
        },
        "Image": IMAGE, "RestartCount": 0, "Driver": "overlay2", "Platform": "linux",
        "LogPath": format!("/nonexistent/{id}/{id}-json.log"),
        "HostConfig": {
            "NetworkMode": network_mode(sandbox), "LogConfig": {"Type": sandbox.log_driver, "Config": {}},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        },
        "Config": {
            "Tty": sandbox.tty, "Cmd": ["/bin/sh", "-c", "sleep 100"], "Entrypoint": null, "Env": [],
            "Image": "osb-test/busybox:1", "Labels": labels(sandbox),
        },
        "NetworkSettings": {"Ports": {}, "Networks": {}}, "Mounts": [],
    })
}

/// A container whose execd has a port on the host is not in the host's network.
fn network_mode(sandbox: &Sandbox) -> &'static str {
    let has_port = sandbox.labels.iter().any(|(key, _)| key == "opensandbox.io/embedding-proxy-port");
    if has_port { "bridge" } else { "host" }
}

fn list(state: &State, request: &Request) -> Value {
    let filters: Value =
        request.query("filters").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
    // Both forms are in use: {"label": ["a=b"]} and {"label": {"a=b": true}}.
    let wanted: Vec<String> = match &filters["label"] {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Object(items) => items.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let all = request.query("all").is_some_and(|all| all == "1" || all == "true");
    let shown = state.sandboxes.values().filter(|sandbox| all || sandbox.state == "running");
    let shown = shown.filter(|sandbox| wanted.iter().all(|label| has_label(sandbox, label)));
    Value::Array(shown.map(summary).collect())
}

fn has_label(sandbox: &Sandbox, wanted: &str) -> bool {
    let labels = labels(sandbox);
    match wanted.split_once('=') {
        Some((key, value)) => labels[key] == value,
        None => labels.get(wanted).is_some(),
    }
}

fn summary(sandbox: &Sandbox) -> Value {
    json!({
        "Id": container_id(sandbox), "Names": [format!("/sandbox-{}", sandbox.id)], "Image": "osb-test/busybox:1",
        "ImageID": IMAGE, "Command": "/bin/sh -c 'sleep 100'", "Created": 1_795_417_501, "Ports": [],
        "Labels": labels(sandbox), "State": sandbox.state, "Status": "Up 1 second",
        "HostConfig": {"NetworkMode": "host"}, "NetworkSettings": {"Networks": {}}, "Mounts": [],
    })
}
