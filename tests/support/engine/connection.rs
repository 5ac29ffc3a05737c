//! One connection to the scripted engine: requests read by hand, answers written by hand.

use std::{future, io, sync::Arc, time::Instant};

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
        if let Some((id, script)) = log_of(&request, &shared) {
            match stream_log(&mut io, id, &script, keep, &shared).await {
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
fn log_of(request: &Request, shared: &Shared) -> Option<(String, Script)> {
    let name = request.path().strip_prefix("/containers/")?.strip_suffix("/logs")?;
    let state = shared.state();
    let sandbox = reply::find(&state, name)?;
    Some((sandbox.id.clone(), sandbox.script.clone()))
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

async fn stream_log<S>(io: &mut S, id: String, script: &Script, keep: bool, shared: &Shared) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut counted = Counted::new(shared, id);
    let (mut read, mut write) = tokio::io::split(io);
    // Watching the read side all the while is what tells the instant of the peer's leaving.
    let outcome = tokio::select! {
        () = gone(&mut read) => None,
        outcome = play(&mut write, script, reply::log_head(keep)) => Some(outcome),
    };
    counted.by_peer = matches!(outcome, None | Some(Err(_)));
    match outcome {
        Some(Ok(outcome)) => outcome,
        None | Some(Err(_)) => Outcome::Broken,
    }
}

async fn play<W: AsyncWrite + Unpin>(io: &mut W, script: &Script, head: Vec<u8>) -> io::Result<Outcome> {
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
            match step {
                Step::Chunk(bytes) => send(io, &mut withheld, &chunk(bytes)).await?,
                Step::Raw(bytes) => send(io, &mut withheld, bytes).await?,
                Step::Lines { count, length, batched } => {
                    send(io, &mut withheld, b"").await?;
                    lines(io, *count, *length, *batched).await?;
                }
                Step::Wait(time) => tokio::time::sleep(*time).await,
                Step::Gate(gate) => gate.passed().await,
                Step::Again => again = true,
                Step::End => return send(io, &mut withheld, b"0\r\n\r\n").await.map(|()| Outcome::Ended),
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
