//! The OpenSandbox gateway: a drop-in for the Python lifecycle server whose headline is streaming a sandbox's log.
//!
//! It creates, shows, lists and deletes sandboxes on a Docker Engine, or as local processes for development, serves those that
//! are there on a Kubernetes cluster, and `GET /sandboxes/{sandboxId}/logs` sends what a sandbox prints, byte for byte, while it is
//! printed.
//!
//! # The line
//!
//! A request walks one straight line. Each step is a module, numbered in its first comment:
//!
//! ```text
//! accept ─▶ connection ─▶ service ─▶ router ─▶ api handler ─▶ runtime ─▶ body ─▶ back out through the same connection
//! server    server/io     service    router    api/*          runtime/*   logs/*
//! ```
//!
//! For logs the last third is the product:
//!
//! ```text
//! runtime.open_logs(id, query) ─▶ LogSource (owns the backend's socket) ─▶ decode ─▶ LogBody ─▶ hyper
//!                                 bytes as they arrive, in one buffer      in place   owns permit and watches
//! ```
//!
//! Dropping the body drops the source, and that closes the backend's socket: release is ownership, not clean-up code. A
//! client that leaves while the sandbox is silent is seen by the [`client::ClientWatch`] that the body polls. A slow
//! client is simply not read for: nothing but that buffer and hyper's own lies between the backend's socket and its.
//!
//! # Modules
//!
//! A step imports from the steps after it and from what has no number. The whole order, in which nothing looks back, is in
//! `tests/architecture.rs`, which keeps it.
//!
//! | Module | Step | What it is |
//! |---|---|---|
//! | [`access`] | | the access line, written when a response's body ends |
//! | [`admin`] | | the operator's listener: metrics for Prometheus, and the log streams that are open |
//! | [`api`] | 4 | handlers, one file a resource; query and body to typed values, or the list of what is wrong |
//! | [`backoff`] | | pauses between tries |
//! | [`body`] | | the one response body: nothing, some bytes, a log, or a backend's answer |
//! | [`children`] | | programs that the gateway starts for sandboxes: process groups, their signals, what is left of them |
//! | [`cli`] | | the command line |
//! | [`client`] | | what a body can know of its client: left, stalled, has taken everything |
//! | [`config`] | | the TOML file and the environment; one file a section, with keys, defaults and rules |
//! | [`deadline`] | | a time that is moved often and reached seldom |
//! | [`dev`] | | what `dev` does besides serving: its key, and what it says to try |
//! | [`drain`] | | ending gracefully: one `Drain`, a `Watch` for whoever must notice |
//! | [`end_reason`] | | why an answer ended |
//! | [`error`] | | what can go wrong: a family, a kind, a text and what lies beneath |
//! | [`error_chain`] | | an error's text with those of its causes |
//! | [`execd`] | | commands and files in sandboxes that are local processes; its HTTP is [`api::execd`] |
//! | [`guard`] | | the start-up guard for a missing API key |
//! | [`host`] | | hosts in settings, URLs and `Host`: brackets, loopback |
//! | [`https`] | | asking servers elsewhere: whom to trust, credentials in addresses |
//! | [`http1`] | | HTTP/1.1 as a client reads it, for the log exchange and for the proxy: heads, lengths, chunks |
//! | [`init_config`] | | the configuration files that the program can write to start from |
//! | [`keyed_lock`] | | a lock for each key, for keys that come and go |
//! | [`keys`] | | the API keys, which can be exchanged while requests are served |
//! | [`logs`] | 6 | the log path: engine exchange, chunks, frames, lines, limits, the log's body |
//! | [`metrics`] | | what is measured, sent to a collector and scraped |
//! | [`model`] | | wire types and their rules |
//! | `netlink` | | one question to the kernel and its answer |
//! | [`notify`] | | what systemd is told |
//! | [`own_listeners`] | | the addresses that the process itself listens on |
//! | [`open`] | | the open connections: how many, whose, and which give way to new ones |
//! | [`peer`] | | a client's address, which trusted proxies may tell |
//! | [`problem`] | | the one table from what went wrong to status, code and message |
//! | [`program`] | | the program from its command line to its exit code |
//! | [`proxy`] | 6 | the proxy path: rules for headers, connections to backends, the response's body, tunnels |
//! | [`regular_file`] | | opening files whose names come from elsewhere, so that nothing in their place hangs |
//! | [`reload`] | | SIGHUP: log files and keys |
//! | [`renew`] | | sandboxes that live longer while they are used |
//! | [`response`] | | answers with a plain body, errors among them |
//! | [`router`] | 3 | method and path to a route, by one table of routes: [`router::ROUTES`] |
//! | [`runtime`] | 5 | the seam: the trait [`runtime::Runtime`] with its optional parts, and its implementations `docker`, `kubernetes` and `process` |
//! | [`secret`] | | text that no log and no debug output shows |
//! | [`server`] | 1 | accept loop, a runtime for each thread of connections, socket options, watched IO, write deadlines |
//! | [`service`] | 2 | a request's frame: id, span, CORS, key, errors to responses; never fails; the browser viewer's checks |
//! | [`signal`] | | what signals ask for |
//! | [`snapshots`] | | copies of sandboxes: their records' states, the work behind them, recovery |
//! | [`start`] | | from a configuration to a runtime and a server |
//! | [`state_file`] | | reading the gateway's own files: what is not there is told apart from what cannot be read |
//! | [`store`] | | the records of snapshots: SQLite, PostgreSQL, and from one to the other |
//! | [`telemetry`] | | the program's own log |
//! | [`tenants`] | | whose a key is, where several share a server |
//!
//! # Invariants
//!
//! - [`runtime`] knows no HTTP: it imports nothing of steps 1 to 4, and an error leaves it as a family, a kind and a text. The
//!   crates `http` and `hyper` occur below it as a *client* only: in `runtime/docker/engine/transport.rs` under bollard,
//!   in `runtime/kubernetes/client` under kube, and in [`http1`], which reads a backend's responses.
//! - bollard's types stop inside `runtime/docker`, kube's inside `runtime/kubernetes`.
//! - [`logs`] names no runtime: a runtime hands it a transport or is a [`logs::LogSource`] itself.
//! - [`execd`] and [`children`] know no HTTP either.
//! - [`store`] knows neither HTTP nor a runtime; sqlx's types stop in its folder.
//! - [`router`], [`model`] and the decoders ([`http1`], [`logs::decode`], [`logs::compact`], [`proxy::target`]) do no IO.
//! - [`problem`] alone chooses the status of an error. Answers that are no errors of ours have fixed ones where they are
//!   made: the redirect and the overload of [`response`], the preflight of [`service::cors`], the unchanged files
//!   of [`api::docs`] and [`api::ui`], the viewer's redirect ([`service::viewer`]).
//! - The log path spawns no task for a stream (for one of HTTP/2 hyper does, and nothing more), puts no channel between
//!   the sockets, and allocates nothing a line. The proxy path spawns none either: see [`proxy`].
//! - What must last as long as a stream lives in its body: permit, drain watch, client watch, report.
//! - Only [`program`] ends the process, and [`cli`] where a command line goes no further. There is no `unsafe`.
//!
//! # Where to start reading
//!
//! [`api::logs`] is the endpoint in twenty lines. From there down: [`runtime`] for the seam, [`logs::body`] for how a
//! stream ends, [`logs::decode`] for how bytes become a log. From there up: [`service`], then [`server::connection`] and
//! [`client`] for how a client that leaves is noticed. [`program`] and [`start`] put the parts together.

pub mod accept;
pub mod access;
pub mod admin;
pub mod api;
pub mod backoff;
pub mod body;
pub mod children;
pub mod cli;
pub mod client;
pub mod config;
pub mod deadline;
pub mod dev;
pub mod drain;
pub mod end_reason;
pub mod error;
pub mod error_chain;
pub mod execd;
#[cfg(test)]
#[path = "../tests/support/executable.rs"]
#[expect(unreachable_pub, reason = "the integration tests have it too")]
mod executable;
pub mod guard;
pub mod host;
pub mod http1;
pub mod https;
pub mod init_config;
pub mod keyed_lock;
pub mod keys;
pub mod logs;
pub mod metrics;
pub mod model;
mod netlink;
pub mod notify;
pub mod open;
pub mod own_listeners;
pub mod peer;
pub mod problem;
pub mod program;
pub mod proxy;
pub mod regular_file;
pub mod reload;
pub mod renew;
pub mod response;
pub mod router;
pub mod runtime;
pub mod secret;
pub mod server;
pub mod service;
pub mod signal;
pub mod snapshots;
pub mod start;
pub mod state_file;
pub mod store;
pub mod telemetry;
pub mod tenants;
