//! Kubernetes: logs from an API server over TLS, and the sandboxes that are there.

mod creations;
mod load;
mod logs;
mod objects;
mod reads;
mod relay;
mod source;

pub use self::{
    creations::soak,
    reads::serve as cluster,
    relay::{client_send, plain as plain_relay},
    source::run as source,
};

/// Where the sandboxes are.
const NAMESPACE: &str = "osb";

/// All rows.
pub fn run() {
    logs::run();
    logs::baseline();
    logs::followers();
    reads::run();
    creations::run();
}
