//! Requests in a row until the log is over: what is done about a cut, a refusal, an end.

use std::{io, time::Duration};

use http::{HeaderMap, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};

use super::{
    backoff::Waits,
    lines::Lines,
    printer::{Printer, Stop, is_break},
    record::Event,
    request::Request,
};
use crate::cli::{
    connect::Io,
    exchange::{Answer, Body, exchange, media_type},
    refusal,
};

/// How long a connection may be silent: three of the server's pings.
const MAX_SILENCE: Duration = Duration::from_secs(45);

/// How long it is tried to come back to a log that is not followed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a log ended for good.
#[derive(Debug)]
pub(super) enum Over {
    /// Its own end.
    End(Box<Event>),
    /// The server does not give it, or is not there.
    Refused(String),
    /// The server knows no such sandbox.
    Missing(String),
    /// Part of it was written, and the rest cannot be had.
    Broken(String),
    /// The output takes nothing.
    Output(io::Error),
}

/// What comes after an attempt.
enum Next {
    Over(Over),
    Again(Again),
}

/// Another attempt.
struct Again {
    /// Why, for a person; none if nothing is wrong.
    why: Option<String>,
    /// How long the server wants not to be asked.
    asked: Option<Duration>,
    /// The server says that it, or another one, can be asked at once.
    at_once: bool,
}

/// The time without a good connection.
#[derive(Clone, Copy)]
struct Outage {
    since: Instant,
    is_told: bool,
    attempts: u32,
}

/// One log, over as many connections as it takes.
pub(super) struct Session<'p, C> {
    request: Request,
    /// The server, as a person names it.
    server: String,
    has_key: bool,
    connect: C,
    printer: &'p mut Printer,
    waits: Waits,
    outage: Option<Outage>,
    /// When the first request was sent.
    started: Option<Instant>,
    /// The server has begun to send the log once.
    has_begun: bool,
    /// What refuses the first request may pass too.
    is_persistent: bool,
}

