//! Bodies that last: a command's events, and the machine's load each second.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context as Task, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Context, events};
use crate::{
    body::{
        Body,
        pieces::{Pieces, PiecesBody},
    },
    error::{Error, Family, Kind},
    execd::{
        command::{Finished, Started},
        load::{Load, SAMPLE_INTERVAL, Ticks},
    },
    problem::ApiError,
    response,
};

/// How often a stream says that it is alive.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How often the load is told (execd's description).
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The events of a command that its client waits for.
struct CommandEvents {
    started: Started,
    ping: Interval,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Running { is_draining: bool },
    Ended,
}

/// The events of a command: as they come if its client waits for it, else that it has begun.
pub(super) fn command(context: Context, started: Started) -> Response<Body> {
    let Context { client, drain, .. } = context;
    let mut out = Vec::new();
    if started.is_background {
        events::init(&started.command, &mut out);
        events::left_running(&started.command, &mut out);
        return stream(Body::full(out));
    }
    let ping = every(PING_INTERVAL);
    let events = CommandEvents { started, ping, drain: Box::pin(drain.begun()), stage: Stage::Begin };
    stream(Body::pieces(PiecesBody::new(events, client, drain)))
}

impl Pieces for CommandEvents {
    fn poll_piece(&mut self, cx: &mut Task<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut out = Vec::new();
        match &mut self.stage {
            Stage::Ended => return Poll::Ready(None),
            Stage::Begin => {
                self.stage = Stage::Running { is_draining: false };
                events::init(&self.started.command, &mut out);
            }
            Stage::Running { is_draining } => {
                if !*is_draining && self.drain.as_mut().poll(cx).is_ready() {
                    // The sandbox ends with the gateway, and so does the command: that it did is still told.
                    *is_draining = true;
                    self.started.command.interrupt();
                }
                let batch = match &mut self.started.batches {
                    Some(batches) => batches.poll_recv(cx),
                    None => Poll::Ready(None),
                };
                match batch {
                    Poll::Ready(Some(batch)) => events::output(&batch, &mut out),
                    Poll::Ready(None) => {
                        self.stage = Stage::Ended;
                        let finished = self.started.command.finished();
                        let finished = finished.unwrap_or_else(Finished::unknown);
                        events::end(&self.started.command, &finished, &mut out);
                    }
                    Poll::Pending => {
                        ready!(self.ping.poll_tick(cx));
                        events::ping(&mut out);
                    }
                }
            }
        }
        Poll::Ready(Some(Ok(out.into())))
    }
}

/// The machine's load now.
pub(super) async fn metrics() -> Result<Response<Body>, ApiError> {
    let before = Ticks::now().map_err(unknown)?;
    tokio::time::sleep(SAMPLE_INTERVAL).await;
    let (load, _) = Load::since(before).map_err(unknown)?;
    Ok(response::json(StatusCode::OK, &load))
}

/// The machine's load each second, until the client leaves or the gateway ends.
pub(super) fn watch(context: Context) -> Response<Body> {
    let Context { client, drain, .. } = context;
    let loads = Loads { before: Ticks::default(), tick: every(LOAD_INTERVAL), drain: Box::pin(drain.begun()) };
    stream(Body::pieces(PiecesBody::new(loads, client, drain)))
}

struct Loads {
    before: Ticks,
    tick: Interval,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Pieces for Loads {
    fn poll_piece(&mut self, cx: &mut Task<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.drain.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        ready!(self.tick.poll_tick(cx));
        // Two files of the kernel's, which are made when they are read: no disk is waited for.
        Poll::Ready(Some(Load::since(self.before).map(|(load, now)| {
            self.before = now;
            let mut out = Vec::new();
            events::write(&load, &mut out);
            out.into()
        })))
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn stream(body: Body) -> Response<Body> {
    let mut res = Response::new(body);
    let headers = res.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    res
}

fn unknown(error: io::Error) -> Error {
    Error::new(Family::Execd, Kind::Failed, format!("The machine does not tell its load: {error}."))
}
