//! What a sandbox may reach (http-api.md §6.1). The words for actions are the egress sidecar's to understand.

use serde::Serialize;

use super::spelling::spelled;

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