impl<'p, C, I> Session<'p, C>
where
    C: AsyncFn() -> io::Result<I>,
    I: Io,
{
    pub(super) fn new(request: Request, server: String, has_key: bool, connect: C, printer: &'p mut Printer) -> Self {
        Self {
            request,
            server,
            has_key,
            connect,
            printer,
            waits: Waits::default(),
            outage: None,
            started: None,
            has_begun: false,
            is_persistent: false,
        }
    }

    /// Comes back also from a first request that fails, if that may pass: the sandbox is known to be there, and nobody would name
    /// it again.
    pub(super) fn persistent(self) -> Self {
        Self { is_persistent: true, ..self }
    }

    /// Writes the log until it is over.
    pub(super) async fn run(&mut self) -> Over {
        loop {
            let over = match self.attempt().await {
                Next::Over(over) => Some(over),
                Next::Again(again) => self.wait(again).await.err(),
            };
            if let Some(over) = over {
                return over;
            }
        }
    }

    async fn attempt(&mut self) -> Next {
        let io = match (self.connect)().await {
            Ok(io) => io,
            Err(error) if self.started.is_none() && !self.is_persistent => {
                return Next::Over(Over::Refused(format!("{} cannot be reached: {error}", self.server)));
            }
            Err(error) => return again(format!("{} cannot be reached: {error}", self.server)),
        };
        let elapsed = self.started.get_or_insert_with(Instant::now).elapsed();
        match exchange(io, &self.request.bytes(self.printer.after(), elapsed)).await {
            Ok(answer) => self.answer(answer).await,
            Err(why) => again(format!("the connection broke: {why}")),
        }
    }

    async fn answer(&mut self, Answer { head, mut body }: Answer<I>) -> Next {
        let status = head.status();
        match status {
            StatusCode::OK if is_ndjson(head.headers()) => {
                self.has_begun = true;
                return self.read(body).await;
            }
            StatusCode::OK => {
                let why = match media_type(head.headers()).as_str() {
                    "" | "text/plain" => "it does not know `format=ndjson`, and must be a newer one".to_owned(),
                    other => format!("{} sends {other}, so it may be another server", self.server),
                };
                return self.refused(format!("the server sends no records: {why}"));
            }
            StatusCode::NO_CONTENT => return Next::Over(Over::End(Box::default())),
            _ => {}
        }
        let told = refusal::told(status, &body.refusal().await, self.has_key);
        let is_busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        // What a server, or a proxy before it, answers while it or its engine starts anew, or a sandbox is being removed.
        let may_pass =
            (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED) || status == StatusCode::CONFLICT;
        if is_busy || (may_pass && (self.has_begun || self.is_persistent)) {
            return Next::Again(Again { why: Some(told), asked: retry_after(head.headers()), at_once: false });
        }
        match self.refused(told) {
            Next::Over(Over::Refused(text)) if status == StatusCode::NOT_FOUND => Next::Over(Over::Missing(text)),
            next => next,
        }
    }

    async fn read(&mut self, mut body: Body<I>) -> Next {
        let mut lines = Lines::default();
        let printer = &mut *self.printer;
        let before = printer.taken;
        loop {
            let taken = body.pieces(|piece| lines.feed(piece, |line| printer.line(line)));
            if self.outage.is_some() && printer.taken > before {
                let outage = self.outage.take();
                self.waits.reset();
                if let Some(Outage { since, attempts: 2.., is_told: true }) = outage
                    && let Err(error) = printer.note(&format!("connected again after {}", shown(since.elapsed())))
                {
                    return Next::Over(Over::Output(error));
                }
            }
            match taken {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return again("the server ended its answer before the log's end".to_owned()),
                Ok(Err(Stop::End(end))) => return self.ended(end),
                Ok(Err(Stop::Output(error))) => return Next::Over(Over::Output(error)),
                Ok(Err(Stop::Invalid(why))) => return Next::Over(Over::Broken(why.to_owned())),
                Err(why) => return again(format!("the connection broke: {why}")),
            }
            match timeout(MAX_SILENCE, body.fill(|| printer.flush())).await {
                Ok(Ok(Ok(true))) => {}
                Ok(Ok(Ok(false))) => return again("the connection broke: the server closed it".to_owned()),
                Ok(Ok(Err(error))) => return again(format!("the connection broke: {error}")),
                Ok(Err(error)) => return Next::Over(Over::Output(error)),
                Err(_) => return again(format!("the server has been silent for {}", shown(MAX_SILENCE))),
            }
        }
    }

    fn ended(&self, end: Box<Event>) -> Next {
        let is_restart = end.reason == "restarted";
        if !is_break(&end) || (is_restart && !self.request.follow) {
            return Next::Over(Over::End(end));
        }
        let why = match end.reason.as_str() {
            "drain" => Some("the server is ending"),
            "slow_client" => Some("the output was not read in time for the server"),
            "backend_lost" => Some("the server could not read the log any more"),
            // The first record behind it tells that.
            _ => None,
        };
        let at_once = is_restart || end.reason == "drain";
        Next::Again(Again { why: why.map(str::to_owned), asked: None, at_once })
    }

    fn refused(&self, text: String) -> Next {
        Next::Over(if self.has_begun {
            Over::Broken(format!("the log cannot be resumed: {text}"))
        } else {
            Over::Refused(text)
        })
    }

    /// Waits before another attempt, and tells why once an outage.
    async fn wait(&mut self, again: Again) -> Result<(), Over> {
        let Again { why, asked, at_once } = again;
        let is_fresh = self.waits.is_fresh();
        let wait = match self.waits.next(asked) {
            _ if at_once && is_fresh => Duration::ZERO,
            wait => wait,
        };
        let new = Outage { since: Instant::now(), is_told: false, attempts: 0 };
        let outage = self.outage.get_or_insert(new);
        outage.attempts += 1;
        if self.printer.after().is_none() && self.printer.has_written {
            let why = why.unwrap_or_default();
            return Err(Over::Broken(format!("{why}: the log cannot be resumed, since its records have no id")));
        }
        if !self.request.follow && outage.since.elapsed() + wait > PATIENCE {
            let why = format!("{}; given up", why.unwrap_or_default());
            return Err(if self.has_begun { Over::Broken(why) } else { Over::Refused(why) });
        }
        if let Some(why) = why
            && !outage.is_told
        {
            outage.is_told = true;
            let what = if self.has_begun { "reconnecting" } else { "trying again" };
            let when = if wait < Duration::from_secs(1) { String::new() } else { format!(" in {}", shown(wait)) };
            self.printer.note(&format!("{why}; {what}{when}")).map_err(Over::Output)?;
        }
        self.printer.flush().map_err(Over::Output)?;
        sleep(wait).await;
        Ok(())
    }
}

fn again(why: String) -> Next {
    Next::Again(Again { why: Some(why), asked: None, at_once: false })
}

fn shown(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 10.0).round() / 10.0)
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    matches!(media_type(headers).as_str(), "application/x-ndjson" | "application/jsonl")
}

/// `Retry-After` in seconds; a date is not looked at, and the waits are the usual ones.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().map(Duration::from_secs).ok()
}

#[cfg(test)]
mod tests;
