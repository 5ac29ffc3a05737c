//! STEP 1: the accept loop. One task a connection; nothing that happens to a connection reaches the loop.

pub mod connection;
pub mod io;
pub mod listen;
pub mod stall;
pub mod stalled;
pub mod threads;
pub mod timer;
pub mod unacked;

use std::{future::Future, io as std_io, net::SocketAddr, sync::Arc, time::Duration};

use self::{connection::Connections, listen::Listeners, stalled::Stalls, threads::Threads};
use crate::{
    drain::{Cut, Drain},
    open::{Limits, NoPlace, Place, Table},
};

/// How long the loop rests when the process has run out of descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// What the server needs besides its socket.
#[derive(Debug)]
pub struct Settings {
    /// What connections have in common.
    pub connections: Connections,
    /// Who serves them.
    pub threads: Threads,
    /// Looks for clients that take nothing.
    pub stalls: Stalls,
    /// How many may be open at a time.
    pub limits: Limits,
    /// Ends them.
    pub drain: Drain,
    /// How long they may take to end.
    pub grace: Duration,
}

/// Serves connections until `stop` resolves, then ends: plain requests finish, log streams stop at a line's end, and
/// whatever is left after the grace is cut. Gives the threads back, on which what requests have begun may go on.
pub async fn run(mut listeners: Listeners, settings: Settings, stop: impl Future<Output = ()>) -> Threads {
    let Settings { connections, threads, stalls, limits, drain, grace } = settings;
    let (connections, table) = (Arc::new(connections), Table::new(limits));
    let watching = tokio::spawn(stalls.watch(Arc::clone(&table)));
    tokio::select! {
        () = stop => {}
        () = accept(&mut listeners, connections, &threads, &table, &drain) => {}
        () = drain.reap() => {}
    }
    drop(listeners);
    tracing::info!("no new connections; ending within {} s", grace.as_secs());
    match drain.finish(grace).await {
        Cut { connections: 0, .. } => tracing::info!("all connections have ended"),
        cut => tracing::warn!("cut after {} s: {cut}", grace.as_secs()),
    }
    watching.abort();
    threads
}

/// Accepts for ever.
async fn accept(
    listeners: &mut Listeners,
    connections: Arc<Connections>,
    threads: &Threads,
    table: &Arc<Table>,
    drain: &Drain,
) {
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
        let Some(held) = admit(table, peer, local).await else { continue };
        let connections = Arc::clone(&connections);
        let (place, runtime) = threads.place();
        let connection = async move {
            connections.serve(stream, &held.entry).await;
            drop((held, place));
        };
        drain.spawn_on(connection, runtime);
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

/// An aborted client is nobody's fault; everything else is a shortage that passes.
async fn recover(error: &std_io::Error) {
    use std_io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        tracing::debug!(%error, "a client left before it was accepted");
        return;
    }
    tracing::warn!(%error, "cannot accept connections; trying again in {} ms", REST.as_millis());
    tokio::time::sleep(REST).await;
}
