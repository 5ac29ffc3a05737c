//! One connection, from its first byte to its last: HTTP/1.1, or HTTP/2 with prior knowledge or by ALPN, on the same port.

use std::{
    error::Error,
    future::{Future, pending},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{
    io::WatchedIo,
    listen,
    stall::StreamExecutor,
    timer::ConnectionTimer,
    tls::{self, Certificates},
};
use crate::{
    drain, error_chain,
    metrics::{Metrics, labels::Protocol},
    open::Entry,
    peer::Peer,
    proxy::{
        pace,
        tunnel::{Tunnel, TunnelSlot},
    },
    service::{Front, Gateway, Service},
};

/// What a client that speaks HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most bytes of an HTTP/1.1 connection that hyper collects for writing. The limit for reading is about the same, so a request's
/// head may be a little longer.
///
/// It is less than what most full reads of a log leave after decoding. So hyper writes each piece before it asks for the next,
/// and the next read finds its buffer free and still in the processor's cache.
const BUFFER: usize = 48 * 1024;

/// The flow-control window of an HTTP/2 stream: most bytes of a request's body that a client may send ahead of the reader.
///
/// A small window limits one upload over a long distance to so many bytes a round trip.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The flow-control window of an HTTP/2 connection: the windows of all its streams. Bodies that are not read yet then take
/// nothing from other streams, however many they are. hyper's default is the window of one stream, which one such body fills.
///
/// It is no larger, since h2 derives from it how many small DATA frames may wait to be read: each costs some 256 bytes, and
/// a client that sends more of them than fit into half the window loses the connection (`ENHANCE_YOUR_CALM`). hyper does not
/// let that bound be set by itself.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// Most bytes of an HTTP/2 stream that are held for writing.
const SEND_BUFFER: usize = 64 * 1024;

/// Most bytes of an HTTP/2 request's headers.
const MAX_HEADER_LIST: u32 = 32 * 1024;

/// Most streams of an HTTP/2 connection at a time. A load balancer may send all its clients' requests over one connection, and
/// opens another one for more. A stream whose client opens no window for the answer costs some kilobytes here, and that client
/// a few bytes.
const MAX_STREAMS: u32 = 256;

/// When a silent HTTP/2 connection is sent a PING, and how long its acknowledgement may take.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// How long a new connection may take to send its first bytes: an honest client connects in order to send a request.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request that a client has sent already may take to arrive.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_millis(250);

/// How long a connection that is evicted in favour of another may take to end.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection ended: hyper's error, or the system's, or ours.
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
    /// How long a client may take nothing of what there is for it.
    pub write_stall: Duration,
    /// The system has to see to that: see [`super::stalled`].
    pub is_blind: bool,
    /// What connections with TLS are served with; none if they have none.
    pub certificates: Option<Arc<Certificates>>,
    /// What is measured.
    pub metrics: Metrics,
}

