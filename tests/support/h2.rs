//! A small HTTP/2 client with prior knowledge, over `h2`: it can reset a stream, vanish, and withhold its window.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client};
use http::{HeaderMap, Method, Request, response::Parts};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use super::bounded;

const PATIENCE: Duration = Duration::from_secs(60);

/// One HTTP/2 connection; its task ends with it.
pub struct H2 {
    send: client::SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

/// A request that was sent, its answer not waited for.
pub struct Asked {
    answer: client::ResponseFuture,
    send: SendStream<Bytes>,
}

/// A request's stream, the answer's head read.
pub struct Stream {
    /// The answer's head.
    pub head: Parts,
    send: SendStream<Bytes>,
    body: RecvStream,
}

impl H2 {
    /// Connects, granting `window` bytes a stream.
    pub async fn connect(address: SocketAddr, window: u32) -> Self {
        let io = bounded("a connection", TcpStream::connect(address)).await.unwrap();
        io.set_nodelay(true).unwrap();
        let mut builder = client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 20);
        let (send, connection) = bounded("a connection", builder.handshake(io)).await.unwrap();
        let connection = tokio::spawn(async move {
            // The gateway's going away at the end of a test is an error here and not one of the test.
            let _ = connection.await;
        });
        Self { send, connection }
    }

    /// Sends a GET and reads the head of the answer.
    pub async fn get(&self, target: &str) -> Stream {
        self.get_with(target, &[]).await
    }

    /// Sends a GET with these fields and reads the head of the answer.
    pub async fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Stream {
        self.send(Method::GET, target, fields).await.answer().await
    }

    /// A handle for the next request, when the peer allows one more.
    pub async fn ready(&self) -> client::SendRequest<Bytes> {
        bounded("room for a request", self.send.clone().ready()).await.unwrap()
    }

    /// Sends a request without a body, and does not wait for the answer.
    pub async fn send(&self, method: Method, target: &str, fields: &[(&str, &str)]) -> Asked {
        let mut request = Request::builder().method(method).uri(format!("http://localhost{target}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let mut ready = self.ready().await;
        // The request ends with its head; resetting needs the stream's handle all the same.
        let (answer, send) = ready.send_request(request, true).unwrap();
        Asked { answer, send }
    }

    /// Whether the gateway has ended the connection; waits for it as long as for anything else.
    pub async fn is_closed(&mut self) -> bool {
        timeout(PATIENCE, &mut self.connection).await.is_ok()
    }

    /// Ends the TCP connection without a word.
    pub fn vanish(self) {
        self.connection.abort();
    }
}

impl Asked {
    /// Reads the head of the answer.
    pub async fn answer(self) -> Stream {
        let Self { answer, send } = self;
        let (head, body) = timeout(PATIENCE, answer).await.expect("a head in time").unwrap().into_parts();
        Stream { head, send, body }
    }

    /// Resets the stream before there is an answer.
    pub fn reset(mut self) {
        self.send.send_reset(Reason::CANCEL);
    }
}

impl Stream {
    /// Whether the head that was read is all of the answer: it carried the stream's end, and no frame follows.
    pub fn is_head_only(&self) -> bool {
        self.body.is_end_stream()
    }

    /// The next piece of the body, its window granted again at once; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the stream or the connection was reset.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let piece = self.withheld_piece().await?;
        if let Some(piece) = &piece {
            self.body.flow_control().release_capacity(piece.len())?;
        }
        Ok(piece)
    }

    /// The next piece of the body, its window kept: the peer is soon out of it.
    ///
    /// # Errors
    ///
    /// If the stream or the connection was reset.
    pub async fn withheld_piece(&mut self) -> Result<Option<Bytes>, h2::Error> {
        timeout(PATIENCE, self.body.data()).await.expect("a piece in time").transpose()
    }

    /// The body to its end.
    ///
    /// # Errors
    ///
    /// If the stream or the connection was reset.
    pub async fn body(&mut self) -> Result<Bytes, h2::Error> {
        let whole = async {
            let mut body = BytesMut::new();
            while let Some(piece) = self.piece().await? {
                body.extend_from_slice(&piece);
            }
            Ok(body.freeze())
        };
        bounded("the end of a body", whole).await
    }

    /// What comes behind the body, once that was read to its end.
    pub async fn trailers(&mut self) -> Option<HeaderMap> {
        timeout(PATIENCE, self.body.trailers()).await.expect("an end in time").unwrap()
    }

    /// Resets the stream as a browser does that closes a tab.
    pub fn reset(mut self) {
        self.send.send_reset(Reason::CANCEL);
    }
}
