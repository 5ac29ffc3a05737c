//! Lifecycle hooks (http-api.md §6.7): what execd runs beside a sandbox's own command.

use serde::Serialize;
use serde_json::Value;

use crate::model::{
    read::{self, Members},
    violation::Report,
};

/// The longest a `preStart` hook may take, in seconds.
const MAX_PRE_START: u64 = 10_800;

/// The longest one run of a periodic hook may take, in seconds.
const MAX_PERIODIC: u64 = 300;

/// The hooks of a sandbox. Without `Debug`, since a command may hold a secret.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// What runs before the sandbox's own command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_start: Option<Run>,
    /// What runs again and again, in the client's order; names are unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub periodic: Option<Vec<Periodic>>,
}

/// A hook that runs at certain times.
#[derive(Clone, Serialize)]
pub struct Periodic {
    /// Its name, without blanks around it; not empty.
    pub name: String,
    /// When it runs, without blanks around it; not empty. Not read here.
    pub schedule: String,
    /// What runs.
    #[serde(flatten)]
    pub run: Run,
}

/// A command and its time.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The program, which is not blank, and its arguments.
    pub command: Vec<String>,
    /// How long one run may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

impl Lifecycle {
    /// The hooks as execd is handed them: compact JSON.
    ///
    /// # Errors
    /// None that hooks could cause.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Reads `lifecycle`. Members it does not know are refused, unlike anywhere else in the request.
pub(super) fn read(report: &mut Report, value: &Value) -> Option<Lifecycle> {
    let members = read::object(report, value)?;
    let before = report.count();
    let pre_start = read::optional(report, members, "preStart", pre_start);
    let periodic = read::optional(report, members, "periodic", |r, v| read::list(r, v, 0, periodic));
    read::forbid_others(report, members, &["preStart", "periodic"]);
    if report.count() == before && !are_unique(periodic.as_deref().unwrap_or_default()) {
        report.add_rule("Periodic lifecycle hook names must be unique.");
    }
    Some(Lifecycle { pre_start, periodic })
}

fn pre_start(report: &mut Report, value: &Value) -> Option<Run> {
    let members = read::object(report, value)?;
    let before = report.count();
    let run = run(report, members, MAX_PRE_START);
    read::forbid_others(report, members, &["command", "timeoutSeconds"]);
    let run = run?;
    if report.count() == before && starts_blank(&run.command) {
        report.add_rule("Lifecycle hook command must not be empty.");
    }
    Some(run)
}

fn periodic(report: &mut Report, value: &Value) -> Option<Periodic> {
    let members = read::object(report, value)?;
    let before = report.count();
    let name = read::required(report, members, "name", |r, v| read::string_of(r, v, 1..=usize::MAX));
    let schedule = read::required(report, members, "schedule", |r, v| read::string_of(r, v, 1..=usize::MAX));
    let run = run(report, members, MAX_PERIODIC);
    read::forbid_others(report, members, &["name", "schedule", "command", "timeoutSeconds"]);
    let hook = Periodic { name: name?.trim().to_owned(), schedule: schedule?.trim().to_owned(), run: run? };
    if report.count() == before {
        require_filled(report, &hook);
    }
    Some(hook)
}

/// The first rule that is broken is the only one named.
fn require_filled(report: &mut Report, hook: &Periodic) {
    if hook.name.is_empty() {
        report.add_rule("Periodic lifecycle hook name must not be blank.");
    } else if hook.schedule.is_empty() {
        report.add_rule("Periodic lifecycle hook schedule must not be blank.");
    } else if starts_blank(&hook.run.command) {
        report.add_rule("Periodic lifecycle hook command must not be empty.");
    }
}

fn run(report: &mut Report, members: &Members, longest: u64) -> Option<Run> {
    let command = read::required(report, members, "command", |r, v| read::list(r, v, 1, read::string));
    let timeout_seconds = read::optional(report, members, "timeoutSeconds", |r, v| read::integer(r, v, 1..=longest));
    Some(Run { command: command?, timeout_seconds })
}

fn starts_blank(command: &[String]) -> bool {
    command.first().is_none_or(|program| program.trim().is_empty())
}

fn are_unique(hooks: &[Periodic]) -> bool {
    let mut names: Vec<&str> = hooks.iter().map(|hook| hook.name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).all(|pair| pair[0] != pair[1])
}
