//! HTTP/1.1 as a client reads it: for the log exchange with an engine, and for the proxy's connections to sandboxes' servers.

pub mod framing;
