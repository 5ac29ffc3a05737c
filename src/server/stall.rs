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
    time::{Duration, Instant},
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::{sync::Notify, time::timeout};
use tokio_util::task::TaskTracker;

use crate::{client::Http2Stream, deadline::Deadline, open::Entry};

/// How long a stream whose request came with a body stays after the answer, which it may not have waited for.
///
/// What arrives for a stream that is gone is an error to h2, and after some hundreds of them it ends the connection, with all
/// its other streams. Within this time a client has used up the stream's window, or has seen that it need send no more.
const LINGER: Duration = Duration::from_millis(250);

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
        self.streams.spawn(Guarded { future, stream, timeout, timer: None, phase: Phase::Working });
    }
}

/// How far a stream's task has come.
enum Phase {
    /// hyper is at work.
    Working,
    /// hyper has handed everything over.
    Over,
    /// The same, and the connection's task has had its turn since.
    Waiting,
    /// The answer has been written. The stream stays for what the client may still be sending.
    Lingering(Instant),
}

pin_project! {
    /// A stream's task, which is dropped, and its stream with it, when the client takes nothing for too long.
    struct Guarded<F> {
        // Nothing after the last poll, unless the stream has to stay.
        #[pin]
        future: Option<F>,
        stream: Arc<Http2Stream>,
        timeout: Duration,
        timer: Option<Deadline>,
        phase: Phase,
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Phase::Working = this.phase {
            let future = this.future.as_mut().as_pin_mut().expect("there until the work is done");
            if Http2Stream::scope(this.stream, || future.poll(cx)).is_ready() {
                *this.phase = Phase::Over;
                if !this.stream.has_upload() {
                    this.future.set(None);
                }
            }
        }
        if let Phase::Over | Phase::Waiting = this.phase
            && this.stream.poll_taken(cx).is_ready()
        {
            this.stream.settle();
            if this.future.is_none() {
                return Poll::Ready(());
            }
            *this.phase = Phase::Lingering(Instant::now() + LINGER);
        }
        let due = match *this.phase {
            Phase::Over => {
                // The connection's task is about to write the rest: no timer is needed for that.
                *this.phase = Phase::Waiting;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Phase::Lingering(due) => due,
            Phase::Working | Phase::Waiting => {
                let Some(since) = this.stream.waits_since() else { return Poll::Pending };
                if this.stream.is_cut() {
                    return Poll::Ready(());
                }
                since + *this.timeout
            }
        };
        let timer = this.timer.get_or_insert_with(|| Deadline::at(due.into()));
        timer.set(due.into());
        if timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        match this.phase {
            Phase::Lingering(_) => {}
            Phase::Working | Phase::Over => this.stream.set_stalled(),
            Phase::Waiting => {
                // The stream's end was given to h2 when there was room for it, which the client has since taken back; no
                // reset can overtake it.
                this.stream.set_stalled();
                this.stream.cut_connection();
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, sync::Mutex};

    use bytes::Bytes;
    use tokio::time::sleep;

    use super::*;
    use crate::client::Piece;

    const PERIOD: Duration = Duration::from_millis(200);

    /// A stream whose task ends while h2 holds a piece of it, which is kept here.
    fn begin(executor: &StreamExecutor) -> Arc<Mutex<Option<Piece>>> {
        let kept = Arc::new(Mutex::new(None));
        let handing = Arc::clone(&kept);
        executor.execute(async move {
            let piece = Piece::of_http2(Bytes::from_static(b"x"), &Http2Stream::current());
            *handing.lock().unwrap() = Some(piece);
        });
        kept
    }

    /// What becomes of a stream whose task has ended while h2 still holds the last of it: the client took its window back.
    #[tokio::test]
    async fn what_is_left_in_h2_after_the_end_ends_the_connection() {
        let entry = Entry::detached();
        let executor = StreamExecutor::new(Arc::clone(&entry), PERIOD);
        let _kept = begin(&executor);
        let start = Instant::now();
        entry.told().await;
        assert!(entry.is_stalled());
        assert!(PERIOD.mul_f64(0.9) < start.elapsed() && start.elapsed() < PERIOD * 2, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn what_is_written_in_time_ends_its_stream_and_nothing_else() {
        let entry = Entry::detached();
        let executor = StreamExecutor::new(Arc::clone(&entry), PERIOD);
        let kept = begin(&executor);
        executor.execute(ready(()));
        sleep(PERIOD / 2).await;
        drop(kept.lock().unwrap().take());
        sleep(PERIOD).await;
        assert!(executor.streams.is_empty() && !entry.is_stalled());
    }
}
