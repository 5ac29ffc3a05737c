//! Pools of sandboxes as the API shows and takes them (http-api.md §15). Members are in the wire's order; absent ones are left out.

use serde::Serialize;
use serde_json::Value;

use super::{
    read::{self, Members},
    timestamp::Timestamp,
    violation::{Invalid, Report},
};

/// Longest name, in characters.
const MAX_NAME: usize = 253;

/// What a name looks like, for the client.
const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name, unique in its namespace.
    pub name: String,
    /// How many pods it keeps.
    pub capacity_spec: Capacity,
    /// How many it has, once its operator has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<PoolStatus>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

/// How many pods a pool keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// The most that wait for a sandbox.
    pub buffer_max: i64,
    /// The least that wait for a sandbox.
    pub buffer_min: i64,
    /// The most, those of sandboxes included.
    pub pool_max: i64,
    /// The least, those of sandboxes included.
    pub pool_min: i64,
}

/// How many pods a pool has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// All of them.
    pub total: i64,
    /// Those that sandboxes have.
    pub allocated: i64,
    /// Those that wait.
    pub available: i64,
    /// The version of the template that they are made of.
    pub revision: String,
}

/// A request for a new pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewPool {
    /// Its name.
    pub name: String,
    /// What its pods are made of, as the client wrote it.
    pub template: Members,
    /// How many pods it is to keep.
    pub capacity: Capacity,
}

impl NewPool {
    /// Reads a request that creates a pool.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn from_json(body: &Value) -> Result<Self, Invalid> {
        let mut report = Report::new("body");
        let new = read::object(&mut report, body).and_then(|members| {
            let name =
                read::required(&mut report, members, "name", |r, v| read::pattern(r, v, MAX_NAME, NAME, is_name));
            let template = read::required(&mut report, members, "template", |r, v| {
                read::map(r, v, |_, value| Some(value.clone()))
            });
            let capacity = Capacity::read(&mut report, members);
            Some(Self { name: name?, template: template?.into_iter().collect(), capacity: capacity? })
        });
        // What is missing was noted.
        report.finish(new).map(Option::unwrap_or_default)
    }
}

impl Capacity {
    /// Reads a request that changes a pool.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn from_json(body: &Value) -> Result<Self, Invalid> {
        let mut report = Report::new("body");
        let members = read::object(&mut report, body);
        let capacity = members.and_then(|members| Self::read(&mut report, members));
        report.finish(capacity).map(Option::unwrap_or_default)
    }

    fn read(report: &mut Report, members: &Members) -> Option<Self> {
        read::required(report, members, "capacitySpec", |report, value| {
            let members = read::object(report, value)?;
            let [buffer_max, buffer_min, pool_max, pool_min] = ["bufferMax", "bufferMin", "poolMax", "poolMin"]
                .map(|name| read::required(report, members, name, |r, v| read::integer(r, v, 0..=u64::MAX)))
                // A larger one is no capacity of any cluster, and is refused there.
                .map(|number| number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)));
            Some(Self { buffer_max: buffer_max?, buffer_min: buffer_min?, pool_max: pool_max?, pool_min: pool_min? })
        })
    }

    /// Its members, by their names on the wire.
    pub fn members(self) -> [(&'static str, i64); 4] {
        let Self { buffer_max, buffer_min, pool_max, pool_min } = self;
        [("bufferMax", buffer_max), ("bufferMin", buffer_min), ("poolMax", pool_max), ("poolMin", pool_min)]
    }
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
    fn a_good_pool_is_read_in_both_spellings() {
        let capacity = json!({"bufferMax": 4, "buffer_min": 0, "poolMax": "5", "poolMin": 1.0});
        let read = Capacity { buffer_max: 4, buffer_min: 0, pool_max: 5, pool_min: 1 };
        let template = json!({"z": [], "a": {"b": null}});
        let new = NewPool::from_json(&json!({"name": "a-1", "template": template, "capacitySpec": capacity})).unwrap();
        assert_eq!((new.name.as_str(), new.capacity), ("a-1", read));
        // Verbatim, the order of its members too.
        assert_eq!(serde_json::to_string(&new.template).unwrap(), template.to_string());
        assert_eq!(Capacity::from_json(&json!({"capacity_spec": capacity})), Ok(read));
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
        assert_eq!(rules(NewPool::from_json(&body).unwrap_err()), expected.map(|(rule, at)| (rule, at.to_owned())));
        assert_eq!(rules(Capacity::from_json(&json!([])).unwrap_err())[0].0, "model_attributes_type");
        assert_eq!(rules(Capacity::from_json(&json!({})).unwrap_err()), [("missing", "capacitySpec".to_owned())]);
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
        assert_eq!(rules(NewPool::from_json(&body).unwrap_err())[0].0, "string_too_long");
    }

    #[test]
    fn looks_as_on_the_wire() {
        let capacity_spec = Capacity { buffer_max: 1, buffer_min: 0, pool_max: 2, pool_min: 0 };
        let mut pool = Pool { name: "p1".to_owned(), capacity_spec, status: None, created_at: None };
        let text = r#"{"name":"p1","capacitySpec":{"bufferMax":1,"bufferMin":0,"poolMax":2,"poolMin":0}}"#;
        assert_eq!(serde_json::to_string(&pool).unwrap(), text);
        pool.status = Some(PoolStatus { total: 2, allocated: 1, available: 1, revision: "r".to_owned() });
        pool.created_at = Timestamp::from_iso("2026-11-23T02:11:02Z");
        let more =
            r#","status":{"total":2,"allocated":1,"available":1,"revision":"r"},"createdAt":"2026-11-23T02:11:02Z"}"#;
        assert_eq!(serde_json::to_string(&pool).unwrap(), format!("{}{more}", text.strip_suffix('}').unwrap()));
    }
}
