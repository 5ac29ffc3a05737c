//! One log exchange with an engine: its answer as a [`LogSource`], on a connection of its own.
//!
//! HTTP/1.1 by hand because every line is a chunk of its own: a client that hands out a frame a chunk costs a hundred
//! times more a line (log-performance.md §1). Dropping the exchange closes the socket.

mod input;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};

pub(super) use self::input::Input;
use super::{
    LogError, LogSource,
    compact::HEADROOM,
    decode::{Decoder, Mode},
    engine::{Answer, Transport},
};

/// An answer that is being decoded.
#[derive(Debug)]
pub struct Exchange<T> {
    input: Input<T>,
    decoder: Decoder,
}

impl<T: Transport> Exchange<T> {
    /// Decodes `answer`, in reads of at most `max_read` bytes.
    pub fn new(answer: Answer<T>, mode: Mode, max_read: usize) -> Self {
        let Answer { io, body, early } = answer;
        Self { input: Input::new(io, early, max_read), decoder: Decoder::new(body, mode) }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.poll_fill(cx, &[0; HEADROOM])
    }

    /// Decodes what was read and cuts it out of the buffer.
    fn decode(&mut self) -> Result<Bytes, LogError> {
        let buf = &mut self.input.buf;
        let payload = self.decoder.compact(buf)?;
        buf.truncate(payload.end);
        buf.advance(payload.start);
        Ok(buf.split().freeze())
    }
}

impl<T: Transport> LogSource for Exchange<T> {
    fn poll_chunk(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        let this = self.get_mut();
        loop {
            if this.decoder.is_ended() {
                return Poll::Ready(this.decoder.finish().err().map(Err));
            }
            match ready!(this.poll_fill(cx)) {
                Err(error) => return Poll::Ready(Some(Err(LogError::Disconnected(error)))),
                Ok(0) => return Poll::Ready(this.decoder.finish().err().map(Err)),
                Ok(_) => match this.decode() {
                    Ok(payload) if payload.is_empty() => {}
                    decoded => return Poll::Ready(Some(decoded)),
                },
            }
        }
    }

    fn bytes_read(&self) -> u64 {
        self.input.read
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;
    use crate::{
        http1::scripted::{Script, Scripted, Step, scripted, send},
        logs::engine::send_request,
    };

    const MODE: Mode = Mode { tty: false, timestamps: false, record_limit: 16 * 1024 };
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const SECOND: Duration = Duration::from_secs(1);

    /// A frame in a chunk of its own, as an engine sends a record.
    fn record(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let size = format!("{:x}\r\n", 8 + payload.len());
        [size.as_bytes(), &[1, 0, 0, 0], &length, payload, b"\r\n"].concat()
    }

    async fn exchange(
        steps: impl IntoIterator<Item = Step>,
        mode: Mode,
        max_read: usize,
    ) -> (Exchange<Scripted>, Script) {
        let (io, script) = scripted(steps);
        let answer = send_request(io, "/".to_owned()).await.unwrap();
        (Exchange::new(answer, mode, max_read), script)
    }

    async fn next(exchange: &mut Exchange<Scripted>) -> Option<Result<Bytes, LogError>> {
        poll_fn(|cx| Pin::new(&mut *exchange).poll_chunk(cx)).await
    }

    fn is_pending(exchange: &mut Exchange<Scripted>) -> bool {
        Pin::new(exchange).poll_chunk(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
    }

    #[tokio::test(start_paused = true)]
    async fn each_read_is_a_piece_and_the_last_chunk_is_the_end() {
        let first = [HEAD.as_bytes(), &record(b"with the head\n")].concat();
        let second = [record(b"two\n"), record(b"in one read\n")].concat();
        let last = [record(b"last\n"), b"0\r\n\r\n".to_vec()].concat();
        let body = first.len() + second.len() + last.len() - HEAD.len();
        let steps = [send(first), Step::Wait(SECOND), send(second), Step::Wait(SECOND), send(last), Step::Hang];
        let (mut exchange, script) = exchange(steps, MODE, 64 * 1024).await;
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "with the head\n");
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "two\nin one read\n");
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "last\n");
        assert!(next(&mut exchange).await.is_none());
        assert_eq!(exchange.bytes_read(), body as u64);
        drop(exchange);
        assert!(script.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn framing_alone_is_no_piece() {
        let payload = record(b"one line\n");
        let pieces = payload.chunks(3).flat_map(|piece| [Step::Wait(SECOND), send(piece)]);
        let steps = std::iter::once(send(HEAD)).chain(pieces).chain([send("0\r\n\r\n")]);
        let (mut exchange, _script) = exchange(steps, MODE, 64 * 1024).await;
        let mut text = Vec::new();
        while let Some(piece) = next(&mut exchange).await {
            let piece = piece.unwrap();
            assert!(!piece.is_empty());
            text.extend_from_slice(&piece);
        }
        assert_eq!(text, b"one line\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_holds_no_buffer() {
        let steps = [send(HEAD), send(record(b"a\n")), Step::Wait(SECOND), send(record(b"b\n")), Step::Hang];
        let (mut exchange, _script) = exchange(steps, MODE, 64 * 1024).await;
        for text in ["a\n", "b\n"] {
            assert_eq!(next(&mut exchange).await.unwrap().unwrap(), text);
            assert!(is_pending(&mut exchange));
            assert_eq!(exchange.input.held(), (0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_grow_with_what_comes_and_never_beyond_the_limit() {
        let line = record(&[b'x'; 1000]).repeat(400);
        let (mut exchange, _script) = exchange([send(HEAD), send(line)], MODE, 32 * 1024).await;
        let mut lengths = Vec::new();
        while let Some(Ok(piece)) = next(&mut exchange).await {
            lengths.push(piece.len());
        }
        assert!(lengths[0] <= 4 * 1024 && lengths.iter().max().unwrap() > &(30 * 1024), "{lengths:?}");
        assert!(lengths.iter().all(|length| *length <= 32 * 1024) && lengths.len() < 20, "{lengths:?}");
        assert_eq!(lengths.iter().sum::<usize>(), 400 * 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_cut_is_no_end() {
        let head = || send(HEAD);
        let cut = |error: &LogError| matches!(error, LogError::Disconnected(_));
        for steps in [
            vec![head(), send(record(b"a\n"))],
            vec![head(), send(&record(b"a\n")[..9])],
            vec![head(), send(record(b"a\n")), Step::Fail(io::ErrorKind::ConnectionReset)],
        ] {
            let (mut exchange, _script) = exchange(steps, MODE, 64 * 1024).await;
            let error = loop {
                match next(&mut exchange).await {
                    Some(Ok(_)) => {}
                    other => break other.unwrap().unwrap_err(),
                }
            };
            assert!(cut(&error), "{error:?}");
        }
        let (mut exchange, _script) = exchange([head(), send("zz\r\n")], MODE, 64 * 1024).await;
        assert!(matches!(next(&mut exchange).await, Some(Err(LogError::Protocol(_)))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_s_log_until_the_connection_s_end_ends_with_it() {
        let mode = Mode { tty: true, ..MODE };
        let steps = [send("HTTP/1.0 200 OK\r\n\r\n"), Step::Wait(SECOND), send("as it is\r\n")];
        let (mut exchange, _script) = exchange(steps, mode, 64 * 1024).await;
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "as it is\r\n");
        assert!(next(&mut exchange).await.is_none());
    }
}
