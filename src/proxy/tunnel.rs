//! Two connections that have switched protocols: bytes pass both ways, unread, until either end closes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes},
    sync::Notify,
};

use super::io::BackendIo;
use crate::{access::Report, client::ClientWatch, drain, end_reason::EndReason};

/// What is read at a time, in bytes, each way.
const BUFFER: usize = 16 * 1024;

/// How long the other direction may go on when one has ended: WebSocket has no half-closed connections.
const LINGER: Duration = Duration::from_secs(2);

/// A tunnel, to be run by the task of its client's connection when hyper is done with that.
#[derive(Debug)]
pub struct Tunnel {
    upgrade: OnUpgrade,
    backend: BackendIo,
    /// What the backend sent right behind its response's head.
    early: Bytes,
    record: Record,
}

/// Where a connection's service leaves a tunnel for the connection's task.
#[derive(Debug, Default)]
pub struct TunnelSlot(Mutex<Option<Box<Tunnel>>>);

/// What the access line says. It is written when this is dropped.
#[derive(Debug)]
struct Record {
    report: Option<Box<Report>>,
    client: ClientWatch,
    drain: drain::Watch,
    sent: Arc<AtomicU64>,
    end_reason: Option<EndReason>,
}

impl Tunnel {
    /// A tunnel between the client's end of `upgrade` and `backend`.
    pub fn new(upgrade: OnUpgrade, backend: BackendIo, early: Bytes, client: ClientWatch, drain: drain::Watch) -> Self {
        let record = Record { report: None, client, drain, sent: Arc::default(), end_reason: None };
        Self { upgrade, backend, early, record }
    }

    /// The same tunnel, which tells `report` how it went.
    pub fn reporting(mut self, report: Box<Report>) -> Self {
        self.record.report = Some(report);
        self
    }

    /// Passes bytes until either end closes. Dropped before, it closes both.
    pub async fn run(self) {
        let Self { upgrade, backend, early, mut record } = self;
        let client = match upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(%error, "the client left before the switch of protocols"),
        };
        let ended = Arc::new(Notify::new());
        let mut client = Side { io: client, sent: Arc::clone(&record.sent), ended: Arc::clone(&ended) };
        let mut backend = Side { io: backend, sent: Arc::default(), ended: Arc::clone(&ended) };
        let copying = async {
            client.write_all(&early).await?;
            copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await
        };
        let lingering = async {
            ended.notified().await;
            tokio::time::sleep(LINGER).await;
        };
        let result = tokio::select! {
            copied = copying => copied.map(|_| ()),
            () = lingering => Ok(()),
        };
        record.end_reason = Some(record.end_reason_of(&result));
    }
}

impl TunnelSlot {
    /// Leaves a tunnel.
    pub fn put(&self, tunnel: Box<Tunnel>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// Takes it.
    pub fn take(&self) -> Option<Box<Tunnel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Record {
    /// The end of either side is a proper end. A connection that broke is most often the client's.
    fn end_reason_of(&self, result: &io::Result<()>) -> EndReason {
        match result {
            Ok(()) => EndReason::Complete,
            Err(_) if self.client.has_stalled() => EndReason::SlowClient,
            Err(_) => EndReason::ClientGone,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(report) = &mut self.report else { return };
        report.add(usize::try_from(self.sent.load(Ordering::Relaxed)).unwrap_or(usize::MAX));
        let unfinished = match self.client.has_stalled() {
            true => EndReason::SlowClient,
            false if self.drain.has_cut() => EndReason::Cut,
            false => EndReason::ClientGone,
        };
        report.ended(self.end_reason.unwrap_or(unfinished));
    }
}

/// One side: counts what is sent to it, and tells when the other one has ended.
struct Side<T> {
    io: T,
    sent: Arc<AtomicU64>,
    ended: Arc<Notify>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Side<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            // A client that closes TLS without saying so. A WebSocket says by itself whether it is whole, and without TLS nobody
            // could tell either.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => read,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Side<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = written {
            self.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended.notify_one();
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
