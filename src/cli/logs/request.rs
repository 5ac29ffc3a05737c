//! The requests for a log: the first, and those that go on behind a record.

use std::time::Duration;

use form_urlencoded::Serializer;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::options::{Logs, Tail};
use crate::cli::server::Server;

/// What is escaped in a path: all but the unreserved characters (RFC 3986 §2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is asked for, however often.
#[derive(Debug)]
pub(super) struct Request {
    /// `GET` and the path.
    line: String,
    /// The other header fields. They hold the key.
    fields: Vec<u8>,
    pub(super) follow: bool,
    tail: Option<u64>,
    since: Option<String>,
    until: Option<String>,
    grep: Vec<String>,
    search: Vec<String>,
}

impl Request {
    /// What the options ask for of a sandbox. Of one that has joined since the command began, all lines are new.
    pub(super) fn new(options: &Logs, server: &Server, id: &str, has_joined: bool) -> Self {
        let id = utf8_percent_encode(id, ESCAPED);
        let fields = server.fields("application/x-ndjson");
        let (tail, since) = match options.tail {
            _ if has_joined => (None, options.since.clone()),
            Some(Tail::Lines(0)) => (None, Some("0s".to_owned())),
            Some(Tail::Lines(lines)) => (Some(lines), options.since.clone()),
            Some(Tail::All) | None => (None, options.since.clone()),
        };
        Self {
            line: format!("GET {}/sandboxes/{id}/logs?", server.prefix),
            fields,
            follow: options.follow,
            tail,
            since,
            until: options.until.clone(),
            grep: options.grep.clone(),
            search: options.search.clone(),
        }
    }

    /// The bytes of a request that goes on behind `after`, or begins; `elapsed` is the time since the first one.
    pub(super) fn bytes(&self, after: Option<&str>, elapsed: Duration) -> Vec<u8> {
        let mut query = Serializer::new(String::new());
        query.append_pair("format", "ndjson");
        if self.follow {
            query.append_pair("follow", "true");
        }
        let tail = self.tail.map(|lines| lines.to_string());
        // Whatever stands behind a record was printed after it: clocks that were set back must not hide that.
        let start =
            [("after", after.map(str::to_owned)), ("tail", tail), ("since", at(self.since.as_deref(), elapsed))];
        for (name, value) in start.into_iter().filter(|(name, _)| after.is_none() || *name == "after") {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        if let Some(until) = at(self.until.as_deref(), elapsed) {
            query.append_pair("until", &until);
        }
        let filters =
            self.grep.iter().map(|text| ("grep", text)).chain(self.search.iter().map(|text| ("search", text)));
        for (name, text) in filters {
            query.append_pair(name, text);
        }
        [self.line.as_bytes(), query.finish().as_bytes(), &self.fields].concat()
    }
}

/// A time, told anew after so long: a duration before now is longer then. The server adds amounts up.
fn at(time: Option<&str>, elapsed: Duration) -> Option<String> {
    let time = time?;
    let is_duration = time.ends_with(['s', 'm', 'h', 'd', 'w']);
    Some(if is_duration && !elapsed.is_zero() { format!("{time}{}ns", elapsed.as_nanos()) } else { time.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{super::options::tests::read, *};

    fn first_line(args: &[&str], after: Option<&str>, elapsed: u64) -> String {
        let logs = read(args).unwrap();
        let server = Server::find(Some("http://[::1]:8080/p"), &|_| None).unwrap();
        let bytes = Request::new(&logs, &server, &logs.ids[0], false).bytes(after, Duration::from_nanos(elapsed));
        String::from_utf8(bytes).unwrap().lines().next().unwrap().to_owned()
    }

    #[test]
    fn a_request_asks_for_what_the_options_say() {
        for (args, expected) in [
            (&["id"][..], "/sandboxes/id/logs?format=ndjson"),
            (&["-f", "-n", "3", "a/ü?"], "/sandboxes/a%2F%C3%BC%3F/logs?format=ndjson&follow=true&tail=3"),
            (&["-n0", "-f", "i"], "/sandboxes/i/logs?format=ndjson&follow=true&since=0s"),
            (
                &["--grep=a b", "--grep", "+", "--search=&", "--until=2026-01-31T08:00:00+01:00", "i"],
                "/sandboxes/i/logs?format=ndjson&until=2026-01-31T08%3A00%3A00%2B01%3A00&grep=a+b&grep=%2B&search=%26",
            ),
        ] {
            assert_eq!(first_line(args, None, 0), format!("GET /p/v1{expected} HTTP/1.1"));
        }
    }

    #[test]
    fn behind_a_record_nothing_of_the_beginning_is_asked_for() {
        let line = first_line(&["-f", "-n", "3", "--since=1h", "--until=1769846400", "--grep=x", "i"], Some("v1.a"), 5);
        assert!(line.contains("?format=ndjson&follow=true&after=v1.a&until=1769846400&grep=x "), "{line}");
    }

    #[test]
    fn a_duration_before_now_means_the_same_time_later() {
        let line = first_line(&["--since=1h30m", "--until=10s", "i"], None, 2_000_000_001);
        assert!(line.contains("since=1h30m2000000001ns&until=10s2000000001ns "), "{line}");
        let line = first_line(&["--since=2026-01-31T08:00:00Z", "i"], None, 5);
        assert!(line.contains("since=2026-01-31T08%3A00%3A00Z "), "{line}");
    }

    #[test]
    fn the_key_is_a_field() {
        let env = |name: &str| (name == "OPEN_SANDBOX_API_KEY").then(|| "hidden".to_owned());
        let server = Server::find(Some("https://gw.example"), &env).unwrap();
        let logs = read(&["id"]).unwrap();
        let request =
            String::from_utf8(Request::new(&logs, &server, &logs.ids[0], false).bytes(None, Duration::ZERO)).unwrap();
        assert!(request.contains("\r\nHost: gw.example\r\n"), "{request}");
        assert!(request.ends_with("\r\nOPEN-SANDBOX-API-KEY: hidden\r\n\r\n"), "{request}");
    }
}
