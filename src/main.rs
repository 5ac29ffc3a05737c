//! The `opensandbox-gateway` program, with its allocator; all else is [`program`].

use std::process::ExitCode;

use opensandbox_gateway::program;
use tikv_jemallocator::Jemalloc;

/// Chosen by measurement: docs/performance.md. `.cargo/config.toml` sets it up.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    program::run()
}
