//! JSON as the existing server spells it: a blank after `:` and `,`, and ASCII only.

use std::io::{self, Write};

use serde_json::ser::Formatter;

/// The spelling, for [`serde_json::Serializer::with_formatter`].
#[derive(Debug)]
pub(in super::super) struct Spelling;

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
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    /// What the existing server wrote for a container with this label.
    #[test]
    fn spells_as_the_existing_server() {
        let mut text = Vec::new();
        let value = json!({"maintainer": "Jö \"q\" \\ 😀", "ok": ["v", 1], "none": {}});
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spelling)).unwrap();
        let expected = r#"{"maintainer": "J\u00f6 \"q\" \\ \ud83d\ude00", "ok": ["v", 1], "none": {}}"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
