//! When a sandbox ends by itself (http-api.md §6.1).

use jiff::SignedDuration;

use super::timestamp::Timestamp;
use crate::error::{Error, Family, Kind};

/// When a sandbox created at `created` ends: never without a timeout. All lengths are in seconds.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) when the end cannot be written as a time, or the timeout is longer than
/// `max`.
pub fn expiry(timeout: Option<u64>, max: Option<u64>, created: Timestamp) -> Result<Option<Timestamp>, Error> {
    let Some(seconds) = timeout else { return Ok(None) };
    let Some(end) = end(seconds, created) else {
        return Err(invalid(format!("Sandbox timeout {seconds}s is too large to represent safely.")));
    };
    match max {
        Some(max) if seconds > max => {
            Err(invalid(format!("Sandbox timeout {seconds}s exceeds configured maximum of {max}s.")))
        }
        _ => Ok(Some(end)),
    }
}

fn end(seconds: u64, created: Timestamp) -> Option<Timestamp> {
    let length = SignedDuration::from_secs(i64::try_from(seconds).ok()?);
    created.to_jiff().checked_add(length).ok().map(Timestamp::from)
}

fn invalid(message: String) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry_from(timeout: Option<u64>, max: Option<u64>) -> Result<Option<String>, String> {
        let created = Timestamp::from("2026-11-23T02:01:21.821916789Z".parse::<jiff::Timestamp>().unwrap());
        expiry(timeout, max, created).map(|end| end.map(|end| end.to_string())).map_err(|error| error.message)
    }

    #[test]
    fn the_end_follows_from_the_timeout() {
        assert_eq!(expiry_from(Some(600), None), Ok(Some("2026-11-23T02:11:21.821916Z".to_owned())));
        assert_eq!(expiry_from(Some(86_400), Some(86_400)), Ok(Some("2026-11-24T02:01:21.821916Z".to_owned())));
        assert_eq!(expiry_from(None, Some(60)), Ok(None));
    }

    #[test]
    fn too_long_is_refused() {
        assert_eq!(
            expiry_from(Some(86_401), Some(86_400)).unwrap_err(),
            "Sandbox timeout 86401s exceeds configured maximum of 86400s."
        );
        for seconds in [99_999_999_999_999, u64::MAX] {
            assert_eq!(
                expiry_from(Some(seconds), Some(86_400)).unwrap_err(),
                format!("Sandbox timeout {seconds}s is too large to represent safely.")
            );
        }
    }
}
