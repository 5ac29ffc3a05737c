//! The API keys of `[server]`: `api_key`, `api_keys`, `api_key_file` and `[[server.keys]]`. All of them are valid. Those of the
//! last have a role, the others may do everything.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use super::section::Section;
use crate::{
    keys::{Keys, Role, is_sendable},
    regular_file,
};

/// Largest key file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Longest name of a key.
const MAX_NAME: usize = 64;

/// What a name must be.
const NAME: &str = "must be 1 to 64 letters, digits, '.', '_' or '-'";

/// How those keys are called that have no name. No other is, so that a name in a log says which key it was.
const UNNAMED: &str = "api_key";

/// The roles by their words.
const ROLES: [(&str, Role); 2] = [("reader", Role::Reader), ("admin", Role::Admin)];

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
                warn_of_readers(section, "api_key_file", &path, &file);
                parse(&mut keys, section, &path, &file.text);
            }
            Err(error) => section.fail("api_key_file", format_args!("{}: {error}", path.display())),
        }
    }
    // The last, so that whatever one has in common with another key is known.
    section.tables("keys", |table| read_named(&mut keys, table));
    if keys.is_read_only() {
        section.warn("keys", "no key has the role 'admin', so nobody can create, change or remove sandboxes");
    }
    keys
}

/// Reads one of `[[server.keys]]`: its `name`, its `role`, and its secret as `key` or in `key_file`. A role is never assumed: the
/// misspelt key of a reader would be an administrator's.
fn read_named(keys: &mut Keys, table: &mut Section<'_>) {
    let name = table.required_text("name").filter(|name| match name_fault(keys, name) {
        None => true,
        Some(why) => {
            table.fail("name", why);
            false
        }
    });
    let role = match table.has("role") {
        true => table.optional_choice("role", &ROLES),
        false => {
            // Records that it is missing.
            table.required_text("role");
            None
        }
    };
    let Some((place, secret)) = read_secret(table) else { return };
    let secret = secret.trim_end_matches(['\r', '\n']);
    if !is_sendable(secret) {
        return table.fail(place, UNSENDABLE);
    }
    let (Some(name), Some(role)) = (name, role) else { return };
    if let Some(other) = keys.find(secret.as_bytes()) {
        let why = format!("the keys '{name}' and '{}' have the same secret; each needs one of its own", other.name);
        return table.fail(place, why);
    }
    if let Err(why) = keys.add(&name, role, secret) {
        table.fail(place, why);
    }
}

/// Why no key may have this name.
fn name_fault(keys: &Keys, name: &str) -> Option<String> {
    if !is_name(name) {
        return Some(NAME.to_owned());
    }
    if name.starts_with(UNNAMED) {
        return Some(format!("must not begin with '{UNNAMED}': keys without a name are called so"));
    }
    let is_taken = keys.principals().any(|principal| principal.name.as_str() == name);
    is_taken.then(|| format!("another key is called '{name}'"))
}

/// The secret of one of `[[server.keys]]`, and the key that gives it. A fault is recorded.
fn read_secret(table: &mut Section<'_>) -> Option<(&'static str, String)> {
    let (has_key, has_file) = (table.has("key"), table.has("key_file"));
    let (key, path) = (table.text("key"), table.path("key_file"));
    match (has_key, has_file) {
        (true, false) => key.map(|key| ("key", key)),
        (false, true) if table.failed("key_file") => None,
        (false, true) => {
            let Some(path) = path else {
                table.fail("key_file", "must not be empty");
                return None;
            };
            match read_file(&path).map_err(|error| error.to_string()).and_then(|file| {
                warn_of_readers(table, "key_file", &path, &file);
                only_key(&file.text).map(str::to_owned)
            }) {
                Ok(key) => Some(("key_file", key)),
                Err(why) => {
                    table.fail("key_file", format_args!("{}: {why}", path.display()));
                    None
                }
            }
        }
        (true, true) => {
            table.fail("key_file", "there is a key already: set either key or key_file");
            None
        }
        (false, false) => {
            table.fail("key", "the secret is missing: set key, or key_file to a file that has it");
            None
        }
    }
}

/// Adds a key to those that are valid. One that cannot be sent is refused if `is_strict`; else it is only told, since the
/// Python server takes it.
fn add(keys: &mut Keys, section: &Section<'_>, name: &str, key: &str, is_strict: bool) {
    match is_sendable(key.trim_end_matches(['\r', '\n'])) {
        false if is_strict => return section.fail(name, UNSENDABLE),
        false => section.warn(name, UNSENDABLE),
        true => {}
    }
    if let Err(why) = keys.add(name, Role::Admin, key) {
        section.fail(name, why);
    }
}

/// Tells of a key file that others may read.
fn warn_of_readers(section: &Section<'_>, key: &str, path: &Path, file: &KeyFile) {
    if file.is_public {
        section.warn(key, format_args!("{}: other users of this machine may read it; chmod 600", path.display()));
    }
}

/// The lines of a key file that say something, with their numbers. Empty ones and those that begin with `#` do not.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let lines = lines.map(|(number, line)| (number + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// The key of a file that has one, and no name.
///
/// # Errors
///
/// Says in which line there is something else.
fn only_key(text: &str) -> Result<&str, String> {
    let mut lines = lines(text);
    let (number, key) = lines.next().ok_or("has no key in it")?;
    if key.contains(char::is_whitespace) {
        return Err(format!("line {number}: must be the key alone; its name is in the configuration"));
    }
    match lines.next() {
        Some((number, _)) => Err(format!("line {number}: the file must have one key, that of this name")),
        None => Ok(key),
    }
}

/// The keys of a file: one a line, or its name, a blank and the key.
fn parse(keys: &mut Keys, section: &Section<'_>, path: &Path, text: &str) {
    let mut found = false;
    for (number, line) in lines(text) {
        found = true;
        let fail = |why: &str| section.fail("api_key_file", format_args!("{}: line {number}: {why}", path.display()));
        let mut words = line.split_whitespace();
        let numbered = format!("api_key_file:{number}");
        let (name, key) = match (words.next(), words.next(), words.next()) {
            (Some(key), None, None) => (numbered.as_str(), key),
            (Some(name), Some(key), None) if is_name(name) => (name, key),
            (Some(_), Some(_), None) => {
                fail(&format!("the name before the key {NAME}"));
                continue;
            }
            _ => {
                fail("must be a key, or its name, a blank and the key");
                continue;
            }
        };
        if !is_sendable(key) {
            fail(UNSENDABLE);
        } else if let Err(why) = keys.add(name, Role::Admin, key) {
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
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain)
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
