//! The Kubernetes runtime, and the API server that it is tested against.

#![allow(clippy::unwrap_used, reason = "a test's failure is the panic")]

#[path = "../support/mod.rs"]
mod support;

mod pod_log;
