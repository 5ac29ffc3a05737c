//! Times as the API writes and reads them (http-api.md §2).

mod input;

use std::fmt;

use jiff::{Unit, tz::TimeZone};
use serde::{Serialize, Serializer};

/// A point in time to the microsecond; written in UTC with `Z`, six fractional digits or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The present time.
    pub fn now() -> Self {
        Self::from(jiff::Timestamp::now())
    }

    /// A time in the ISO form of the existing server's labels, files and records; one without an offset is in UTC.
    pub fn from_iso(text: &str) -> Option<Self> {
        let in_utc =
            || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp());
        text.parse::<jiff::Timestamp>().ok().or_else(in_utc).map(Self::from)
    }

    /// The time as a [`jiff::Timestamp`].
    pub fn to_jiff(self) -> jiff::Timestamp {
        self.0
    }

    /// The form of the expiry label and of records: `+00:00` where the API has `Z` (docker-runtime.md §2).
    pub fn to_label(self) -> String {
        self.written("+00:00")
    }

    fn written(self, offset: &str) -> String {
        let time = self.0.to_zoned(TimeZone::UTC).datetime();
        match time.subsec_nanosecond() / 1_000 {
            0 => format!("{}{offset}", time.strftime("%Y-%m-%dT%H:%M:%S")),
            micros => format!("{}.{micros:06}{offset}", time.strftime("%Y-%m-%dT%H:%M:%S")),
        }
    }
}

impl From<jiff::Timestamp> for Timestamp {
    /// Truncates to the microsecond, as the existing server does with the engine's nanoseconds.
    fn from(time: jiff::Timestamp) -> Self {
        // Most have none.
        if time.subsec_nanosecond() % 1_000 == 0 {
            return Self(time);
        }
        let floor = jiff::TimestampRound::new().smallest(Unit::Microsecond).mode(jiff::RoundMode::Floor);
        Self(time.round(floor).unwrap_or(time))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written("Z"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
