//! STEP 6: the log path, from a backend's bytes to a response body. Names no runtime.

pub mod body;
pub mod compact;
pub mod count;
pub mod decode;
pub mod engine;
pub mod exchange;
pub mod framed;
pub mod limits;
pub mod query;
pub mod skip;
pub mod source;

pub use query::LogQuery;
pub use source::{LogError, LogSource};
