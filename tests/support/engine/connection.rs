//! One connection to the scripted engine: requests read by hand, answers written by hand.

use std::{collections::VecDeque, future, io, sync::Arc, time::Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    Action, Closed, Shared,
    reply::{self, Request},
    script::{Head, Script, Step, chunk, frame, line},
};

/// A block of a batched log.
const BLOCK: usize = 256 * 1024;

/// Serves a connection until the peer leaves, `Connection: close`, or a script that ends it. `reset` prepares the
/// socket so that closing it resets it.
pub(super) async fn serve<S>(mut io: S, shared: Arc<Shared>, reset: fn(&S))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut unread = Vec::new();
    while let Ok(Some(request)) = read_request(&mut io, &mut unread).await {
        shared.state().requests.push(request.target.clone());
        let keep = !request.close;
        match fault(&request, &shared) {
            Some(Fault::Hang) => return gone(&mut io).await,
            Some(Fault::Answer(answer)) => {
                let _ = io.write_all(&answer).await;
                return;
            }
            None => {}
        }
        if let Some((id, script, tty)) = log_of(&request, &shared) {
            let window = Window::of(&request, tty);
            match stream_log(&mut io, id, &script, window, keep, &shared).await {
                Outcome::Ended if keep => continue,
                Outcome::Reset => reset(&io),
                Outcome::Ended | Outcome::Broken => {}
            }
            return;
        }
        let delay = reply::delay(&request, &shared);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if reply::is_events(&request) {
            return tell_events(&mut io, &shared).await;
        }
        if io.write_all(&reply::answer(&request, &shared)).await.is_err() || !keep {
            return;
        }
    }
}

enum Fault {
    Hang,
    Answer(Vec<u8>),
}

fn fault(request: &Request, shared: &Shared) -> Option<Fault> {
    let mut state = shared.state();
    if request.body.windows(5).any(|window| window == b"\"Env\"") {
        state.with_env.clone_from(&request.body);
    }
    let rule = state.rules.iter().find(|rule| rule.is_for(request))?;
    Some(match rule.action {
        Action::Hang => Fault::Hang,
        Action::Fail(status, message) => Fault::Answer(reply::error(status, message)),
        Action::Answer(json) => Fault::Answer(reply::json(json)),
        Action::Quote(status) => {
            let body = String::from_utf8_lossy(&state.with_env).into_owned();
            Fault::Answer(reply::error(status, &format!("invalid request {body}: {body:?}")))
        }
    })
}

/// The events: the head at once, then what happens, until the peer leaves.
async fn tell_events<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S, shared: &Shared) {
    let mut events = shared.events.subscribe();
    let (mut read, mut write) = tokio::io::split(io);
    let tell = async {
        write.write_all(&reply::stream_head()).await?;
        while let Ok(event) = events.recv().await {
            let written = match event.as_str() {
                "" => Err(io::ErrorKind::BrokenPipe.into()),
                event => write.write_all(&chunk(event.as_bytes())).await,
            };
            shared.state().told += 1;
            written?;
        }
        io::Result::Ok(())
    };
    tokio::select! { () = gone(&mut read) => {}, _ = tell => {} }
}

enum Outcome {
    /// A complete answer; the connection may carry another.
    Ended,
    /// Close it.
    Broken,
    /// Reset it.
    Reset,
}

/// The script for a log request of a known sandbox.
fn log_of(request: &Request, shared: &Shared) -> Option<(String, Script, bool)> {
    let name = request.path().strip_prefix("/containers/")?.strip_suffix("/logs")?;
    let state = shared.state();
    let sandbox = reply::find(&state, name)?;
    Some((sandbox.id.clone(), sandbox.script.clone(), sandbox.tty))
}

/// What of a log is asked for: whether each record is stamped with its time, and the last how many. Records that a script prints
/// before it first waits are those that are there; each read plays the script from its beginning, so that a record has the same
/// time in each.
struct Window {
    follow: bool,
    stamped: bool,
    tail: Option<usize>,
    tty: bool,
    /// How many records came so far.
    number: u64,
    /// The last ones, until the script first waits.
    last: VecDeque<Vec<u8>>,
}

