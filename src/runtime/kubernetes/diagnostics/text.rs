//! The forms of the existing server, to the byte where they are known.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};

use crate::runtime::kubernetes::objects::{Condition, Container, ContainerState, ContainerStatus, Event, Pod};

/// Stands for what is not told.
const NOTHING: &str = "N/A";

/// What stands for no event.
const NO_EVENTS: &str = "(no events)";

/// A pod's properties: no variables and no annotations, where secrets are.
pub(super) fn inspect(pod: &Pod) -> String {
    let (meta, spec, status) = (&pod.metadata, &pod.spec, &pod.status);
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "None".to_owned());
    let mut lines = vec![
        format!("Pod Name:       {}", pod.name()),
        format!("Namespace:      {}", text(&meta.namespace)),
        format!("Node:           {}", spec.node_name.as_deref().unwrap_or(NOTHING)),
        format!("Phase:          {}", text(&status.phase)),
        format!("Pod IP:         {}", text(&status.pod_ip)),
        format!("Host IP:        {}", text(&status.host_ip)),
        format!("Start Time:     {}", status.start_time.map_or_else(|| "None".to_owned(), time)),
    ];
    lines.extend(spec.runtime_class_name.as_ref().map(|class| format!("Runtime Class:  {class}")));
    lines.extend(status.reason.as_ref().map(|reason| format!("Reason:         {}", one_line(reason))));
    lines.extend(status.message.as_ref().map(|message| format!("Message:        {}", one_line(message))));
    section(&mut lines, "Containers:", status.container_statuses.iter().flat_map(container));
    section(&mut lines, "Init Containers:", status.init_container_statuses.iter().flat_map(init_container));
    section(&mut lines, "Conditions:", status.conditions.iter().flat_map(condition));
    let labels = meta.labels.iter().flatten().map(|(key, value)| format!("  {key}={value}"));
    section(&mut lines, "Labels:", labels);
    lines.extend([String::new(), "Resources:".to_owned()]);
    lines.extend(spec.containers.iter().flat_map(resources));
    lines.join("\n")
}

