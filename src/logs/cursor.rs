//! Resume tokens: which record was the last that a client has seen (log-api.md §3).
//!
//! `v1.<run>.<o or e><CRC-32>.<time>.<ordinal>`, all numbers hexadecimal. `O` or `E` tells that the record was a part of its line.
//! The first record of an unfinished line of the other stream that was not seen follows as `.<p or P><CRC-32>.<time>.<ordinal>`,
//! `P` if parts of the line were seen, or as `.Q<time>.<ordinal>` if all in front of the mark were. `.l1` (stdout), `.l2` (stderr)
//! or `.l3` follows if such parts were left out by a filter. The token of an ended log has `end.` behind the version, and one of a
//! log without a record ends behind the run. A token is signed with nothing and trusted for nothing: it only says what to look for.

use bytes::BufMut;

use super::record::{Mark, Place, Stream};
pub use super::run::RunId;

/// The only version.
const VERSION: &str = "v1.";

/// What stands behind the version in the token of a log that has ended.
const END: &str = "end.";

/// Longest token that is read, in bytes. Ours have at most 98.
const MAX_LEN: usize = 200;

/// A place between two records of a log, for a client to come back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The run.
    pub run: RunId,
    /// The last record that was seen; none if there was none.
    pub mark: Option<Mark>,
    /// That record does not end its line, and what of the line came before was seen.
    pub in_line: bool,
    /// The first record of a line of the other stream that had begun before, and was not seen to its end.
    pub other: Option<OpenLine>,
    /// For each stream: the parts in front of this place of a line that is under way were left out, by a filter.
    pub left_out: [bool; 2],
    /// The log had ended, and all of it was seen.
    pub ended: bool,
}

/// Where a line began that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLine {
    /// The place of its first record that was not seen.
    pub place: Place,
    /// The CRC-32 of that record's bytes; 0 if all were seen.
    pub sum: u32,
    /// Parts of the line before it were seen.
    pub in_line: bool,
    /// The place is that of the last record of the line that was seen: all that was not is behind the mark.
    pub is_seen: bool,
}

impl Cursor {
    /// The place behind `mark`, between lines.
    pub fn after(run: RunId, mark: Mark) -> Self {
        Self { run, mark: Some(mark), in_line: false, other: None, left_out: [false; 2], ended: false }
    }

    /// Appends the token, at most 98 bytes.
    pub fn write(&self, out: &mut impl BufMut) {
        out.put_slice(VERSION.as_bytes());
        if self.ended {
            out.put_slice(END.as_bytes());
        }
        out.put_slice(digits(self.run.0).as_flattened());
        let Some(Mark { stream, place, sum }) = self.mark else { return };
        out.put_slice(match (stream, self.in_line) {
            (Stream::Stdout, false) => b".o",
            (Stream::Stdout, true) => b".O",
            (Stream::Stderr, false) => b".e",
            (Stream::Stderr, true) => b".E",
        });
        out.put_slice(&digits_of_word(sum));
        out.put_u8(b'.');
        write_place(place, out);
        if let Some(OpenLine { place, sum, in_line, is_seen }) = self.other {
            out.put_slice(match (in_line, is_seen) {
                (_, true) => b".Q",
                (true, false) => b".P",
                (false, false) => b".p",
            });
            if !is_seen {
                out.put_slice(&digits_of_word(sum));
                out.put_u8(b'.');
            }
            write_place(place, out);
        }
        match self.left_out {
            [false, false] => {}
            [true, false] => out.put_slice(b".l1"),
            [false, true] => out.put_slice(b".l2"),
            [true, true] => out.put_slice(b".l3"),
        }
    }

