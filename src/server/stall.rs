//! The write-stall deadline of HTTP/2 streams.
//!
//! A stream whose client takes nothing blocks neither the socket nor its body: hyper just does not ask the body for more.
//! Every stream is a task, though, and hyper asks us to spawn it; that is where the deadline is kept.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::{
    sync::Notify,
    time::{Sleep, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::client::Http2Stream;

/// Spawns hyper's tasks for the streams of a connection.
#[derive(Debug, Clone)]
pub struct StreamExecutor {
    write_stall: Duration,
    streams: TaskTracker,
    begun: Arc<Notify>,
}

impl StreamExecutor {
    /// An executor for one connection, whose frames may wait for `write_stall` for room in the client's window.
    pub fn new(write_stall: Duration) -> Self {
        let streams = TaskTracker::new();
        // Only so that it can be waited for; more can be spawned all the same.
        streams.close();
        Self { write_stall, streams, begun: Arc::default() }
    }

    /// Resolves when there has been no stream for `idle`.
    pub async fn idle(&self, idle: Duration) {
        loop {
            self.streams.wait().await;
            // A stream begins the time anew even if it is over within it.
            if timeout(idle, self.begun.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let stream = Arc::default();
        self.begun.notify_one();
        self.streams.spawn(Guarded { future, stream, timeout: self.write_stall, timer: None });
    }
}

pin_project! {
    /// A stream's task, which is dropped, and its stream with it, when the client takes nothing for too long.
    struct Guarded<F> {
        #[pin]
        future: F,
        stream: Arc<Http2Stream>,
        timeout: Duration,
        // The deadline of the frame that it is named by.
        timer: Option<(u64, Pin<Box<Sleep>>)>,
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if Http2Stream::scope(this.stream, || this.future.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let Some(frame) = this.stream.waiting() else {
            if this.timer.take().is_some() {
                this.stream.set_blocked(false);
            }
            return Poll::Pending;
        };
        if this.stream.is_cut() {
            return Poll::Ready(());
        }
        let timer = match this.timer {
            Some((armed, timer)) if *armed == frame => timer,
            _ => {
                this.stream.set_blocked(true);
                &mut this.timer.insert((frame, Box::pin(sleep(*this.timeout)))).1
            }
        };
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.stream.set_stalled();
        Poll::Ready(())
    }
}
