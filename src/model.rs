//! Wire types and their rules; no IO.

pub mod create;
pub mod sandbox;
pub mod timestamp;
