//! Writing a request to a backend: the head, and the body as it comes (RFC 9112 §3, §7.1).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, header};
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::{Head, error::Failure, request_headers::may_trail, upload::Upload};

/// What is still to be written.
#[derive(Debug, Default)]
pub(super) struct RequestWriter {
    upload: Upload,
    /// The body goes in chunks.
    is_chunked: bool,
    /// How much is left of a body whose length the head tells, in bytes.
    left: Option<u64>,
    /// The trailers that may follow the last chunk: those that the head announces.
    announced: Vec<HeaderName>,
    /// The head, or a chunk's size. Comes before the piece.
    front: BytesMut,
    /// A piece of the body.
    piece: Bytes,
    /// The end of a chunk. Comes after the piece.
    back: &'static [u8],
    /// Nothing more comes from the upload.
    is_last: bool,
    is_begun: bool,
    is_abandoned: bool,
}

impl RequestWriter {
    /// A request with this head and this body.
    pub(super) fn new(head: &Head, upload: Upload) -> Self {
        let mut front = BytesMut::with_capacity(512);
        write_head(head, &mut front);
        let is_chunked = head.headers().contains_key(header::TRANSFER_ENCODING);
        let announced = if is_chunked { announced(head.headers()) } else { Vec::new() };
        let (left, is_last) = (upload.length().filter(|_| !is_chunked), upload.is_empty());
        Self { upload, is_chunked, left, announced, front, is_last, ..Self::default() }
    }

    /// Whether nothing is left to write.
    pub(super) fn is_done(&self) -> bool {
        self.is_last && self.front.is_empty() && self.piece.is_empty() && self.back.is_empty()
    }

    /// Whether all of the request was written.
    pub(super) fn is_sent(&self) -> bool {
        self.is_done() && !self.is_abandoned
    }

    /// The body, if nothing of the request was written and the body was not polled.
    pub(super) fn into_unsent(self) -> Option<Upload> {
        (!self.is_begun).then_some(self.upload)
    }

    /// The backend wants the body (`100 Continue`).
    pub(super) fn resume(&mut self) {
        self.upload.resume();
    }

    /// The backend has begun its response.
    pub(super) fn response_begun(&mut self) {
        self.upload.response_begun();
    }

    /// How many pieces of the body were taken.
    pub(super) fn pieces_taken(&self) -> u64 {
        self.upload.pieces_taken()
    }

    /// Whether a part of it was written, or taken from the client.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Drops what was not written: the backend takes no more of it, but may have responded.
    pub(super) fn abandon(&mut self) {
        *self = Self { is_begun: true, is_last: true, is_abandoned: true, ..Self::default() };
    }

    /// Writes until there is nothing left.
    ///
    /// # Errors
    ///
    /// The client breaks the body off, or the connection fails.
    pub(super) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        // A body that is there already, as short ones are, is written together with the head.
        if !self.is_begun && !self.is_last {
            let _ = self.poll_upload(cx)?;
        }
        loop {
            while !(self.front.is_empty() && self.piece.is_empty() && self.back.is_empty()) {
                let slices = [IoSlice::new(&self.front), IoSlice::new(&self.piece), IoSlice::new(self.back)];
                let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices)).map_err(Failure::Io)?;
                if written == 0 {
                    return Poll::Ready(Err(Failure::Io(io::ErrorKind::WriteZero.into())));
                }
                self.is_begun = true;
                self.advance(written);
            }
            if self.is_last {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_upload(cx))?;
        }
    }

    fn advance(&mut self, written: usize) {
        let front = written.min(self.front.len());
        self.front.advance(front);
        let piece = (written - front).min(self.piece.len());
        self.piece.advance(piece);
        self.back = &self.back[written - front - piece..];
    }

    /// Polls for the next piece of the body.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let frame = ready!(self.upload.poll_frame(cx)).transpose()?;
        self.is_begun = true;
        Poll::Ready(match frame.map(Frame::into_data) {
            Some(Ok(piece)) => self.set_piece(piece),
            Some(Err(frame)) => self.set_end(frame.trailers_ref()),
            None => self.set_end(None),
        })
    }

    fn set_piece(&mut self, piece: Bytes) -> Result<(), Failure> {
        if piece.is_empty() {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            // The backend would take what is too much for another request.
            *left = left.checked_sub(piece.len() as u64).ok_or_else(|| wrong_length("longer"))?;
            self.is_last = *left == 0;
        }
        if self.is_chunked {
            self.front.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            self.back = b"\r\n";
        }
        self.piece = piece;
        Ok(())
    }

    fn set_end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Failure> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(wrong_length("shorter"));
        }
        self.is_last = true;
        if self.is_chunked {
            self.front.put_slice(b"0\r\n");
            let trailers = trailers.into_iter().flatten().filter(|(name, _)| self.announced.contains(name));
            trailers.for_each(|(name, value)| write_header(name.as_str(), value.as_bytes(), &mut self.front));
            self.front.put_slice(b"\r\n");
        }
        Ok(())
    }
}

