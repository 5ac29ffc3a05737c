//! STEP 1: the accept loop. One task a connection; nothing that happens to a connection reaches the loop.

pub mod connection;
pub mod io;
pub mod listen;
pub mod stall;
pub mod threads;
pub mod timer;

use std::{future::Future, io as std_io, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use self::{connection::Connections, listen::Listeners, threads::Threads};
use crate::drain::Drain;

/// How long the loop rests when the process has run out of descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// What the server needs besides its socket.
#[derive(Debug)]
pub struct Settings {
    /// What connections have in common.
    pub connections: Connections,
    /// Who serves them.
    pub threads: Threads,
    /// How many may be open at a time; the rest wait in the backlog.
    pub max_connections: usize,
    /// Ends them.
    pub drain: Drain,
    /// How long they may take to end.
    pub grace: Duration,
}

/// Serves connections until `stop` resolves, then ends: plain requests finish, log streams stop at a line's end, and
/// whatever is left after the grace is cut. Gives the threads back, on which what requests have begun may go on.
pub async fn run(mut listeners: Listeners, settings: Settings, stop: impl Future<Output = ()>) -> Threads {
    let Settings { connections, threads, max_connections, drain, grace } = settings;
    let room = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let connections = Arc::new(connections);
    tokio::select! {
        () = stop => {}
        () = accept(&mut listeners, connections, &threads, room, &drain) => {}
        () = drain.reap() => {}
    }
    drop(listeners);
    tracing::info!("no new connections; ending within {} s", grace.as_secs());
    match drain.finish(grace).await {
        0 => tracing::info!("all connections have ended"),
        cut => tracing::warn!("{cut} connections were cut after {} s", grace.as_secs()),
    }
    threads
}

/// Accepts for ever. Waits for room before it accepts, so that a full server leaves clients in the backlog.
async fn accept(
    listeners: &mut Listeners,
    connections: Arc<Connections>,
    threads: &Threads,
    room: Arc<Semaphore>,
    drain: &Drain,
) {
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        // Out of this runtime's hands: that of the connection's thread is to watch it.
        let accepted = listeners.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                recover(&error).await;
                continue;
            }
        };
        let connections = Arc::clone(&connections);
        let (place, runtime) = threads.place();
        let connection = async move {
            connections.serve(stream, peer).await;
            drop((permit, place));
        };
        drain.spawn_on(connection, runtime);
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
