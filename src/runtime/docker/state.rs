//! What the engine's containers are as sandboxes: found, described, and kept until they change.

pub(super) mod cache;
pub(super) mod find;
mod id_index;
pub(super) mod inspect;
pub(super) mod list;
pub(super) mod lookups;
pub(super) mod overlay;
pub(super) mod status;
pub(super) mod view;
