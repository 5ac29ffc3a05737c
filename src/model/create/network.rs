//! The network policy and the credential proxy of a request (http-api.md §6.1).

use serde_json::Value;

use crate::model::{
    network::{NetworkPolicy, NetworkRule},
    read,
    violation::Report,
};

/// Reads `networkPolicy`.
pub(crate) fn policy(report: &mut Report, value: &Value) -> Option<NetworkPolicy> {
    let members = read::object(report, value)?;
    let default_action = read::optional(report, members, "defaultAction", read::string);
    // Unlike most lists this one must not be null.
    let egress = match members.get("egress") {
        Some(rules) => report.within("egress", |report| read::list(report, rules, 0, rule))?,
        None => Vec::new(),
    };
    Some(NetworkPolicy { default_action, egress })
}

/// Reads `credentialProxy`: whether it is enabled.
pub(super) fn credential_proxy(report: &mut Report, value: &Value) -> Option<bool> {
    let members = read::object(report, value)?;
    read::flag(report, members, "enabled", false)
}

/// Reads one of its rules.
pub(crate) fn rule(report: &mut Report, value: &Value) -> Option<NetworkRule> {
    let members = read::object(report, value)?;
    let action = read::required(report, members, "action", read::string);
    let target = read::required(report, members, "target", |r, v| read::string_of(r, v, 1..=usize::MAX));
    Some(NetworkRule { action: action?, target: target? })
}
