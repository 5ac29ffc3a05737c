//! The time in front of a record.

use jiff::Timestamp;
use memchr::memchr;

use crate::logs::decode::docker_frames::{PREFIX, is_prefix};

/// The part of a time that records of the same second share: `2006-01-02T15:04:05.`
const SECOND: usize = 20;

/// Longest time that is looked for, in bytes, with the space behind it.
const MAX_TIME: usize = 64;

/// Reads times, of which nearly all are of the second of the one before.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: [u8; SECOND],
    /// When that second began, in nanoseconds since 1970.
    begin: Option<i64>,
}

impl Clock {
    /// The time with which a record begins, in nanoseconds since 1970, and how many bytes it takes with the space behind it.
    #[inline]
    pub(super) fn read(&mut self, record: &[u8]) -> Option<(i64, usize)> {
        if let Some(head) = record.first_chunk::<PREFIX>()
            && head[..SECOND] == self.second
            && let Some(begin) = self.begin
            && let Some(nanoseconds) = nine_digits(head)
            && head[PREFIX - 2..] == *b"Z "
        {
            return Some((begin + nanoseconds, PREFIX));
        }
        self.read_other(record)
    }

    #[cold]
    fn read_other(&mut self, record: &[u8]) -> Option<(i64, usize)> {
        let length = memchr(b' ', &record[..record.len().min(MAX_TIME)])?;
        let time: Timestamp = std::str::from_utf8(&record[..length]).ok()?.parse().ok()?;
        let Ok(nanoseconds) = i64::try_from(time.as_nanosecond()) else {
            // Before 1677 or after 2262: docker has the year 1 for no time at all.
            return Some((if time.as_second() < 0 { i64::MIN } else { i64::MAX }, length + 1));
        };
        if let Some(head) = record.first_chunk::<PREFIX>().filter(|head| is_prefix(&head[..])) {
            self.second.copy_from_slice(&head[..SECOND]);
            self.begin = nine_digits(head).and_then(|fraction| nanoseconds.checked_sub(fraction));
            // A second that is not all in the range of the nanoseconds is not added to.
            self.begin = self.begin.filter(|begin| begin.checked_add(1_000_000_000).is_some());
        }
        Some((nanoseconds, length + 1))
    }
}

/// The number in the nine digits behind the second.
#[inline]
fn nine_digits(head: &[u8; PREFIX]) -> Option<i64> {
    let (eight, last) = head[SECOND..].split_first_chunk::<8>()?;
    let last = last[0].wrapping_sub(b'0');
    let word = u64::from_le_bytes(*eight);
    let digits = word.wrapping_sub(0x3030_3030_3030_3030);
    // A byte above '9' or below '0' sets its highest bit in one of the two.
    let bad = (word.wrapping_add(0x4646_4646_4646_4646) | digits) & 0x8080_8080_8080_8080;
    if bad != 0 || last > 9 {
        return None;
    }
    // Pairs of digits, then fours, then all eight, each in one multiplication.
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    let eight = low.wrapping_add(high) >> 32;
    Some(eight as i64 * 10 + i64::from(last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_all_forms_are_read() {
        let mut clock = Clock::default();
        for (text, time, length) in [
            ("2026-11-23T02:01:21.821916123Z x", 1_795_399_281_821_916_123, 31),
            ("2026-11-23T02:01:21.000000001Z x", 1_795_399_281_000_000_001, 31),
            ("2026-11-23T02:01:22.000000000Z ", 1_795_399_282_000_000_000, 31),
            ("2026-11-23T02:01:21Z x", 1_795_399_281_000_000_000, 21),
            ("2026-11-23T03:01:21.5+01:00 x", 1_795_399_281_500_000_000, 28),
            ("1969-12-31T23:59:59.999999999Z x", -1, 31),
            ("1969-12-31T23:59:59.000000000Z x", -1_000_000_000, 31),
            ("0001-01-01T00:00:00.000000000Z x", i64::MIN, 31),
            ("9999-01-01T00:00:00.000000000Z x", i64::MAX, 31),
            ("2262-04-11T23:47:16.854775807Z x", i64::MAX, 31),
            ("2262-04-11T23:47:16.999999999Z x", i64::MAX, 31),
        ] {
            assert_eq!(clock.read(text.as_bytes()), Some((time, length)), "{text}");
            assert_eq!(clock.read(text.as_bytes()), Some((time, length)), "{text} again");
        }
        for none in ["", "x", "2026-11-23T02:01:21.821916123Z", "2026-13-23T02:01:21.821916123Z x", " 2026", "no time"]
        {
            assert_eq!(clock.read(none.as_bytes()), None, "{none}");
        }
        assert_eq!(clock.read(&[0; 40]), None);
    }

    #[test]
    fn bytes_that_are_no_digits_are_not_read_as_some() {
        let mut clock = Clock::default();
        let time = *b"2026-11-23T02:01:21.821916123Z ";
        assert!(clock.read(&time).is_some());
        for at in SECOND..PREFIX {
            // RFC 3339 allows `z` too.
            for byte in (0..=255).filter(|byte: &u8| !byte.is_ascii_digit() && !byte.eq_ignore_ascii_case(&time[at])) {
                let mut other = time;
                other[at] = byte;
                assert_eq!(clock.read(&other), None, "{}", String::from_utf8_lossy(&other));
            }
        }
    }

    proptest! {
        #[test]
        fn any_time_is_what_it_says(times in proptest::collection::vec(-9_000_000_000_000_000_000i64..9_000_000_000_000_000_000, 1..5), add in 0..999_999_999i64) {
            let mut clock = Clock::default();
            for time in times.iter().flat_map(|time| [*time, time + add]) {
                let time = Timestamp::from_nanosecond(i128::from(time)).expect("in range");
                let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
                let text = format!("{}.{:09}Z x", zoned.strftime("%Y-%m-%dT%H:%M:%S"), zoned.subsec_nanosecond());
                prop_assert_eq!(clock.read(text.as_bytes()), Some((time.as_nanosecond() as i64, PREFIX)));
            }
        }
    }
}
