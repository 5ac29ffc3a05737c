//! What the extensions of a request mean (http-api.md §6.8).

use std::{collections::BTreeMap, ops::RangeInclusive};

use crate::error::{Error, Family, Kind};

/// Names the pool to take a sandbox from.
pub const POOL_REF: &str = "poolRef";

/// Seconds by which an access through the proxy extends a sandbox's life.
pub const RENEW_SECONDS: &str = "access.renew.extend.seconds";

/// `enable` asks for the privileges that execd's isolation needs.
pub const ISOLATION: &str = "bootstrap.execd.isolation";

/// The prefix of the extensions that are stored and echoed.
pub const ECHOED_PREFIX: &str = "opensandbox.extensions.";

const RENEW_BOUNDS: RangeInclusive<i64> = 300..=86_400;

/// The extensions that mean something; all others are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// How far an access extends the sandbox's life.
    pub renewal: Option<Renewal>,
    /// The client asks for execd's isolation.
    pub isolation: bool,
    /// The extensions that are stored and echoed, under their full names.
    pub echoed: BTreeMap<String, String>,
}

/// A request to be renewed by use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Seconds by which an access extends the sandbox's life, 300 to 86400.
    pub seconds: i64,
    /// The number as the client wrote it, without the blanks around it: this is what is stored.
    pub text: String,
}

impl Extensions {
    /// Reads a request's extensions.
    ///
    /// # Errors
    /// ([`Family::Parameter`], [`Kind::Invalid`]) when the time to renew by is no integer in its bounds.
    pub fn from_request(extensions: &BTreeMap<String, String>) -> Result<Self, Error> {
        let echoed = extensions.iter().filter(|(key, _)| key.starts_with(ECHOED_PREFIX));
        Ok(Self {
            renewal: extensions.get(RENEW_SECONDS).map(|text| renewal(text.trim())).transpose()?,
            isolation: extensions.get(ISOLATION).is_some_and(|value| value == "enable"),
            echoed: echoed.map(|(key, value)| (key.clone(), value.clone())).collect(),
        })
    }
}

/// Reads the value of [`RENEW_SECONDS`], without blanks around it.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) when it is no integer from 300 to 86400.
pub fn renewal(text: &str) -> Result<Renewal, Error> {
    if text.is_empty() {
        return Err(invalid(
            "empty value; omit the key to disable renew-on-access, or use an integer between 300 and 86400 seconds.",
        ));
    }
    let Some(digits) = integer_digits(text) else {
        return Err(invalid(&format!("must be a base-10 integer string between 300 and 86400, got '{text}'.")));
    };
    match digits.parse() {
        Ok(seconds) if RENEW_BOUNDS.contains(&seconds) => Ok(Renewal { seconds, text: text.to_owned() }),
        _ => Err(invalid(&format!(
            "must be between 300 and 86400 seconds (5 minutes to 24 hours inclusive), got {digits}."
        ))),
    }
}

/// The plain form of an integer: `+600` and `6_00` are accepted as the peer accepts them.
fn integer_digits(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let is_integer = digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()));
    is_integer.then(|| format!("{sign}{}", digits.replace('_', "")))
}

fn invalid(what: &str) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, format!("Invalid extensions[\"{RENEW_SECONDS}\"]: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renew(text: &str) -> Result<Option<Renewal>, String> {
        let extensions = BTreeMap::from([(RENEW_SECONDS.to_owned(), text.to_owned())]);
        Extensions::from_request(&extensions).map(|e| e.renewal).map_err(|error| error.message)
    }

    #[test]
    fn renew_seconds_are_lenient_within_bounds() {
        for (text, seconds) in [(" 600 ", 600), ("+600", 600), ("6_00", 600), ("0300", 300), ("86400", 86_400)] {
            assert_eq!(renew(text), Ok(Some(Renewal { seconds, text: text.trim().to_owned() })));
        }
    }

    #[test]
    fn renew_refusals_have_the_peers_texts() {
        let prefix = r#"Invalid extensions["access.renew.extend.seconds"]: "#;
        let refused = |text| renew(text).unwrap_err().strip_prefix(prefix).unwrap().to_owned();
        assert_eq!(
            refused(" "),
            "empty value; omit the key to disable renew-on-access, or use an integer between 300 and 86400 seconds."
        );
        assert_eq!(refused("abc"), "must be a base-10 integer string between 300 and 86400, got 'abc'.");
        assert_eq!(refused("299"), "must be between 300 and 86400 seconds (5 minutes to 24 hours inclusive), got 299.");
        assert!(refused("-600").ends_with("got -600."));
        assert!(refused("99999999999999999999").ends_with("got 99999999999999999999."));
    }

    #[test]
    fn only_known_extensions_are_kept() {
        let pairs = [("opensandbox.extensions.foo", "bar"), ("other", "z"), (ISOLATION, "enable")];
        let extensions = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let read = Extensions::from_request(&extensions).unwrap();
        assert!(read.isolation);
        assert_eq!(read.echoed.into_iter().collect::<Vec<_>>(), [(pairs[0].0.to_owned(), pairs[0].1.to_owned())]);
    }
}
