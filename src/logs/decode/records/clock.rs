//! The time in front of a record.

use jiff::Timestamp;
use memchr::memchr;

use crate::logs::decode::docker_frames::{PREFIX, is_prefix};

/// The part of a time that records of the same second share: `2006-01-02T15:04:05.`
const SECOND: usize = 20;

/// Where the nine decimals end.
const FRACTION_END: usize = PREFIX - 2;

/// Longest time that is looked for, in bytes, with the space behind it.
const MAX_TIME: usize = 64;

/// The offset from UTC behind a time with nine decimals, with the space behind it: `+01:00 `.
const OFFSET: usize = 7;

/// Reads times, of which nearly all are of the second of the one before, in the same zone.
#[derive(Debug, Default)]
pub(in crate::logs::decode) struct Clock {
    second: [u8; SECOND],
    /// When that second began, in nanoseconds since 1970. None if the time before had an offset.
    begin: Option<i64>,
    /// The same of a time with this offset.
    offset: Option<([u8; OFFSET], i64)>,
}

impl Clock {
    /// The time with which a record begins, in nanoseconds since 1970, and how many bytes it takes with the space behind it.
    #[inline]
    pub(in crate::logs::decode) fn read(&mut self, record: &[u8]) -> Option<(i64, usize)> {
        if let Some(head) = record.first_chunk::<PREFIX>()
            && head[..SECOND] == self.second
            && let Some(begin) = self.begin
            && let Some(nanoseconds) = nine_digits(head)
            && head[PREFIX - 2..] == *b"Z "
        {
            return Some((begin + nanoseconds, PREFIX));
        }
        self.read_with_offset(record).or_else(|| self.read_other(record))
    }

    /// The same of a time with the offset of the one before: a kubelet's are in its node's zone.
    fn read_with_offset(&self, record: &[u8]) -> Option<(i64, usize)> {
        let (offset, begin) = self.offset?;
        let head = record.first_chunk::<PREFIX>()?;
        let is_alike = head[..SECOND] == self.second && record.get(FRACTION_END..)?.starts_with(&offset);
        is_alike.then_some(())?;
        Some((begin + nine_digits(head)?, FRACTION_END + OFFSET))
    }

    #[cold]
    fn read_other(&mut self, record: &[u8]) -> Option<(i64, usize)> {
        let length = memchr(b' ', &record[..record.len().min(MAX_TIME)])?;
        let time: Timestamp = std::str::from_utf8(&record[..length]).ok()?.parse().ok()?;
        let Ok(nanoseconds) = i64::try_from(time.as_nanosecond()) else {
            // Before 1677 or after 2262: docker has the year 1 for no time at all.
            return Some((if time.as_second() < 0 { i64::MIN } else { i64::MAX }, length + 1));
        };
        let head = record.first_chunk::<PREFIX>();
        if let Some(head) = head.filter(|head| is_prefix(&head[..])) {
            (self.begin, self.offset) = (self.note(head, nanoseconds), None);
        } else if let Some(head) = head.filter(|_| length + 1 == FRACTION_END + OFFSET)
            && let Some(offset) = record[FRACTION_END..].first_chunk::<OFFSET>()
            && head[SECOND - 1] == b'.'
            && matches!(offset[0], b'+' | b'-')
        {
            let begin = self.note(head, nanoseconds);
            (self.begin, self.offset) = (None, begin.map(|begin| (*offset, begin)));
        }
        Some((nanoseconds, length + 1))
    }
}

impl Clock {
    /// Notes the second of a time with nine decimals, and gives when it began.
    fn note(&mut self, head: &[u8; PREFIX], nanoseconds: i64) -> Option<i64> {
        self.second.copy_from_slice(&head[..SECOND]);
        let begin = nine_digits(head).and_then(|fraction| nanoseconds.checked_sub(fraction));
        // A second that is not all in the range of the nanoseconds is not added to.
        begin.filter(|begin| begin.checked_add(1_000_000_000).is_some())
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
            ("2026-11-23T03:01:21.821916123+01:00 x", 1_795_399_281_821_916_123, 36),
            ("2026-11-23T03:01:21.821916124+01:00 x", 1_795_399_281_821_916_124, 36),
            ("2026-11-23T03:01:21.821916125+02:00 x", 1_795_395_681_821_916_125, 36),
            ("2026-11-23T03:01:21.821916126Z x", 1_795_402_881_821_916_126, 31),
            ("2026-11-22T21:31:21.821916127-04:30 x", 1_795_399_281_821_916_127, 36),
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
