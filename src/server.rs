//! STEP 1: the accept loop. One task a connection; nothing that happens to a connection reaches the loop.

pub mod connection;
pub mod io;
pub mod listen;
pub mod stall;
pub mod stalled;
pub mod threads;
pub mod timer;
pub mod unacked;

use std::{
    io as std_io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use self::{connection::Connections, listen::Listeners, stalled::Stalls, threads::Threads};
use crate::{
    drain::{Cut, Drain},
    open::{Limits, NoPlace, Place, Table},
    service::Front,
    signal::Stop,
    telemetry::rate_limit::{Due, RateLimit},
};

/// How long the loop rests when the process has run out of descriptors or memory.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Where connections come in.
#[derive(Debug)]
pub struct Door {
    /// The sockets.
    pub listeners: Listeners,
    /// What the requests of their connections get.
    pub front: Front,
    /// How many connections may be open at a time. Each door has places of its own, so that nobody at one keeps others out of
    /// another.
    pub limits: Limits,
}

/// What the server needs besides its sockets.
#[derive(Debug)]
pub struct Settings {
    /// What connections have in common.
    pub connections: Connections,
    /// Who serves them.
    pub threads: Threads,
    /// Looks for clients that take nothing.
    pub stalls: Stalls,
    /// Ends them.
    pub drain: Drain,
    /// How long they may take to end.
    pub grace: Duration,
    /// How long connections are still taken once the server is asked to end.
    pub delay: Duration,
}

/// What is left when the connections have ended.
#[derive(Debug)]
pub struct Ended {
    /// The threads, on which what requests have begun may go on.
    pub threads: Threads,
    /// When the drain began.
    pub draining: Instant,
}

/// Serves the connections of `doors` until `stop` is asked for, then ends: connections are still taken for the delay, while load balancers are
/// told to turn away; then plain requests finish, log streams stop at a line's end, and whatever is left after the grace is
/// cut.
pub async fn run(doors: Vec<Door>, settings: Settings, stop: Stop) -> Ended {
    let Settings { connections, threads, stalls, drain, grace, delay } = settings;
    let connections = Arc::new(connections);
    let mut doors: Vec<_> = doors
        .into_iter()
        .map(|Door { listeners, front, limits }| {
            let (connections, table) = (Arc::clone(&connections), Table::new(limits));
            (listeners, Acceptor { connections, front, threads: &threads, table, drain: &drain })
        })
        .collect();
    let tables = doors.iter().map(|(_, acceptor)| Arc::clone(&acceptor.table)).collect();
    let watching = tokio::spawn(stalls.watch(tables));
    let ending = async {
        stop.asked().await;
        drain.announce();
        stop.delayed(delay).await;
    };
    tokio::select! {
        () = ending => {}
        _ = join_all(doors.iter_mut().map(|(listeners, acceptor)| acceptor.accept(listeners))) => {}
        () = drain.reap() => {}
    }
    for (listeners, acceptor) in doors {
        acceptor.accept_last(listeners);
    }
    let draining = Instant::now();
    tracing::info!("no new connections; ending within {} s", grace.as_secs());
    match drain.finish(grace).await {
        Cut { connections: 0, .. } => tracing::info!("all connections have ended"),
        cut => cut.warn(grace),
    }
    watching.abort();
    Ended { threads, draining }
}

/// What accepted connections are given to.
struct Acceptor<'s> {
    connections: Arc<Connections>,
    front: Front,
    threads: &'s Threads,
    table: Arc<Table>,
    drain: &'s Drain,
}

impl Acceptor<'_> {
    /// Accepts for ever.
    async fn accept(&self, listeners: &mut Listeners) {
        loop {
            // Out of this runtime's hands: that of the connection's thread is to watch it.
            let accepted = listeners.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
            let accepted = accepted.and_then(|(stream, peer)| Ok((stream.local_addr()?, stream, peer)));
            let (local, stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    recover(&error).await;
                    continue;
                }
            };
            if let Some(held) = admit(&self.table, peer, local).await {
                self.serve(stream, held);
            }
        }
    }

    /// Accepts what waits, and then nothing any more. The kernel resets what it has let in when its listener goes, and the
    /// clients have sent their requests by then.
    fn accept_last(&self, listeners: Listeners) {
        for (stream, peer) in listeners.last() {
            let held = stream.local_addr().ok().and_then(|local| self.table.admit(peer, local).ok());
            if let Some(held) = held {
                self.serve(stream, held);
            }
        }
    }

    fn serve(&self, stream: TcpStream, held: Place) {
        let (connections, front) = (Arc::clone(&self.connections), self.front.clone());
        let (place, runtime) = self.threads.place();
        let connection = async move {
            connections.serve(stream, &held.entry, front).await;
            drop((held, place));
        };
        self.drain.spawn_on(connection, runtime);
    }
}

/// A place for a connection, which waits for one if all are taken, and others behind it in the backlog. None for a connection
/// of an address that has its share: it is closed, so that it holds nobody up.
async fn admit(table: &Arc<Table>, peer: SocketAddr, local: SocketAddr) -> Option<Place> {
    loop {
        match table.admit(peer, local) {
            Ok(place) => return Some(place),
            Err(NoPlace::Full) => table.maybe_free().await,
            Err(NoPlace::Share) => return None,
        }
    }
}

/// An aborted client is nobody's fault; everything else is a shortage that passes. It is told once in a while: who connects
/// often enough can make it last.
async fn recover(error: &std_io::Error) {
    use std_io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        tracing::debug!(%error, "a client left before it was accepted");
        return;
    }
    static WRITTEN: RateLimit = RateLimit::new();
    if let Some(Due { left_out }) = WRITTEN.due("accept") {
        tracing::warn!(%error, left_out, "cannot accept connections; trying again every {} ms", ACCEPT_RETRY_INTERVAL.as_millis());
    }
    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
}
