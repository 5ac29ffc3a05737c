//! The listener of the operator (`[metrics] listen`): metrics for Prometheus, and the log streams that are open.
//!
//! It is apart from the API's: what the API does under load does not keep a scrape waiting, and it stays until the end of a
//! drain. Each connection carries one request and has `CONNECTION_TIMEOUT` for it; when `MAX_CONNECTIONS` are open, the oldest gives way
//! to a new one, so that nobody can hold the places. HTTP/1.1 only.

mod answer;

use std::{collections::VecDeque, fmt, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    task::{AbortHandle, JoinSet},
};

use crate::{drain, keys::KeyRing, metrics::prometheus::Prometheus, runtime::Runtime, server::listen::Listeners};

use self::answer::Sandboxes;

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// Most bytes of a request's head, about.
const MAX_HEAD: usize = 16 * 1024;

/// How long the loop rests when the process has run out of descriptors or memory.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What is answered from.
pub struct Admin {
    /// What is measured.
    pub prometheus: Arc<Prometheus>,
    /// Whose sandboxes are counted.
    pub runtime: Arc<dyn Runtime>,
    /// Who may see and end streams; without keys, whoever reaches a listener on the loopback interface.
    pub keys: Arc<KeyRing>,
    /// Tells that the gateway is ending.
    pub drain: drain::Watch,
    sandboxes: Sandboxes,
}

impl Admin {
    /// Answers from `prometheus` and `runtime`.
    pub fn new(
        prometheus: Arc<Prometheus>,
        runtime: Arc<dyn Runtime>,
        keys: Arc<KeyRing>,
        drain: drain::Watch,
    ) -> Self {
        Self { prometheus, runtime, keys, drain, sandboxes: Sandboxes::default() }
    }

    /// Serves `listeners` until this is dropped, and all connections with it.
    pub async fn serve(self, mut listeners: Listeners) {
        let admin = Arc::new(self);
        let mut connections = JoinSet::new();
        let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listeners.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::debug!(%error, "a client of metrics.listen cannot be accepted");
                        tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                        continue;
                    }
                },
                Some(_) = connections.join_next() => continue,
            };
            oldest.retain(|connection| !connection.is_finished());
            if oldest.len() >= MAX_CONNECTIONS
                && let Some(oldest) = oldest.pop_front()
            {
                oldest.abort();
            }
            let connection = Arc::clone(&admin).connection(stream, peer);
            oldest.push_back(connections.spawn(async move {
                // The client has had its time.
                let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
            }));
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let is_local = stream.local_addr().is_ok_and(|local| local.ip().to_canonical().is_loopback());
        let service = service_fn(move |req| {
            let admin = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(admin.answer(req, peer, is_local).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD).keep_alive(false);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%peer, %error, "a connection of metrics.listen ended with an error");
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}
