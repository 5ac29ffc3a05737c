//! JSON as the existing server spells it where others read it: a blank after `:` and `,`, and printable ASCII only. It is
//! what Python's `json.dumps` writes.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// A value in this spelling.
///
/// # Errors
/// The value is none that JSON knows.
pub fn spelled(value: &impl Serialize) -> serde_json::Result<String> {
    let mut json = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut json, Spelling))?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}

struct Spelling;

impl Formatter for Spelling {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for c in fragment.chars() {
            write_char(writer, c)?;
        }
        Ok(())
    }
}

fn write_char<W: ?Sized + Write>(writer: &mut W, c: char) -> io::Result<()> {
    if (' '..='~').contains(&c) {
        return writer.write_all(&[c as u8]);
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        write!(writer, "\\u{unit:04x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the existing server wrote for a container with this label, and what `json.dumps` writes for the rest.
    #[test]
    fn spells_as_the_existing_server() {
        let value = json!({"maintainer": "Jö \"q\" \\ 😀", "ok": ["v", 1], "none": {}, "rest": "\u{8}\u{1}\u{7f}"});
        let expected =
            r#"{"maintainer": "J\u00f6 \"q\" \\ \ud83d\ude00", "ok": ["v", 1], "none": {}, "rest": "\b\u0001\u007f"}"#;
        assert_eq!(spelled(&value).unwrap(), expected);
    }
}
