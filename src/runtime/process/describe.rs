//! A sandbox as text for a person, in the form that containers have (logs.md §3) as far as a process has such things.

use std::fmt::Write as _;

use super::sandbox::Exit;
use crate::model::sandbox::Sandbox;

/// How many lines the events have when nothing happened.
const UNEVENTFUL: usize = 3;

/// The sandbox's properties. Without its environment, which is not kept.
pub(super) fn inspect(sandbox: &Sandbox, exit: Option<Exit>) -> String {
    let image = sandbox.image.as_ref().map_or("", |image| image.uri.as_str());
    let mut text = format!(
        "Sandbox ID:     {}\n\
         Image:          {image}\n\
         Status:         {}\n\
         Running:        {}\n\
         Exit Code:      {}\n\
         Started At:     {}",
        sandbox.id,
        status(exit),
        if exit.is_none() { "True" } else { "False" },
        exit.map_or(0, |exit| exit.code),
        sandbox.created_at,
    );
    // Writing to a string does not fail.
    if let Some(exit) = exit {
        let _ = write!(text, "\nFinished At:    {}", exit.at);
    }
    if !sandbox.metadata.is_empty() {
        text.push_str("\n\nLabels:");
    }
    for (key, value) in &sandbox.metadata {
        let _ = write!(text, "\n  {key}={value}");
    }
    text
}

/// What happened to it.
pub(super) fn events(sandbox: &Sandbox, exit: Option<Exit>) -> String {
    let mut lines = vec![
        format!("Process:    {}", sandbox.id),
        format!("Status:     {}", status(exit)),
        format!("Created:    {}", sandbox.created_at),
    ];
    lines.extend(exit.map(|exit| format!("Finished:   {}", exit.at)));
    let code = exit.map(|exit| exit.code).filter(|code| *code != 0);
    lines.extend(code.map(|code| format!("Event:      Exited with code {code}")));
    if lines.len() <= UNEVENTFUL {
        lines.push("(no notable events)".to_owned());
    }
    lines.join("\n")
}

fn status(exit: Option<Exit>) -> &'static str {
    if exit.is_none() { "running" } else { "exited" }
}
