//! What becomes of a sandbox after its creation: paused, changed, renewed, removed, and whose expiry ends it.

pub(super) mod creations;
pub(super) mod delete;
pub(super) mod expiry;
pub(super) mod leftovers;
pub(super) mod metadata;
pub(super) mod owner;
pub(super) mod pause;
pub(super) mod renew;
pub(super) mod shared_expiry;
