//! One log exchange with an API server, whose answer bears times: its records, on a connection of its own.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{
    LogError,
    backend::RecordReader,
    decode::kubelet::{KubeletDecoder, LastLine},
    engine::{Answer, Transport},
    exchange::Input,
    record::{Records, Stream},
};

/// An answer that is being decoded. Holds nothing while the log is silent, but the beginning of a line that was not sent to its end.
#[derive(Debug)]
pub struct KubeletExchange<T> {
    input: Input<T>,
    decoder: KubeletDecoder,
    /// The beginning of a line, of less than 64 KiB.
    rest: Bytes,
    ready: Option<Records>,
    ended: Option<Result<(), LogError>>,
}

impl<T: Transport> KubeletExchange<T> {
    /// Decodes `answer`, in reads of at most `max_read` bytes. Its records are said to be of `stream`.
    pub fn new(answer: Answer<T>, stream: Stream, last_line: LastLine, max_read: usize) -> Self {
        let Answer { io, body, early } = answer;
        Self {
            input: Input::new(io, early, max_read),
            decoder: KubeletDecoder::new(body, stream, last_line),
            rest: Bytes::new(),
            ready: None,
            ended: None,
        }
    }

    /// As [`KubeletDecoder::may_begin_in_line`].
    #[must_use]
    pub fn may_begin_in_line(self) -> Self {
        Self { decoder: self.decoder.may_begin_in_line(), ..self }
    }

    fn decode(&mut self) {
        let buf = &mut self.input.buf;
        let (records, decoded) = self.decoder.decode(buf, self.rest.len());
        // A copy, so that the few bytes do not keep the buffer.
        self.rest = Bytes::copy_from_slice(buf);
        buf.clear();
        self.ready = records;
        self.ended = decoded.err().map(Err);
    }

    fn finish(&mut self) {
        let finished = self.decoder.finish(&std::mem::take(&mut self.rest));
        self.ended = Some(finished.map(|records| self.ready = records));
    }
}

impl<T: Transport> RecordReader for KubeletExchange<T> {
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Records, LogError>>> {
        loop {
            if let Some(records) = self.ready.take() {
                return Poll::Ready(Some(Ok(records)));
            }
            if let Some(ended) = &mut self.ended {
                return Poll::Ready(std::mem::replace(ended, Ok(())).err().map(Err));
            }
            if self.decoder.is_ended() {
                self.finish();
                continue;
            }
            match ready!(self.input.poll_fill(cx, &self.rest)) {
                Err(error) => self.ended = Some(Err(LogError::Disconnected(error))),
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

    /// A line in a chunk of its own, as an API server sends it to who follows.
    fn line(text: &str) -> Vec<u8> {
        let payload = format!("2026-11-23T02:01:21.821916123Z {text}");
        format!("{:x}\r\n{payload}\r\n", payload.len()).into_bytes()
    }

    async fn exchange(steps: impl IntoIterator<Item = Step>) -> (KubeletExchange<Scripted>, Script) {
        let (io, script) = scripted(steps);
        let answer = send_request(io, "/".to_owned()).await.unwrap();
        (KubeletExchange::new(answer, Stream::Stdout, LastLine::LeftOut, 32 * 1024), script)
    }

    async fn next(exchange: &mut KubeletExchange<Scripted>) -> Option<Result<String, LogError>> {
        let records = poll_fn(|cx| exchange.poll_records(cx)).await?;
        let text =
            |records: Records| records.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
        Some(records.map(text))
    }

    fn is_pending(exchange: &mut KubeletExchange<Scripted>) -> bool {
        exchange.poll_records(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_holds_no_buffer_and_lines_are_whole() {
        let (first, second) = (line("a\n"), line("b\nand the beginning of a line"));
        let steps = [send(HEAD), send(first), Step::Wait(SECOND), send(second), Step::Hang];
        let (mut exchange, script) = exchange(steps).await;
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "a\n");
        assert!(is_pending(&mut exchange));
        assert_eq!((exchange.input.held(), exchange.rest.len()), ((0, 0), 0));
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "b\n");
        assert!(is_pending(&mut exchange));
        assert_eq!((exchange.input.held(), exchange.rest.len()), ((0, 0), 27));
        drop(exchange);
        assert!(script.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_cut_is_no_end_and_gives_what_came_before() {
        let whole = line("a\n");
        for steps in [
            vec![send(HEAD), send(&whole)],
            vec![send(HEAD), send([&whole[..], &whole[..20]].concat())],
            vec![send(HEAD), send(&whole), Step::Fail(io::ErrorKind::ConnectionReset)],
        ] {
            let (mut exchange, _script) = exchange(steps).await;
            assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "a\n");
            assert!(matches!(next(&mut exchange).await, Some(Err(LogError::Disconnected(_)))));
            assert!(next(&mut exchange).await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_comes_behind_the_lines() {
        let report = "failed to create fsnotify watcher: too many open files";
        let last = format!("{:x}\r\n{report}\r\n0\r\n\r\n", report.len());
        let (mut exchange, _script) = exchange([send(HEAD), send(line("a\n")), send(last)]).await;
        assert_eq!(next(&mut exchange).await.unwrap().unwrap(), "a\n");
        assert!(matches!(next(&mut exchange).await, Some(Err(LogError::Interrupted(text))) if text == report));
    }
}
