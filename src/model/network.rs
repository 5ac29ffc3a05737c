//! What a sandbox may reach (http-api.md §6.1). The words for actions are the egress sidecar's to understand.

use serde::Serialize;
use serde_json::Value;

use super::{read, spelling::spelled, violation::Report};

/// A sandbox's network policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// What becomes of what no rule names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_action: Option<String>,
    /// The rules, in the client's order.
    pub egress: Vec<NetworkRule>,
}

/// What becomes of connections to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkRule {
    /// `allow` or `deny`.
    pub action: String,
    /// A name, with or without a wildcard, or an address; not empty.
    pub target: String,
}

impl NetworkPolicy {
    /// The policy as the sidecar is handed it: JSON in the existing server's spelling.
    ///
    /// # Errors
    /// None that a policy could cause.
    pub fn to_json(&self) -> serde_json::Result<String> {
        spelled(self)
    }
}

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
pub(crate) fn credential_proxy(report: &mut Report, value: &Value) -> Option<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sidecar_gets_what_the_peer_s_gets() {
        let rule = NetworkRule { action: "allow".to_owned(), target: "\"é😀.com".to_owned() };
        let policy = NetworkPolicy { default_action: Some("deny".to_owned()), egress: vec![rule.clone(), rule] };
        let rule = r#"{"action": "allow", "target": "\"\u00e9\ud83d\ude00.com"}"#;
        assert_eq!(policy.to_json().unwrap(), format!(r#"{{"defaultAction": "deny", "egress": [{rule}, {rule}]}}"#));
        assert_eq!(NetworkPolicy::default().to_json().unwrap(), r#"{"egress": []}"#);
    }
}
