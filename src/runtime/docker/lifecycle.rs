//! A sandbox after its creation: pause and resume, metadata, renewal, removal, expiry, and which gateway enforces it.

pub(super) mod creations;
mod delete;
pub(super) mod expiry;
mod leftovers;
mod metadata;
pub(super) mod owner;
mod pause;
mod renew;
pub(super) mod shared_expiry;
