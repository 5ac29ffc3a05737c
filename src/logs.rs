//! The log path: from a backend's bytes to a response body.

pub mod query;
pub mod source;

pub use query::LogQuery;
pub use source::{LogError, LogSource};
