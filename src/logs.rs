//! STEP 6: the log path, from a backend's bytes to a response body. Names no runtime.

pub mod body;
pub mod count;
pub mod demux;
pub mod engine;
pub mod exchange;
pub mod framed;
pub mod frames;
pub mod limits;
pub mod prefix;
pub mod query;
pub mod skip;
pub mod source;
pub mod tty;
pub mod whole;
pub mod window;

pub use query::LogQuery;
pub use source::{LogError, LogSource};
