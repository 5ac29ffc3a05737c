//! The engine's containers as sandboxes: finding, inspecting and listing them, and the cache of what was found.

pub(super) mod cache;
pub(super) mod find;
mod id_index;
pub(super) mod inspect;
pub(super) mod list;
pub(super) mod lookups;
pub(super) mod overlay;
pub(super) mod status;
pub(super) mod view;
