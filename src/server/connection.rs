//! One connection, from its first byte to its last: HTTP/1.1, or HTTP/2 with prior knowledge, on the same port.

use std::{
    error::Error,
    future::{Future, pending},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{io::WatchedIo, listen, stall::StreamExecutor, timer::ConnectionTimer};
use crate::{
    causes, drain,
    metrics::{Metrics, labels::Protocol},
    peer::Peer,
    proxy::tunnel::TunnelSlot,
    service::{Gateway, Service},
};

/// What a client that speaks HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most bytes of an HTTP/1.1 connection that hyper collects for writing; about as many for reading, so that a request's
/// head may be a little longer.
///
/// Less than what most full reads of a log leave after decoding: so hyper writes each piece before it asks for the next, and
/// the read after that finds its buffer free and still in the cache.
const BUFFER: usize = 48 * 1024;

/// Most bytes of an HTTP/2 stream that are held for writing.
const SEND_BUFFER: usize = 64 * 1024;

/// Most bytes of an HTTP/2 request's headers.
const MAX_HEADER_LIST: u32 = 32 * 1024;

/// Most streams of an HTTP/2 connection at a time: a load balancer may send all its clients' requests over one.
const MAX_STREAMS: u32 = 1024;

/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Why a connection ended: hyper's error, or the system's.
type Failure = Box<dyn Error + Send + Sync>;

/// What all connections have in common.
#[derive(Debug)]
pub struct Connections {
    /// The service behind them.
    pub gateway: Arc<Gateway>,
    /// Tells them that the gateway is ending.
    pub drain: drain::Watch,
    /// How long the next request's head may take to be whole, the idle time before it included.
    pub keep_alive: Duration,
    /// How long a blocked write may make no progress.
    pub write_stall: Duration,
    /// What is measured.
    pub metrics: Metrics,
}

impl Connections {
    /// Serves the connection `stream` of `peer` until it ends, on the runtime that calls this. The socket does not block.
    pub async fn serve(&self, stream: std::net::TcpStream, peer: SocketAddr) {
        let tuned = TcpStream::from_std(stream).and_then(|stream| {
            listen::tune(&stream, self.write_stall)?;
            Ok(stream)
        });
        let served = match tuned {
            Ok(stream) => self.speak(WatchedIo::new(stream, self.write_stall), peer).await,
            Err(error) => Err(error.into()),
        };
        match served {
            Ok(()) => tracing::trace!(%peer, "connection ended"),
            Err(error) => tracing::debug!(%peer, error = causes::chain(&*error), "connection ended with an error"),
        }
    }

    async fn speak(&self, io: WatchedIo, peer: SocketAddr) -> Result<(), Failure> {
        let new = self.metrics.connection(Protocol::Unknown);
        let is_http2 = tokio::select! {
            begun = tokio::time::timeout(self.keep_alive, io.begins_with(PREFACE)) => begun??,
            // Nothing was asked yet, so there is nothing to finish.
            () = self.drain.begun() => return Ok(()),
        };
        drop(new);
        let _counted = self.metrics.connection(if is_http2 { Protocol::Http2 } else { Protocol::Http1 });
        if is_http2 {
            // Boxed, so that the many connections without HTTP/2 have no room for it.
            Box::pin(self.speak_http2(io, peer)).await
        } else {
            self.speak_http1(io, peer).await
        }
    }

    fn peer(&self, address: SocketAddr) -> Peer {
        Peer::new(address, &self.gateway.proxies)
    }

    async fn speak_http1(&self, io: WatchedIo, peer: SocketAddr) -> Result<(), Failure> {
        let tunnels = Arc::<TunnelSlot>::default();
        let service = Service::http1(Arc::clone(&self.gateway), self.peer(peer), io.watch(), Arc::clone(&tunnels));
        let connection = pin!(self.http1().serve_connection(TokioIo::new(io), service).with_upgrades());
        // hyper itself ends an idle one.
        self.drive(connection, pending(), |connection| connection.graceful_shutdown()).await?;
        if let Some(tunnel) = tunnels.take() {
            // In this task, so that it counts as a connection and ends with the grace.
            Box::pin(tunnel.run()).await;
        }
        Ok(())
    }

    async fn speak_http2(&self, io: WatchedIo, peer: SocketAddr) -> Result<(), Failure> {
        let service = Service::http2(Arc::clone(&self.gateway), self.peer(peer));
        let executor = StreamExecutor::new(self.write_stall);
        let connection = pin!(self.http2(executor.clone()).serve_connection(TokioIo::new(io), service));
        self.drive(connection, executor.idle(self.keep_alive), |connection| connection.graceful_shutdown()).await
    }

    /// Polls a connection to its end; asks it by `end` to end when the gateway does, or when it has been `idle`.
    async fn drive<C>(
        &self,
        mut connection: Pin<&mut C>,
        idle: impl Future<Output = ()>,
        end: impl FnOnce(Pin<&mut C>),
    ) -> Result<(), Failure>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        tokio::select! {
            biased;
            served = &mut connection => return Ok(served?),
            () = self.drain.begun() => {}
            () = idle => {}
        }
        end(connection.as_mut());
        Ok(connection.await?)
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        // Without a timer hyper has no timeouts at all, and says nothing about it.
        builder
            .timer(ConnectionTimer::default())
            .header_read_timeout(self.keep_alive)
            .max_buf_size(BUFFER)
            // Half a connection is a client that left: nobody could tell the two apart on a silent stream.
            .half_close(false);
        builder
    }

    fn http2(&self, executor: StreamExecutor) -> http2::Builder<StreamExecutor> {
        let mut builder = http2::Builder::new(executor);
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING.0)
            // Behind what a slow reader has still to take, the answer to a ping comes late.
            .keep_alive_timeout(PING.1.max(self.write_stall))
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buf_size(SEND_BUFFER);
        builder
    }
}
