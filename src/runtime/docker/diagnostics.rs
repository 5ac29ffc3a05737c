//! What the engine knows of a container, as text for a person (logs.md §3). Formats are the existing server's, to the
//! byte; values that are secrets by their name are not shown.

use std::{collections::HashMap, fmt::Write as _};

use bollard::models::{
    ContainerInspectResponse, ContainerState, Health, HealthcheckResult, HostConfig, NetworkSettings, PortBinding,
};

use crate::runtime::docker::engine::{labels::CREATED_BY, mask::Mask};

/// What stands for a secret.
const MASK: &str = "***";

/// Parts of a variable's name that make its value a secret.
const SECRET_VARIABLES: [&str; 8] = ["SECRET", "TOKEN", "KEY", "PASS", "PWD", "DSN", "AUTH", "CREDENTIAL"];

/// Parts of a label's key that make its value a secret.
const SECRET_LABELS: [&str; 5] = ["SECRET", "TOKEN", "PASSWORD", "APIKEY", "CREDENTIAL"];

/// Longest output of a health check that is shown, in characters.
const HEALTH_OUTPUT: usize = 200;

/// How many lines the events have when nothing happened: the container, its state, its creation.
const UNEVENTFUL: usize = 3;

/// The container's properties.
pub(super) fn inspect(container: &ContainerInspectResponse) -> String {
    let mut text = head(container);
    let sections = [
        resources(container.host_config.as_ref()),
        networks(container.network_settings.as_ref()),
        ports(container.network_settings.as_ref()),
        labels(container.config.as_ref().and_then(|config| config.labels.as_ref())),
        environment(container.config.as_ref().and_then(|config| config.env.as_deref())),
    ];
    for section in sections.into_iter().flatten() {
        text.push_str("\n\n");
        text.push_str(&section);
    }
    text
}

/// What can be told of the container's past from its state, with the last `limit` results of its health check.
pub(super) fn events(container: &ContainerInspectResponse, limit: usize) -> String {
    let none = ContainerState::default();
    let state = container.state.as_ref().unwrap_or(&none);
    let mut lines = vec![
        format!("Container:  {} ({})", short_id(container), name(container)),
        format!("Status:     {}", status(state)),
        format!("Created:    {}", container.created.as_deref().unwrap_or_default()),
    ];
    lines.extend(time(state.started_at.as_deref()).map(|time| format!("Started:    {time}")));
    lines.extend(time(state.finished_at.as_deref()).map(|time| format!("Finished:   {time}")));
    if state.oom_killed.unwrap_or_default() {
        lines.push("Event:      OOMKilled - container was killed due to out-of-memory".to_owned());
    }
    let code = state.exit_code.filter(|code| *code != 0);
    lines.extend(code.map(|code| format!("Event:      Exited with code {code}")));
    lines.extend(error(container, state).map(|error| format!("Event:      Error - {error}")));
    lines.extend(state.health.iter().flat_map(|health| health_lines(health, limit)));
    if lines.len() <= UNEVENTFUL {
        lines.push("(no notable events)".to_owned());
    }
    lines.join("\n")
}

fn head(container: &ContainerInspectResponse) -> String {
    let none = ContainerState::default();
    let state = container.state.as_ref().unwrap_or(&none);
    let image = container.config.as_ref().and_then(|config| config.image.as_deref()).unwrap_or_default();
    let mut lines = vec![
        format!("Container ID:   {}", short_id(container)),
        format!("Name:           {}", name(container)),
        format!("Image:          {image}"),
        format!("Status:         {}", status(state)),
        format!("Running:        {}", flag(state.running)),
        format!("Paused:         {}", flag(state.paused)),
        format!("OOMKilled:      {}", flag(state.oom_killed)),
        format!("Exit Code:      {}", state.exit_code.unwrap_or_default()),
        format!("Started At:     {}", state.started_at.as_deref().unwrap_or_default()),
        format!("Finished At:    {}", state.finished_at.as_deref().unwrap_or_default()),
    ];
    lines.extend(error(container, state).map(|error| format!("Error:          {error}")));
    lines.join("\n")
}

fn resources(host: Option<&HostConfig>) -> Option<String> {
    let positive = |value: Option<i64>| value.filter(|value| *value > 0);
    let mut text = "Resources:".to_owned();
    if let Some(nanos) = positive(host.and_then(|host| host.nano_cpus)) {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  CPU:          {:.2} cores", nanos as f64 / 1e9);
    }
    if let Some(bytes) = positive(host.and_then(|host| host.memory)) {
        let _ = write!(text, "\n  Memory:       {} MiB", bytes / (1024 * 1024));
    }
    if let Some(limit) = positive(host.and_then(|host| host.pids_limit)) {
        let _ = write!(text, "\n  PIDs Limit:   {limit}");
    }
    Some(text)
}

