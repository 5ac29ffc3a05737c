//! The file itself: its bytes, and their form as TOML.

use std::io::ErrorKind;
use std::path::Path;

use toml::Table;

use super::report::ConfigError;
use crate::regular_file;

/// Most bytes of a configuration file: far more than any, and little enough to be read whatever stands in its place.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The text of the file.
pub(super) fn read(file: &Path) -> Result<String, ConfigError> {
    let bytes = match regular_file::read(file, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == ErrorKind::NotFound => return Err(ConfigError::single(missing(file))),
        Err(err) => return Err(fault(file, format_args!("cannot be read: {err}"))),
    };
    String::from_utf8(bytes).map_err(|err| {
        let valid = err.utf8_error().valid_up_to();
        let place = place(err.as_bytes(), valid);
        fault(file, format_args!("{place}: the text is not UTF-8"))
    })
}

/// The text as tables.
///
/// The parser's own message is not used whole: it quotes the line, which may
/// hold a secret.
pub(super) fn parse(file: &Path, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|err: toml::de::Error| {
        let at = err.span().map_or(text.len(), |span| span.start);
        let place = place(text.as_bytes(), at);
        let reason = err.message().replace(['\r', '\n'], " ");
        fault(file, format_args!("{place}: not valid TOML: {reason}"))
    })
}

/// What to do about a file that is not there.
fn missing(file: &Path) -> String {
    format!(
        "The configuration file {} does not exist. Write one with `init-config`, name another with --config or {}, or \
         try the gateway without one: `dev` needs no configuration and no Docker, and makes a key of its own.",
        file.display(),
        super::env::CONFIG_PATH
    )
}

fn fault(file: &Path, reason: impl std::fmt::Display) -> ConfigError {
    ConfigError::single(format!("{}: {reason}", file.display()))
}

/// `line 3, column 7` of a byte, both counted from one, the column in characters.
fn place(text: &[u8], at: usize) -> String {
    let before = &text[..at.min(text.len())];
    let start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_and_in_characters() {
        for (text, at, expected) in [
            ("", 0, "line 1, column 1"),
            ("ab", 1, "line 1, column 2"),
            ("a\nb", 2, "line 2, column 1"),
            ("a\né=x", 5, "line 2, column 3"),
            ("a", 9, "line 1, column 2"),
        ] {
            assert_eq!(place(text.as_bytes(), at), expected, "{text:?} {at}");
        }
    }
}
