//! The OpenSandbox gateway.

pub mod api;
pub mod config;
pub mod error;
pub mod logs;
pub mod model;
pub mod runtime;