fn wrong_length(how: &str) -> Failure {
    Failure::Client(format!("the body is {how} than was told").into())
}

fn write_head(head: &Head, out: &mut BytesMut) {
    let target = head.uri().path_and_query().map_or("/", |target| target.as_str());
    for part in [head.method().as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
    for (name, value) in head.headers() {
        write_header(name.as_str(), value.as_bytes(), out);
    }
    out.put_slice(b"\r\n");
}

fn write_header(name: &str, value: &[u8], out: &mut BytesMut) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

/// Most trailers that a head may announce.
const MAX_ANNOUNCED: usize = 64;

/// The trailers that a head announces, without those that may not be such.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = headers.get_all(header::TRAILER).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(may_trail).take(MAX_ANNOUNCED).collect()
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use http::{HeaderValue, Method, Uri};
    use tokio::time::timeout;

    use super::*;
    use crate::{
        http1::scripted::{Scripted, scripted},
        proxy::upload::tests::{Client, TIMEOUTS},
    };

    fn head(method: Method, headers: &[(HeaderName, &'static str)]) -> Head {
        let mut head = Head::new(());
        *head.method_mut() = method;
        *head.uri_mut() = Uri::from_static("/a?b=1");
        head.headers_mut().extend(headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))));
        head
    }

    async fn written(writer: &mut RequestWriter, io: &mut Scripted) -> Result<(), Failure> {
        poll_fn(|cx| writer.poll(io, cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_the_same_however_little_the_backend_takes_at_a_time() {
        for max in [1, 2, 3, 7, 64, usize::MAX] {
            let (mut io, script) = scripted([]);
            script.set_max_write(max);
            let upload = Upload::full(Bytes::from_static(b"hello"));
            let mut writer = RequestWriter::new(&head(Method::POST, &[(header::CONTENT_LENGTH, "5")]), upload);
            assert!(!writer.is_done() && !writer.is_begun());
            written(&mut writer, &mut io).await.unwrap();
            assert_eq!(script.written(), "POST /a?b=1 HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
            assert!(writer.is_sent() && writer.is_begun());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_are_followed_by_the_trailers_that_were_announced() {
        let mut client = Client::new("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.send("3\r\nabc\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n").await;
        let (mut io, script) = scripted([]);
        script.set_max_write(5);
        let head = head(Method::POST, &[(header::TRANSFER_ENCODING, "chunked"), (header::TRAILER, "x-sum, host")]);
        let mut writer = RequestWriter::new(&head, client.upload(TIMEOUTS));
        written(&mut writer, &mut io).await.unwrap();
        let text = script.written();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "3\r\nabc\r\na\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_takes_nothing_is_waited_for() {
        let (mut io, script) = scripted([]);
        script.set_room(0);
        let mut writer = RequestWriter::new(&head(Method::GET, &[]), Upload::empty());
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, written(&mut writer, &mut io)).await.is_err());
        assert!(!writer.is_begun());
        script.set_room(usize::MAX);
        written(&mut writer, &mut io).await.unwrap();
        assert_eq!(script.written(), "GET /a?b=1 HTTP/1.1\r\n\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_request_of_which_nothing_was_written_gives_its_body_back() {
        let (mut io, script) = scripted([]);
        script.set_room(0);
        let mut client = Client::new("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n").await;
        let post = head(Method::POST, &[(header::CONTENT_LENGTH, "3")]);
        let mut writer = RequestWriter::new(&post, client.upload(TIMEOUTS));
        assert!(timeout(Duration::from_secs(1), written(&mut writer, &mut io)).await.is_err());
        let upload = writer.into_unsent().expect("nothing was written or polled to its end");
        let mut writer = RequestWriter::new(&post, upload);
        script.set_room(1);
        assert!(timeout(Duration::from_secs(1), written(&mut writer, &mut io)).await.is_err());
        assert!(writer.into_unsent().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_abandoned_is_done_and_not_sent() {
        let mut writer =
            RequestWriter::new(&head(Method::POST, &[]), Upload::full(Bytes::from_static(b"never written")));
        writer.abandon();
        assert!(writer.is_done() && writer.is_begun() && !writer.is_sent());
        assert!(writer.into_unsent().is_none());
    }
}
