//! Keys whose value is text, or some texts.

use std::{collections::BTreeMap, path::PathBuf};

use toml::Value;

use super::Section;
use crate::{
    config::{env::expand_home, names::quoted},
    secret::Secret,
};

impl Section<'_> {
    /// Text, exactly as written.
    pub(in super::super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            _ => self.refuse(key, "must be a string"),
        }
    }

    /// Text where nothing but blanks means that the key is not set.
    pub(in super::super) fn optional_text(&mut self, key: &'static str) -> Option<String> {
        self.text(key).filter(|text| !text.trim().is_empty())
    }

    /// Text that has to be there, and not blank.
    pub(in super::super) fn required_text(&mut self, key: &'static str) -> Option<String> {
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
    pub(in super::super) fn text_or(&mut self, key: &'static str, default: &str) -> String {
        self.nonempty_text(key).unwrap_or_else(|| default.to_owned())
    }

    /// Text of at least one character, if the file has the key.
    pub(in super::super) fn nonempty_text(&mut self, key: &'static str) -> Option<String> {
        match self.text(key)? {
            text if text.is_empty() => self.refuse(key, "must not be empty"),
            text => Some(text),
        }
    }

    /// Text that is never to be printed; nothing but blanks means not set.
    pub(in super::super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.optional_text(key).map(Secret::new)
    }

    /// A path, with `~` expanded.
    pub(in super::super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.optional_text(key)?;
        let expanded = expand_home(&text, self.report.home());
        expanded.or_else(|| self.refuse(key, "`~` cannot be expanded: no home directory is known"))
    }

    /// A path below the home directory when the file has none. Without a home
    /// directory, it is below the working directory.
    pub(in super::super) fn path_or(&mut self, key: &'static str, below_home: &str) -> PathBuf {
        let home = self.report.home().unwrap_or_else(|| "".as_ref());
        let default = home.join(below_home);
        self.path(key).unwrap_or(default)
    }

    /// One of a fixed set of words.
    pub(in super::super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        self.optional_choice(key, words).unwrap_or(default)
    }

    /// One of a fixed set of words, if the file has the key.
    pub(in super::super) fn optional_choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|&(_, value)| value).or_else(|| {
            let allowed: Vec<String> = words.iter().map(|(word, _)| format!("'{word}'")).collect();
            self.refuse(key, format_args!("must be one of {}", allowed.join(", ")))
        })
    }

    /// A list of strings, if the file has the key.
    pub(in super::super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let Value::Array(items) = self.take(key)? else {
            return self.refuse(key, "must be a list of strings");
        };
        let texts: Option<Vec<String>> = items.into_iter().map(into_text).collect();
        texts.or_else(|| self.refuse(key, "must be a list of strings"))
    }

    /// A table of strings, empty when the file has none.
    pub(in super::super) fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
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
}

fn into_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}
