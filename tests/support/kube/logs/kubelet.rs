//! What the kubelet decides from the pod's status: which instance of a container a request reads.

use serde_json::Value;

/// The instance that is read.
pub(super) struct Chosen {
    /// The ID of the instance.
    pub(super) id: String,
    /// Its log file on the node, which errors name.
    pub(super) path: String,
    /// The directory of that file.
    pub(super) directory: String,
}

/// The containers of a pod by the lists of its spec, init containers first.
const LISTS: [(&str, &str); 3] = [
    ("initContainers", "initContainerStatuses"),
    ("containers", "containerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
];

/// The names of one list of the pod's spec.
fn names<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a str> {
    pod["spec"][list].as_array().into_iter().flatten().filter_map(|container| container["name"].as_str())
}

/// The container that a request means, or the text of a 400.
pub(super) fn container<'a>(pod: &'a Value, pod_name: &str, asked: &'a str) -> Result<&'a str, String> {
    if !asked.is_empty() {
        let is_there = LISTS.iter().any(|(list, _)| names(pod, list).any(|name| name == asked));
        return if is_there { Ok(asked) } else { Err(format!("container {asked} is not valid for pod {pod_name}")) };
    }
    let regular: Vec<&str> = names(pod, "containers").collect();
    match regular[..] {
        [only] => Ok(only),
        [] => Err(format!("a container name must be specified for pod {pod_name}")),
        _ => {
            let all: Vec<&str> = names(pod, "initContainers").chain(regular).collect();
            let all = all.join(" ");
            Err(format!("a container name must be specified for pod {pod_name}, choose one of: [{all}]"))
        }
    }
}

/// The instance of `container` that is read, or the text of a 400.
pub(super) fn instance(pod: &Value, container: &str, previous: bool) -> Result<Chosen, String> {
    let metadata = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let name = metadata("name");
    let status = LISTS
        .iter()
        .flat_map(|(_, list)| pod["status"][list].as_array().into_iter().flatten())
        .find(|status| status["name"] == container)
        .unwrap_or(&Value::Null);
    let id = |of: &Value| of["containerID"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    let (state, last) = (&status["state"], &status["lastState"]["terminated"]);
    let waits = |why: &str| format!("container {container:?} in pod {name:?} is waiting to start: {why}");
    let mut is_older = previous;
    let id = if previous {
        id(last).ok_or_else(|| format!("previous terminated container {container:?} in pod {name:?} not found"))?
    } else if !state["running"].is_null() {
        id(status).ok_or_else(|| waits("no logs yet"))?
    } else if !state["terminated"].is_null() {
        let present = id(&state["terminated"]);
        is_older = present.is_none();
        let is_terminated = || format!("container {container:?} in pod {name:?} is terminated");
        present.or_else(|| id(last)).ok_or_else(is_terminated)?
    } else if let Some(id) = id(last) {
        // In CrashLoopBackOff, the last instance: its number is the restart count.
        is_older = false;
        id
    } else {
        let has_init = names(pod, "initContainers").next().is_some();
        let is_regular = names(pod, "containers").any(|known| known == container);
        let first = if has_init && is_regular { "PodInitializing" } else { "ContainerCreating" };
        return Err(waits(match state["waiting"]["reason"].as_str().unwrap_or(first) {
            "ErrImagePull" => "image can't be pulled",
            "ImagePullBackOff" => "trying and failing to pull image",
            reason => reason,
        }));
    };
    // In back-off the previous instance is the last one too.
    let is_older = is_older && state["waiting"].is_null();
    let number = status["restartCount"].as_u64().unwrap_or_default().saturating_sub(u64::from(is_older));
    let directory = format!("/var/log/pods/{}_{name}_{}/{container}", metadata("namespace"), metadata("uid"));
    Ok(Chosen { id, path: format!("{directory}/{number}.log"), directory })
}