    /// The token as text.
    pub fn token(&self) -> String {
        let mut out = Vec::with_capacity(98);
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Reads a token; `None` if it is not one of ours.
    pub fn parse(token: &str) -> Option<Self> {
        if token.len() > MAX_LEN {
            return None;
        }
        let rest = token.strip_prefix(VERSION)?;
        let (rest, ended) = rest.strip_prefix(END).map_or((rest, false), |rest| (rest, true));
        let mut parts = rest.split('.');
        let run = RunId(hex(parts.next()?, 16, 16)?);
        let mut cursor = Self { run, mark: None, in_line: false, other: None, left_out: [false; 2], ended };
        if let Some(part) = parts.next() {
            let (letter, sum) = part.split_at_checked(1)?;
            let (stream, in_line) = match letter {
                "o" => (Stream::Stdout, false),
                "O" => (Stream::Stdout, true),
                "e" => (Stream::Stderr, false),
                "E" => (Stream::Stderr, true),
                _ => return None,
            };
            let sum = u32::try_from(hex(sum, 8, 8)?).ok()?;
            let place = read_place(parts.next()?, parts.next()?)?;
            cursor = Self { mark: Some(Mark { stream, place, sum }), in_line, ..cursor };
        }
        let mut part = parts.next();
        if let Some(other) = part.take_if(|part| !part.starts_with('l')) {
            let (letter, first) = other.split_at_checked(1)?;
            let (in_line, is_seen) = match letter {
                "p" => (false, false),
                "P" => (true, false),
                "Q" => (true, true),
                _ => return None,
            };
            let (sum, time) =
                if is_seen { (0, first) } else { (u32::try_from(hex(first, 8, 8)?).ok()?, parts.next()?) };
            cursor.other = Some(OpenLine { place: read_place(time, parts.next()?)?, sum, in_line, is_seen });
            part = parts.next();
        }
        cursor.left_out = match part {
            None => [false; 2],
            Some("l1") => [true, false],
            Some("l2") => [false, true],
            Some("l3") => [true; 2],
            Some(_) => return None,
        };
        parts.next().is_none().then_some(cursor)
    }
}

/// The 16 hexadecimal digits of a number.
fn digits(value: u64) -> [[u8; 8]; 2] {
    [digits_of_word((value >> 32) as u32), digits_of_word(value as u32)]
}

/// The 8 hexadecimal digits of a number, all at once: each record has a token.
fn digits_of_word(value: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut nibbles = u64::from(value);
    nibbles = (nibbles | nibbles << 16) & 0x0000_FFFF_0000_FFFF;
    nibbles = (nibbles | nibbles << 8) & 0x00FF_00FF_00FF_00FF;
    nibbles = (nibbles | nibbles << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    // A nibble from 10 on overflows into the next four bits.
    let letters = (nibbles + 6 * ONES) >> 4 & ONES;
    (nibbles + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

fn write_place(place: Place, out: &mut impl BufMut) {
    out.put_slice(digits(place.time as u64).as_flattened());
    out.put_u8(b'.');
    let digits = digits_of_word(place.ordinal);
    let zeros = digits.iter().take(7).take_while(|digit| **digit == b'0').count();
    out.put_slice(&digits[zeros..]);
}

fn read_place(time: &str, ordinal: &str) -> Option<Place> {
    Some(Place { time: hex(time, 16, 16)? as i64, ordinal: u32::try_from(hex(ordinal, 1, 8)?).ok()? })
}

/// Reads a number of `least` to `most` lower-case hexadecimal digits.
fn hex(text: &str, least: usize, most: usize) -> Option<u64> {
    let is_ours = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_number = (least..=most).contains(&text.len()) && text.bytes().all(is_ours);
    is_number.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let place = Place { time: 1_769_846_400_123_456_789, ordinal: 0 };
        let mark = Mark { stream: Stream::Stdout, place, sum: 0xab };
        let cursor = Cursor::after(RunId::of(ID), mark);
        assert_eq!(cursor.token(), "v1.0123456789abcdef.o000000ab.188fc1ec825ccd15.0");
        let other = Some(OpenLine {
            place: Place { time: -1, ordinal: u32::MAX },
            sum: u32::MAX,
            in_line: true,
            is_seen: false,
        });
        let long = Cursor { in_line: true, other, left_out: [true; 2], ended: true, ..cursor };
        assert!(long.token().len() <= 98, "{}", long.token().len());
        let left_out = Cursor { in_line: true, left_out: [false, true], ..cursor };
        for cursor in [cursor, long, left_out, Cursor { mark: None, ended: true, ..cursor }] {
            assert_eq!(Cursor::parse(&cursor.token()), Some(cursor));
        }
    }

    #[test]
    fn digits_are_those_that_rust_writes() {
        for value in [0, 9, 10, 15, 16, 0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, u32::MAX] {
            assert_eq!(digits_of_word(value), format!("{value:08x}").as_bytes());
        }
    }

    #[test]
    fn a_run_has_a_number_whatever_its_id_is() {
        assert_eq!(RunId::of("01234567-89ab-cdef-0123"), RunId::of(ID));
        assert_ne!(RunId::of("no hex"), RunId::of("other"));
        assert_ne!(RunId::of(""), RunId::of("é"));
    }

    #[test]
    fn what_is_not_ours_is_no_token() {
        let good = "v1.0123456789abcdef.o000000ab.188ed94b9ed66f15.0";
        assert!(Cursor::parse(good).is_some());
        for bad in [
            "",
            "v1.",
            "v2.0123456789abcdef",
            "v1.0123456789abcde",
            "v1.0123456789ABCDEF",
            "v1.0123456789abcdef.",
            "v1.0123456789abcdef.x000000ab.188ed94b9ed66f15.0",
            "v1.0123456789abcdef.o000000ab.188ed94b9ed66f15",
            "v1.0123456789abcdef.o000000ab.188ed94b9ed66f15.",
            "v1.0123456789abcdef.o000000ab.188ed94b9ed66f15.0.",
            "v1.0123456789abcdef.o000000ab.188ed94b9ed66f15.0.p",
            "v1.0123456789abcdef.o000000ab.188ed94b9ed66f15.0.q188ed94b9ed66f15.0",
            "v1.0123456789abcdef.o000000ab.188ed94b9ed66f15.0.p188ed94b9ed66f15.0",
            "v1.0123456789abcdef.é00000ab.188ed94b9ed66f15.0",
        ] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
        assert_eq!(Cursor::parse(&(good.to_owned() + &"0".repeat(MAX_LEN))), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "(v1\\.)?(end\\.)?[0-9a-foOeEpP.]{0,80}") {
            if let Some(cursor) = Cursor::parse(&text) {
                prop_assert_eq!(Cursor::parse(&cursor.token()), Some(cursor));
            }
        }
    }
}
