//! The descriptor of a sandbox's diagnostics (http-api.md §18).

use serde::Serialize;

/// What is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What the sandbox printed.
    Logs,
    /// What happened to it.
    Events,
}

impl Kind {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Events => "events",
        }
    }

    /// The scopes that can be asked for; the second has no more than the first.
    pub fn scopes(self) -> [&'static str; 2] {
        match self {
            Self::Logs => ["container", "all"],
            Self::Events => ["runtime", "all"],
        }
    }

    fn warning(self) -> &'static str {
        match self {
            Self::Logs => "The current backend only contributes sandbox container logs to the all scope.",
            Self::Events => "The current backend only contributes runtime events to the all scope.",
        }
    }
}

/// A text with what a program wants to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The sandbox.
    pub sandbox_id: String,
    /// What is described.
    pub kind: Kind,
    /// The scope that was asked for.
    pub scope: &'static str,
    /// How the content comes: always in `content`.
    pub delivery: &'static str,
    /// The type of `content`.
    pub content_type: &'static str,
    /// The text.
    pub content: String,
    /// Its length in bytes of UTF-8.
    pub content_length: usize,
    /// Whether there was more.
    pub truncated: bool,
    /// What the reader should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<[&'static str; 1]>,
}

impl Descriptor {
    /// Describes `content`.
    pub fn new(kind: Kind, id: &str, scope: &'static str, content: String, truncated: bool) -> Self {
        Self {
            sandbox_id: id.to_owned(),
            kind,
            scope,
            delivery: "inline",
            content_type: "text/plain; charset=utf-8",
            content_length: content.len(),
            content,
            truncated,
            warnings: (scope == "all").then(|| [kind.warning()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_as_on_the_wire() {
        let descriptor = Descriptor::new(Kind::Logs, "x", "container", "(no logs)".to_owned(), false);
        assert_eq!(
            serde_json::to_string(&descriptor).unwrap(),
            r#"{"sandboxId":"x","kind":"logs","scope":"container","delivery":"inline","contentType":"text/plain; charset=utf-8","content":"(no logs)","contentLength":9,"truncated":false}"#
        );
        let all = serde_json::to_value(Descriptor::new(Kind::Events, "x", "all", "é".to_owned(), true)).unwrap();
        assert_eq!((&all["contentLength"], &all["truncated"]), (&2.into(), &true.into()));
        assert_eq!(all["warnings"][0], "The current backend only contributes runtime events to the all scope.");
    }
}
