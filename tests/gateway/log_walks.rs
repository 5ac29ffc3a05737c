//! Records of a real engine's logs as a client gets them: whoever comes back behind any one of them gets exactly the rest.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    Gateway, Setup, logs,
    support::{
        client::{Client, get_once},
        docker::{self, Container},
    },
};

/// How many clients come back at once.
const CLIENTS: usize = 4;

const LOCAL: &[&str] = &["--log-driver", "local"];
const JSON_FILE: &[&str] = &["--log-driver", "json-file"];

/// Prints a line of 40,000 bytes without its end.
const LONG: &str = "long() { head -c 40000 /dev/zero | tr '\\0' $1; }";

fn gateway() -> Gateway {
    Setup::docker(&docker::host()).start()
}

fn ended(options: &[&str], script: &str) -> Container {
    let container = Container::run_with(options, script);
    container.wait();
    container
}

/// A line's stream, time and bytes; an event's name and reason.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Line(String, String, Vec<u8>),
    Event(String, Option<String>),
}

impl Told {
    fn of(record: &Value) -> Self {
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        if let Some(event) = text("event") {
            return Self::Event(event, text("reason"));
        }
        let bytes = match text("log") {
            Some(log) => log.into_bytes(),
            None => STANDARD.decode(text("log_base64").unwrap()).unwrap(),
        };
        Self::Line(text("stream").unwrap(), text("time").unwrap(), bytes)
    }

    /// Its bytes, if it is a line of this stream.
    fn bytes_of(&self, stream: &str) -> &[u8] {
        match self {
            Self::Line(of, _, bytes) if of == stream => bytes,
            Self::Line(..) | Self::Event(..) => &[],
        }
    }
}