impl Window {
    fn of(request: &Request, tty: bool) -> Self {
        let is_set = |value: String| value == "1" || value == "true";
        let stamped = request.query("timestamps").is_some_and(is_set);
        let tail = request.query("tail").and_then(|tail| tail.parse().ok());
        let follow = request.query("follow").is_some_and(is_set);
        Self { follow, stamped, tail, tty, number: 0, last: VecDeque::new() }
    }

    /// The script's bytes go out as they are.
    fn is_plain(&self) -> bool {
        !self.stamped && self.tail.is_none()
    }

    /// The chunks of the records in `bytes` that are to be sent now. What is not made of whole records goes out as it is.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.is_plain() {
            return chunk(bytes);
        }
        let Some(records) = records(bytes, self.tty) else { return chunk(bytes) };
        let mut out = Vec::new();
        for (id, payload) in records {
            let stamped = self.stamp(payload);
            let record = chunk(&if self.tty { stamped } else { frame(id, &stamped) });
            match self.tail {
                Some(tail) => {
                    self.last.push_back(record);
                    if self.last.len() > tail {
                        self.last.pop_front();
                    }
                }
                None => out.extend_from_slice(&record),
            }
        }
        out
    }

    /// The script waits or ends: what was kept for the tail goes out, and what comes from now on at once.
    fn settle(&mut self) -> Vec<u8> {
        self.tail = None;
        self.last.drain(..).flatten().collect()
    }

    fn stamp(&mut self, payload: &[u8]) -> Vec<u8> {
        let number = self.number;
        // The pieces of a line have one time.
        self.number += u64::from(payload.ends_with(b"\n"));
        // A script may have times of its own.
        if !self.stamped
            || payload.get(..31).is_some_and(|time| time[4] == b'-' && time[10] == b'T' && time[29..] == *b"Z ")
        {
            return payload.to_vec();
        }
        let (seconds, nanos) = (number / 1_000_000, number % 1_000_000 * 1_000);
        let time = jiff::Timestamp::new(
            1_795_417_501 + i64::try_from(seconds).expect("few"),
            i32::try_from(nanos).expect("few"),
        );
        [format!("{:.9} ", time.expect("a time")).as_bytes(), payload].concat()
    }
}

/// The records that `bytes` are made of, each with its stream; none if they are not whole.
fn records(mut bytes: &[u8], tty: bool) -> Option<Vec<(u8, &[u8])>> {
    if tty {
        return Some(bytes.split_inclusive(|byte| *byte == b'\n').map(|line| (1, line)).collect());
    }
    let mut all = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        all.push((head[0], rest.get(..length)?));
        bytes = &rest[length..];
    }
    bytes.is_empty().then_some(all)
}

/// Counts a log connection for as long as it lives, and notes its end, also when the task is dropped.
struct Counted<'a> {
    shared: &'a Shared,
    sandbox: String,
    by_peer: bool,
}

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared, sandbox: String) -> Self {
        let mut state = shared.state();
        state.open += 1;
        state.opened += 1;
        state.peak = state.peak.max(state.open);
        drop(state);
        Self { shared, sandbox, by_peer: false }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let at = Instant::now();
        let mut state = self.shared.state();
        state.open -= 1;
        let sandbox = std::mem::take(&mut self.sandbox);
        state.closed.push(Closed { sandbox, at, by_peer: self.by_peer });
    }
}

async fn stream_log<S>(
    io: &mut S,
    id: String,
    script: &Script,
    mut window: Window,
    keep: bool,
    shared: &Shared,
) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut counted = Counted::new(shared, id);
    let (mut read, mut write) = tokio::io::split(io);
    // Watching the read side all the while is what tells the instant of the peer's leaving.
    let outcome = tokio::select! {
        () = gone(&mut read) => None,
        outcome = play(&mut write, script, &mut window, reply::log_head(keep)) => Some(outcome),
    };
    counted.by_peer = matches!(outcome, None | Some(Err(_)));
    match outcome {
        Some(Ok(outcome)) => outcome,
        None | Some(Err(_)) => Outcome::Broken,
    }
}

