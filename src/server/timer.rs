//! What hyper asks for the time by which a request's head has to be whole.
//!
//! hyper throws its timer away with every head that comes, and asks for a new one: to set it and to take it back was more
//! than all else that a kept connection's next request cost in the runtime. So there is one for a connection, and what hyper
//! gets only moves it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

use crate::deadline::Deadline;

/// The timer of one connection. hyper waits for one thing at a time with it.
#[derive(Debug, Clone, Default)]
pub struct ConnectionTimer(Arc<Mutex<Option<Deadline>>>);

/// A wait of hyper's for an instant.
struct Wait {
    timer: ConnectionTimer,
    due: Instant,
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { timer: self.clone(), due: deadline })
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.due.into();
        let mut deadline = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = deadline.get_or_insert_with(|| Deadline::at(due));
        deadline.set(due);
        deadline.poll(cx)
    }
}

impl Sleep for Wait {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_turn_has_its_own_time() {
        let timer = ConnectionTimer::default();
        let long = timer.sleep(Duration::from_secs(3600));
        let start = Instant::now();
        assert!(tokio::time::timeout(Duration::from_millis(20), long).await.is_err());
        timer.sleep(Duration::from_millis(20)).await;
        timer.sleep(Duration::from_millis(40)).await;
        assert!(start.elapsed() >= Duration::from_millis(80));
    }
}
