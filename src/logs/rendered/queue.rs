//! What a log gives on its own task, for a client that must not hold it up: lines are left out, or the client is cut off.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{sync::Notify, task::yield_now, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Fed, OnSlow, renderer::Renderer};
use crate::logs::{
    LogError,
    format::Progress,
    piece::{End, Piece, PieceSource, Reason},
};

/// Most bytes that wait for a client, about.
const MAX_QUEUED: usize = 256 * 1024;

/// What a queued piece takes beside its bytes, in bytes.
const OVERHEAD: usize = 256;

/// After lines were left out, so few bytes must wait before the next line goes in: a gap tells of many.
const FEW_QUEUED: usize = MAX_QUEUED / 2;

/// A queue that was full for so long belongs to a client that does not keep up.
const MAX_FULL: Duration = Duration::from_secs(1);

/// Rendered lines that wait for a client. Dropping it ends the task.
pub(super) struct Queue {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The client has taken something.
    taken: Notify,
    read: AtomicU64,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<(Bytes, Progress)>,
    /// Bytes of `chunks`.
    queued: usize,
    /// Behind `chunks`: as [`Fed::End`].
    end: Option<(End, Option<Progress>, Option<LogError>)>,
    client: Option<Waker>,
}

impl Queue {
    /// Reads `source` from now on, on the runtime that this is called on.
    pub(super) fn spawn(source: impl PieceSource, renderer: Renderer, on_slow: OnSlow) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(fill(source, renderer, on_slow, Arc::clone(&shared)));
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Polls for the next chunk, or the end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fed> {
        let mut state = self.shared.lock();
        if let Some((bytes, progress)) = state.chunks.pop_front() {
            state.queued -= bytes.len() + OVERHEAD;
            drop(state);
            self.shared.taken.notify_one();
            return Poll::Ready(Fed::Chunk(bytes, progress));
        }
        if let Some((end, progress, error)) = state.end.take() {
            return Poll::Ready(Fed::End(end, progress, error));
        }
        state.client = Some(cx.waker().clone());
        Poll::Pending
    }

    /// How many bytes were read from the backend so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.shared.read.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Locks also after a panic elsewhere: the state is valid between any two statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: Bytes, progress: Progress) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.queued += bytes.len() + OVERHEAD;
        state.chunks.push_back((bytes, progress));
        wake(state);
    }

    fn end(&self, end: End, progress: Progress, error: Option<LogError>) {
        let mut state = self.lock();
        state.end = Some((end, Some(progress), error));
        wake(state);
    }

    /// Ends the stream where the client is: it comes back for what it has not taken.
    fn cut(&self) {
        let mut state = self.lock();
        state.chunks.clear();
        state.queued = 0;
        state.end = Some((End::of(Reason::SlowClient), None, None));
        wake(state);
    }

    /// Room for rendered lines, in bytes.
    fn room(&self, is_leaving_out: bool) -> usize {
        let queued = self.lock().queued;
        if is_leaving_out && queued > FEW_QUEUED { 0 } else { MAX_QUEUED.saturating_sub(queued) }
    }

    /// Waits until there is room.
    async fn has_room(&self) {
        while self.room(false) == 0 {
            self.taken.notified().await;
        }
    }
}

/// Wakes the client's task, if it waits, out of the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let client = state.client.take();
    drop(state);
    if let Some(client) = client {
        client.wake();
    }
}

/// Reads a log to its end, whatever the client does.
async fn fill(mut source: impl PieceSource, mut renderer: Renderer, on_slow: OnSlow, shared: Arc<Shared>) {
    loop {
        let piece = poll_fn(|cx| source.poll_piece(cx)).await;
        shared.read.store(source.bytes_read(), Ordering::Relaxed);
        let mut out = BytesMut::new();
        let (end, error) = match piece {
            Some(Ok(Piece::Notice(notice))) => {
                renderer.notice(notice, &mut out);
                shared.push(out.freeze(), renderer.progress());
                continue;
            }
            Some(Ok(Piece::Begin(begin))) => {
                renderer.begin(&begin);
                continue;
            }
            Some(Ok(Piece::Records(records))) => {
                let mut at = 0;
                while at < records.index.len() && !renderer.is_over() {
                    if on_slow == OnSlow::Drop {
                        renderer.set_room(shared.room(renderer.is_leaving_out()));
                    } else if timeout(MAX_FULL, shared.has_room()).await.is_err() {
                        return shared.cut();
                    }
                    renderer.begin_turn();
                    at = renderer.records(&records, at, &mut out);
                    shared.push(out.split().freeze(), renderer.progress());
                    if renderer.is_turn_over() {
                        yield_now().await;
                    }
                }
                records.recycle();
                if !renderer.is_over() {
                    // A log that is always ready is not the only task.
                    yield_now().await;
                    continue;
                }
                (End::of(Reason::Limit), None)
            }
            Some(Ok(Piece::Seen { mark, is_part })) => {
                renderer.seen(mark, is_part);
                continue;
            }
            Some(Ok(Piece::Gap(gap))) => {
                renderer.gap(&gap, &mut out);
                shared.push(out.freeze(), renderer.progress());
                continue;
            }
            Some(Ok(Piece::Restart { started_at, run })) => {
                renderer.restart(started_at, run, &mut out);
                shared.push(out.freeze(), renderer.progress());
                continue;
            }
            Some(Ok(Piece::End(end))) => (end, None),
            Some(Err(error)) => (End::of(Reason::BackendLost), Some(error)),
            None => (End::of(Reason::Complete), None),
        };
        drop(source);
        let end = renderer.end(end, &mut out);
        shared.push(out.freeze(), renderer.progress());
        return shared.end(end, renderer.progress(), error);
    }
}
