//! The form of the network policy and the credential proxy (http-api.md §6.1).

use serde_json::Value;

use crate::model::{read, violation::Report};

/// Checks `networkPolicy`. The words for actions are left to the egress sidecar.
pub(crate) fn check_policy(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    read::optional(report, members, "defaultAction", read::string);
    read::optional(report, members, "egress", |r, v| read::list(r, v, 0, check_rule));
    Some(())
}

/// Reads `credentialProxy`: whether it is enabled.
pub(super) fn credential_proxy(report: &mut Report, value: &Value) -> Option<bool> {
    let members = read::object(report, value)?;
    read::flag(report, members, "enabled", false)
}

/// Checks one of its rules.
pub(crate) fn check_rule(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    let action = read::required(report, members, "action", read::string);
    let target = read::required(report, members, "target", |r, v| read::string_of(r, v, 1..=usize::MAX));
    action.and(target).map(|_| ())
}
