//! The OpenSandbox gateway.

pub mod api;
pub mod client;
pub mod config;
pub mod drain;
pub mod error;
pub mod logs;
pub mod model;
pub mod runtime;
pub mod server;