impl Connections {
    /// Serves the connection `stream`, that `entry` stands for, until it ends, on the runtime that calls this. Its requests get
    /// `front`. The socket does not block.
    pub async fn serve(&self, stream: std::net::TcpStream, entry: &Arc<Entry>, front: Front) {
        let tuned = TcpStream::from_std(stream).and_then(|stream| {
            listen::tune(&stream, self.write_stall, self.is_blind)?;
            Ok(stream)
        });
        let io = match (tuned, self.certificates(&front)) {
            // Boxed: few connections have TLS, and none shakes hands for long.
            (Ok(stream), Some(certificates)) => Ok(Box::pin(self.shake_hands(certificates, stream, entry)).await),
            // Boxed: the futures that it passes through would each have room for it.
            (Ok(stream), None) => Ok(Some(Box::new(WatchedIo::new(stream, Arc::clone(entry), self.is_blind)))),
            (Err(error), _) => Err(error.into()),
        };
        let served = match io {
            Ok(Some(io)) => self.speak(io, entry, front).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let peer = entry.peer();
        match served {
            Ok(()) => tracing::trace!(%peer, "connection ended"),
            Err(error) => tracing::debug!(%peer, error = error_chain::text(&*error), "connection ended with an error"),
        }
    }

    /// Begins TLS. None if there is nothing to serve: that failed, as is told, or the client has to give way before it has asked
    /// for anything.
    async fn shake_hands(
        &self,
        certificates: &Certificates,
        stream: TcpStream,
        entry: &Arc<Entry>,
    ) -> Option<Box<WatchedIo>> {
        let _new = self.metrics.connection(Protocol::Unknown);
        let first_byte = FIRST_BYTE_TIMEOUT.min(self.keep_alive);
        let shaken = tokio::select! {
            shaken = tls::accept(certificates, stream, entry, first_byte, self.is_blind) => shaken,
            () = self.begun_for(IN_FLIGHT_TIMEOUT) => return None,
            () = entry.told() => return None,
        };
        shaken.inspect_err(|failure| failure.tell(entry.peer(), &self.metrics)).ok()
    }

    async fn speak(&self, io: Box<WatchedIo>, entry: &Arc<Entry>, front: Front) -> Result<(), Failure> {
        let new = self.metrics.connection(Protocol::Unknown);
        let timeout = FIRST_BYTE_TIMEOUT.min(self.keep_alive);
        let is_http2 = tokio::select! {
            begun = tokio::time::timeout(timeout, io.begins_with(PREFACE)) => begun??,
            // Nothing was asked yet, so there is nothing to finish; but a request may be on its way.
            () = self.begun_for(IN_FLIGHT_TIMEOUT) => return Ok(()),
            () = entry.told() => return Ok(()),
        };
        drop(new);
        let _counted = self.metrics.connection(if is_http2 { Protocol::Http2 } else { Protocol::Http1 });
        if is_http2 {
            // Boxed, so that the many connections without HTTP/2 have no room for it.
            Box::pin(self.speak_http2(io, entry, front)).await
        } else {
            self.speak_http1(io, entry, front).await
        }
    }

    /// Resolves when the drain has lasted for so long.
    async fn begun_for(&self, time: Duration) {
        self.drain.begun().await;
        tokio::time::sleep(time).await;
    }

    /// What connections that get `front` have TLS with. The viewer's have none: its pages are for this machine, or for a proxy.
    fn certificates(&self, front: &Front) -> Option<&Certificates> {
        match front {
            Front::Api => self.certificates.as_deref(),
            Front::Viewer(_) => None,
        }
    }

    fn peer(&self, entry: &Entry, front: &Front) -> Peer {
        Peer::new(entry.peer(), &self.gateway.proxies).over_tls(self.certificates(front).is_some())
    }

    async fn speak_http1(&self, io: Box<WatchedIo>, entry: &Arc<Entry>, front: Front) -> Result<(), Failure> {
        let tunnels = Arc::<TunnelSlot>::default();
        let (gateway, peer) = (Arc::clone(&self.gateway), self.peer(entry, &front));
        let service = Service::http1(gateway, front, peer, Arc::clone(entry), io.watch(), Arc::clone(&tunnels));
        let connection = pin!(self.http1().serve_connection(TokioIo::new(io), service).with_upgrades());
        // hyper itself ends an idle one.
        self.drive(entry, connection, pending(), |connection| connection.graceful_shutdown()).await?;
        if let Some(tunnel) = tunnels.take() {
            // In this task, so that it counts as a connection and ends with the grace.
            Box::pin(run_tunnel(tunnel, entry)).await?;
        }
        Ok(())
    }

    async fn speak_http2(&self, io: Box<WatchedIo>, entry: &Arc<Entry>, front: Front) -> Result<(), Failure> {
        let peer = self.peer(entry, &front);
        let service = Service::http2(Arc::clone(&self.gateway), front, peer, Arc::clone(entry));
        let executor = StreamExecutor::new(Arc::clone(entry), self.write_stall);
        let connection = pin!(self.http2(executor.clone()).serve_connection(TokioIo::new(io), service));
        let idle = executor.idle(self.keep_alive);
        self.drive(entry, connection, idle, |connection| connection.graceful_shutdown()).await
    }

    /// Polls a connection to its end; asks it by `end` to end when the gateway does, when it has been `idle`, or when another
    /// needs its place. Drops it when its client takes nothing.
    async fn drive<C>(
        &self,
        entry: &Entry,
        mut connection: Pin<&mut C>,
        idle: impl Future<Output = ()>,
        end: impl FnOnce(Pin<&mut C>),
    ) -> Result<(), Failure>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut gives_way = false;
        tokio::select! {
            biased;
            served = &mut connection => return Ok(served?),
            () = entry.told() => gives_way = true,
            () = self.drain.begun() => {}
            () = idle => {}
        }
        if entry.is_stalled() {
            return Err(STALLED.into());
        }
        end(connection.as_mut());
        // Boxed: most of its life a connection does not need the room.
        let overdue = Box::pin(async {
            if gives_way {
                // Cut short when the client stalls.
                let _ = tokio::time::timeout(EVICTION_TIMEOUT, entry.stalled()).await;
            } else {
                entry.told().await;
            }
        });
        tokio::select! {
            biased;
            served = connection => Ok(served?),
            () = overdue => Err(if entry.is_stalled() { STALLED } else { "it had to give way" }.into()),
        }
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
            .max_frame_size(pace::MAX_FRAME)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buf_size(SEND_BUFFER);
        builder
    }
}

/// What the log says of a client that is cut off.
const STALLED: &str = "the client takes nothing";

/// Runs a tunnel, unless its client takes nothing.
async fn run_tunnel(tunnel: Box<Tunnel>, entry: &Entry) -> Result<(), Failure> {
    tokio::select! {
        () = tunnel.run() => Ok(()),
        () = entry.stalled() => Err(STALLED.into()),
    }
}
