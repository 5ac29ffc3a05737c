//! Whether the engine answers at all, for streams that may be silent for hours without being broken.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::logs::engine;

use super::endpoint::Endpoint;

/// Pings the engine, once for all streams that wait at the same time.
#[derive(Debug, Clone)]
pub(in crate::runtime::docker) struct Liveness(Arc<Shared>);

/// Shared as a whole: each stream has a clone for as long as it waits.
#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    timeout: Duration,
    /// When the last ping began, and whether it was answered.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Liveness {
    /// For the engine at `endpoint`, which must answer within `timeout`.
    pub(in crate::runtime::docker) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self(Arc::new(Shared { endpoint, timeout, last: Mutex::default() }))
    }

    /// Pings the engine, or uses another caller's ping that began after this call.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(in crate::runtime::docker) async fn check(&self) -> io::Result<()> {
        let called_at = Instant::now();
        let mut last = self.0.last.lock().await;
        let is_alive = match *last {
            Some((begun, is_alive)) if begun >= called_at => is_alive,
            _ => {
                let begun = Instant::now();
                let is_alive = self.ping().await;
                *last = Some((begun, is_alive));
                is_alive
            }
        };
        if is_alive {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the engine does not answer a ping"))
        }
    }

    async fn ping(&self) -> bool {
        let ping = async {
            let io = self.0.endpoint.connect().await?;
            engine::send_request(io, "/_ping".to_owned()).await
        };
        matches!(tokio::time::timeout(self.0.timeout, ping).await, Ok(Ok(_)))
    }
}
