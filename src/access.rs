//! The access line: one a request, written when the response's *body* ends.

use std::{error::Error, fmt, net::SocketAddr, sync::Arc, time::Instant};

use http::{Method, StatusCode, Version};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tracing::{Level, Span};

use crate::{
    client::Settle,
    drain,
    end_reason::EndReason,
    error_chain,
    keys::KeyName,
    metrics::{
        streams::StreamGuard,
        traces::{Ended, RequestSpan},
    },
    open::{Entry, InFlight},
    telemetry::rate_limit::{Due, RateLimit},
};

/// What the access line says of a request; written when this is dropped.
#[derive(Debug)]
pub struct Report {
    request: Request,
    /// Beside the other small fields, where it takes no room.
    version: Version,
    /// None as long as there is no answer.
    status: Option<StatusCode>,
    key: Option<KeyName>,
    bytes: u64,
    /// Boxed as a whole: few have any of it, and each follower that waits holds a report.
    rare: Option<Box<Rare>>,
    end: EndReason,
    follow: bool,
    quiet: bool,
    stream: Option<StreamGuard>,
    drain: drain::Request,
    _in_flight: InFlight,
}

/// What few reports have.
#[derive(Debug, Default)]
struct Rare {
    /// Why the body broke off, with the errors behind it.
    cause: Option<String>,
    /// The span that is made for a collector.
    trace: Option<Box<RequestSpan>>,
}

/// What is known of a request when it arrives.
#[derive(Debug)]
pub struct Request {
    /// The client, whom a trusted proxy may have named.
    pub peer: SocketAddr,
    /// The method.
    pub method: Method,
    /// The path, without the query: that may hold what is nobody's business. As much of it as [`shown`] leaves.
    pub path: Box<str>,
    /// When the head was there.
    pub start: Instant,
    /// The request's span, in which the line is written.
    pub span: Span,
}

impl Report {
    /// A report on a request of this version of HTTP that came over the connection `entry`, and that `drain` waits for. Dropped as it is, it says that
    /// the client left before the answer.
    pub fn new(request: Request, version: Version, entry: &Arc<Entry>, drain: &drain::Watch) -> Self {
        Self {
            request,
            version,
            status: None,
            key: None,
            bytes: 0,
            rare: None,
            end: EndReason::ClientGone,
            follow: false,
            quiet: false,
            stream: None,
            drain: drain.request(),
            _in_flight: InFlight::new(entry),
        }
    }

    /// The same report, which ends the request's span too.
    pub fn traced(mut self, trace: Option<Box<RequestSpan>>) -> Self {
        if trace.is_some() {
            self.rare.get_or_insert_default().trace = trace;
        }
        self
    }

    /// The request's span that is sent to a collector.
    pub fn trace_mut(&mut self) -> Option<&mut RequestSpan> {
        self.rare.as_mut()?.trace.as_deref_mut()
    }

    /// The request's span of the log, in which its body is to be made if what that calls is to be told to a collector.
    pub fn traced_span(&self) -> Option<&Span> {
        let trace = self.rare.as_ref()?.trace.as_ref();
        trace.filter(|trace| trace.is_sent()).map(|_| &self.request.span)
    }

    /// What is reported on.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Notes the answer's status.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Notes the name of the key that the request has, if it needs one; that of a tenant's keys is the tenant's.
    pub fn set_key(&mut self, key: Option<KeyName>) {
        if let (Some(trace), Some(key)) = (self.trace_mut(), &key) {
            trace.of_key(&key.to_string());
        }
        self.key = key;
    }

    /// Notes whether the answer is a log that is followed.
    pub fn set_following(&mut self, is_following: bool) {
        self.follow = is_following;
    }

    /// Keeps a log stream in the list of open ones until the answer has been sent.
    pub fn set_stream(&mut self, stream: Option<StreamGuard>) {
        self.stream = stream;
    }

    /// Leaves the line out, unless something went wrong.
    pub fn set_quiet(&mut self, is_quiet: bool) {
        self.quiet = is_quiet;
    }

    /// Counts body bytes that were handed over.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Keeps why the body broke off, with its causes.
    pub fn note(&mut self, error: &dyn Error) {
        self.rare.get_or_insert_default().cause = Some(error_chain::text(error));
    }

