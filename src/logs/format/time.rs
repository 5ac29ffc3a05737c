//! Times as text: RFC 3339 in UTC, nine decimals.

use jiff::Timestamp;

/// Length of a time, in bytes.
pub const LEN: usize = 30;

const SECOND: i64 = 1_000_000_000;

/// Writes times. Records that follow each other are mostly of the same second, whose text is kept.
#[derive(Debug)]
pub struct TimeText {
    second: i64,
    text: [u8; LEN],
}

impl Default for TimeText {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000000000Z" }
    }
}

impl TimeText {
    /// The text of `time`, in nanoseconds since 1970.
    #[inline]
    pub fn text(&mut self, time: i64) -> &[u8; LEN] {
        let (second, nanosecond) = (time.div_euclid(SECOND), time.rem_euclid(SECOND) as u32);
        if second != self.second {
            self.set_second(second);
        }
        let (first, rest) = (nanosecond / 100_000_000, nanosecond % 100_000_000);
        let (high, low) = (rest / 10_000, rest % 10_000);
        self.text[20] = b'0' + first as u8;
        for (at, pair) in [(21, high / 100), (23, high % 100), (25, low / 100), (27, low % 100)] {
            self.text[at] = b'0' + (pair / 10) as u8;
            self.text[at + 1] = b'0' + (pair % 10) as u8;
        }
        &self.text
    }

    #[cold]
    fn set_second(&mut self, second: i64) {
        // All seconds whose nanoseconds fit into 64 bits have a year of four digits.
        let text = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
        if let Some(text) = text.as_bytes().first_chunk::<19>() {
            self.text[..19].copy_from_slice(text);
        }
        self.second = second;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_have_nine_decimals() {
        let mut text = TimeText::default();
        for (time, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1_769_846_400_123_456_789, "2026-01-31T08:00:00.123456789Z"),
            (1_769_846_400_000_000_001, "2026-01-31T08:00:00.000000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        ] {
            assert_eq!(text.text(time), expected.as_bytes(), "{expected}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_it_was_written(times: Vec<i64>) {
            let mut text = TimeText::default();
            for time in times {
                let written = std::str::from_utf8(text.text(time)).unwrap();
                prop_assert_eq!(written.parse::<Timestamp>().unwrap().as_nanosecond(), i128::from(time));
            }
        }
    }
}
