//! The write deadline of connections: who takes nothing of what was written for him is cut off.
//!
//! Whether a client takes something is told by its system's acknowledgements. That a socket takes another byte says less: its
//! buffer may have grown, or the client's system may have had room left. One task looks after all connections, and asks the
//! system only about those that owe an acknowledgement, so that a silent one costs nothing.

use std::{sync::Arc, time::Duration};

use super::unacked::Unacked;
use crate::open::{Table, now_ms};

/// So many looks a period: a stall is cut at most two of them late, an eighth.
const LOOKS: u32 = 16;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(20);

/// How many connections are looked at in one go.
const TURN: usize = 64;

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

    /// Whether the system has to cut stalled connections itself, since it does not tell what they owe.
    pub fn is_blind(&self) -> bool {
        self.unacked.is_none()
    }

    /// Looks after the connections of `table` for ever.
    pub async fn watch(mut self, table: Arc<Table>) {
        let every = (self.timeout / LOOKS).max(SHORTEST);
        let Some(unacked) = &mut self.unacked else { return std::future::pending().await };
        let timeout = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        loop {
            tokio::time::sleep(every).await;
            let owing = table.all().into_iter().filter_map(|entry| entry.owed().map(|written| (entry, written)));
            for (number, (entry, written)) in owing.enumerate() {
                if number % TURN == TURN - 1 {
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
