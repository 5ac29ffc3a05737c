//! The same on a real cluster: `scripts/test kubernetes --kubeconfig FILE [--image REF]`.
//!
//! The tests are ignored otherwise. Each has a namespace of its own, which it deletes when it ends. CRDs that are missing are
//! added as small ones, and taken away at the end by [`sweep`]. Where no operator makes pods of sandboxes, [`reconciler`] does.

mod access;
mod agent;
mod api;
mod crash;
mod crds;
mod limits;
mod proxy;
mod reconciler;
mod rotation;
mod slow;
mod stage;
mod sweep;

use std::io::Write;

use self::stage::Real;
use crate::portable::scenarios;

/// Says something to who runs the tests, though the harness keeps what a test prints to itself.
fn tell(text: &str) {
    // Who does not listen cannot be told.
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

scenarios!(Real, #[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]);
