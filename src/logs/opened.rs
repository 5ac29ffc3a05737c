//! A log as a runtime opens it: text or records.

use std::pin::Pin;

use super::{
    LogQuery, LogSource,
    record_source::RecordSource,
    rendered::{Rendered, Rendering},
    source::Nothing,
};

/// A log as a runtime opens it.
pub enum OpenedLog {
    /// The sandbox's bytes, with times if those were asked for: what a query without anything else asks for, at the backend's
    /// own speed.
    Text(Pin<Box<dyn LogSource>>),
    /// Records, for everything else.
    Records(RecordSource),
    /// Nothing, and nothing will come: `after` is the end of a log that has ended.
    Ended,
}

impl OpenedLog {
    /// The log as text, as `query` asks for it.
    pub fn into_text(self, query: &LogQuery) -> Pin<Box<dyn LogSource>> {
        match self {
            Self::Text(source) => source,
            Self::Records(records) => Box::pin(Rendered::new(records, query, Rendering::default())),
            Self::Ended => Box::pin(Nothing),
        }
    }
}
