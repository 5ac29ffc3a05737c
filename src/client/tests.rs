//! What a body learns of a client on a connection of HTTP/1.1.

use std::future::poll_fn;

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    time::timeout,
};

use super::*;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// So long nothing happens where nothing is to happen.
const SHORT: Duration = Duration::from_millis(50);

struct Connection {
    client: TcpStream,
    shared: Arc<Shared>,
    watch: ClientWatch,
    entry: Arc<Entry>,
    _write: OwnedWriteHalf,
}

async fn connection() -> Connection {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (read, write) = listener.accept().await.unwrap().0.into_split();
    let entry = Entry::detached();
    let shared = Shared::new(read, Arc::clone(&entry));
    let watch = ClientWatch::Http1(Http1Watch::new(Arc::clone(&shared)));
    Connection { client, shared, watch, entry, _write: write }
}

impl Connection {
    async fn is_gone(&self, time: Duration) -> bool {
        timeout(time, poll_fn(|cx| self.watch.poll_gone(cx))).await.is_ok()
    }

    async fn has_hung_up(&self, time: Duration) -> bool {
        timeout(time, poll_fn(|cx| self.watch.poll_hung_up(cx))).await.is_ok()
    }

    /// Reads as hyper does; empty at the connection's end.
    async fn read(&self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let mut buf = ReadBuf::new(&mut bytes);
        timeout(LONG, poll_fn(|cx| self.shared.poll_read(cx, &mut buf))).await.unwrap().unwrap();
        buf.filled().to_vec()
    }
}

/// hyper by itself notices no client's leaving behind a byte that it has not read (log-pitfalls A1).
#[tokio::test]
async fn a_client_that_leaves_is_noticed_behind_stray_bytes_and_hyper_gets_those() {
    let mut connection = connection().await;
    connection.client.write_all(b"\r\nGET ").await.unwrap();
    assert!(!connection.is_gone(SHORT).await);
    assert_eq!(connection.read(2).await, b"\r\n");
    assert!(!connection.is_gone(SHORT).await);
    connection.client.write_all(b"/").await.unwrap();
    connection.client.shutdown().await.unwrap();
    assert!(connection.is_gone(LONG).await);
    assert_eq!((connection.read(9).await, connection.read(9).await), (b"GET /".to_vec(), Vec::new()));
}

#[tokio::test]
async fn a_client_that_floods_the_connection_counts_as_gone() {
    let mut connection = connection().await;
    connection.client.write_all(&[b'x'; MAX_SIDE - 1]).await.unwrap();
    assert!(!connection.is_gone(SHORT).await);
    connection.client.write_all(b"xx").await.unwrap();
    assert!(connection.is_gone(LONG).await);
}

#[tokio::test]
async fn a_hang_up_is_noticed_without_taking_what_was_sent() {
    let mut connection = connection().await;
    connection.client.write_all(&[b'x'; 4 * MAX_SIDE]).await.unwrap();
    assert!(!connection.has_hung_up(SHORT).await, "however much it has sent");
    assert_eq!(connection.read(10).await, [b'x'; 10]);
    assert!(!connection.has_hung_up(SHORT).await);
    connection.client.shutdown().await.unwrap();
    assert!(connection.has_hung_up(LONG).await);
    let mut left = 4 * MAX_SIDE - 10;
    while left > 0 {
        left -= connection.read(left).await.len();
    }
    assert!(connection.read(1).await.is_empty());
}

#[tokio::test]
async fn the_beginning_of_what_was_sent_is_compared_and_stays_readable() {
    let mut connection = connection().await;
    let begins = async |connection: &Connection| {
        timeout(LONG, poll_fn(|cx| connection.shared.poll_begins_with(cx, b"PRI *"))).await.unwrap()
    };
    connection.client.write_all(b"PRI").await.unwrap();
    assert!(timeout(SHORT, begins(&connection)).await.is_err(), "it may become that");
    connection.client.write_all(b" * HTTP").await.unwrap();
    assert!(begins(&connection).await.unwrap());
    assert_eq!(connection.read(99).await, b"PRI * HTTP");
    connection.client.write_all(b"PUT").await.unwrap();
    assert!(!begins(&connection).await.unwrap());
    assert_eq!(connection.read(99).await, b"PUT");
    connection.client.shutdown().await.unwrap();
    assert_eq!(begins(&connection).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_body_waits_until_what_was_before_is_written() {
    let Connection { shared, watch, .. } = connection().await;
    let seen = watch.flushes();
    let waiting = tokio::spawn({
        let watch = watch.clone();
        async move { poll_fn(|cx| watch.poll_flushed(cx, seen)).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    shared.set_flushed();
    timeout(LONG, waiting).await.unwrap().unwrap();
    assert!(poll_fn(|cx| Poll::Ready(watch.poll_flushed(cx, seen))).await.is_ready());
    assert!(poll_fn(|cx| Poll::Ready(watch.poll_flushed(cx, watch.flushes()))).await.is_pending());
}

/// Notes how the answer ended.
#[derive(Debug)]
struct Report(Arc<Mutex<Vec<Option<EndReason>>>>, Option<EndReason>);

impl Settle for Report {
    fn ended(&mut self, reason: EndReason) {
        self.1 = Some(reason);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
    }
}

#[tokio::test]
async fn a_report_waits_until_its_answer_is_written_or_the_client_has_left() {
    let Connection { shared, watch, entry, .. } = connection().await;
    let ends = Arc::new(Mutex::new(Vec::new()));
    let settle = || watch.settle(Box::new(Report(Arc::clone(&ends), None)));
    let taken = || std::mem::take(&mut *ends.lock().unwrap());
    settle();
    assert_eq!(taken(), []);
    shared.set_flushed();
    assert_eq!(taken(), [None]);
    settle();
    shared.set_closed();
    assert_eq!(taken(), [Some(EndReason::ClientGone)]);
    settle();
    entry.cut_stalled();
    shared.set_closed();
    assert_eq!(taken(), [Some(EndReason::SlowClient)]);
    shared.set_flushed();
    assert_eq!(taken(), []);
}

#[test]
fn on_http_2_nobody_but_hyper_watches_the_connection() {
    let watch = ClientWatch::Http2(Arc::default());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(watch.poll_gone(&mut cx).is_pending() && watch.poll_hung_up(&mut cx).is_pending());
    assert!(watch.poll_flushed(&mut cx, 0).is_ready());
    assert_eq!((watch.linger(), watch.max_frame()), (Some(LINGER_TIMEOUT), MAX_HTTP2_FRAME));
}