    /// Notes how the body ended.
    pub fn ended(&mut self, end: EndReason) {
        self.end = end;
    }
}

impl Report {
    /// What the request was, in short.
    fn name(&self) -> String {
        let Request { peer, method, path, start, .. } = &self.request;
        let (method, path) = (Cut::short(method.as_str()), Cut::short(path));
        format!("{method} {path} of {peer} after {} s and {} bytes", start.elapsed().as_secs(), self.bytes)
    }

    /// Writes the line; `left_out` tells of those before it that were not written.
    fn write(&self, left_out: Option<u64>) {
        let Self {
            request: Request { peer, method, path, start, span },
            version,
            status,
            key,
            bytes,
            rare,
            end,
            follow,
            ..
        } = self;
        // A field of few lines, which all others are spared.
        let follow = follow.then_some(true);
        let key = key.as_ref().map(tracing::field::display);
        let _entered = span.enter();
        let (method, path) = (Cut::of(method.as_str()), Cut::of(path));
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = status.map_or(0, |status| status.as_u16());
        match (*end, rare.as_ref().and_then(|rare| rare.cause.as_deref())) {
            (EndReason::BackendLost | EndReason::BackendFailed, Some(error)) => tracing::warn!(
                target: "access", bytes, ms, %end, follow, key, error, left_out, "{peer} - \"{method} {path} {version:?}\" {status}"
            ),
            _ => {
                tracing::info!(target: "access", bytes, ms, %end, follow, key, "{peer} - \"{method} {path} {version:?}\" {status}")
            }
        }
    }
}

/// What a client wrote of its request's first line: such that no quote, no blank and no end of a line is in it, and that the
/// rest of the line has its room.
#[derive(Debug)]
struct Cut<'t> {
    text: &'t str,
    most: usize,
}

/// Lines of bodies that broke off, where there are no others: who has no key can have a sandbox's server break off again and
/// again.
static BROKEN: RateLimit = RateLimit::new();

/// Most bytes of a [`Cut`], and of a short one.
const MAX_CUT: usize = 768;
const MAX_SHORT: usize = 128;

/// As much of a path as the log can show, and a byte more that tells of a cut. A request that waits for its client keeps no more:
/// a client can have many of them, and a path costs it a byte each where HTTP/2 compresses.
pub fn shown(path: &str) -> &str {
    &path[..path.floor_char_boundary(MAX_CUT + 4)]
}

/// What is percent-encoded in a [`Cut`], besides what is beyond ASCII.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\');

impl<'t> Cut<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, most: MAX_CUT }
    }

    fn short(text: &'t str) -> Self {
        Self { text, most: MAX_SHORT }
    }
}

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = self.most;
        for piece in utf8_percent_encode(self.text, UNSAFE) {
            if piece.len() > room {
                // A piece is either one escape or text that needs none.
                let part = if piece.starts_with('%') { "" } else { &piece[..room] };
                return write!(f, "{part}…");
            }
            room -= piece.len();
            f.write_str(piece)?;
        }
        Ok(())
    }
}

