//! One table of the file, read key by key.
//!
//! A reader takes each key out of the table with a typed getter. A getter
//! answers with a usable value even when the file's is wrong, having recorded
//! the fault, so that one reading finds every fault. Keys that are left when
//! the reader is done are unknown, and become warnings.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

use super::coerce;
use super::env::expand_home;
use super::names::{nearest, quoted};
use super::report::Report;
use super::secret::Secret;

/// The longest time a setting may give, in seconds: some 136 years. Adding it
/// to the present cannot overflow a clock.
const MAX_SECONDS: i64 = u32::MAX as i64;

/// A table being read, with the dotted name that leads to it.
pub(super) struct Section<'r> {
    path: String,
    table: Table,
    report: &'r Report,
    asked: Vec<&'static str>,
}

/// The lower bound of a fractional number.
#[derive(Clone, Copy)]
pub(super) enum Floor {
    /// The bound itself is allowed.
    AtLeast(f64),
    /// The bound itself is not allowed.
    Above(f64),
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

    /// Text, exactly as written.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            _ => self.refuse(key, "must be a string"),
        }
    }

    /// Text where nothing but blanks means that the key is not set.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<String> {
        self.text(key).filter(|text| !text.trim().is_empty())
    }

    /// Text that has to be there, and not blank.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<String> {
        if !self.has(key) {
            self.asked.push(key);
            return self.refuse(key, "Field required");
        }
        let text = self.text(key)?;
        if text.trim().is_empty() {
            return self.refuse(key, "must not be empty");
        }
        Some(text)
    }

    /// Text of at least one character.
    pub(super) fn text_or(&mut self, key: &'static str, default: &str) -> String {
        self.nonempty_text(key).unwrap_or_else(|| default.to_owned())
    }

    /// Text of at least one character, if the file has the key.
    pub(super) fn nonempty_text(&mut self, key: &'static str) -> Option<String> {
        match self.text(key)? {
            text if text.is_empty() => self.refuse(key, "must not be empty"),
            text => Some(text),
        }
    }

    /// Text that is never to be printed; nothing but blanks means not set.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.optional_text(key).map(Secret::new)
    }

    /// A path, with `~` expanded.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.optional_text(key)?;
        let expanded = expand_home(&text, self.report.home());
        expanded.or_else(|| self.refuse(key, "`~` cannot be expanded: no home directory is known"))
    }

    /// A path below the home directory when the file has none. Without a home
    /// directory, it is below the working directory.
    pub(super) fn path_or(&mut self, key: &'static str, below_home: &str) -> PathBuf {
        let home = self.report.home().unwrap_or_else(|| "".as_ref());
        let default = home.join(below_home);
        self.path(key).unwrap_or(default)
    }

    /// A truth value.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.take(key) else {
            return default;
        };
        let read = coerce::boolean(&value);
        read.or_else(|| self.refuse(key, "must be true or false")).unwrap_or(default)
    }

    /// A whole number within the range.
    pub(super) fn integer<T: TryFrom<i64>>(&mut self, key: &'static str, default: T, range: RangeInclusive<i64>) -> T {
        self.optional_integer(key, range).unwrap_or(default)
    }

    /// A whole number within the range, if the file has one.
    pub(super) fn optional_integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let Some(number) = coerce::integer(&value) else {
            return self.refuse(key, "must be a whole number");
        };
        let fits = T::try_from(number).ok().filter(|_| range.contains(&number));
        fits.or_else(|| {
            let (low, high) = range.into_inner();
            match high {
                i64::MAX => self.refuse(key, format_args!("must be at least {low}, not {number}")),
                _ => self.refuse(key, format_args!("must be {low} to {high}, not {number}")),
            }
        })
    }

    /// A limit, where 0 means that there is none.
    pub(super) fn limit(&mut self, key: &'static str, default: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(self.integer(key, default, 0..=i64::from(u32::MAX)))
    }

    /// A time in whole seconds.
    pub(super) fn whole_seconds(&mut self, key: &'static str, default: u64, least: i64) -> Duration {
        Duration::from_secs(self.integer(key, default, least..=MAX_SECONDS))
    }

    /// A number that may have a fraction.
    pub(super) fn float(&mut self, key: &'static str, default: f64, floor: Floor) -> f64 {
        let Some(value) = self.take(key) else {
            return default;
        };
        let Some(number) = coerce::float(&value) else {
            return self.refuse(key, "must be a finite number").unwrap_or(default);
        };
        if !floor.admits(number) {
            self.fail(key, format_args!("must be {floor}, not {number}"));
            return default;
        }
        number
    }

    /// A time in seconds that may have a fraction.
    #[expect(clippy::cast_precision_loss, reason = "a 32-bit number fits")]
    pub(super) fn seconds(&mut self, key: &'static str, default: f64, floor: Floor) -> Duration {
        let seconds = self.float(key, default, floor);
        if seconds > MAX_SECONDS as f64 {
            self.fail(key, format_args!("must be at most {MAX_SECONDS}"));
        }
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// One of a fixed set of words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        self.optional_choice(key, words).unwrap_or(default)
    }

    /// One of a fixed set of words, if the file has the key.
    pub(super) fn optional_choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|&(_, value)| value).or_else(|| {
            let allowed: Vec<String> = words.iter().map(|(word, _)| format!("'{word}'")).collect();
            self.refuse(key, format_args!("must be one of {}", allowed.join(", ")))
        })
    }

    /// A list of strings, if the file has the key.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let Value::Array(items) = self.take(key)? else {
            return self.refuse(key, "must be a list of strings");
        };
        let texts: Option<Vec<String>> = items.into_iter().map(into_text).collect();
        texts.or_else(|| self.refuse(key, "must be a list of strings"))
    }

    /// A table of strings, empty when the file has none.
    pub(super) fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        let table = match self.take(key) {
            None => return texts,
            Some(Value::Table(table)) => table,
            Some(_) => return self.refuse(key, "must be a table of strings").unwrap_or(texts),
        };
        for (name, value) in table {
            match into_text(value) {
                Some(text) => drop(texts.insert(name, text)),
                None => self.fail(&format!("{key}.{}", quoted(&name)), "must be a string"),
            }
        }
        texts
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

impl Floor {
    fn admits(self, number: f64) -> bool {
        match self {
            Self::AtLeast(floor) => number >= floor,
            Self::Above(floor) => number > floor,
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(floor) => write!(f, "at least {floor}"),
            Self::Above(floor) => write!(f, "more than {floor}"),
        }
    }
}

fn into_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}
