//! Sandboxes as objects and pods of a Kubernetes cluster (kubernetes-runtime.md, kubernetes-api.md).
//!
//! The groups, each of which imports only those below it (`tests/architecture.rs`):
//!
//! | Group | What it does |
//! |---|---|
//! | `lifecycle` | shows sandboxes, renews, patches and deletes them |
//! | `endpoints` | where a sandbox's port is, for clients and for the proxy; signed routes |
//! | `diagnostics` | pods and their events as text |
//! | `logs` | finds the pod whose log it is, opens and reads it |
//! | `pods` | the pods of a sandbox, and how their containers do |
//! | `workload` | the two kinds of object that a sandbox is: their state, expiry, address, and what is written to change them |
//! | `cache` | one watch for each kind and namespace |
//! | `objects` | the objects, as far as the gateway reads them |
//! | `client` | the API server: configuration, connections, deadlines, limits, errors |
//! | `options` | the settings |
//!
//! What they share is `Inner`. A [`Kubernetes`] is a view of it in one scope: a namespace, and the tenant to whom that belongs.
//! kube's types stop in this folder.

// Used by what is to come.
#[allow(dead_code, unused_imports)]
mod client;
// Used by what is to come.
#[allow(dead_code, unused_imports)]
mod objects;
mod options;

pub use self::options::{KubernetesOptions, Scope};
