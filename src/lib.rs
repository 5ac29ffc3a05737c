//! The OpenSandbox gateway.

pub mod access;
pub mod api;
pub mod body;
pub mod cli;
pub mod client;
pub mod config;
pub mod drain;
pub mod error;
pub mod guard;
pub mod logs;
pub mod model;
pub mod router;
pub mod runtime;
pub mod server;
pub mod service;
pub mod signal;
pub mod start;
pub mod telemetry;