fn networks(settings: Option<&NetworkSettings>) -> Option<String> {
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let lines = networks
        .into_iter()
        .flatten()
        .map(|(name, endpoint)| format!("  {name}: {}", endpoint.ip_address.as_deref().unwrap_or_default()));
    Some(section("Network:", lines))
}

fn ports(settings: Option<&NetworkSettings>) -> Option<String> {
    let ports = settings.and_then(|settings| settings.ports.as_ref()).filter(|ports| !ports.is_empty())?;
    let mut ports: Vec<_> = ports.iter().collect();
    ports.sort_by_key(|(port, _)| *port);
    let mut text = "Ports:".to_owned();
    for (port, bindings) in ports {
        match bindings.as_deref().unwrap_or_default() {
            [] => text.push_str(&format!("\n  {port} (not bound)")),
            bindings => text.extend(bindings.iter().map(|binding| format!("\n  {port} -> {}", address(binding)))),
        }
    }
    Some(text)
}

fn address(binding: &PortBinding) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}:{}", part(&binding.host_ip), part(&binding.host_port))
}

fn labels(labels: Option<&HashMap<String, String>>) -> Option<String> {
    let labels = labels.filter(|labels| !labels.is_empty())?;
    Some(section(
        "Labels:",
        // Who created it is the gateways' own affair, and the existing server has no such label.
        labels.iter().filter(|(key, _)| *key != CREATED_BY).map(|(key, value)| {
            let shown = if is_secret(key, &SECRET_LABELS) { MASK } else { value };
            format!("  {key}={shown}")
        }),
    ))
}

fn environment(env: Option<&[String]>) -> Option<String> {
    let env = env.filter(|env| !env.is_empty())?;
    let lines = env.iter().map(|entry| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        format!("  {name}={}", if is_hidden(entry) { MASK } else { value })
    });
    Some(std::iter::once("Environment:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n"))
}

/// A heading and its lines, sorted: the engine's maps have no order here.
fn section(heading: &str, lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines.insert(0, heading.to_owned());
    lines.join("\n")
}

fn health_lines(health: &Health, limit: usize) -> Vec<String> {
    let status = health.status.map(|status| status.to_string()).unwrap_or_default();
    let log = health.log.as_deref().unwrap_or_default();
    let last = &log[log.len().saturating_sub(limit)..];
    std::iter::once(format!("Health:     {status}")).chain(last.iter().map(check_line)).collect()
}

fn check_line(check: &HealthcheckResult) -> String {
    let start = check.start.as_deref().unwrap_or_default();
    let output: String = check.output.as_deref().unwrap_or_default().trim().chars().take(HEALTH_OUTPUT).collect();
    format!("  [{start}] exit={} {output}", check.exit_code.unwrap_or_default())
}

fn short_id(container: &ContainerInspectResponse) -> &str {
    let id = container.id.as_deref().unwrap_or_default();
    id.get(..12).unwrap_or(id)
}

fn name(container: &ContainerInspectResponse) -> &str {
    container.name.as_deref().unwrap_or_default().trim_start_matches('/')
}

fn status(state: &ContainerState) -> String {
    state.status.map(|status| status.to_string()).unwrap_or_default()
}

/// As Python writes it.
fn flag(value: Option<bool>) -> &'static str {
    if value.unwrap_or_default() { "True" } else { "False" }
}

/// A time that is one: the engine writes year 1 for none.
fn time(time: Option<&str>) -> Option<&str> {
    time.filter(|time| !time.is_empty() && !time.starts_with("0001-01-01"))
}

/// Why the engine could not start it. It may quote what it was given, of which secrets are not shown here either.
fn error(container: &ContainerInspectResponse, state: &ContainerState) -> Option<String> {
    let error = state.error.as_deref().filter(|error| !error.is_empty())?;
    let config = container.config.as_ref();
    let env = config.and_then(|config| config.env.as_deref()).unwrap_or_default();
    let env: Vec<String> = env.iter().filter(|entry| is_hidden(entry)).cloned().collect();
    let labels = config.and_then(|config| config.labels.as_ref()).into_iter().flatten();
    let labels = labels.filter(|(key, _)| is_secret(key, &SECRET_LABELS)).map(|(_, value)| value);
    Some(Mask::new(&env, labels).apply(error))
}

/// Whether a variable's value is not shown.
fn is_hidden(entry: &str) -> bool {
    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
    is_secret(name, &SECRET_VARIABLES) || has_password(value)
}

fn is_secret(name: &str, parts: &[&str]) -> bool {
    let name = name.to_uppercase();
    parts.iter().any(|part| name.contains(part))
}

/// Whether a value is an address with a password in it: `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    let after_scheme = value.split_once("://").map(|(_, rest)| rest);
    after_scheme.and_then(|rest| rest.split_once('@')).is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests;
