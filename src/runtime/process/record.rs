//! Writes one record of a sandbox's log file, in the form of Docker's json-file driver (`logs::decode::json_file` reads it); no IO.
//!
//! One deviation, so that nothing is lost: bytes that are not valid UTF-8 stay in the JSON string as they are,
//! where the engine would put U+FFFD. A newline is always escaped, so records can be told apart by lines.

use crate::logs::record::Stream;

/// The longest text of one record in bytes; longer lines are cut, as the engine does.
pub(super) const PIECE: usize = 16_384;

/// The longest record: a whole piece of control characters (six bytes each), and its surroundings.
pub(super) const MAX_RECORD: usize = 6 * PIECE + 256;

const HEAD: &[u8] = b"{\"log\":\"";

/// What stands between the text and the time.
fn middle(stream: Stream) -> &'static [u8] {
    match stream {
        Stream::Stdout => b"\",\"stream\":\"stdout\",\"time\":\"",
        Stream::Stderr => b"\",\"stream\":\"stderr\",\"time\":\"",
    }
}

/// Appends a record whose text is `first` and then `second`.
pub(super) fn encode(stream: Stream, time: &str, first: &[u8], second: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    escape(first, out);
    escape(second, out);
    out.extend_from_slice(middle(stream));
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

fn escape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = text.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&text[..at]);
        escape_byte(text[at], out);
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::decode::json_file::JsonFile;

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(Stream::Stderr, "2026-11-23T02:01:21Z", text, b"", &mut out);
        out
    }

    #[test]
    fn looks_like_dockers() {
        let expected =
            "{\"log\":\"a\\t\\u001b[1m\\\"\\\\\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-23T02:01:21Z\"}\n";
        assert_eq!(String::from_utf8(encoded(b"a\t\x1b[1m\"\\\n")).unwrap(), expected);
    }

    #[test]
    fn every_byte_survives() {
        let text: Vec<u8> = (0..=255).chain([b'"', b'\\', b'n']).collect();
        for text in [&text[..], b"", b"\",\"stream\":\"stdout\",\"time\":\"x\"}", b"a\\n", b"a\\\n"] {
            let records = JsonFile::default().decode(encoded(text)).unwrap();
            assert_eq!((records.index.len(), records.index[0].stream), (1, Stream::Stderr));
            assert_eq!(records.bytes(&records.index[0]), text);
        }
    }

    #[test]
    fn the_longest_record_fits() {
        assert!(encoded(&[0; PIECE]).len() <= MAX_RECORD);
    }
}
