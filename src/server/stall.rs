//! The write deadline of HTTP/2 streams.
//!
//! A client that opens no window for a stream blocks neither the socket nor the body: hyper just does not ask the body for
//! more, or h2 keeps what it was given. Every stream is a task, though, and hyper asks us to spawn it; that is where the
//! deadline is kept. A body ends its stream only when the client has made room for all of it (see [`crate::body`]), so that
//! until then to drop the task is to reset the stream.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::{sync::Notify, time::timeout};
use tokio_util::task::TaskTracker;

use crate::{client::Http2Stream, deadline::Deadline, open::Entry};

/// Spawns hyper's tasks for the streams of a connection.
#[derive(Debug, Clone)]
pub struct StreamExecutor {
    entry: Arc<Entry>,
    write_stall: Duration,
    streams: TaskTracker,
    begun: Arc<Notify>,
}

impl StreamExecutor {
    /// An executor for the connection `entry`, whose frames may wait for `write_stall` for room in the client's window.
    pub fn new(entry: Arc<Entry>, write_stall: Duration) -> Self {
        let streams = TaskTracker::new();
        // Only so that it can be waited for; more can be spawned all the same.
        streams.close();
        Self { entry, write_stall, streams, begun: Arc::default() }
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
        let stream = Http2Stream::new(&self.entry);
        self.begun.notify_one();
        let (future, timeout) = (Some(future), self.write_stall);
        self.streams.spawn(Guarded { future, stream, timeout, timer: None, has_yielded: false });
    }
}

pin_project! {
    /// A stream's task, which is dropped, and its stream with it, when the client takes nothing for too long.
    struct Guarded<F> {
        // None when hyper has done its part.
        #[pin]
        future: Option<F>,
        stream: Arc<Http2Stream>,
        timeout: Duration,
        timer: Option<Deadline>,
        has_yielded: bool,
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut()
            && Http2Stream::scope(this.stream, || future.poll(cx)).is_ready()
        {
            this.future.set(None);
        }
        let is_over = this.future.is_none();
        if is_over && this.stream.poll_taken(cx).is_ready() {
            return Poll::Ready(());
        }
        if is_over && !std::mem::replace(this.has_yielded, true) {
            // The connection's task is about to write the rest: no timer is needed for that.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(since) = this.stream.waits_since() else { return Poll::Pending };
        if this.stream.is_cut() {
            return Poll::Ready(());
        }
        let due = (since + *this.timeout).into();
        let timer = this.timer.get_or_insert_with(|| Deadline::at(due));
        timer.set(due);
        if timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.stream.set_stalled();
        if is_over {
            // The stream's end was given to h2 when there was room for it, which the client has since taken back; no reset
            // can overtake it.
            this.stream.cut_connection();
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, sync::Mutex, time::Instant};

    use bytes::Bytes;
    use tokio::time::sleep;

    use super::*;
    use crate::client::Piece;

    const PERIOD: Duration = Duration::from_millis(200);

    /// What becomes of a stream whose task has ended while h2 still holds the last of it: the client took its window back.
    #[tokio::test]
    async fn what_is_left_in_h2_after_the_end_ends_the_connection() {
        let entry = Entry::detached();
        let executor = StreamExecutor::new(Arc::clone(&entry), PERIOD);
        let kept = Arc::new(Mutex::new(None));
        let handing = Arc::clone(&kept);
        executor.execute(async move {
            let piece = Piece::of_http2(Bytes::from_static(b"x"), &Http2Stream::current());
            *handing.lock().unwrap() = Some(piece);
        });
        let start = Instant::now();
        entry.told().await;
        assert!(entry.is_stalled());
        assert!(PERIOD.mul_f64(0.9) < start.elapsed() && start.elapsed() < PERIOD * 2, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn what_is_written_in_time_ends_its_stream_and_nothing_else() {
        let entry = Entry::detached();
        let executor = StreamExecutor::new(Arc::clone(&entry), PERIOD);
        let kept = Arc::new(Mutex::new(None));
        let handing = Arc::clone(&kept);
        executor.execute(async move {
            let piece = Piece::of_http2(Bytes::from_static(b"x"), &Http2Stream::current());
            *handing.lock().unwrap() = Some(piece);
        });
        executor.execute(ready(()));
        sleep(PERIOD / 2).await;
        drop(kept.lock().unwrap().take());
        sleep(PERIOD).await;
        assert!(executor.streams.is_empty() && !entry.is_stalled());
    }
}
