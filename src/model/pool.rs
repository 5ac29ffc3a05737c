//! The form of requests about pools (http-api.md §15). Only the form: no runtime of this version has pools.

use serde_json::Value;

use super::{
    read::{self, Members},
    violation::{Invalid, Report},
};

/// Longest name, in characters.
const MAX_NAME: usize = 253;

/// What a name looks like, for the client.
const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// The members of a capacity.
const CAPACITY: [&str; 4] = ["bufferMax", "bufferMin", "poolMax", "poolMin"];

/// Checks a request that creates a pool.
///
/// # Errors
/// Every field that breaks a rule.
pub fn check_create(body: &Value) -> Result<(), Invalid> {
    let mut report = Report::new("body");
    if let Some(members) = read::object(&mut report, body) {
        read::required(&mut report, members, "name", |r, v| read::pattern(r, v, MAX_NAME, NAME, is_name));
        read::required(&mut report, members, "template", |r, v| read::map(r, v, |_, _| Some(())));
        check_capacity(&mut report, members);
    }
    report.finish(())
}

/// Checks a request that changes a pool.
///
/// # Errors
/// Every field that breaks a rule.
pub fn check_update(body: &Value) -> Result<(), Invalid> {
    let mut report = Report::new("body");
    if let Some(members) = read::object(&mut report, body) {
        check_capacity(&mut report, members);
    }
    report.finish(())
}

fn check_capacity(report: &mut Report, members: &Members) {
    read::required(report, members, "capacitySpec", |report, value| {
        let members = read::object(report, value)?;
        for name in CAPACITY {
            read::required(report, members, name, |r, v| read::integer(r, v, 0..=u64::MAX));
        }
        Some(())
    });
}

fn is_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| is_word(*first))
        && bytes.last().is_some_and(|last| is_word(*last))
        && bytes.iter().all(|byte| is_word(*byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(invalid: Invalid) -> Vec<(&'static str, String)> {
        let place = |loc: &[Value]| loc.iter().skip(1).map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join(".");
        invalid.0.iter().map(|violation| (violation.rule, place(&violation.loc))).collect()
    }

    #[test]
    fn a_good_pool_passes_in_both_spellings() {
        let capacity = json!({"bufferMax": 1, "buffer_min": 0, "poolMax": "1", "poolMin": 0.0});
        assert_eq!(check_create(&json!({"name": "a-1", "template": {"x": []}, "capacitySpec": capacity})), Ok(()));
        assert_eq!(check_update(&json!({"capacity_spec": capacity})), Ok(()));
    }

    #[test]
    fn every_fault_is_named_in_the_peers_order() {
        let body = json!({"name": "P_", "template": [], "capacitySpec": {"bufferMax": -1}});
        let expected = [
            ("string_pattern_mismatch", "name"),
            ("dict_type", "template"),
            ("greater_than_equal", "capacitySpec.bufferMax"),
            ("missing", "capacitySpec.bufferMin"),
            ("missing", "capacitySpec.poolMax"),
            ("missing", "capacitySpec.poolMin"),
        ];
        assert_eq!(rules(check_create(&body).unwrap_err()), expected.map(|(rule, at)| (rule, at.to_owned())));
        assert_eq!(rules(check_update(&json!([])).unwrap_err())[0].0, "model_attributes_type");
        assert_eq!(rules(check_update(&json!({})).unwrap_err()), [("missing", "capacitySpec".to_owned())]);
    }

    #[test]
    fn names_are_dns_words() {
        for name in ["a", "0", "a-b", "a--b9"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-", "a-", "-a", "A", "a_b", "a.b", "é", "a\n"] {
            assert!(!is_name(name), "{name:?}");
        }
        let body = json!({"name": "a".repeat(254), "template": {}, "capacitySpec": null});
        assert_eq!(rules(check_create(&body).unwrap_err())[0].0, "string_too_long");
    }
}
