//! The `opensandbox-gateway` program.

fn main() {}
