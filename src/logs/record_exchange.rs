//! One log exchange with an engine, whose answer bears times: its records, on a connection of its own.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{
    LogError,
    backend::RecordReader,
    decode::records::RecordDecoder,
    engine::{Answer, Transport},
    exchange::Input,
    record::Records,
};

/// An answer that is being decoded. Holds nothing while the engine is silent, but the beginning of a record that it has not sent to
/// its end.
#[derive(Debug)]
pub struct RecordExchange<T> {
    input: Input<T>,
    decoder: RecordDecoder,
    /// The beginning of a chunk, of less than 64 KiB.
    rest: Bytes,
    ready: VecDeque<Records>,
    failed: Option<LogError>,
    is_through: bool,
}

impl<T: Transport> RecordExchange<T> {
    /// Decodes `answer`, in reads of at most `max_read` bytes: a terminal's log if `tty` is set, whose records the engine cuts at
    /// `record_limit` bytes.
    pub fn new(answer: Answer<T>, tty: bool, record_limit: usize, max_read: usize) -> Self {
        let Answer { io, body, early } = answer;
        Self {
            input: Input::new(io, early, max_read),
            decoder: RecordDecoder::new(body, tty, record_limit),
            rest: Bytes::new(),
            ready: VecDeque::new(),
            failed: None,
            is_through: false,
        }
    }

    fn decode(&mut self) {
        let read = self.input.buf.split().freeze();
        match self.decoder.decode(&read, &mut self.ready) {
            // A copy, so that the few bytes do not keep the buffer.
            Ok(used) => self.rest = Bytes::copy_from_slice(&read[used..]),
            Err(error) => self.fail(error),
        }
    }

    fn finish(&mut self) {
        self.is_through = true;
        if let Err(error) = self.decoder.finish(self.rest.len(), &mut self.ready) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: LogError) {
        self.is_through = true;
        self.failed = Some(error);
    }
}

impl<T: Transport> RecordReader for RecordExchange<T> {
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Records, LogError>>> {
        loop {
            if let Some(records) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(records)));
            }
            if self.is_through {
                return Poll::Ready(self.failed.take().map(Err));
            }
            if self.decoder.is_ended() {
                self.finish();
                continue;
            }
            match ready!(self.input.poll_fill(cx, &self.rest)) {
                Err(error) => self.fail(LogError::Disconnected(error)),
                Ok(0) => self.finish(),
                Ok(_) => self.decode(),
            }
        }
    }

    fn bytes_read(&self) -> u64 {
        self.input.read
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io, time::Duration};

    use super::*;
    use crate::{
        http1::scripted::{Script, Scripted, Step, scripted, send},
        logs::engine::send_request,
    };

    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const SECOND: Duration = Duration::from_secs(1);

    /// A record in a chunk of its own, as an engine sends it.
    fn record(text: &str) -> Vec<u8> {
        let payload = format!("2026-11-23T02:01:21.821916123Z {text}");
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let size = format!("{:x}\r\n", 8 + payload.len());
        [size.as_bytes(), &[1, 0, 0, 0], &length, payload.as_bytes(), b"\r\n"].concat()
    }

    async fn exchange(steps: impl IntoIterator<Item = Step>, tty: bool) -> (RecordExchange<Scripted>, Script) {
        let (io, script) = scripted(steps);
        let answer = send_request(io, "/".to_owned()).await.unwrap();
        (RecordExchange::new(answer, tty, 16 * 1024, 32 * 1024), script)
    }

    async fn next(exchange: &mut RecordExchange<Scripted>) -> Option<Result<String, LogError>> {
        let records = poll_fn(|cx| exchange.poll_records(cx)).await?;
        let text =
            |records: Records| records.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
        Some(records.map(text))
    }

    fn is_pending(exchange: &mut RecordExchange<Scripted>) -> bool {
        exchange.poll_records(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
    }

    #[tokio::test(start_paused = true)]
    async fn each_read_is_a_batch_and_the_last_chunk_is_the_end() {
        let second = [record("two\n"), record("in one read\n")].concat();
        let last = [record("last\n"), b"0\r\n\r\n".to_vec()].concat();
        let first = [HEAD.as_bytes(), &record("with the head\n")].concat();
        let body = first.len() + second.len() + last.len() - HEAD.len();
        let steps = [send(first), Step::Wait(SECOND), send(second), Step::Wait(SECOND), send(last), Step::Hang];
        let (mut exchange, script) = exchange(steps, false).await;
        for text in ["with the head\n", "two\nin one read\n", "last\n"] {
            assert_eq!(next(&mut exchange).await.unwrap().unwrap(), text);
        }
        assert!(next(&mut exchange).await.is_none());
        assert_eq!(exchange.bytes_read(), body as u64);
        drop(exchange);
        assert!(script.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_holds_no_buffer() {
        let cut = record("cut\n");
        let steps = [
            send(HEAD),
            send(record("a\n")),
            Step::Wait(SECOND),
            send([&record("b\n")[..], &cut[..20]].concat()),
            Step::Wait(SECOND),
            send(&cut[20..]),
            Step::Hang,
        ];
        let (mut exchange, _script) = exchange(steps, false).await;
        for (text, rest) in [("a\n", 0), ("b\n", 20), ("cut\n", 0)] {
            assert_eq!(next(&mut exchange).await.unwrap().unwrap(), text);
            assert!(is_pending(&mut exchange));
            assert_eq!((exchange.input.held(), exchange.rest.len()), ((0, 0), rest));
        }
        assert!(size_of_val(&exchange) <= 768, "{}", size_of_val(&exchange));
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_whole_wherever_reads_end() {
        let wire: Vec<u8> = (0..50).flat_map(|line| record(&format!("line {line}\n"))).collect();
        for step in [1, 7, 60, 100] {
            let pieces = wire.chunks(step).map(send);
            let (mut exchange, _script) =
                exchange(std::iter::once(send(HEAD)).chain(pieces).chain([send("0\r\n\r\n")]), false).await;
            let mut text = String::new();
            while let Some(records) = next(&mut exchange).await {
                text += &records.unwrap();
            }
            assert_eq!(text, (0..50).map(|line| format!("line {line}\n")).collect::<String>(), "{step}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_cut_is_no_end_and_gives_what_came_before() {
        let whole = record("a\n");
        for steps in [
            vec![send(HEAD), send(&whole)],
            vec![send(HEAD), send([&whole[..], &whole[..20]].concat())],
            vec![send(HEAD), send(&whole), Step::Fail(io::ErrorKind::ConnectionReset)],
        ] {
            let (mut exchange, _script) = exchange(steps, false).await;
            assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "a\n");
            assert!(matches!(next(&mut exchange).await, Some(Err(LogError::Disconnected(_)))));
        }
        let bad = [&whole[..], b"zz\r\n"].concat();
        let (mut exchange, _script) = exchange([send(HEAD), send(bad)], false).await;
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "a\n");
        assert!(matches!(next(&mut exchange).await, Some(Err(LogError::Protocol(_)))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_s_last_record_comes_with_the_end() {
        let steps = [send("HTTP/1.0 200 OK\r\n\r\n"), send("2026-11-23T02:01:21Z as it is"), Step::Wait(SECOND)];
        let (mut exchange, _script) = exchange(steps, true).await;
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "as it is");
        assert!(next(&mut exchange).await.is_none());
    }
}
