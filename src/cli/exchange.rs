//! One request and its answer, over one connection.

use std::{future::poll_fn, io, pin::Pin, task::Poll, time::Duration};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Response, header};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_util::io::poll_read_buf;

use crate::http1::{framing::BodyDecoder, response_reader::ResponseReader};

/// How long the head may take to come. The server sends it at once.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How much is read at once at most, in bytes.
const READ: usize = 256 * 1024;

/// Most of a refusal's body that is read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// How long a refusal's body may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer whose body is still to come.
pub(super) struct Answer<Io> {
    pub(super) head: Response<()>,
    pub(super) body: Body<Io>,
}

/// The body of an answer.
pub(super) struct Body<Io> {
    io: Io,
    decoder: BodyDecoder,
    bytes: BytesMut,
}

/// The media type of an answer in lower case (RFC 9110 §8.3.1), without its parameters; empty where there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Sends `request` and reads the answer's head.
///
/// # Errors
///
/// A text for a person.
pub(super) async fn exchange<Io: AsyncRead + AsyncWrite + Unpin>(
    mut io: Io,
    request: &[u8],
) -> Result<Answer<Io>, String> {
    let head = async {
        io.write_all(request).await.map_err(|error| error.to_string())?;
        io.flush().await.map_err(|error| error.to_string())?;
        let mut reader = ResponseReader::default();
        loop {
            if let Some(head) = reader.final_head().map_err(|error| format!("the server is not understood: {error}"))? {
                return Ok((head, reader.into_body()));
            }
            reader.bytes.reserve(READ);
            let read = poll_fn(|cx| poll_read_buf(Pin::new(&mut io), cx, &mut reader.bytes)).await;
            if read.map_err(|error| error.to_string())? == 0 {
                return Err("the server closed the connection".to_owned());
            }
        }
    };
    let (head, (decoder, bytes)) =
        timeout(HEAD_TIMEOUT, head).await.unwrap_or_else(|_| Err("the server does not answer".to_owned()))?;
    Ok(Answer { head, body: Body { io, decoder, bytes } })
}

impl<Io: AsyncRead + Unpin> Body<Io> {
    /// Hands what has arrived to `take`, piece by piece, until that fails; answers whether more can come.
    ///
    /// # Errors
    ///
    /// That of `take`, or the outer one: the chunks are not valid.
    pub(super) fn pieces<E>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<bool, E>, String> {
        while !self.bytes.is_empty() && !self.decoder.is_ended() {
            let run = self.decoder.next_run(&self.bytes).map_err(|error| error.to_string())?;
            let end = run.skip + run.len;
            if run.len > 0
                && let Err(error) = take(&self.bytes[run.skip..end])
            {
                return Ok(Err(error));
            }
            self.bytes.advance(end);
        }
        Ok(Ok(!self.decoder.is_ended()))
    }

    /// Reads more; answers whether there was any. `idle` is called whenever there is nothing to read at the moment.
    ///
    /// # Errors
    ///
    /// The outer one is that of `idle`, the inner one the connection's.
    pub(super) async fn fill(&mut self, mut idle: impl FnMut() -> io::Result<()>) -> io::Result<io::Result<bool>> {
        self.bytes.clear();
        self.bytes.reserve(READ);
        poll_fn(|cx| match poll_read_buf(Pin::new(&mut self.io), cx, &mut self.bytes) {
            Poll::Pending => match idle() {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            Poll::Ready(read) => Poll::Ready(Ok(read.map(|count| count > 0))),
        })
        .await
    }

    /// The whole body, of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// A text for a person: it is longer, not valid, or cut.
    pub(super) async fn whole(&mut self, max: usize) -> Result<Vec<u8>, String> {
        let mut whole = Vec::new();
        loop {
            let taken = self.pieces(|piece| {
                whole.extend_from_slice(piece);
                if whole.len() > max { Err(()) } else { Ok(()) }
            });
            match taken? {
                Ok(true) => {}
                Ok(false) => return Ok(whole),
                Err(()) => return Err(format!("the server's answer is longer than {} MiB", max >> 20)),
            }
            match self.fill(|| Ok(())).await.and_then(|read| read) {
                Ok(true) => {}
                Ok(false) if self.decoder.may_close() => return Ok(whole),
                Ok(false) => return Err("the server closed the connection before its answer's end".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The beginning of a refusal's body, as far as it comes.
    pub(super) async fn refusal(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let read = async {
            loop {
                let more = self.pieces(|piece| {
                    text.extend_from_slice(piece);
                    if text.len() < MAX_REFUSAL { Ok(()) } else { Err(()) }
                });
                if !matches!(more, Ok(Ok(true))) || !matches!(self.fill(|| Ok(())).await, Ok(Ok(true))) {
                    break;
                }
            }
        };
        // What has come until then is told.
        let _ = timeout(REFUSAL_TIMEOUT, read).await;
        text
    }
}