/// The last `limit` events, one a line, in the order of time.
pub(super) fn events(mut events: Vec<Event>, limit: usize) -> String {
    // Stable: what has no time, or the same, stays in the API server's order.
    events.sort_by_key(Event::moment);
    let shown = events.split_off(events.len().saturating_sub(limit));
    if shown.is_empty() {
        return NO_EVENTS.to_owned();
    }
    let line = |event: &Event| {
        let text = |text: &Option<String>| text.as_deref().map_or_else(|| NOTHING.to_owned(), one_line);
        let at = event.moment().map_or_else(|| NOTHING.to_owned(), time);
        let message = one_line(event.message.as_deref().unwrap_or_default());
        format!("[{at}] {:<8} {:<20} {message}", text(&event.kind), text(&event.reason))
    };
    shown.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A heading and its lines, after an empty one; nothing without lines.
fn section(lines: &mut Vec<String>, heading: &str, within: impl Iterator<Item = String>) {
    let mut within = within.peekable();
    if within.peek().is_some() {
        lines.extend([String::new(), heading.to_owned()]);
        lines.extend(within);
    }
}

fn container(status: &ContainerStatus) -> Vec<String> {
    let mut lines = vec![
        format!("  {}:", status.name),
        format!("    Ready:          {}", flag(status.ready)),
        format!("    Restart Count:  {}", status.restart_count),
        format!("    Image:          {}", one_line(status.image.as_deref().unwrap_or_default())),
    ];
    lines.extend(state(&status.state));
    lines.extend(told(&status.last_state).map(|state| format!("    Last State:     {state}")));
    lines
}

fn init_container(status: &ContainerStatus) -> Vec<String> {
    let mut lines = vec![format!("  {}:", status.name), format!("    Ready:          {}", flag(status.ready))];
    lines.extend(state(&status.state));
    lines
}

/// A container's state, with the kubelet's words on it.
fn state(state: &ContainerState) -> Vec<String> {
    let message = match state {
        ContainerState { waiting: Some(waiting), .. } => waiting.message.as_deref(),
        ContainerState { terminated: Some(terminated), .. } => terminated.message.as_deref(),
        ContainerState { .. } => None,
    };
    let state = told(state).map(|state| format!("    State:          {state}"));
    let message = message.filter(|message| !message.is_empty());
    state.into_iter().chain(message.map(|message| format!("    Message:        {}", one_line(message)))).collect()
}

fn told(state: &ContainerState) -> Option<String> {
    let reason = |reason: &Option<String>| reason.as_deref().map_or_else(|| NOTHING.to_owned(), one_line);
    match state {
        ContainerState { running: Some(running), .. } => {
            Some(format!("Running (since {})", running.started_at.map_or_else(|| "None".to_owned(), time)))
        }
        ContainerState { waiting: Some(waiting), .. } => Some(format!("Waiting ({})", reason(&waiting.reason))),
        ContainerState { terminated: Some(ended), .. } => {
            Some(format!("Terminated (exit={}, reason={})", ended.exit_code, reason(&ended.reason)))
        }
        ContainerState { .. } => None,
    }
}

fn condition(condition: &Condition) -> Vec<String> {
    let [kind, status, reason] =
        [condition.kind.as_str(), condition.status.as_str(), condition.reason.as_deref().unwrap_or(NOTHING)]
            .map(one_line);
    let mut lines = vec![format!("  {kind}: {status} (reason={reason})")];
    // Why something does not hold, such as that no node has room.
    let why = condition.message.as_deref().filter(|message| !message.is_empty() && !condition.is_true());
    lines.extend(why.map(|why| format!("    Message: {}", one_line(why))));
    lines
}

fn resources(container: &Container) -> Vec<String> {
    let Container { name, resources, .. } = container;
    // A real API server shows them for each container, empty or not.
    let Some(resources) = resources else { return Vec::new() };
    let mut lines = vec![format!("  {name}:")];
    let all = [("Requests: ", &resources.requests), ("Limits:   ", &resources.limits)];
    lines.extend(
        all.iter().filter(|(_, map)| !map.is_empty()).map(|(title, map)| format!("    {title}{}", dictionary(map))),
    );
    lines
}

/// As Python writes it.
fn dictionary(map: &BTreeMap<String, String>) -> String {
    let members: Vec<_> = map.iter().map(|(key, value)| format!("'{key}': '{value}'")).collect();
    format!("{{{}}}", members.join(", "))
}

/// As Python writes it.
fn flag(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// As Python writes it: with microseconds where there are any.
fn time(time: Timestamp) -> String {
    let civil = time.to_zoned(TimeZone::UTC).datetime();
    let seconds = civil.strftime("%Y-%m-%d %H:%M:%S");
    match civil.subsec_nanosecond() / 1_000 {
        0 => format!("{seconds}+00:00"),
        micros => format!("{seconds}.{micros:06}+00:00"),
    }
}

/// An event is a line: its message may have several, or what a terminal obeys, which a sandbox's own program can bring about.
fn one_line(text: &str) -> String {
    let is_line_s = |char: char| char == '\t' || !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}');
    text.trim_end().chars().map(|char| if is_line_s(char) { char } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_looks_as_by_the_existing_server() {
        // Transcript 34.
        let real = pod(json!({
            "metadata": {"name": "a-0", "namespace": "osb", "labels": {"opensandbox.io/id": "a", "project": "apollo"}},
            "spec": {"nodeName": "node1", "containers": [{"name": "sandbox", "resources": {
                "requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}}]},
            "status": {
                "phase": "Running", "podIP": "10.78.0.53", "hostIP": "127.0.0.1", "startTime": "2026-11-26T13:08:58Z",
                "containerStatuses": [{"name": "sandbox", "ready": true, "restartCount": 0, "image": "example.test/busybox:1",
                    "state": {"running": {"startedAt": "2026-11-26T13:09:00Z"}}, "lastState": {}}],
                "initContainerStatuses": [{"name": "execd-installer", "ready": true,
                    "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}],
                "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
            },
        }));
        let expected = "Pod Name:       a-0\nNamespace:      osb\nNode:           node1\nPhase:          Running\n\
            Pod IP:         10.78.0.53\nHost IP:        127.0.0.1\nStart Time:     2026-11-26 13:08:58+00:00\n\n\
            Containers:\n  sandbox:\n    Ready:          True\n    Restart Count:  0\n    Image:          example.test/busybox:1\n    \
            State:          Running (since 2026-11-26 13:09:00+00:00)\n\n\
            Init Containers:\n  execd-installer:\n    Ready:          True\n    State:          Terminated (exit=0, reason=Completed)\n\n\
            Conditions:\n  Initialized: True (reason=N/A)\n  Ready: True (reason=N/A)\n\n\
            Labels:\n  opensandbox.io/id=a\n  project=apollo\n\n\
            Resources:\n  sandbox:\n    Requests: {'cpu': '200m', 'memory': '64Mi'}\n    Limits:   {'cpu': '200m', 'memory': '64Mi'}";
        assert_eq!(inspect(&real), expected);
    }

    #[test]
    fn a_pod_without_a_status_is_short() {
        // Transcript 12.
        let bare = pod(json!({"metadata": {"name": "p", "namespace": "osb", "labels": {"a": "b"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "sandbox"}]}, "status": {"phase": "Running", "podIP": "127.0.0.1", "hostIP": "10.0.0.1"}}));
        assert!(inspect(&bare).ends_with("Start Time:     None\n\nLabels:\n  a=b\n\nResources:"), "{}", inspect(&bare));
    }

    #[test]
    fn what_a_container_waits_for_is_told() {
        let waiting = pod(json!({"status": {
            "containerStatuses": [{"name": "sandbox", "restartCount": 3,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off\u{1b}pulling\timage\n\"x\""}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}],
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}],
        }}));
        let text = inspect(&waiting);
        for line in [
            "State:          Waiting (ImagePullBackOff)",
            "Message:        Back-off pulling\timage \"x\"",
            "Last State:     Terminated (exit=137, reason=OOMKilled)",
            "  PodScheduled: False (reason=Unschedulable)\n    Message: 0/1 nodes",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn events_are_lines_in_the_order_of_time() {
        let event = |value: Value| serde_json::from_value::<Event>(value).unwrap();
        let all = || {
            vec![
                event(
                    json!({"type": "Normal", "reason": "Started", "message": "Container started", "lastTimestamp": "2026-11-26T13:09:00Z"}),
                ),
                event(
                    json!({"type": "Warning", "reason": "MissingClusterDNS", "message": "two\nlines\n", "firstTimestamp": "2026-11-26T13:08:59Z"}),
                ),
                event(
                    json!({"type": "Normal", "reason": "Scheduled", "message": "Successfully assigned", "lastTimestamp": null,
                    "eventTime": "2026-11-26T13:08:58.586056Z"}),
                ),
            ]
        };
        let expected = "[2026-11-26 13:08:58.586056+00:00] Normal   Scheduled            Successfully assigned\n\
            [2026-11-26 13:08:59+00:00] Warning  MissingClusterDNS    two lines\n\
            [2026-11-26 13:09:00+00:00] Normal   Started              Container started";
        assert_eq!(events(all(), 50), expected);
        assert_eq!(events(all(), 1), expected.rsplit('\n').next().unwrap());
        assert_eq!(events(vec![event(json!({}))], 50), "[N/A] N/A      N/A                  ");
        assert_eq!(events(Vec::new(), 50), "(no events)");
    }
}
