//! A condition of an object's status.

use serde::Deserialize;

use super::lenient;

/// One condition: whether something holds, and why.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct Condition {
    /// What may hold, such as `Ready`.
    #[serde(default, rename = "type", deserialize_with = "lenient::read")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default, deserialize_with = "lenient::read")]
    pub status: String,
    #[serde(default, deserialize_with = "lenient::words")]
    pub reason: Option<String>,
    #[serde(default, deserialize_with = "lenient::words")]
    pub message: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub last_transition_time: Option<jiff::Timestamp>,
}

lenient::from_object!(Condition);

impl Condition {
    /// Whether it holds.
    pub(in crate::runtime::kubernetes) fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// The condition of a kind.
pub(in crate::runtime::kubernetes) fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}
