//! STEP 6: the log path, from a backend's bytes to a response body. Names no runtime.

pub mod backend;
pub mod body;
pub mod command;
pub mod compact;
pub mod cursor;
pub mod decode;
pub mod engine;
pub mod exchange;
pub mod format;
pub mod framed;
pub mod held;
pub mod kubelet_exchange;
pub mod limits;
pub mod lines;
pub mod opened;
pub mod piece;
pub mod query;
pub mod record;
pub mod record_exchange;
pub mod record_source;
pub mod rendered;
pub mod run;
#[cfg(test)]
mod scripted;
pub mod select;
pub mod source;
pub mod turn;

pub use opened::OpenedLog;
pub use query::LogQuery;
pub use source::{LogError, LogSource};
