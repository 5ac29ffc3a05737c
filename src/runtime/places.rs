//! Where the server's own things are in a sandbox.

/// Where execd is.
pub(super) const FOLDER: &str = "/opt/opensandbox";

/// What execd's isolation writes to: memory of the sandbox's own.
pub(super) const ISOLATION: &str = "/var/lib/execd/isolation";
