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

use std::{
    future::Future,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Longer than any single wait of a test that is not a failure. Silence alone bounds no wait: a stream that is followed has pings.
pub const LONGEST: Duration = Duration::from_mins(2);

/// What comes of `future`.
///
/// # Panics
///
/// If nothing does within [`LONGEST`].
pub async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(outcome) = tokio::time::timeout(LONGEST, future).await else { panic!("{what}: not within {LONGEST:?}") };
    outcome
}

/// What comes of `work`, which waits on its thread and not in a runtime.
///
/// # Panics
///
/// If nothing does within [`LONGEST`]; the thread is left behind.
pub fn bounded_thread<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = mpsc::channel();
    // Whoever has given up does not listen.
    thread::spawn(move || drop(done.send(work())));
    match outcome.recv_timeout(LONGEST) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: not within {LONGEST:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{what}: its thread has panicked"),
    }
}

/// What [`eventually`] waits at least: many times what anything takes on a machine that is busy with other tests, and less than the
/// 30 s and more after which the gateway by itself gives up what it should have let go at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls `check` until it says yes; `within` is generous, and no less than [`PATIENCE`] is waited. The time that it took is for the
/// caller to judge.
///
/// # Panics
///
/// If `check` still says no after that.
pub async fn eventually(what: &str, within: Duration, mut check: impl FnMut() -> bool) -> Duration {
    let within = within.max(PATIENCE);
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start.elapsed()
}
