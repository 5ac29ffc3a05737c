use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{
    super::{
        options::tests::read,
        output::tests::{Written, apart},
    },
    *,
};
use crate::cli::server::Server;

/// What the server does with one connection.
#[derive(Debug, Clone)]
enum Turn {
    /// Cannot be connected to.
    Down,
    /// The log behind the token that is asked for, cut behind so many bytes of the answer.
    Cut(usize),
    /// The log in full.
    Whole,
    /// So many records of it, then these lines.
    Then(usize, &'static str),
    /// The log, then silence.
    Silent,
    /// This answer.
    Answer(String),
}

/// A server of `count` numbered lines that plays a script; the last turn goes on.
#[derive(Clone)]
struct Fake {
    count: usize,
    turns: Rc<RefCell<VecDeque<Turn>>>,
    asked: Rc<RefCell<Vec<String>>>,
}

const EXITED: &str = r#"{"event":"end","reason":"exited","exit_code":0,"id":"v1.end"}"#;
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";

fn record(number: usize) -> String {
    let stream = if number.is_multiple_of(3) { "stderr" } else { "stdout" };
    format!(r#"{{"log":"{number}\n","stream":"{stream}","time":"2026-01-31T08:00:00.000000000Z","id":"v1.{number}"}}"#)
}

fn chunk(line: &str) -> String {
    format!("{:x}\r\n{line}\n\r\n", line.len() + 1)
}

impl Fake {
    fn new(count: usize, turns: impl IntoIterator<Item = Turn>) -> Self {
        Self { count, turns: Rc::new(RefCell::new(turns.into_iter().collect())), asked: Rc::default() }
    }

    fn connect(&self) -> io::Result<DuplexStream> {
        let mut turns = self.turns.borrow_mut();
        let turn = if turns.len() > 1 { turns.pop_front().unwrap() } else { turns[0].clone() };
        if matches!(turn, Turn::Down) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = duplex(1 << 20);
        tokio::task::spawn_local(self.clone().serve(turn, theirs));
        Ok(ours)
    }

    async fn serve(self, turn: Turn, mut io: DuplexStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(io.read_u8().await.unwrap());
        }
        let line = String::from_utf8(request).unwrap().lines().next().unwrap().to_owned();
        let after = line.split("after=v1.").nth(1).map(|rest| rest.split(['&', ' ']).next().unwrap().to_owned());
        self.asked.borrow_mut().push(line);
        let first = match after.as_deref() {
            None => 1,
            Some("end") => self.count + 1,
            Some(number) => number.parse::<usize>().unwrap() + 1,
        };
        let log = |upto: usize| (first..=upto).map(|number| chunk(&record(number))).collect::<String>();
        let whole = || format!("{HEAD}{}{}0\r\n\r\n", log(self.count), chunk(EXITED));
        let answer = match turn {
            Turn::Cut(length) => whole().chars().take(length).collect(),
            Turn::Whole | Turn::Down => whole(),
            Turn::Then(upto, lines) => format!("{HEAD}{}{}0\r\n\r\n", log(upto), chunk(lines)),
            Turn::Silent => format!("{HEAD}{}", log(self.count)),
            Turn::Answer(ref answer) => answer.clone(),
        };
        // The client may have left.
        let _ = io.write_all(answer.as_bytes()).await;
        if matches!(turn, Turn::Silent) {
            std::future::pending::<()>().await;
        }
    }
}

struct Run {
    over: Over,
    stdout: Written,
    stderr: Written,
    asked: Vec<String>,
    took: Duration,
}

impl Run {
    /// All numbers that were written, and the notes.
    fn numbers(&self) -> (Vec<usize>, Vec<String>) {
        let (errors, out) = (self.stderr.text(), self.stdout.text());
        let (notes, errors): (Vec<_>, Vec<_>) =
            errors.lines().partition(|line| line.starts_with("opensandbox-gateway: "));
        let mut numbers: Vec<usize> = errors.into_iter().chain(out.lines()).map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        (numbers, notes.into_iter().map(|note| note["opensandbox-gateway: ".len()..].to_owned()).collect())
    }
}

fn run(fake: &Fake, args: &[&str]) -> Run {
    run_as(fake, args, false)
}

/// As [`run`]; of a sandbox that has joined.
fn run_as(fake: &Fake, args: &[&str], has_joined: bool) -> Run {
    let tasks = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&tasks, async {
        let logs = read(&[args, &["id"]].concat()).unwrap();
        let server = Server::find(Some("http://gw"), &|_| None).unwrap();
        let (output, stdout, stderr) = apart();
        let mut printer = Printer::new(output, logs.output, logs.timestamps);
        let connect = async || fake.connect();
        let request = Request::new(&logs, &server, &logs.ids[0], has_joined);
        let session = Session::new(request, server.shown(), false, connect, &mut printer);
        let mut session = if has_joined { session.persistent() } else { session };
        let start = Instant::now();
        let over = timeout(Duration::from_secs(3600), session.run()).await.expect("in an hour");
        printer.flush().unwrap();
        Run { over, stdout, stderr, asked: fake.asked.take(), took: start.elapsed() }
    })
}

