//! Request handlers, one file a resource.

pub mod extract;
pub mod sandboxes;
