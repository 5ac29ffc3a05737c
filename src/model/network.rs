//! What a sandbox may reach (http-api.md §6.1). The words for actions are the egress sidecar's to understand.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

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
    /// The policy as the sidecar is handed it: JSON in ASCII with a blank after commas and colons.
    ///
    /// # Errors
    /// None that a policy could cause.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut json = Vec::new();
        self.serialize(&mut Serializer::with_formatter(&mut json, Spaced))?;
        Ok(String::from_utf8_lossy(&json).into_owned())
    }
}

/// The form of the existing server.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for c in fragment.chars() {
            if c.is_ascii() {
                write!(writer, "{c}")?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
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
