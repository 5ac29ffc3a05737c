//! One table of the file, read key by key.
//!
//! A reader takes each key out of the table with a typed getter. A getter
//! answers with a usable value even when the file's is wrong, having recorded
//! the fault, so that one reading finds every fault. Keys that are left when
//! the reader is done are unknown, and become warnings.

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

    /// The table `key` as its reader makes it; an empty one when the file has none.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'r>) -> T) -> T {
        let table = self.take_table(key).unwrap_or_default();
        self.read_nested(self.name(key), table, read)
    }

    /// The table `key` as its reader makes it, if the file has one.
    pub(super) fn optional_table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'r>) -> T,
    ) -> Option<T> {
        let table = self.take_table(key)?;
        Some(self.read_nested(self.name(key), table, read))
    }

    /// Each table of a list of tables, as the reader makes it.
    pub(super) fn tables<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'r>) -> T) -> Vec<T> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => return self.refuse(key, "must be a list of tables").unwrap_or_default(),
        };
        let mut made = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let name = format!("{}[{index}]", self.name(key));
            match item {
                Value::Table(table) => made.push(self.read_nested(name, table, &mut read)),
                _ => self.report.fail(&name, "must be a table"),
            }
        }
        made
    }

    fn read_nested<T>(&self, path: String, table: Table, read: impl FnOnce(&mut Section<'r>) -> T) -> T {
        let mut nested = Section::new(path, table, self.report);
        let made = read(&mut nested);
        nested.finish();
        made
    }

    fn take_table(&mut self, key: &'static str) -> Option<Table> {
        match self.take(key)? {
            Value::Table(table) => Some(table),
            _ => self.refuse(key, "must be a table"),
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
