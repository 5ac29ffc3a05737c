//! The form of lifecycle hooks (http-api.md §6.7). Only the form: no runtime of this version runs them.

use serde_json::Value;

use crate::model::{
    read::{self, Members},
    violation::Report,
};

/// The longest a `preStart` hook may take, in seconds.
const MAX_PRE_START: u64 = 10_800;

/// The longest one run of a periodic hook may take, in seconds.
const MAX_PERIODIC: u64 = 300;

/// Checks `lifecycle`. Members it does not know are refused, unlike anywhere else in the request.
pub(super) fn check(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    let before = report.count();
    read::optional(report, members, "preStart", check_pre_start);
    let names = read::optional(report, members, "periodic", |r, v| read::list(r, v, 0, check_periodic));
    read::forbid_others(report, members, &["preStart", "periodic"]);
    if report.count() == before && !are_unique(names.unwrap_or_default()) {
        report.add_rule("Periodic lifecycle hook names must be unique.");
    }
    Some(())
}

fn check_pre_start(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    let before = report.count();
    let command = check_run(report, members, MAX_PRE_START);
    read::forbid_others(report, members, &["command", "timeoutSeconds"]);
    if report.count() == before {
        require_command(report, &command?);
    }
    Some(())
}

/// Gives the hook's trimmed name.
fn check_periodic(report: &mut Report, value: &Value) -> Option<String> {
    let members = read::object(report, value)?;
    let before = report.count();
    let name = read::required(report, members, "name", |r, v| read::string_of(r, v, 1..=usize::MAX));
    let schedule = read::required(report, members, "schedule", |r, v| read::string_of(r, v, 1..=usize::MAX));
    let command = check_run(report, members, MAX_PERIODIC);
    read::forbid_others(report, members, &["name", "schedule", "command", "timeoutSeconds"]);
    let name = name?.trim().to_owned();
    if report.count() == before {
        require_filled(report, &name, &schedule?, &command?);
    }
    Some(name)
}

/// The first rule that is broken is the only one named.
fn require_filled(report: &mut Report, name: &str, schedule: &str, command: &[String]) {
    if name.is_empty() {
        report.add_rule("Periodic lifecycle hook name must not be blank.");
    } else if schedule.trim().is_empty() {
        report.add_rule("Periodic lifecycle hook schedule must not be blank.");
    } else if starts_blank(command) {
        report.add_rule("Periodic lifecycle hook command must not be empty.");
    }
}

fn check_run(report: &mut Report, members: &Members, longest: u64) -> Option<Vec<String>> {
    let command = read::required(report, members, "command", |r, v| read::list(r, v, 1, read::string));
    read::optional(report, members, "timeoutSeconds", |r, v| read::integer(r, v, 1..=longest));
    command
}

fn require_command(report: &mut Report, command: &[String]) {
    if starts_blank(command) {
        report.add_rule("Lifecycle hook command must not be empty.");
    }
}

fn starts_blank(command: &[String]) -> bool {
    command.first().is_none_or(|program| program.trim().is_empty())
}

fn are_unique(mut names: Vec<String>) -> bool {
    names.sort_unstable();
    names.windows(2).all(|pair| pair[0] != pair[1])
}
