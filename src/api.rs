//! Request handlers, one file a resource.

pub mod extract;
pub mod failure;
pub mod log_query;
pub mod sandboxes;
