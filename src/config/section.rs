//! One table of the file, read key by key.
//!
//! A reader takes each key out of the table with a typed getter. A getter
//! answers with a usable value even when the file's is wrong, having recorded
//! the fault, so that one reading finds every fault. Keys that are left when
//! the reader is done are unknown, and become warnings.

mod nested;
mod number;
mod text;

use std::fmt;

use toml::{Table, Value};

pub(super) use self::number::Floor;
use super::names::{nearest, quoted};
use super::report::Report;

/// A table being read, with the dotted name that leads to it.
pub(super) struct Section<'r> {
    path: String,
    table: Table,
    report: &'r Report,
    asked: Vec<&'static str>,
}

impl<'r> Section<'r> {
    pub(super) fn root(table: Table, report: &'r Report) -> Self {
        Self::new(String::new(), table, report)
    }

    fn new(path: String, table: Table, report: &'r Report) -> Self {
        Self { path, table, report, asked: Vec::new() }
    }

    /// Whether the file sets the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the key, or one below or above it, is known to be wrong.
    pub(super) fn failed(&self, key: &str) -> bool {
        self.report.failed(&self.name(key))
    }

    /// Records that the key is wrong.
    pub(super) fn fail(&self, key: &str, reason: impl fmt::Display) {
        self.report.fail(&self.name(key), reason);
    }

    /// Records something about the key that does not stop the start.
    pub(super) fn warn(&self, key: &str, text: impl fmt::Display) {
        self.report.warn(&self.name(key), text);
    }

    /// Says of keys that were valid once that they are not any more.
    pub(super) fn removed(&mut self, keys: &[&'static str]) {
        for key in keys {
            if self.take(key).is_some() {
                self.warn(key, "this key was removed from the server and is ignored");
            }
        }
    }

    /// Warns about every key that no getter asked for.
    pub(super) fn finish(self) {
        for (key, value) in &self.table {
            let what = match value {
                Value::Table(_) => "unknown section, ignored",
                _ => "unknown key, ignored",
            };
            match nearest(key, &self.asked) {
                Some(known) => self.warn(&quoted(key), format_args!("{what}; did you mean `{known}`?")),
                None => self.warn(&quoted(key), what),
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.table.remove(key)
    }

    fn refuse<T>(&self, key: &str, reason: impl fmt::Display) -> Option<T> {
        self.fail(key, reason);
        None
    }

    fn name(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}
