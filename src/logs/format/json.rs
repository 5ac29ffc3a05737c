//! A record or an event as a JSON object, with the names of Docker's json-file.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut, BytesMut};

use super::{Event, Progress, Told, time::TimeText};
use crate::logs::{backend::Exit, cursor::Cursor, lines::Line, record::Stream};

/// Room for a token, in bytes.
const MAX_TOKEN: usize = 128;

/// A token, written once and sent once or twice.
#[derive(Debug)]
pub struct Token {
    bytes: [u8; MAX_TOKEN],
    len: usize,
}

impl Token {
    /// The token of `cursor`.
    #[inline]
    pub fn of(cursor: &Cursor) -> Self {
        let mut bytes = [0; MAX_TOKEN];
        let mut rest = &mut bytes[..];
        cursor.write(&mut rest);
        let len = MAX_TOKEN - rest.len();
        Self { bytes, len }
    }

    /// Its text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes objects, each without a newline.
#[derive(Debug)]
pub struct Json {
    time: TimeText,
    told: Told,
}

impl Json {
    /// Of lines of which so much is `told`.
    pub fn new(told: Told) -> Self {
        Self { time: TimeText::default(), told }
    }

    /// Appends a line's object.
    #[inline]
    pub fn line(&mut self, line: &Line<'_>, id: &[u8], out: &mut BytesMut) {
        out.reserve(line.bytes.len() + 2 * MAX_TOKEN + 64);
        if std::str::from_utf8(line.bytes).is_ok() {
            out.put_slice(b"{\"log\":\"");
            // The newline is at the end: what is before it mostly needs no escape.
            let (text, ends) =
                line.bytes.strip_suffix(b"\n").map_or((line.bytes, line.lacks_newline), |text| (text, true));
            escape(text, out);
            out.put_slice(if ends { b"\\n\"" } else { b"\"" });
        } else {
            out.put_slice(b"{\"log_base64\":\"");
            base64(line.bytes, line.lacks_newline, out);
            out.put_u8(b'"');
        }
        if line.is_part {
            out.put_slice(b",\"partial\":true");
        }
        out.put_slice(match line.stream {
            _ if !self.told.streams => b",\"time\":\"",
            Stream::Stdout => b",\"stream\":\"stdout\",\"time\":\"",
            Stream::Stderr => b",\"stream\":\"stderr\",\"time\":\"",
        });
        out.put_slice(self.time.text(line.time));
        if !self.told.own_times {
            out.put_slice(b"\",\"time_source\":\"gateway");
        }
        out.put_slice(b"\",\"id\":\"");
        out.put_slice(id);
        out.put_slice(b"\"}");
    }

    /// Appends an event's object.
    pub fn event(&mut self, event: Event<'_>, progress: &Progress, id: &[u8], out: &mut BytesMut) {
        out.put_slice(b"{\"event\":\"");
        out.put_slice(name(event).as_bytes());
        out.put_u8(b'"');
        match event {
            Event::Notice(notice) => {
                text("code", notice.code, out);
                text("message", notice.message, out);
            }
            Event::Gap(gap) => {
                text("reason", gap.reason.name(), out);
                self.time_or_null("after", gap.after, out);
                self.time_or_null("before", gap.before, out);
                match gap.lines {
                    Some(lines) => number("lines", lines, out),
                    None => out.put_slice(b",\"lines\":null"),
                }
            }
            Event::Restart(started_at) => self.time_or_null("started_at", Some(started_at), out),
            Event::End(end) => {
                text("reason", end.reason.name(), out);
                self.exit(&end.exit, out);
                number("lines_read", progress.lines_read, out);
                number("lines_sent", progress.lines_sent, out);
            }
        }
        out.put_slice(b",\"id\":\"");
        out.put_slice(id);
        out.put_slice(b"\"}");
    }

    /// What is known of a process's end.
    fn exit(&mut self, exit: &Exit, out: &mut BytesMut) {
        if let Some(code) = exit.code {
            number("exit_code", code, out);
            out.put_slice(if exit.oom { b",\"oom\":true" } else { b",\"oom\":false" });
        }
        if exit.finished_at.is_some() {
            self.time_or_null("finished_at", exit.finished_at, out);
        }
    }

    fn time_or_null(&mut self, name: &str, time: Option<i64>, out: &mut BytesMut) {
        for part in [",\"", name, "\":"] {
            out.put_slice(part.as_bytes());
        }
        match time {
            Some(time) => {
                out.put_u8(b'"');
                out.put_slice(self.time.text(time));
                out.put_u8(b'"');
            }
            None => out.put_slice(b"null"),
        }
    }
}

/// The word for an event.
pub fn name(event: Event<'_>) -> &'static str {
    match event {
        Event::Notice(_) => "notice",
        Event::Gap(_) => "gap",
        Event::Restart(_) => "restart",
        Event::End(_) => "end",
    }
}

/// Appends a field of one of our own words, which need no escape.
fn text(name: &str, text: &str, out: &mut BytesMut) {
    for part in [",\"", name, "\":\"", text, "\""] {
        out.put_slice(part.as_bytes());
    }
}

fn number(name: &str, number: impl std::fmt::Display, out: &mut BytesMut) {
    // Writing to memory does not fail.
    let _: Result<(), _> = write!(out, ",\"{name}\":{number}");
}

/// Appends `bytes`, and a newline if they lack it, in base64 (RFC 4648 §4).
fn base64(bytes: &[u8], lacks_newline: bool, out: &mut BytesMut) {
    let whole;
    let bytes = if lacks_newline {
        whole = [bytes, b"\n"].concat();
        &whole
    } else {
        bytes
    };
    let at = out.len();
    let len = bytes.len().div_ceil(3) * 4;
    out.resize(at + len, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[at..]);
    debug_assert_eq!(written, Ok(len));
}

/// Appends UTF-8 text with the escapes of a JSON string, as `serde_json` writes them.
fn escape(mut text: &[u8], out: &mut BytesMut) {
    loop {
        let clean = clean(text);
        out.put_slice(&text[..clean]);
        let Some(byte) = text.get(clean) else { return };
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            0x08 => out.put_slice(b"\\b"),
            0x0C => out.put_slice(b"\\f"),
            control => {
                let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
                out.put_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 15)]);
            }
        }
        text = &text[clean + 1..];
    }
}

/// How many bytes come before one that must be escaped.
#[inline]
fn clean(text: &[u8]) -> usize {
    const BLOCK: usize = 16;
    let mut at = 0;
    // The compiler makes vector instructions of a block without a branch.
    for block in text.as_chunks::<BLOCK>().0 {
        if block.iter().fold(false, |any, byte| any | must_escape(*byte)) {
            break;
        }
        at += BLOCK;
    }
    at + text[at..].iter().position(|byte| must_escape(*byte)).unwrap_or(text.len() - at)
}

#[inline]
fn must_escape(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = BytesMut::from("\"");
        escape(text.as_bytes(), &mut out);
        out.put_u8(b'"');
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn every_character_is_escaped_as_serde_json_does() {
        for code in 0..0x200 {
            let text = char::from_u32(code).unwrap().to_string();
            assert_eq!(escaped(&text), serde_json::to_string(&text).unwrap(), "{code:x}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_escaped_as_serde_json_does(text in "([ -~]|[\\x00-\\x20\"\\\\]|.){0,80}") {
            prop_assert_eq!(escaped(&text), serde_json::to_string(&text).unwrap());
        }
    }
}
