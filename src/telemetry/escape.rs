//! Escaping and bounding what a line of the log holds. A value that a client or a sandbox wrote can neither end a line, nor
//! change how it is shown, nor look like another field, nor fill a disk. Both formats write every value through [`Escaped`].

use std::fmt::{self, Write};

/// Most bytes of a value as it stands in a line, the mark of a cut included.
pub(super) const MAX_VALUE: usize = 1024;

/// Stands at the end of a value that was cut.
const MARK: &str = "…";

/// Where a value stands, which decides what is escaped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a line of text, as its message.
    Message,
    /// On a line of its own outside of the log, where backslashes stay as they are.
    Terminal,
    /// In a line of text, between quotes.
    Quotes,
    /// In a line of text, between brackets.
    Brackets,
    /// Between the quotes of a JSON string.
    Json,
}

/// Writes a value to `out`, escaped for its place and cut after so many bytes.
pub(super) struct Escaped<'w> {
    out: &'w mut dyn Write,
    place: Place,
    left: usize,
}

impl<'w> Escaped<'w> {
    /// Writes to `out` at most [`MAX_VALUE`] bytes.
    pub(super) fn new(out: &'w mut dyn Write, place: Place) -> Self {
        Self::bounded(out, place, MAX_VALUE)
    }

    /// Writes to `out` at most `max` bytes.
    pub(super) fn bounded(out: &'w mut dyn Write, place: Place, max: usize) -> Self {
        Self { out, place, left: max - MARK.len() }
    }

    /// Writes the value. A cut is no error; what lies behind it is not even formatted.
    pub(super) fn value(mut self, value: fmt::Arguments<'_>) -> fmt::Result {
        match self.write_fmt(value) {
            Err(_) if self.left == 0 => self.out.write_str(MARK),
            written => written,
        }
    }

    /// Writes a piece whole or ends the value.
    fn piece(&mut self, piece: &str) -> fmt::Result {
        match self.left.checked_sub(piece.len()) {
            Some(left) if left > 0 => {
                self.left = left;
                self.out.write_str(piece)
            }
            _ => {
                self.left = 0;
                Err(fmt::Error)
            }
        }
    }

    fn escape(&mut self, char: char) -> fmt::Result {
        match char {
            '\n' => self.piece("\\n"),
            '\r' => self.piece("\\r"),
            '\t' => self.piece("\\t"),
            '"' => self.piece("\\\""),
            '\\' => self.piece("\\\\"),
            _ if self.place == Place::Json => {
                let mut units = [0; 2];
                let units = char.encode_utf16(&mut units).iter();
                self.piece(&units.map(|unit| format!("\\u{unit:04x}")).collect::<String>())
            }
            _ => self.piece(&format!("\\u{{{:x}}}", u32::from(char))),
        }
    }

    /// Whether a character may stand as it is.
    fn is_plain(&self, char: char) -> bool {
        let has_meaning = match self.place {
            Place::Message => char == '\\',
            Place::Terminal => false,
            Place::Quotes | Place::Json => matches!(char, '"' | '\\'),
            Place::Brackets => matches!(char, '"' | '\\' | '[' | ']' | ' '),
        };
        !has_meaning && !is_invisible(char)
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Most text needs no escape and fits.
        if text.len() < self.left && text.chars().all(|char| self.is_plain(char)) {
            self.left -= text.len();
            return self.out.write_str(text);
        }
        let mut buffer = [0; 4];
        for char in text.chars() {
            if self.is_plain(char) {
                self.piece(char.encode_utf8(&mut buffer))?;
            } else {
                self.escape(char)?;
            }
        }
        Ok(())
    }
}

/// Characters that end a line (C0, C1, U+2028, U+2029), that terminals obey (C0, DEL, C1), that change the order in which
/// others are shown (U+061C, U+200E to U+200F, U+202A to U+202E, U+2066 to U+2069), or that show nothing at all.
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Keeps the beginning of what is written to it: enough to fill a value.
#[derive(Debug, Default)]
pub(super) struct Beginning(pub(super) String);

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_VALUE.saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room.min(text.len()))]);
        // The reader cuts what fills a value, so that more would not be read.
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(place: Place, text: &str) -> String {
        let mut out = String::new();
        Escaped::new(&mut out, place).value(format_args!("{text}")).unwrap();
        out
    }

    #[test]
    fn what_ends_or_reorders_a_line_is_escaped_everywhere() {
        let places = [Place::Message, Place::Terminal, Place::Quotes, Place::Brackets, Place::Json];
        let hostile = (0..0x20).chain(0x7f..0xa0).chain([0x2028, 0x2029, 0xfeff, 0x200b, 0x200e, 0x200f, 0x61c]);
        let hostile = hostile.chain(0x202a..=0x202e).chain(0x2066..=0x2069).chain([0xe0041]);
        for char in hostile.filter_map(char::from_u32) {
            for place in places {
                let line = written(place, &format!("a{char}b"));
                assert!(line.is_ascii() && !line.bytes().any(|byte| byte < 0x20 || byte == 0x7f), "{line:?}");
                assert!(line.starts_with("a\\") && line.ends_with('b'), "{line:?}");
            }
        }
        assert_eq!(written(Place::Message, "a\n\r\t\u{1b}[31m\u{202e}b"), r"a\n\r\t\u{1b}[31m\u{202e}b");
        assert_eq!(written(Place::Json, "\u{1b}\u{202e}\u{e0041}"), r"\u001b\u202e\udb40\udc41");
        for place in places {
            assert_eq!(written(place, "grün-日本-🙂"), "grün-日本-🙂");
        }
    }

    #[test]
    fn what_has_a_meaning_in_its_place_is_escaped_there() {
        let text = r#"a "b" \n [c]"#;
        assert_eq!(written(Place::Message, text), r#"a "b" \\n [c]"#);
        assert_eq!(written(Place::Terminal, text), text);
        assert_eq!(written(Place::Quotes, text), r#"a \"b\" \\n [c]"#);
        assert_eq!(written(Place::Json, text), r#"a \"b\" \\n [c]"#);
        assert_eq!(written(Place::Brackets, text), r#"a\u{20}\"b\"\u{20}\\n\u{20}\u{5b}c\u{5d}"#);
    }

    #[test]
    fn a_long_value_is_cut_between_characters_with_a_mark() {
        assert_eq!(written(Place::Message, &"x".repeat(1_000)).len(), 1_000);
        for text in ["x".repeat(46_000), "日".repeat(20_000), "\n".repeat(46_000), "🙂\u{202e}".repeat(9_000)] {
            for place in [Place::Message, Place::Quotes, Place::Brackets, Place::Json] {
                let line = written(place, &text);
                assert!(
                    line.len() <= MAX_VALUE && line.len() > MAX_VALUE - 16 && line.ends_with(MARK),
                    "{}",
                    line.len()
                );
            }
        }
    }

    proptest! {
        #[test]
        fn json_stays_what_it_was(text in any::<String>()) {
            let text: String = text.chars().take(60).collect();
            let line = format!("\"{}\"", written(Place::Json, &text));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            prop_assert!(!line.chars().any(is_invisible));
        }
    }
}