async fn play<W: AsyncWrite + Unpin>(
    io: &mut W,
    script: &Script,
    window: &mut Window,
    head: Vec<u8>,
) -> io::Result<Outcome> {
    let mut withheld = match &script.head {
        Head::Withheld => Some(head),
        Head::AtOnce => write_head(io, &head).await?,
        Head::Raw(bytes) => write_head(io, bytes).await?,
        Head::Trickled(pause) => {
            for byte in head {
                io.write_all(&[byte]).await?;
                tokio::time::sleep(*pause).await;
            }
            None
        }
        Head::Half => {
            io.write_all(&head[..head.len() / 2]).await?;
            return Ok(Outcome::Broken);
        }
        Head::Error(status, message) => {
            io.write_all(&reply::error(*status, message)).await?;
            return Ok(Outcome::Ended);
        }
    };
    loop {
        let mut again = false;
        for step in &script.steps {
            if !matches!(step, Step::Chunk(_) | Step::Lines { .. }) {
                let kept = window.settle();
                if !kept.is_empty() {
                    send(io, &mut withheld, &kept).await?;
                }
            }
            match step {
                Step::Chunk(bytes) => {
                    let bytes = window.take(bytes);
                    if !bytes.is_empty() {
                        send(io, &mut withheld, &bytes).await?;
                    }
                }
                Step::Lines { count, length, .. } if !window.is_plain() => {
                    for number in 0..*count {
                        let bytes = window.take(&frame(1, &line(number, *length)));
                        if !bytes.is_empty() {
                            send(io, &mut withheld, &bytes).await?;
                        }
                    }
                }
                Step::Raw(bytes) => send(io, &mut withheld, bytes).await?,
                Step::Lines { count, length, batched } => {
                    send(io, &mut withheld, b"").await?;
                    lines(io, *count, *length, *batched).await?;
                }
                Step::Wait(time) => tokio::time::sleep(*time).await,
                Step::Gate(gate) => gate.passed().await,
                Step::Present if window.follow => {}
                Step::Present | Step::End => {
                    return send(io, &mut withheld, b"0\r\n\r\n").await.map(|()| Outcome::Ended);
                }
                Step::Again => again = true,
                Step::Open => future::pending().await,
                Step::Cut => return Ok(Outcome::Broken),
                Step::Reset => return Ok(Outcome::Reset),
            }
        }
        if !again {
            return Ok(Outcome::Broken);
        }
    }
}

async fn write_head<W: AsyncWrite + Unpin>(io: &mut W, head: &[u8]) -> io::Result<Option<Vec<u8>>> {
    io.write_all(head).await.map(|()| None)
}

/// Writes `bytes`, and before them the head if it was withheld so far.
async fn send<W: AsyncWrite + Unpin>(io: &mut W, withheld: &mut Option<Vec<u8>>, bytes: &[u8]) -> io::Result<()> {
    match withheld.take() {
        Some(mut head) => {
            head.extend_from_slice(bytes);
            io.write_all(&head).await
        }
        None => io.write_all(bytes).await,
    }
}

async fn lines<W: AsyncWrite + Unpin>(io: &mut W, count: u64, length: usize, batched: bool) -> io::Result<()> {
    let mut block = Vec::with_capacity(if batched { BLOCK + length + 64 } else { length + 64 });
    for number in 0..count {
        block.extend_from_slice(&chunk(&frame(1, &line(number, length))));
        if !batched || block.len() >= BLOCK {
            io.write_all(&block).await?;
            block.clear();
        }
    }
    io.write_all(&block).await
}

/// Returns when the peer has closed or reset the connection; what it sends until then is thrown away.
async fn gone<R: AsyncRead + Unpin>(io: &mut R) {
    let mut scrap = [0; 256];
    while matches!(io.read(&mut scrap).await, Ok(n) if n > 0) {}
}

async fn read_request<S: AsyncRead + Unpin>(io: &mut S, unread: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some(request) = Request::parse(unread) {
            return Ok(Some(request));
        }
        if io.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}
