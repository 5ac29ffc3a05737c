//! What the integration tests and the benchmarks share: the two engines, the two clients, the gateway's process.
//!
//! Benchmarks include it with `#[path = "../tests/support/mod.rs"] mod support;`.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by programs that each use a part of it"
)]

pub mod backend;
pub mod client;
pub mod collector;
pub mod docker;
pub mod engine;
pub mod executable;
pub mod gateway;
pub mod h2;
pub mod kube;
pub mod leaving;
pub mod postgres;
pub mod program;
pub mod prometheus;
pub mod raw_h2;

use std::time::{Duration, Instant};

/// Calls `check` until it says yes; `within` is generous, the time that it took is for the caller to judge.
///
/// # Panics
///
/// If `check` still says no after `within`.
pub async fn eventually(what: &str, within: Duration, mut check: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start.elapsed()
}
