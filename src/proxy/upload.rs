//! The body of a forwarded request, as it comes from hyper's server end.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{header, request::Parts};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::{Timeouts, error::Failure, pace::Pace};

/// A request's body: none, some bytes, or what the client sends.
#[derive(Debug, Default)]
pub struct Upload {
    kind: Kind,
    /// Until when the body is held back.
    held: Option<Held>,
    /// How many pieces were taken.
    pieces_taken: u64,
    /// How slow the client may be; none once the backend has begun its response.
    pace: Option<Pace>,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Client(Incoming),
}

/// A body that its client sends only when told to (`Expect: 100-continue`). It is not polled, and so hyper sends no
/// `100 Continue`, before the backend has sent one or the timeout is over.
#[derive(Debug)]
struct Held {
    timeout: Pin<Box<Sleep>>,
}

impl Upload {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) };
        Self { kind, ..Self::default() }
    }

    /// The body that a client sends with a request of this head. A client that waits for a `100 Continue` gets the backend's, or
    /// after `timeouts.resume` one of the gateway's. A client that sends too little within `timeouts.upload` is given up.
    pub fn of_client(body: Incoming, head: &Parts, timeouts: Timeouts) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        let expects = head
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let held = expects.then(|| Held { timeout: Box::pin(sleep(timeouts.resume)) });
        let pace = Some(Pace::of(head.version, timeouts.upload));
        Self { kind: Kind::Client(body), held, pieces_taken: 0, pace }
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    /// The length in bytes, if it is known.
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Empty => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Client(body) => body.size_hint().exact(),
        }
    }

    /// How many pieces were taken.
    pub(super) fn pieces_taken(&self) -> u64 {
        self.pieces_taken
    }

    /// The backend wants a body that was held back.
    pub(super) fn resume(&mut self) {
        self.held = None;
    }

    /// The backend has begun its response: from now on the client may be slow, since it may be waiting for the response.
    pub(super) fn response_begun(&mut self) {
        self.pace = None;
    }

    /// Polls for the next piece.
    ///
    /// # Errors
    ///
    /// The client breaks its body off, or is too slow.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(Held { timeout }) = &mut self.held {
            ready!(timeout.as_mut().poll(cx));
            self.held = None;
        }
        let frame = match &mut self.kind {
            Kind::Empty => None,
            Kind::Full(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Kind::Client(body) => match (Pin::new(body).poll_frame(cx), &mut self.pace) {
                (Poll::Ready(frame), pace) => {
                    if let (Some(Ok(frame)), Some(pace)) = (&frame, pace) {
                        pace.came(frame.data_ref().map_or(0, Bytes::len));
                    }
                    frame.map(|frame| frame.map_err(|error| Failure::Client(error.into())))
                }
                (Poll::Pending, Some(pace)) => {
                    ready!(pace.poll_late(cx));
                    Some(Err(Failure::SlowUpload))
                }
                (Poll::Pending, None) => return Poll::Pending,
            },
        };
        if let Kind::Full(_) = self.kind {
            self.kind = Kind::Empty;
        }
        self.pieces_taken += 1;
        Poll::Ready(frame)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{future::poll_fn, time::Duration};

    use http::{Request, Response};
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::mpsc,
        time::{Instant, timeout},
    };

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// As an operator has them by default, but for what is no upload's.
    pub(in crate::proxy) const TIMEOUTS: Timeouts =
        Timeouts { connect: HOUR, response: HOUR, resume: Duration::from_secs(1), upload: Duration::from_secs(60) };

    /// A client of hyper's server end, whose request is answered by nobody.
    pub(in crate::proxy) struct Client {
        io: DuplexStream,
        request: Option<Request<Incoming>>,
    }

    impl Client {
        pub(in crate::proxy) async fn new(head: &str) -> Self {
            let (mut io, server) = duplex(64 * 1024);
            let (sender, mut requests) = mpsc::unbounded_channel();
            let service = service_fn(move |request| {
                let _ = sender.send(request);
                std::future::pending::<Result<Response<String>, std::io::Error>>()
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
            io.write_all(head.as_bytes()).await.unwrap();
            let request = requests.recv().await;
            Self { io, request }
        }

        pub(in crate::proxy) fn upload(&mut self, timeouts: Timeouts) -> Upload {
            let (head, body) = self.request.take().unwrap().into_parts();
            Upload::of_client(body, &head, timeouts)
        }

        pub(in crate::proxy) async fn send(&mut self, text: &str) {
            self.io.write_all(text.as_bytes()).await.unwrap();
        }
    }

    async fn next(upload: &mut Upload) -> Option<Result<Frame<Bytes>, Failure>> {
        poll_fn(|cx| upload.poll_frame(cx)).await
    }

    async fn piece(upload: &mut Upload) -> Bytes {
        next(upload).await.unwrap().unwrap().into_data().unwrap()
    }

    const LENGTH: &str = "POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";
    const EXPECT: &str = "POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn bytes_are_given_once() {
        let mut upload = Upload::full(Bytes::from_static(b"abc"));
        assert_eq!((upload.length(), upload.is_empty()), (Some(3), false));
        assert_eq!(piece(&mut upload).await, "abc");
        assert!(next(&mut upload).await.is_none() && upload.is_empty());
        assert!(Upload::full(Bytes::new()).is_empty());
        assert!(Client::new("GET / HTTP/1.1\r\n\r\n").await.upload(TIMEOUTS).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_a_100_continue_gets_the_backend_s() {
        let mut client = Client::new(EXPECT).await;
        let mut upload = client.upload(TIMEOUTS);
        assert!(timeout(TIMEOUTS.resume / 2, next(&mut upload)).await.is_err());
        assert!(timeout(Duration::from_millis(1), client.io.read_u8()).await.is_err(), "nothing was said yet");
        let start = Instant::now();
        upload.resume();
        assert!(timeout(Duration::from_millis(1), next(&mut upload)).await.is_err());
        let mut told = [0; 25];
        client.io.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
        client.send("abc").await;
        assert_eq!(piece(&mut upload).await, "abc");
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_backend_sends_no_100_continue_the_gateway_does() {
        let mut client = Client::new(EXPECT).await;
        let (start, mut upload) = (Instant::now(), client.upload(TIMEOUTS));
        let mut told = [0; 25];
        tokio::select! {
            _ = next(&mut upload) => panic!("nothing was sent"),
            read = client.io.read_exact(&mut told) => assert_eq!(read.unwrap(), 25),
        }
        assert_eq!(start.elapsed().as_secs(), TIMEOUTS.resume.as_secs());
    }

    /// The rate is judged by the window, and a client that is faster than the least is never too slow.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_too_little_is_given_up() {
        for (bytes, is_slow) in [(1, true), (1000, false)] {
            let mut client = Client::new(LENGTH).await;
            let (start, mut upload) = (Instant::now(), client.upload(TIMEOUTS));
            let failure = loop {
                match timeout(Duration::from_secs(10), next(&mut upload)).await {
                    Ok(Some(Err(failure))) => break Some(failure),
                    Ok(_) => {}
                    Err(_) if start.elapsed() > 2 * TIMEOUTS.upload => break None,
                    Err(_) => client.send(&"x".repeat(bytes)).await,
                }
            };
            assert_eq!(matches!(failure, Some(Failure::SlowUpload)), is_slow, "{failure:?}");
            assert_eq!(start.elapsed().as_secs() < 2 * TIMEOUTS.upload.as_secs(), is_slow);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_backend_has_responded_a_client_may_be_slow() {
        let mut client = Client::new(LENGTH).await;
        let mut upload = client.upload(TIMEOUTS);
        upload.response_begun();
        assert!(timeout(HOUR, next(&mut upload)).await.is_err());
        client.send("x").await;
        assert_eq!((piece(&mut upload).await, upload.pieces_taken()), ("x".into(), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_breaks_off_is_told_from_an_end() {
        let mut client = Client::new(LENGTH).await;
        let mut upload = client.upload(TIMEOUTS);
        client.send("abc").await;
        assert_eq!(piece(&mut upload).await, "abc");
        drop(client);
        assert!(matches!(next(&mut upload).await, Some(Err(Failure::Client(_)))));
    }
}
