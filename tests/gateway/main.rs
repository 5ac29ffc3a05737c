//! The whole program over real sockets: against a scripted engine for faults, against a real one for bytes.

#![allow(clippy::unwrap_used, reason = "a test's failure is the panic")]

#[path = "../support/mod.rs"]
mod support;

mod abandoned;
mod access_lines;
mod buffers;
mod bytes;
mod command_line;
mod crowd;
mod dashboard;
mod diagnostics;
mod docker_commands;
mod docs;
mod drain;
mod engine_messages;
mod execd;
mod faults;
mod first_contact;
mod floods;
mod hoards;
mod hostile_execd;
mod http2;
mod hung_engine;
mod image;
mod kubernetes_only;
mod life;
mod limits;
mod listeners;
mod log_files;
mod log_lines;
mod log_requests;
mod log_walks;
mod metrics;
mod newer_engines;
mod nginx;
mod notify;
mod one_sandbox;
mod operator;
mod origin;
mod prometheus;
mod proxy;
mod proxy_bodies;
mod proxy_hostile;
mod proxy_limits;
mod proxy_tunnel;
mod proxy_uploads;
mod readers;
mod readiness;
mod redis_tls;
mod release;
mod release_h2;
mod secrets;
mod self_check;
mod signals;
mod snapshots;
mod sockets;
mod stalls;
mod start;
mod tls;
mod tls_clients;
mod tls_files;
mod traces;
mod trusted_proxies;
mod ui;
mod unknown_ids;
mod windows;
mod wire;

use std::time::Duration;

use support::{
    engine::{Engine, Script},
    eventually,
    gateway::{Gateway, Setup},
    leaving::soon,
};

/// A scripted engine and a gateway on it.
struct Pair {
    // Fields are dropped in this order: the gateway first, so that it does not log an engine's end.
    gateway: Gateway,
    engine: Engine,
}

impl Pair {
    fn start() -> Self {
        Self::with(|setup| setup)
    }

    fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let engine = Engine::start();
        let gateway = change(Setup::docker(engine.docker_host())).start();
        Self { gateway, engine }
    }

    /// A new sandbox's log with this query.
    fn log(&self, script: Script, query: &str) -> String {
        logs(&self.engine.log(script), query)
    }

    fn address(&self) -> std::net::SocketAddr {
        self.gateway.address()
    }

    /// Waits for the access line of the request with this id.
    async fn access_line(&self, id: &str) -> String {
        let find = || {
            let output = self.gateway.output();
            output.lines().find(|line| line.contains("access") && line.contains(id)).map(str::to_owned)
        };
        eventually("an access line", Duration::from_secs(5), || find().is_some()).await;
        find().unwrap()
    }
}

/// The target of a sandbox's log.
fn logs(id: &str, query: &str) -> String {
    match query {
        "" => format!("/v1/sandboxes/{id}/logs"),
        query => format!("/v1/sandboxes/{id}/logs?{query}"),
    }
}
