//! The Kubernetes runtime against a test API server, and that server against what was measured of a real one.

#![allow(clippy::unwrap_used, reason = "a test's failure is the panic")]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod cache;
mod changes;
mod client;
mod cluster;
mod create;
mod credentials;
mod fixture;
mod install;
mod lists;
mod logs;
mod outage;
mod pausing;
mod pod_log;
mod pools;
mod portable;
mod real;
mod recorded;
mod replicas;
mod sandboxes;
mod serve;
mod snapshots;
mod tenants;
