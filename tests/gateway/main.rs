//! The whole program over real sockets: against a scripted engine for faults, against a real one for bytes.

#[path = "../support/mod.rs"]
mod support;

mod self_check;
