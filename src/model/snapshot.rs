//! Snapshots as the API shows and takes them (http-api.md §14). Members are in the wire's order; absent ones are left out.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::{
    page::PageRequest,
    read,
    timestamp::Timestamp,
    violation::{Invalid, Report},
};

/// A snapshot of a sandbox's file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The snapshot's id, a UUID.
    pub id: String,
    /// The sandbox it was made of.
    pub sandbox_id: String,
    /// What its maker called it; names may repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How far it is.
    pub status: SnapshotStatus,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// Whose a snapshot is, where that is told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotOwner {
    /// The namespace of its sandbox; none where there are no namespaces, and of a record of the Python server that means the
    /// configured one.
    pub namespace: Option<Arc<str>>,
    /// The tenant that made it; none where there are no tenants, and of a record that does not tell.
    pub tenant: Option<Arc<str>>,
}

/// How far a snapshot is, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// The state.
    pub state: SnapshotState,
    /// A machine-readable reason, such as `snapshot_accepted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the state was entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_at: Option<Timestamp>,
}

/// The states of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SnapshotState {
    /// It is being made, or waits for its turn.
    Creating,
    /// Sandboxes can be restored from it.
    Ready,
    /// It could not be made.
    Failed,
    /// Its removal was asked for and is not finished.
    Deleting,
}

/// The body of a request to make a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewSnapshot {
    /// What to call it; at least one character.
    pub name: Option<String>,
}

/// What a client asked to see of the list of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotQuery {
    /// The sandbox whose snapshots to show.
    pub sandbox_id: Option<String>,
    /// The name to show, exactly; an empty one matches nothing.
    pub name: Option<String>,
    /// The states to show, in exactly the wire's spelling; all when empty. Unknown names match nothing.
    pub states: Vec<String>,
    /// Which page of the list.
    pub page: PageRequest,
}

impl SnapshotOwner {
    /// Whether what is `other`'s exists for this one: everything for nobody in particular, and of a namespace what bears the
    /// tenant's name or none.
    pub fn sees(&self, other: &Self) -> bool {
        let is_in = self.namespace.is_none() || self.namespace == other.namespace;
        is_in && (self.tenant.is_none() || other.tenant.is_none() || self.tenant == other.tenant)
    }
}

impl SnapshotState {
    /// The name on the wire and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Deleting => "Deleting",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Creating, Self::Ready, Self::Failed, Self::Deleting].into_iter().find(|state| state.name() == name)
    }
}

impl SnapshotStatus {
    /// A state that is entered now.
    pub fn now(state: SnapshotState, reason: &str, message: impl Into<String>) -> Self {
        Self {
            state,
            reason: Some(reason.to_owned()),
            message: Some(message.into()),
            last_transition_at: Some(Timestamp::now()),
        }
    }
}

impl NewSnapshot {
    /// Reads a request's body; `null` is as good as none.
    ///
    /// # Errors
    /// A body that is no object, or a name that is no string or empty.
    pub fn from_json(body: &Value) -> Result<Self, Invalid> {
        if body.is_null() {
            return Ok(Self::default());
        }
        let mut report = Report::new("body");
        let name = read::object(&mut report, body).and_then(|members| {
            read::optional(&mut report, members, "name", |r, v| read::string_of(r, v, 1..=usize::MAX))
        });
        report.finish(Self { name })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn looks_as_on_the_wire() {
        let time = Timestamp::from(jiff::Timestamp::from_second(1_800_000_000).unwrap());
        let status = SnapshotStatus {
            state: SnapshotState::Creating,
            reason: Some("snapshot_accepted".to_owned()),
            message: None,
            last_transition_at: Some(time),
        };
        let snapshot =
            Snapshot { id: "i".to_owned(), sandbox_id: "s".to_owned(), name: None, status, created_at: time };
        assert_eq!(
            serde_json::to_string(&snapshot).unwrap(),
            r#"{"id":"i","sandboxId":"s","status":{"state":"Creating","reason":"snapshot_accepted","lastTransitionAt":"2027-01-15T08:00:00Z"},"createdAt":"2027-01-15T08:00:00Z"}"#
        );
    }

    #[test]
    fn a_body_is_optional_in_every_way() {
        for body in [json!(null), json!({}), json!({"name": null}), json!({"description": "d"})] {
            assert_eq!(NewSnapshot::from_json(&body), Ok(NewSnapshot::default()), "{body}");
        }
        assert_eq!(NewSnapshot::from_json(&json!({"name": "a"})).unwrap().name.as_deref(), Some("a"));
    }

    #[test]
    fn names_are_strings_with_something_in_them() {
        for (body, rule) in [
            (json!({"name": ""}), "string_too_short"),
            (json!({"name": 1}), "string_type"),
            (json!([]), "model_attributes_type"),
        ] {
            assert_eq!(NewSnapshot::from_json(&body).unwrap_err().0[0].rule, rule, "{body}");
        }
    }

    #[test]
    fn a_tenant_sees_its_own_and_what_is_its_namespace_s() {
        let owner = |namespace: Option<&str>, tenant: Option<&str>| SnapshotOwner {
            namespace: namespace.map(Arc::from),
            tenant: tenant.map(Arc::from),
        };
        let (nobody, a) = (SnapshotOwner::default(), owner(Some("n"), Some("a")));
        for other in [nobody.clone(), a.clone(), owner(Some("m"), None)] {
            assert!(nobody.sees(&other), "{other:?}");
        }
        for (other, is_seen) in [
            (a.clone(), true),
            (owner(Some("n"), None), true),
            (owner(Some("n"), Some("b")), false),
            (owner(Some("m"), Some("a")), false),
            (owner(Some("m"), None), false),
            (nobody, false),
        ] {
            assert_eq!(a.sees(&other), is_seen, "{other:?}");
        }
    }

    #[test]
    fn states_are_spelt_exactly() {
        assert_eq!(SnapshotState::from_name("Ready"), Some(SnapshotState::Ready));
        assert_eq!(SnapshotState::from_name("ready"), None);
    }
}
