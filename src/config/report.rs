//! What was found wrong while reading, collected so that all of it is told at once.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why the configuration cannot be used: one line for each fault, each naming
/// the file or the environment, the key and the reason.
///
/// No line holds the value of a key, since it may be a secret; numbers that
/// broke a rule are the exception.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .lines.join("\n"))]
pub struct ConfigError {
    lines: Vec<String>,
    warnings: Vec<String>,
}

/// Faults and warnings of one reading. Sections share it while they are nested
/// in each other, hence the cells.
pub(super) struct Report {
    file: String,
    home: Option<PathBuf>,
    overrides: RefCell<Vec<(&'static str, &'static str)>>,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<String>>,
}

struct Fault {
    key: String,
    line: String,
}

impl ConfigError {
    pub(super) fn single(line: String) -> Self {
        Self { lines: vec![line], warnings: Vec::new() }
    }

    /// The faults, one line each.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// What was noticed besides, often the cause: a mistyped key is a warning,
    /// and the key it was meant to be is then reported missing.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The exit code of a process that cannot start for this reason
    /// (contract `config.md` §4).
    pub fn exit_code(&self) -> u8 {
        1
    }
}

impl Report {
    pub(super) fn new(file: &Path, home: Option<PathBuf>) -> Self {
        Self {
            file: file.display().to_string(),
            home,
            overrides: RefCell::default(),
            faults: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// From now on, faults of `prefix` and the keys below it are blamed on the
    /// environment variable rather than on the file.
    pub(super) fn overridden(&self, prefix: &'static str, variable: &'static str) {
        self.overrides.borrow_mut().push((prefix, variable));
    }

    /// Records that the dotted `key` is wrong.
    pub(super) fn fail(&self, key: &str, reason: impl fmt::Display) {
        let line = match self.variable_for(key) {
            Some(variable) => format!("environment {variable}: {key}: {reason}"),
            None => format!("{}: {key}: {reason}", self.file),
        };
        self.push(key, line);
    }

    /// Records a fault of the environment itself; the reason names the variable.
    pub(super) fn fail_environment(&self, key: &str, reason: impl fmt::Display) {
        self.push(key, format!("environment: {reason}"));
    }

    /// Records something that does not stop the start.
    pub(super) fn warn(&self, key: &str, text: impl fmt::Display) {
        let line = format!("{}: {key}: {text}", self.file);
        self.warnings.borrow_mut().push(line);
    }

    /// Records something about a variable that does not stop the start.
    pub(super) fn warn_environment(&self, variable: &str, text: impl fmt::Display) {
        self.warnings.borrow_mut().push(format!("environment {variable}: {text}"));
    }

    /// Whether `key`, or one below or above it, is already known to be wrong. A
    /// rule over several keys is only meaningful when each is right by itself.
    pub(super) fn failed(&self, key: &str) -> bool {
        let faults = self.faults.borrow();
        faults.iter().any(|fault| within(&fault.key, key) || within(key, &fault.key))
    }

    /// The warnings, or the error when there was a fault.
    pub(super) fn finish(self) -> Result<Vec<String>, ConfigError> {
        let warnings = self.warnings.into_inner();
        let lines: Vec<String> = self.faults.into_inner().into_iter().map(|f| f.line).collect();
        if lines.is_empty() {
            return Ok(warnings);
        }
        Err(ConfigError { lines, warnings })
    }

    fn push(&self, key: &str, line: String) {
        let key = key.to_owned();
        self.faults.borrow_mut().push(Fault { key, line });
    }

    fn variable_for(&self, key: &str) -> Option<&'static str> {
        let overrides = self.overrides.borrow();
        let found = overrides.iter().find(|(prefix, _)| within(key, prefix));
        found.map(|&(_, variable)| variable)
    }
}

/// Whether `key` is `prefix` or lies below it.
fn within(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_within_its_own_table_only() {
        for (key, prefix, expected) in [
            ("docker", "docker", true),
            ("docker.pids_limit", "docker", true),
            ("ingress.keys[0].key", "ingress.keys", true),
            ("docker2.pids_limit", "docker", false),
            ("docker", "docker.pids_limit", false),
        ] {
            assert_eq!(within(key, prefix), expected, "{key} {prefix}");
        }
    }

    #[test]
    fn every_fault_has_its_line_and_the_code_is_one() {
        let report = Report::new(Path::new("a.toml"), None);
        report.overridden("server.api_key", "KEY");
        report.fail("server.port", "must be a number");
        report.fail("server.api_key", "must be a string");
        report.fail_environment("ingress", "A and B must be set together.");
        report.warn("x", "unknown section, ignored");
        assert!(report.failed("server"));
        assert!(report.failed("ingress.mode"));
        assert!(!report.failed("docker"));
        let error = report.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a.toml: server.port: must be a number\n\
             environment KEY: server.api_key: must be a string\n\
             environment: A and B must be set together."
        );
        assert_eq!(error.warnings(), ["a.toml: x: unknown section, ignored"]);
        assert_eq!(error.exit_code(), 1);
    }
}