fn answer(status: &str, fields: &str, body: &str) -> Turn {
    Turn::Answer(format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn a_numbered_stream_is_whole_wherever_it_is_cut() {
    let length =
        HEAD.len() + (1..=4).map(|number| chunk(&record(number)).len()).sum::<usize>() + chunk(EXITED).len() + 5;
    for args in [&["-f"][..], &[]] {
        for first in 0..length {
            let run = run(&Fake::new(4, [Turn::Cut(first), Turn::Cut(length / 2), Turn::Down, Turn::Whole]), args);
            assert!(matches!(&run.over, Over::End(end) if end.reason == "exited"), "{first} {:?}", run.over);
            assert_eq!(run.numbers().0, [1, 2, 3, 4], "{first}");
        }
    }
}

#[test]
fn an_outage_is_told_once() {
    let run = run(&Fake::new(3, [Turn::Then(1, "x"), Turn::Down]), &[]);
    assert!(matches!(run.over, Over::Broken(_)), "{:?}", run.over);
    let cut = HEAD.len() + chunk(&record(1)).len();
    let turns = [Turn::Cut(cut), Turn::Down, Turn::Cut(0), Turn::Down, Turn::Whole];
    let run = self::run(&Fake::new(3, turns), &["-f", "-n", "9"]);
    let (numbers, notes) = run.numbers();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(notes[0], "the connection broke: the server closed it; reconnecting");
    assert!(notes[1].starts_with("connected again after "), "{notes:?}");
    assert!(run.asked[0].contains("&tail=9 ") && run.asked[1].contains("&after=v1.1 "), "{:?}", run.asked);
}

#[test]
fn ends_that_are_none_are_come_back_from() {
    for (reason, note) in [
        ("drain", Some("the server is ending; reconnecting")),
        ("slow_client", Some("the output was not read in time for the server; reconnecting")),
        ("backend_lost", Some("the server could not read the log any more; reconnecting")),
        ("restarted", None),
    ] {
        let line: &'static str = format!(r#"{{"event":"end","reason":"{reason}","id":"v1.2"}}"#).leak();
        let run = run(&Fake::new(3, [Turn::Then(2, line), Turn::Whole]), &["-f"]);
        let (numbers, notes) = run.numbers();
        assert_eq!((numbers.as_slice(), notes.first().map(String::as_str)), (&[1, 2, 3][..], note));
        let is_at_once = matches!(reason, "drain" | "restarted");
        assert_eq!(run.took < Duration::from_millis(50), is_at_once, "{reason} {:?}", run.took);
    }
    // Of a log that is not followed, another run is not part.
    let run = run(&Fake::new(3, [Turn::Then(2, r#"{"event":"end","reason":"restarted","id":"v1.2"}"#)]), &[]);
    assert!(matches!(run.over, Over::End(_)) && run.numbers().0 == [1, 2]);
}

#[test]
fn what_ended_meanwhile_is_read_to_its_end() {
    let lost = r#"{"event":"end","reason":"backend_lost","id":"v1.end"}"#;
    let run = run(&Fake::new(2, [Turn::Then(2, lost), answer("204 No Content", "", "")]), &["-f"]);
    assert!(matches!(&run.over, Over::End(end) if end.reason.is_empty()));
    assert!(run.numbers().0 == [1, 2] && run.asked[1].contains("after=v1.end"), "{:?}", run.asked);
}

#[test]
fn a_refusal_ends_it_with_the_server_s_words() {
    let body = r#"{"code":"C","message":"m"}"#;
    for status in ["400 x", "401 x", "403 x", "404 x", "409 x", "422 x", "500 x", "501 x"] {
        let refusal = answer(status, "", body);
        let run = run(&Fake::new(1, [refusal]), &["-f"]);
        let is_missing = matches!(&run.over, Over::Missing(_));
        assert_eq!(is_missing, status.starts_with("404"), "{:?}", run.over);
        assert!(
            matches!(&run.over, Over::Refused(text) | Over::Missing(text) if text.contains(" C: m")),
            "{:?}",
            run.over
        );
        assert_eq!(run.took, Duration::ZERO);
    }
    for (status, is_over) in
        [("404 x", true), ("401 x", true), ("501 x", true), ("500 x", false), ("502 x", false), ("409 x", false)]
    {
        let turns = [Turn::Cut(HEAD.len() + 200), answer(status, "", body), Turn::Whole];
        let over = run(&Fake::new(3, turns), &["-f"]).over;
        let is_broken = matches!(&over, Over::Broken(text) if text.starts_with("the log cannot be resumed: 4") || text.contains("501"));
        assert_eq!((is_broken, matches!(over, Over::End(_))), (is_over, !is_over), "{status}");
    }
    let plain = run(&Fake::new(1, [answer("200 OK", "Content-Type: text/plain\r\n", "a\n")]), &[]).over;
    assert!(matches!(&plain, Over::Refused(text) if text.contains("format=ndjson")), "{plain:?}");
    let down = run(&Fake::new(1, [Turn::Down]), &["-f"]).over;
    assert!(matches!(&down, Over::Refused(text) if text.starts_with("http://gw cannot be reached: ")), "{down:?}");
}

#[test]
fn a_sandbox_that_has_joined_is_read_whatever_the_first_request_meets() {
    let body = r#"{"code":"C","message":"m"}"#;
    for first in [Turn::Down, answer("409 x", "", body), answer("500 x", "", body), answer("502 x", "", body)] {
        let run = run_as(&Fake::new(3, [first, Turn::Whole]), &["-f"], true);
        assert!(matches!(run.over, Over::End(_)), "{:?}", run.over);
        assert_eq!(run.numbers().0.len(), 3);
    }
    let gone = run_as(&Fake::new(1, [answer("404 x", "", body)]), &["-f"], true).over;
    assert!(matches!(gone, Over::Missing(_)), "{gone:?}");
}

#[test]
fn a_busy_server_is_asked_when_it_wants_to_be() {
    for status in ["429 x", "503 x"] {
        let busy = answer(status, "Retry-After: 20\r\n", r#"{"code":"C","message":"m"}"#);
        let run = run(&Fake::new(1, [busy.clone(), busy, Turn::Whole]), &[]);
        assert!(matches!(run.over, Over::End(_)), "{:?}", run.over);
        assert!((40..42).contains(&run.took.as_secs()), "{:?}", run.took);
        let notes = run.numbers().1;
        assert!(
            notes[0].ends_with(" C: m; trying again in 20.1 s") || notes[0].contains("trying again in 20."),
            "{notes:?}"
        );
    }
}

#[test]
fn only_a_log_that_is_followed_is_worth_more_than_a_minute() {
    let turns = || [Turn::Cut(HEAD.len() + 150)].into_iter().chain(vec![Turn::Down; 30]).chain([Turn::Whole]);
    let run = run(&Fake::new(3, turns()), &[]);
    assert!(matches!(&run.over, Over::Broken(text) if text.ends_with("; given up")), "{:?}", run.over);
    assert!(run.took > Duration::from_secs(45) && run.took <= PATIENCE, "{:?}", run.took);
    let run = self::run(&Fake::new(3, turns()), &["-f"]);
    assert!(matches!(run.over, Over::End(_)) && run.numbers().0 == [1, 2, 3]);
    assert!(run.took > PATIENCE, "{:?}", run.took);
}

#[test]
fn silence_is_a_cut() {
    let run = run(&Fake::new(2, [Turn::Silent, Turn::Whole]), &["-f"]);
    assert_eq!(run.numbers().0, [1, 2]);
    assert_eq!(run.numbers().1[0], "the server has been silent for 45 s; reconnecting");
    assert!((45..46).contains(&run.took.as_secs()), "{:?}", run.took);
}

#[test]
fn what_cannot_be_resumed_is_not_begun_anew() {
    let bare = r#"{"log":"1\n","stream":"stdout","time":"t"}"#;
    let run = run(&Fake::new(0, [Turn::Then(0, bare), Turn::Whole]), &["-f"]);
    assert!(matches!(&run.over, Over::Broken(text) if text.contains("have no id")), "{:?}", run.over);
    for line in ["no record", "{}"] {
        let run = self::run(&Fake::new(1, [Turn::Then(1, line)]), &["-f"]);
        assert!(matches!(run.over, Over::Broken(_)) && run.numbers().0 == [1], "{:?}", run.over);
    }
    let run = self::run(&Fake::new(1, [Turn::Answer("SSH-2.0\r\n".to_owned()), Turn::Whole]), &["-f"]);
    assert!(run.numbers().1[0].contains("it does not speak HTTP/1"), "{:?}", run.numbers().1);
}

#[test]
fn a_server_that_only_drains_is_not_asked_without_a_pause() {
    let line = r#"{"event":"end","reason":"drain","id":"v1.0"}"#;
    let turns = vec![Turn::Then(0, line); 8].into_iter().chain([Turn::Whole]);
    let run = run(&Fake::new(1, turns), &["-f"]);
    assert!(run.took > Duration::from_secs(10), "{:?}", run.took);
}
