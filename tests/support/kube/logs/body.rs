//! An answer, and a body that comes chunk by chunk.

use std::{collections::VecDeque, future};

use bytes::{Bytes, BytesMut};

use super::{PodLogs, fault::Ending, reader::Reader};

/// The size of the buffer in which the API server's HTTP library collects what is not flushed at once.
const BUFFER: usize = 2048;

/// An answer: its head is to be sent at once, before anything of a streamed body is there.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Content-Type`, if it has one.
    pub content_type: Option<String>,
    /// What follows the head.
    pub body: Body,
}

/// What follows the head of an answer.
pub enum Body {
    /// Nothing, as after a 204.
    None,
    /// These bytes, with `Content-Length`.
    Whole(Bytes),
    /// Chunks, never with `Content-Length`.
    Stream(LogBody),
}

/// A part of a streamed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One chunk, to be sent as such and at once.
    Chunk(Bytes),
    /// The end, with the chunk of size 0.
    End,
    /// The end of the connection in the middle of the body.
    Abort,
}

/// A log on its way. Dropping it is the client's leaving: the log is let go at once.
pub struct LogBody {
    reader: Reader,
    /// Of a plain read, what waits for more; a follow has none.
    buffer: Option<GoBuffer>,
    chunks: VecDeque<Bytes>,
    peeked: Option<Piece>,
    cut: Option<(usize, Ending)>,
    text: Option<(usize, String)>,
    sent: usize,
    is_over: bool,
    logs: PodLogs,
    pod: String,
}

impl LogBody {
    pub(super) fn new(reader: Reader, is_follow: bool, logs: &PodLogs, pod: &str) -> Self {
        logs.opens();
        Self {
            reader,
            buffer: (!is_follow).then(GoBuffer::default),
            chunks: VecDeque::new(),
            peeked: None,
            cut: None,
            text: None,
            sent: 0,
            is_over: false,
            logs: logs.clone(),
            pod: pod.to_owned(),
        }
    }

    pub(super) fn cut(&mut self, after: usize, ending: Ending) {
        self.cut = Some((after, ending));
    }

    pub(super) fn text(&mut self, after: usize, text: String) {
        self.text = Some((after, text));
    }

    /// Waits until the first piece is there, and keeps it for [`Self::next`].
    pub(super) async fn peek(&mut self) {
        self.peeked = Some(self.next().await);
    }

    /// The next piece; after an end, the same end again. Nothing is lost if the waiting is given up.
    pub async fn next(&mut self) -> Piece {
        if let Some(piece) = self.peeked.take() {
            return piece;
        }
        if self.is_over {
            return Piece::End;
        }
        if let Some((after, ending)) = self.cut
            && self.sent >= after
        {
            return match ending {
                Ending::Clean => self.end(),
                Ending::Abort => {
                    self.end();
                    Piece::Abort
                }
                Ending::Silence => future::pending().await,
            };
        }
        if let Some((_, text)) = self.text.take_if(|(after, _)| self.sent >= *after) {
            self.cut = Some((0, Ending::Clean));
            return Piece::Chunk(text.into());
        }
        let Some(mut chunk) = self.chunk().await else { return self.end() };
        let cut = self.cut.map(|(after, _)| after).into_iter();
        let room = cut.chain(self.text.as_ref().map(|(after, _)| *after)).min().map_or(usize::MAX, |at| at - self.sent);
        if chunk.len() > room {
            self.chunks.push_front(chunk.split_off(room));
        }
        self.sent += chunk.len();
        Piece::Chunk(chunk)
    }

    fn end(&mut self) -> Piece {
        if !self.is_over {
            self.is_over = true;
            self.logs.closes(&self.pod, false);
        }
        Piece::End
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Some(chunk);
            }
            let bytes = self.reader.next().await;
            match (&mut self.buffer, bytes) {
                (None, bytes) => return bytes,
                (Some(buffer), Some(bytes)) => buffer.write(bytes, &mut self.chunks),
                (Some(buffer), None) => return buffer.flush(),
            }
        }
    }
}

impl Drop for LogBody {
    fn drop(&mut self) {
        if !self.is_over {
            self.logs.closes(&self.pod, true);
        }
    }
}

/// Go's `bufio.Writer`: what is longer than the buffer goes past it if the buffer is empty.
#[derive(Default)]
struct GoBuffer(BytesMut);

impl GoBuffer {
    fn write(&mut self, mut bytes: Bytes, chunks: &mut VecDeque<Bytes>) {
        while self.0.len() + bytes.len() > BUFFER {
            if self.0.is_empty() {
                chunks.push_back(bytes);
                return;
            }
            let head = bytes.split_to(BUFFER - self.0.len());
            self.0.extend_from_slice(&head);
            chunks.push_back(self.0.split().freeze());
        }
        self.0.extend_from_slice(&bytes);
    }

    fn flush(&mut self) -> Option<Bytes> {
        (!self.0.is_empty()).then(|| self.0.split().freeze())
    }
}