impl Settle for Report {
    fn ended(&mut self, reason: EndReason) {
        Report::ended(self, reason);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if matches!(self.end, EndReason::ClientGone | EndReason::Cut) && self.drain.is_cut() {
            // It was not the client that left.
            self.end = EndReason::Cut;
            self.drain.note_cut(|| self.name());
        }
        if let Some(stream) = self.stream.take() {
            self.end = stream.ended(self.end);
        }
        if let Some(trace) = self.rare.as_mut().and_then(|rare| rare.trace.take()) {
            let Self { status, bytes, end, follow, .. } = *self;
            trace.end(Ended { status, bytes, end, is_following: follow });
        }
        // To enter the span for nothing would cost more than all else here.
        if !self.quiet && tracing::enabled!(target: "access", Level::INFO) {
            self.write(None);
        } else if self.rare.as_ref().is_some_and(|rare| rare.cause.is_some())
            && let Some(Due { left_out }) = BROKEN.due("broken")
        {
            self.write(left_out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Mutex, time::Duration};

    use super::*;
    use crate::drain::Drain;

    #[test]
    fn a_path_cannot_end_its_quotes_nor_push_the_rest_of_the_line_out() {
        for (path, expected) in [
            ("/v1/sandboxes/a%2Fb", "/v1/sandboxes/a%2Fb"),
            ("/a\" 200 x", "/a%22%20200%20x"),
            ("/a\\", "/a%5C"),
            ("/\u{202e}\n", "/%E2%80%AE%0A"),
        ] {
            assert_eq!(Cut::of(path).to_string(), expected);
        }
        let whole = format!("/{}", "x".repeat(MAX_CUT - 1));
        assert_eq!(Cut::of(&whole).to_string(), whole);
        for long in ["/x".repeat(23_000), "\u{e9}".repeat(23_000), format!("{whole}y"), format!("{whole}\"")] {
            let cut = Cut::of(&long).to_string();
            assert!(cut.ends_with('…') && cut.len() <= MAX_CUT + 3 && cut.len() >= MAX_CUT, "{}", cut.len());
        }
    }

    #[test]
    fn what_is_kept_of_a_path_is_shown_like_all_of_it() {
        for path in
            ["/x".repeat(23_000), format!("/{}", "\u{20ac}".repeat(1_000)), "/".repeat(MAX_CUT), "/a".to_owned()]
        {
            assert_eq!(Cut::of(shown(&path)).to_string(), Cut::of(&path).to_string());
            assert!(shown(&path).len() <= MAX_CUT + 4);
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn report(drain: &Drain) -> Report {
        let request = Request {
            peer: SocketAddr::from(([192, 0, 2, 1], 5)),
            method: Method::GET,
            path: "/x".into(),
            start: Instant::now(),
            span: Span::none(),
        };
        Report::new(request, Version::HTTP_11, &Entry::detached(), &drain.watch())
    }

    /// What is logged when the report is dropped.
    fn line(report: Report) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || drop(report));
        String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap()
    }

    #[test]
    fn a_line_tells_how_the_response_ended() {
        let drain = Drain::default();
        let mut whole = report(&drain);
        whole.answered(StatusCode::OK);
        whole.add(2);
        whole.add(3);
        whole.ended(EndReason::Complete);
        let whole = line(whole);
        assert!(whole.contains("INFO access: 192.0.2.1:5 - \"GET /x HTTP/1.1\" 200 bytes=5 ms="), "{whole}");
        assert!(whole.ends_with(" end=complete\n"), "{whole}");
        let mut keyed = report(&drain);
        keyed.set_key(Some(KeyName::new("viewer")));
        keyed.ended(EndReason::Complete);
        let keyed = line(keyed);
        assert!(keyed.ends_with(" end=complete key=viewer\n"), "{keyed}");
        let gone = line(report(&drain));
        assert!(gone.contains("\"GET /x HTTP/1.1\" 0 bytes=0") && gone.contains("end=client_gone"), "{gone}");
        let mut broken = report(&drain);
        broken.set_following(true);
        broken.note(&io::Error::other("it broke"));
        broken.ended(EndReason::BackendLost);
        let broken = line(broken);
        assert!(broken.contains("WARN access: ") && broken.contains("follow=true error=\"it broke\""), "{broken}");
        let mut quiet = report(&drain);
        quiet.set_quiet(true);
        assert_eq!(line(quiet), "");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_when_the_grace_is_over_was_cut_and_is_named() {
        let drain = Drain::default();
        let report = report(&drain);
        drain.spawn_on(std::future::pending(), &tokio::runtime::Handle::current());
        let watch = drain.watch();
        let cutting = async {
            while !watch.has_cut() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            line(report)
        };
        let (cut, line) = tokio::join!(drain.finish(Duration::from_secs(30)), cutting);
        assert!(line.contains("end=cut"), "{line}");
        assert_eq!((cut.requests, cut.names), (1, vec!["GET /x of 192.0.2.1:5 after 0 s and 0 bytes".to_owned()]));
    }

    /// As long as a silent follower is there, so is this.
    #[test]
    fn a_report_is_small() {
        assert!(size_of::<Report>() <= 192, "{}", size_of::<Report>());
    }
}
