//! Which metadata a client may set: the grammar of Kubernetes labels (http-api.md §6.4).

use std::collections::BTreeMap;

use crate::error::{Error, Family, Kind};

/// The prefix of the labels that the gateway sets itself.
pub const RESERVED_PREFIX: &str = "opensandbox.io/";

/// The longest name and the longest value, in bytes.
const MAX_NAME: usize = 63;

/// The longest prefix of a key, in bytes.
const MAX_PREFIX: usize = 253;

/// Checks a sandbox's metadata.
///
/// # Errors
/// ([`Family::Metadata`], [`Kind::Invalid`]) for the first key or value that breaks a rule.
pub fn check(metadata: &BTreeMap<String, String>) -> Result<(), Error> {
    metadata.iter().try_for_each(|(key, value)| {
        check_key(key)?;
        check_value(value)
    })
}

/// Checks a change of a sandbox's metadata. A key that is only taken away may break every rule but one: it may be of an
/// image's own label.
///
/// # Errors
/// Of [`Family::Metadata`]: [`Kind::Denied`] for a key that is the gateway's own, [`Kind::Invalid`] for the first
/// other key or value that breaks a rule.
pub fn check_patch(patch: &BTreeMap<String, Option<String>>) -> Result<(), Error> {
    if let Some(key) = patch.keys().find(|key| key.starts_with(RESERVED_PREFIX)) {
        let message = format!("Metadata key '{key}' is reserved ({RESERVED_PREFIX} prefix).");
        return Err(Error::new(Family::Metadata, Kind::Denied, message));
    }
    patch.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).try_for_each(|(key, value)| {
        check_key(key)?;
        check_value(value)
    })
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.starts_with(RESERVED_PREFIX) {
        return Err(invalid(format!(
            "Metadata key '{key}' uses the reserved prefix '{RESERVED_PREFIX}'. \
             Keys under this prefix are managed by the system and cannot be set via metadata."
        )));
    }
    let is_valid = match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(key),
    };
    if is_valid {
        return Ok(());
    }
    Err(invalid(format!(
        "Metadata key '{key}' is invalid: must be either a name or a DNS-subdomain prefix and name separated by /, \
         where the name is up to 63 characters and matches [A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?, \
         and the optional prefix is a valid DNS subdomain up to 253 characters."
    )))
}

fn check_value(value: &str) -> Result<(), Error> {
    if value.is_empty() || is_name(value) {
        return Ok(());
    }
    Err(invalid(format!(
        "Metadata value '{value}' is invalid: must be 63 characters or less, start/end with an alphanumeric character, \
         and contain only alphanumeric, '-', '_', or '.' characters."
    )))
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME && is_framed(name, |c| c.is_ascii_alphanumeric(), |c| matches!(c, b'-' | b'_' | b'.'))
}

fn is_subdomain(prefix: &str) -> bool {
    let is_edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    prefix.len() <= MAX_PREFIX && prefix.split('.').all(|label| is_framed(label, is_edge, |c| c == b'-'))
}

/// Whether a text begins and ends with an edge character and has only edge and inner characters between.
fn is_framed(text: &str, is_edge: impl Fn(u8) -> bool, is_inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    is_edge(*first) && is_edge(*last) && bytes.iter().all(|c| is_edge(*c) || is_inner(*c))
}

fn invalid(message: String) -> Error {
    Error::new(Family::Metadata, Kind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: &str, value: &str) -> Option<String> {
        let metadata = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        check(&metadata).err().map(|error| {
            assert_eq!(error.key(), (Family::Metadata, Kind::Invalid));
            error.message
        })
    }

    #[test]
    fn accepts_labels() {
        let long = format!("{}/{}", "a".repeat(253), "b".repeat(63));
        for key in ["a", "A.b_c-9", "team.example.com/x", "opensandbox.io", "com.docker.x/y", long.as_str()] {
            assert_eq!(message(key, "v"), None, "{key}");
        }
        for value in ["", "a", "Apollo", "1.2_3-4", &"v".repeat(63)] {
            assert_eq!(message("k", value), None, "{value}");
        }
    }

    #[test]
    fn refuses_other_keys_and_values() {
        for key in ["", "-a", "a-", "a b", "a/b/c", "/a", "a/", "A.com/x", "a..b/x", "é", "a\n", &"k".repeat(64)] {
            let start = format!("Metadata key '{key}' is invalid: must be either a name or");
            assert!(message(key, "v").unwrap().starts_with(&start), "{key:?}");
        }
        for value in ["-", "a b", "abc\n", "\n", "a/b", &"v".repeat(64)] {
            let start = format!("Metadata value '{value}' is invalid: must be 63 characters or less");
            assert!(message("k", value).unwrap().starts_with(&start), "{value:?}");
        }
    }

    #[test]
    fn a_patch_may_take_away_what_it_could_not_set() {
        let patch = |pairs: &[(&str, Option<&str>)]| {
            let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect();
            check_patch(&pairs).map_err(|error| (error.key(), error.message))
        };
        assert_eq!(patch(&[("a b", None), ("a", Some("")), ("b", None)]), Ok(()));
        assert_eq!(patch(&[("a b", Some("x"))]).unwrap_err().0, (Family::Metadata, Kind::Invalid));
        let text = "Metadata key 'opensandbox.io/id' is reserved (opensandbox.io/ prefix).";
        for value in [None, Some("x")] {
            let refused = patch(&[("a b", Some("x")), ("opensandbox.io/id", value)]).unwrap_err();
            assert_eq!(refused, ((Family::Metadata, Kind::Denied), text.to_owned()));
        }
    }

    #[test]
    fn names_the_reserved_prefix() {
        assert_eq!(
            message("opensandbox.io/x", "1").unwrap(),
            "Metadata key 'opensandbox.io/x' uses the reserved prefix 'opensandbox.io/'. Keys under this prefix are \
             managed by the system and cannot be set via metadata."
        );
    }
}
