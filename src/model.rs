//! Wire types and their rules; no IO.
//!
//! Rules come in two kinds. Those of the request's form end in a 422 and are collected in a
//! [`violation::Report`] while the request is read. Those of its meaning end in a 400: they are pure functions
//! that a runtime calls in its own order and that give a [`crate::error::Error`].

pub mod create;
pub mod diagnostics;
pub mod endpoint;
pub mod env;
pub mod extensions;
pub mod labels;
pub mod metrics;
pub mod network;
pub mod page;
pub mod platform;
pub mod pool;
pub mod quantity;
pub mod read;
pub mod sandbox;
pub mod snapshot;
pub mod spelling;
pub mod template;
pub mod tenant;
pub mod timeout;
pub mod timestamp;
pub mod violation;
pub mod volume;
