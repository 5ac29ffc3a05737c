//! An event of the cluster.

use jiff::Timestamp;
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::{lenient, meta, resource};

/// What happened to an object, and how often.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct Event {
    #[serde(default, deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "lenient::read")]
    involved_object: Involved,
    /// `Normal` or `Warning`.
    #[serde(default, rename = "type", deserialize_with = "lenient::read")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "lenient::words")]
    pub reason: Option<String>,
    #[serde(default, deserialize_with = "lenient::words")]
    pub message: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub first_timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub last_timestamp: Option<Timestamp>,
    /// With microseconds; the scheduler's events have only this.
    #[serde(default, deserialize_with = "lenient::read")]
    pub event_time: Option<Timestamp>,
}

#[derive(Clone, Default, Deserialize)]
struct Involved {
    #[serde(default, deserialize_with = "lenient::read")]
    uid: Option<String>,
}

lenient::from_object!(Involved);
resource!(Event, "Event", "", "v1", "events");

impl Event {
    /// The object that it is about: of several with one name, which.
    pub(in crate::runtime::kubernetes) fn object_uid(&self) -> Option<&str> {
        self.involved_object.uid.as_deref()
    }

    /// When it happened last, if it says so.
    pub(in crate::runtime::kubernetes) fn moment(&self) -> Option<Timestamp> {
        self.last_timestamp.or(self.event_time).or(self.first_timestamp)
    }
}