async fn records(client: &mut Client, id: &str, query: &str) -> Vec<Value> {
    let head = client.get(&logs(id, &format!("format=ndjson&{query}"))).await;
    assert_eq!(
        (head.status.as_u16(), head.headers["content-type"].to_str().unwrap()),
        (200, "application/x-ndjson"),
        "{query}"
    );
    let body = client.body().await.unwrap();
    body.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn told(records: &[Value]) -> Vec<Told> {
    records.iter().map(Told::of).collect()
}

/// Reads all of a log, and comes back behind each of its records. Gives how many lines there are, and what each stream printed.
async fn walk(address: SocketAddr, id: &str, what: &str) -> (usize, [Vec<u8>; 2]) {
    walk_lines(address, id, what, true).await
}

/// The same of a log whose times are those of the sandbox's run (`is_of_now`), or from long before it was started.
async fn walk_lines(address: SocketAddr, id: &str, what: &str, is_of_now: bool) -> (usize, [Vec<u8>; 2]) {
    let mut client = Client::connect(address).await;
    let all: Arc<[_]> = records(&mut client, id, "").await.into();
    let shown: Arc<[_]> = told(&all).into();
    let (end, lines) = shown.split_last().unwrap();
    assert_eq!(*end, Told::Event("end".to_owned(), Some("complete".to_owned())), "{what}");
    assert!(lines.iter().all(|line| matches!(line, Told::Line(..))), "{what}: {lines:?}");
    let mut clients = JoinSet::new();
    for first in 0..CLIENTS {
        let (id, what, all, shown) = (id.to_owned(), what.to_owned(), Arc::clone(&all), Arc::clone(&shown));
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for at in (first..lines_of(&all)).step_by(CLIENTS) {
                let token = all[at]["id"].as_str().unwrap();
                let rest = told(&records(&mut client, &id, &format!("after={token}")).await);
                assert!(
                    rest == shown[at + 1..],
                    "{what}: behind record {at}, {token}: {}",
                    difference(&rest, &shown[at + 1..])
                );
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let followed = records(&mut client, id, "follow=true").await;
    assert_eq!(told(&followed[..lines.len()]), lines, "{what}: followed");
    if is_of_now {
        // Behind the end of a sandbox that has exited is nothing, for whoever asks for what comes.
        let token = followed[lines.len()]["id"].as_str().unwrap();
        let over = get_once(address, &logs(id, &format!("format=ndjson&follow=true&after={token}"))).await;
        assert_eq!((over.status(), over.body.len()), (204, 0), "{what}: {over}");
    }
    let bytes = |stream| lines.iter().flat_map(|line| line.bytes_of(stream)).copied().collect();
    (lines.len(), [bytes("stdout"), bytes("stderr")])
}

/// All records but the end.
fn lines_of(all: &[Value]) -> usize {
    all.len() - 1
}

/// Where two answers differ, without their long lines.
fn difference(found: &[Told], expected: &[Told]) -> String {
    let at = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    let show = |told: Option<&Told>| match told {
        Some(Told::Line(stream, time, bytes)) => {
            format!("{stream} {time} {} bytes {}", bytes.len(), bytes[..bytes.len().min(40)].escape_ascii())
        }
        other => format!("{other:?}"),
    };
    format!("at {at}: {} instead of {}", show(found.get(at)), show(expected.get(at)))
}

/// What each of `names` printed: so many numbered lines.
fn numbered(names: [&str; 2], count: usize, end: &str) -> [Vec<u8>; 2] {
    names.map(|name| {
        (1..=count).fold(String::new(), |text, number| text + &format!("{name} {number}{end}")).into_bytes()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn both_streams_can_be_come_back_to_behind_every_line() {
    let gateway = gateway();
    let script = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done";
    for options in [JSON_FILE, LOCAL] {
        let container = ended(options, script);
        let (count, printed) = walk(gateway.address(), container.id(), &format!("{options:?}")).await;
        assert_eq!((count, printed), (80, numbered(["out", "err"], 40, "\n")), "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_can_be_come_back_to_behind_every_line() {
    let gateway = gateway();
    let script = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo out $i; done; printf '$ '";
    for driver in [JSON_FILE, LOCAL] {
        let container = ended(&[driver, &["--tty"]].concat(), script);
        let (count, [printed, none]) = walk(gateway.address(), container.id(), &format!("{driver:?}")).await;
        let [expected, _] = numbered(["out", ""], 40, "\r\n");
        assert_eq!((count, printed, none), (41, [expected, b"$ ".to_vec()].concat(), vec![]), "{driver:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_can_be_come_back_to_behind_every_line() {
    let gateway = gateway();
    let script = format!(
        "{LONG}; for c in a b c d; do long $c; echo; echo $c; long $c >&2; echo >&2; done; echo last >&2; printf end"
    );
    let long = |byte: u8| [vec![byte; 40_000], b"\n".to_vec()].concat();
    let stdout = b"abcd".iter().flat_map(|byte| [long(*byte), vec![*byte, b'\n']].concat());
    // A short line comes last: engines before 23 lose the newline of a long one with `local`, and nothing behind tells it.
    let stderr = b"abcd".iter().flat_map(|byte| long(*byte)).chain(*b"last\n");
    let expected = [stdout.chain(*b"end").collect(), stderr.collect::<Vec<_>>()];
    for options in [JSON_FILE, LOCAL] {
        let container = ended(options, &script);
        let (count, printed) = walk(gateway.address(), container.id(), &format!("{options:?}")).await;
        assert!(count == 14 && printed == expected, "{options:?}: {count} lines, {:?}", printed.map(|text| text.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_can_be_come_back_to_behind_every_line() {
    let gateway = gateway();
    let script = r"for i in 1 2 3 4 5; do printf 'a\0b\n\0\n\0\0\n\n'; printf '\377\376\n\303' >&2; printf 'ok \303\244 \303\n'; done";
    let container = ended(LOCAL, script);
    let (count, printed) = walk(gateway.address(), container.id(), "local").await;
    let stderr = [b"\xff\xfe\n".to_vec(), b"\xc3\xff\xfe\n".repeat(4), b"\xc3".to_vec()].concat();
    assert_eq!(printed, [b"a\0b\n\0\n\0\0\n\nok \xc3\xa4 \xc3\n".repeat(5), stderr]);
    assert_eq!(count, 31);
    // json-file keeps no bytes that are not UTF-8.
    let container = ended(JSON_FILE, script);
    let (count, [stdout, _]) = walk(gateway.address(), container.id(), "json-file").await;
    assert_eq!((count, stdout), (31, "a\0b\n\0\n\0\0\n\nok \u{e4} \u{fffd}\n".repeat(5).into_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_equal_and_backward_times_can_be_come_back_to() {
    let gateway = gateway();
    // The second and the stream of each line; the text is its number.
    let equal: Vec<_> = (0..40).map(|at| (1 + at / 20, if at % 3 == 1 { "stderr" } else { "stdout" })).collect();
    let backward: Vec<_> =
        (0..40).map(|at| (100 - 7 * (at % 11), if at % 5 < 2 { "stderr" } else { "stdout" })).collect();
    for (what, lines) in [("equal times", equal), ("backward times", backward)] {
        let container = ended(JSON_FILE, "true");
        let (mut file, mut expected) = (String::new(), [Vec::new(), Vec::new()]);
        for (at, (second, stream)) in lines.into_iter().enumerate() {
            // Lines that are alike, too.
            let text = at % 4;
            expected[usize::from(stream == "stderr")].extend_from_slice(format!("{text}\n").as_bytes());
            let (minute, second) = (second / 60, second % 60);
            let time = format!("2026-11-23T02:{minute:02}:{second:02}.000000005Z");
            writeln!(file, r#"{{"log":"{text}\n","stream":"{stream}","time":"{time}"}}"#).unwrap();
        }
        std::fs::write(container.inspect()["LogPath"].as_str().unwrap(), file).unwrap();
        let (count, printed) = walk_lines(gateway.address(), container.id(), what, false).await;
        assert_eq!((count, printed), (40, expected), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_s_last_lines_are_exact() {
    let gateway = gateway();
    let script =
        format!("{LONG}; i=0; while [ $i -lt 12 ]; do i=$((i+1)); long x; echo $i; echo short $i; done; printf end");
    for driver in [JSON_FILE, LOCAL] {
        let container = ended(&[driver, &["--tty"]].concat(), &script);
        let mut client = Client::connect(gateway.address()).await;
        let all = told(&records(&mut client, container.id(), "").await);
        assert_eq!(all.len(), 26, "{driver:?}: 25 lines and the end");
        for tail in [1, 2, 3, 4, 10, 23, 24, 25, 26, 100] {
            let found = told(&records(&mut client, container.id(), &format!("tail={tail}")).await);
            let expected = &all[25_usize.saturating_sub(tail)..];
            assert!(found == expected, "{driver:?}: tail={tail}: {}", difference(&found, expected));
            // As text, a line that `local` cut has lost its newline.
            if driver == JSON_FILE {
                let text = get_once(gateway.address(), &logs(container.id(), &format!("tail={tail}"))).await.body;
                let lines = expected.iter().flat_map(|line| line.bytes_of("stdout")).copied().collect::<Vec<_>>();
                assert!(text == lines, "tail={tail}: {} bytes instead of {}", text.len(), lines.len());
            }
        }
    }
}
