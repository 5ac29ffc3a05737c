//! The API keys of `[server]`: `api_key`, `api_keys` and `api_key_file`. All of them are valid.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use super::section::Section;
use crate::{
    keys::{Keys, is_sendable},
    regular_file,
};

/// Largest key file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Longest name of a key in a key file.
const MAX_NAME: usize = 64;

/// Why a key of ours is refused that no client could send.
const UNSENDABLE: &str = "begins or ends with a blank or holds a control character, so no client can send it";

/// Reads the keys.
pub(super) fn read(section: &mut Section<'_>) -> Keys {
    let mut keys = Keys::default();
    if let Some(key) = section.optional_text("api_key") {
        add(&mut keys, section, "api_key", &key, false);
    }
    for (number, key) in section.texts("api_keys").unwrap_or_default().iter().enumerate() {
        add(&mut keys, section, &format!("api_keys[{number}]"), key, true);
    }
    if let Some(path) = section.path("api_key_file") {
        match read_file(&path) {
            Ok(file) => {
                if file.is_public {
                    let advice = format_args!("{}: other users of this machine may read it; chmod 600", path.display());
                    section.warn("api_key_file", advice);
                }
                parse(&mut keys, section, &path, &file.text);
            }
            Err(error) => section.fail("api_key_file", format_args!("{}: {error}", path.display())),
        }
    }
    keys
}

/// Adds a key to those that are valid. One that cannot be sent is refused if `is_strict`; else it is only told, since the
/// Python server takes it.
fn add(keys: &mut Keys, section: &Section<'_>, name: &str, key: &str, is_strict: bool) {
    match is_sendable(key.trim_end_matches(['\r', '\n'])) {
        false if is_strict => return section.fail(name, UNSENDABLE),
        false => section.warn(name, UNSENDABLE),
        true => {}
    }
    if let Err(why) = keys.add(name, key) {
        section.fail(name, why);
    }
}

/// The keys of a file: one a line, or its name, a blank and the key. Empty lines and those that begin with `#` are none.
fn parse(keys: &mut Keys, section: &Section<'_>, path: &Path, text: &str) {
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let mut found = false;
    for (number, line) in lines.map(|(number, line)| (number + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        found = true;
        let fail = |why: &str| section.fail("api_key_file", format_args!("{}: line {number}: {why}", path.display()));
        let mut words = line.split_whitespace();
        let numbered = format!("api_key_file:{number}");
        let (name, key) = match (words.next(), words.next(), words.next()) {
            (Some(key), None, None) => (numbered.as_str(), key),
            (Some(name), Some(key), None) if is_name(name) => (name, key),
            (Some(_), Some(_), None) => {
                fail("the name before the key must be 1 to 64 letters, digits, '.', '_' or '-'");
                continue;
            }
            _ => {
                fail("must be a key, or its name, a blank and the key");
                continue;
            }
        };
        if !is_sendable(key) {
            fail(UNSENDABLE);
        } else if let Err(why) = keys.add(name, key) {
            // The rest would say the same.
            return fail(&why);
        }
    }
    if !found {
        section.fail("api_key_file", format_args!("{}: has no key in it", path.display()));
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= MAX_NAME && name.bytes().all(plain)
}

struct KeyFile {
    text: String,
    is_public: bool,
}

fn read_file(path: &Path) -> io::Result<KeyFile> {
    let (file, metadata) = regular_file::open(path)?;
    let bytes = regular_file::read_all(file, MAX_FILE)?;
    // The bytes themselves are never quoted.
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(KeyFile { text, is_public: metadata.permissions().mode() & 0o004 != 0 })
}
