//! A Kubernetes API server for tests.

pub mod logs;
