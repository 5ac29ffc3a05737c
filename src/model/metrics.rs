//! What clients measure themselves and hand in (http-api.md §17).

use serde_json::Value;

use super::{
    read,
    violation::{Invalid, Report},
};

/// Longest language or version that is kept, in bytes: each distinct one is a series at the collector.
const MAX_WORD: usize = 32;

/// How long a client's creation of a sandbox took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateEvent {
    /// From the client's asking until the sandbox was ready or the creation had failed, in milliseconds.
    pub duration_ms: u64,
    /// Whether it became ready.
    pub success: bool,
}

/// The client library that a measurement comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdk {
    /// Its language in lower case, or `unknown`.
    pub language: String,
    /// Its version, or `unknown`.
    pub version: String,
}

impl CreateEvent {
    /// Reads a measurement.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn from_json(body: &Value) -> Result<Self, Invalid> {
        let mut report = Report::new("body");
        let event = read::object(&mut report, body).and_then(|members| {
            read::required(&mut report, members, "eventType", |r, v| read::literal(r, v, &["sandbox.create"]));
            read::optional(&mut report, members, "sandboxId", read::string);
            read::optional(&mut report, members, "image", read::string);
            let milliseconds = |r: &mut Report, v: &Value| read::integer(r, v, 0..=u64::MAX);
            let duration_ms = read::required(&mut report, members, "createDurationMs", milliseconds);
            let success = read::required(&mut report, members, "success", read::boolean);
            Some(Self { duration_ms: duration_ms?, success: success? })
        });
        report.finish(event.unwrap_or(Self { duration_ms: 0, success: false }))
    }
}

impl Sdk {
    /// Reads `OpenSandbox-<language>-SDK/<version>` anywhere in a `User-Agent`, in any case.
    pub fn from_user_agent(agent: &str) -> Self {
        let words = agent.split(|c: char| c.is_whitespace() || "();,".contains(c));
        words.filter_map(Self::from_word).next().unwrap_or_else(Self::unknown)
    }

    fn from_word(word: &str) -> Option<Self> {
        let (name, version) = word.split_once('/')?;
        let name = name.to_ascii_lowercase();
        let language = name.strip_prefix("opensandbox-")?.strip_suffix("-sdk")?;
        let is_word =
            |text: &str| (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_word(language) && is_word(version))
            .then(|| Self { language: language.to_owned(), version: version.to_owned() })
    }

    fn unknown() -> Self {
        Self { language: "unknown".to_owned(), version: "unknown".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_leniently() {
        let body = json!({"eventType": "sandbox.create", "create_duration_ms": "5", "success": "yes", "other": 1});
        assert_eq!(CreateEvent::from_json(&body), Ok(CreateEvent { duration_ms: 5, success: true }));
    }

    #[test]
    fn faults_are_named_in_the_peers_order() {
        let rules = |body: Value| -> Vec<_> {
            CreateEvent::from_json(&body).unwrap_err().0.iter().map(|violation| violation.rule).collect()
        };
        assert_eq!(rules(json!({})), ["missing", "missing", "missing"]);
        assert_eq!(rules(json!([])), ["model_attributes_type"]);
        let body = json!({"eventType": "x", "sandboxId": 3, "createDurationMs": -5, "success": null});
        assert_eq!(rules(body), ["literal_error", "string_type", "greater_than_equal", "bool_type"]);
    }

    #[test]
    fn the_library_is_in_the_user_agent() {
        for (agent, language, version) in [
            ("OpenSandbox-Python-SDK/1.1.1", "python", "1.1.1"),
            ("foo OPENsandbox-JavaScript-sdk/0.1.0-beta x", "javascript", "0.1.0-beta"),
            ("x (OpenSandbox-Go-SDK/2;y)", "go", "2"),
            ("OpenSandbox-SDK/1", "unknown", "unknown"),
            ("OpenSandbox-Python-SDK", "unknown", "unknown"),
            ("", "unknown", "unknown"),
        ] {
            let sdk = Sdk::from_user_agent(agent);
            assert_eq!((sdk.language.as_str(), sdk.version.as_str()), (language, version), "{agent}");
        }
        let long = format!("OpenSandbox-Python-SDK/{}", "1".repeat(33));
        assert_eq!(Sdk::from_user_agent(&long), Sdk::unknown());
    }
}
