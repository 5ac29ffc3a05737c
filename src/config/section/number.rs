//! Keys whose value is a truth value, a number or a time.

use std::{fmt, num::NonZeroU32, ops::RangeInclusive, time::Duration};

use super::Section;
use crate::config::coerce;

/// The longest time a setting may give, in seconds: some 136 years. Adding it
/// to the present cannot overflow a clock.
const MAX_SECONDS: i64 = u32::MAX as i64;

/// The lower bound of a fractional number.
#[derive(Clone, Copy)]
pub(in super::super) enum Floor {
    /// The bound itself is allowed.
    AtLeast(f64),
    /// The bound itself is not allowed.
    Above(f64),
}

impl Section<'_> {
    /// A truth value.
    pub(in super::super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.take(key) else {
            return default;
        };
        let read = coerce::boolean(&value);
        read.or_else(|| self.refuse(key, "must be true or false")).unwrap_or(default)
    }

    /// A whole number within the range.
    pub(in super::super) fn integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<i64>,
    ) -> T {
        self.optional_integer(key, range).unwrap_or(default)
    }

    /// A whole number within the range, if the file has one.
    pub(in super::super) fn optional_integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let Some(number) = coerce::integer(&value) else {
            return self.refuse(key, "must be a whole number");
        };
        let fits = T::try_from(number).ok().filter(|_| range.contains(&number));
        fits.or_else(|| {
            let (low, high) = range.into_inner();
            match high {
                i64::MAX => self.refuse(key, format_args!("must be at least {low}, not {number}")),
                _ => self.refuse(key, format_args!("must be {low} to {high}, not {number}")),
            }
        })
    }

    /// A limit, where 0 means that there is none.
    pub(in super::super) fn limit(&mut self, key: &'static str, default: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(self.integer(key, default, 0..=i64::from(u32::MAX)))
    }

    /// A time in whole seconds.
    pub(in super::super) fn whole_seconds(&mut self, key: &'static str, default: u64, least: i64) -> Duration {
        Duration::from_secs(self.integer(key, default, least..=MAX_SECONDS))
    }

    /// A number that may have a fraction.
    pub(in super::super) fn float(&mut self, key: &'static str, default: f64, floor: Floor) -> f64 {
        let Some(value) = self.take(key) else {
            return default;
        };
        let Some(number) = coerce::float(&value) else {
            return self.refuse(key, "must be a finite number").unwrap_or(default);
        };
        if !floor.admits(number) {
            self.fail(key, format_args!("must be {floor}, not {number}"));
            return default;
        }
        number
    }

    /// A share, from 0 to 1, if the file has one.
    pub(in super::super) fn share(&mut self, key: &'static str) -> Option<f64> {
        let value = self.take(key)?;
        let read = coerce::float(&value).filter(|number| (0.0..=1.0).contains(number));
        read.or_else(|| self.refuse(key, "must be a number from 0 to 1"))
    }

    /// A time in seconds that may have a fraction.
    #[expect(clippy::cast_precision_loss, reason = "a 32-bit number fits")]
    pub(in super::super) fn seconds(&mut self, key: &'static str, default: f64, floor: Floor) -> Duration {
        let seconds = self.float(key, default, floor);
        if seconds > MAX_SECONDS as f64 {
            self.fail(key, format_args!("must be at most {MAX_SECONDS}"));
        }
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

impl Floor {
    fn admits(self, number: f64) -> bool {
        match self {
            Self::AtLeast(floor) => number >= floor,
            Self::Above(floor) => number > floor,
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(floor) => write!(f, "at least {floor}"),
            Self::Above(floor) => write!(f, "more than {floor}"),
        }
    }
}
