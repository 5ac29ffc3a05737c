//! What the engine's containers are as sandboxes: found, described, and kept until they change.

pub(super) mod cache;
pub(super) mod describe;
pub(super) mod find;
mod known;
pub(super) mod list;
pub(super) mod look;
pub(super) mod lookups;
pub(super) mod overlay;
pub(super) mod status;
