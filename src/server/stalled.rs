//! The write deadline of connections: a client that takes nothing of what was written for it is cut off.
//!
//! TCP's acknowledgements tell whether a client takes something. That the socket accepts another byte says less: its buffer
//! may have grown, or the client's system may have had room left. One task checks all connections. It asks the system only
//! about those with unacknowledged bytes, so a silent connection costs nothing.

use std::{sync::Arc, time::Duration};

use super::unacked::Unacked;
use crate::open::{Table, now_ms};

/// How many checks there are in the time after which a stall is cut: a stall is cut at most two of them late, an eighth.
const CHECKS_PER_PERIOD: u32 = 16;

/// The shortest time between two checks.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// How many connections are checked before other tasks get their turn.
const CHECKS_PER_TURN: usize = 64;

/// The watch on the connections of a table.
#[derive(Debug)]
pub struct Stalls {
    timeout: Duration,
    /// None where the system cannot be asked, and has to cut connections itself.
    unacked: Option<Unacked>,
}

impl Stalls {
    /// A watch that cuts off who takes nothing for `timeout`.
    pub fn new(timeout: Duration) -> Self {
        let unacked = Unacked::open().inspect_err(|error| {
            tracing::warn!(%error, "sock_diag cannot be used: stalled clients are left to TCP_USER_TIMEOUT, which is less exact");
        });
        Self { timeout, unacked: unacked.ok() }
    }

    /// Whether the system does not tell what is unacknowledged, so that the kernel's own time-out has to cut stalled connections.
    pub fn is_blind(&self) -> bool {
        self.unacked.is_none()
    }

    /// Looks after the connections of `tables` for ever.
    pub async fn watch(mut self, tables: Vec<Arc<Table>>) {
        let every = (self.timeout / CHECKS_PER_PERIOD).max(MIN_INTERVAL);
        let Some(unacked) = &mut self.unacked else { return std::future::pending().await };
        let timeout = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        loop {
            tokio::time::sleep(every).await;
            let all = tables.iter().flat_map(|table| table.all());
            let owing = all.filter_map(|entry| entry.owed().map(|written| (entry, written)));
            for (number, (entry, written)) in owing.enumerate() {
                if number % CHECKS_PER_TURN == CHECKS_PER_TURN - 1 {
                    tokio::task::yield_now().await;
                }
                match unacked.of(entry.local(), entry.peer()) {
                    Ok(Some(left)) if entry.acknowledged(written, left.into(), now_ms()) >= timeout => {
                        entry.cut_stalled();
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, peer = %entry.peer(), "cannot ask what the client owes"),
                }
            }
        }
    }
}
