//! What of creating a container the scripted engine does: as much as a gateway asks for, with nothing behind it.

use serde_json::{Value, json};

use super::{
    Sandbox, Script, State,
    reply::{Request, container_id, empty, error, find, json_response, response_of},
};

/// The container that execd is read from.
const EXECD: &str = "e1ecde1ecde1ecde1ecde1ecde1ecde1ecde1ecde1ecde1ecde1ecde1ecde1ec";

/// The answer to a request that makes, starts or removes something; `None` for any other.
pub(super) fn answer(request: &Request, state: &mut State) -> Option<Vec<u8>> {
    let path = request.path();
    match request.method.as_str() {
        "POST" if path == "/containers/create" => Some(created(request, state)),
        "POST" if path == "/volumes/create" => {
            let wanted: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let name = wanted["Name"].as_str().unwrap_or("anonymous");
            Some(json_response(
                201,
                &json!({"Name": name, "Driver": "local", "Mountpoint": "/v", "Labels": {}, "Scope": "local", "Options": {}}),
            ))
        }
        "POST" if path.starts_with("/images/create") => {
            Some(json_response(200, &json!({"status": "Status: Downloaded newer image"})))
        }
        "POST" if path.ends_with("/start") => Some(started(path, state)),
        "PUT" if path.ends_with("/archive") => Some(empty(200)),
        "GET" if path.ends_with("/archive") => Some(archive(request)),
        "DELETE" if path.starts_with("/containers/") => Some(removed(path, state)),
        "DELETE" if path.starts_with("/volumes/") => Some(empty(204)),
        _ => None,
    }
}

fn created(request: &Request, state: &mut State) -> Vec<u8> {
    let wanted: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let labels: Vec<(String, String)> = wanted["Labels"].as_object().into_iter().flatten().map(text).collect();
    let id = labels.iter().find(|(key, _)| key == "opensandbox.io/id").map(|(_, id)| id.clone());
    let container = match id {
        Some(id) => {
            let sandbox = Sandbox { id, state: "created".into(), labels, ..Sandbox::new(Script::silent()) };
            let container = container_id(&sandbox);
            state.sandboxes.insert(sandbox.id.clone(), sandbox);
            container
        }
        None => EXECD.to_owned(),
    };
    json_response(201, &json!({"Id": container, "Warnings": []}))
}

fn text((key, value): (&String, &Value)) -> (String, String) {
    (key.clone(), value.as_str().unwrap_or_default().to_owned())
}

fn started(path: &str, state: &mut State) -> Vec<u8> {
    let name = path.trim_start_matches("/containers/").trim_end_matches("/start");
    let id = find(state, name).map(|sandbox| sandbox.id.clone());
    if let Some(sandbox) = id.and_then(|id| state.sandboxes.get_mut(&id)) {
        sandbox.state = "running".into();
    }
    empty(204)
}

fn removed(path: &str, state: &mut State) -> Vec<u8> {
    let name = path.trim_start_matches("/containers/");
    match find(state, name).map(|sandbox| sandbox.id.clone()) {
        Some(id) => {
            state.sandboxes.remove(&id);
            empty(204)
        }
        None if name == EXECD || name.starts_with("sandbox-execd-") => empty(204),
        None => error(404, &format!("No such container: {name}")),
    }
}

/// A file of its name's bytes, for the paths that an execd image must have.
fn archive(request: &Request) -> Vec<u8> {
    let path = request.query("path").unwrap_or_default();
    let name = path.trim_start_matches('/');
    if !["execd", "bootstrap.sh"].contains(&name) {
        return error(404, &format!("Could not find the file {path} in container {EXECD}"));
    }
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(name.len() as u64);
    header.set_mode(0o755);
    builder.append_data(&mut header, name, name.as_bytes()).unwrap();
    response_of(200, "application/x-tar", &builder.into_inner().unwrap())
}
