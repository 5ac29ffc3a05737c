//! What becomes of a sandbox after its creation: paused, changed, renewed, removed, and whose expiry ends it.

pub(super) mod creations;
mod delete;
pub(super) mod expiry;
mod leftovers;
mod metadata;
pub(super) mod owner;
mod pause;
mod renew;
pub(super) mod shared_expiry;
