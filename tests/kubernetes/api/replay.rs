//! What the transcripts have in full, asked again row by row.
//!
//! A file has rows apart by empty lines: `# title`, `> METHOD target`, `> Name: value`, `body …`, `< status`, `< Name: value`, and
//! the body of the answer as the real cluster sent it; ` ...[n bytes]` stands for its rest of a body of `n` bytes. `! METHOD target`
//! begins a row that prepares the next ones and only has to succeed. `> As: user` sends that user's token.
//!
//! What differs by nature is made equal: uids, times, resource versions and the tokens that hold one.

use std::sync::LazyLock;

use regex::Regex;

use super::wire::{Head, Request, Wire};
use crate::support::kube::Server;

struct Row {
    title: String,
    request: Request,
    /// None for one that only prepares.
    expected: Option<Expected>,
}

#[derive(Debug, Default)]
struct Expected {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

fn rows(text: &str) -> Vec<Row> {
    let blocks = text.split("\n\n").skip(1);
    blocks.map(|block| row(block.trim_matches('\n'))).collect()
}

fn row(block: &str) -> Row {
    let mut row = Row { title: String::new(), request: Request::default(), expected: None };
    for line in block.lines() {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (mark, &mut row.expected) {
            ("#", None) => row.title = rest.to_owned(),
            (">" | "!", None) if row.request.method.is_empty() => {
                let (method, target) = rest.split_once(' ').expect("a request line");
                row.request.method = method.to_owned();
                row.request.target = target.to_owned();
            }
            (">", None) => {
                let (name, value) = rest.split_once(": ").expect("a header");
                let header = match name {
                    "As" => ("Authorization".to_owned(), format!("Bearer {value}")),
                    _ => (name.to_owned(), value.to_owned()),
                };
                row.request.headers.push(header);
            }
            ("body", None) => row.request.body = rest.to_owned(),
            ("<", None) => {
                let status = rest.parse().expect("a status");
                row.expected = Some(Expected { status, ..Expected::default() });
            }
            ("<", Some(expected)) => {
                let (name, value) = rest.split_once(": ").expect("a header");
                expected.headers.push((name.to_owned(), value.to_owned()));
            }
            (_, Some(expected)) => {
                let start = if expected.body.is_empty() { "" } else { "\n" };
                expected.body += &format!("{start}{line}");
            }
            _ => panic!("{line}"),
        }
    }
    row
}

/// The text with what differs by nature made equal.
fn equalised(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let rules = [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
            (r#""resourceVersion":"\d+""#, r#""resourceVersion":"<version>""#),
            (r"in record \(\d+\)", "in record (<version>)"),
            (r"current: \d+", "current: <version>"),
            (r#""continue":"[^"]+""#, r#""continue":"<token>""#),
        ];
        rules.into_iter().map(|(rule, with)| (Regex::new(rule).unwrap(), with)).collect()
    });
    RULES.iter().fold(text.to_owned(), |text, (rule, with)| rule.replace_all(&text, *with).into_owned())
}

/// What differs, as text; empty if nothing does.
fn difference(expected: &Expected, head: &Head, body: &str) -> String {
    let mut all = String::new();
    if head.status != expected.status {
        all += &format!("\n  status {} instead of {}", head.status, expected.status);
    }
    let (wanted, length) = match expected.body.split_once(" ...[") {
        None => (expected.body.as_str(), None),
        // The last value may be cut as well.
        Some((start, rest)) => {
            let length = rest.split(' ').next().and_then(|length| length.parse::<usize>().ok());
            (start.rsplit_once(',').map_or(start, |(start, _)| start), length)
        }
    };
    let is_exact = |name: &str| expected.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    for (name, value) in &expected.headers {
        if head.header(name) != value {
            all += &format!("\n  {name}: {:?} instead of {value:?}", head.header(name));
        }
    }
    let length = length.filter(|_| is_exact("Content-Length").is_none());
    if let Some(length) = length.filter(|length| *length != body.len()) {
        all += &format!("\n  {} bytes instead of {length}", body.len());
    }
    let is_cut = wanted.len() < expected.body.len();
    let (mut here, wanted) = (equalised(body.trim_end_matches('\n')), equalised(wanted));
    if is_cut {
        let end = (0..=wanted.len().min(here.len())).rev().find(|end| here.is_char_boundary(*end)).unwrap_or(0);
        here.truncate(end);
    }
    if here != wanted {
        let at = here.bytes().zip(wanted.bytes()).take_while(|(one, other)| one == other).count();
        let shown = |text: &str| {
            String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(60).min(text.len())..]).into_owned()
        };
        all += &format!("\n  body from byte {at}\n    here {}\n    real {}", shown(&here), shown(&wanted));
    }
    all
}

pub(super) async fn replay(server: &Server, text: &str) {
    let mut differences = String::new();
    let mut count = 0;
    for row in rows(text) {
        let mut wire = Wire::connect(server, None).await;
        let (head, body) = wire.whole(&row.request).await;
        let line = format!("{} {}", row.request.method, row.request.target);
        let Some(expected) = &row.expected else {
            assert!(head.status < 300, "{line}: {} {body}", head.status);
            continue;
        };
        count += 1;
        let difference = difference(expected, &head, &body);
        if !difference.is_empty() {
            differences += &format!("\n{} ({line}){difference}", row.title);
        }
    }
    assert!(count > 0, "a file without rows");
    assert!(differences.is_empty(), "of {count} rows:{differences}");
}

#[tokio::test]
async fn lists_and_reads_are_answered_as_the_real_server_does() {
    replay(&Server::start(), include_str!("lists.txt")).await;
}

#[tokio::test]
async fn watches_are_refused_as_the_real_server_does() {
    replay(&Server::start(), include_str!("watches.txt")).await;
}

#[tokio::test]
async fn creates_are_answered_as_the_real_server_does() {
    replay(&Server::start(), include_str!("creates.txt")).await;
}

#[tokio::test]
async fn patches_are_answered_as_the_real_server_does() {
    replay(&Server::start(), include_str!("patches.txt")).await;
}

#[tokio::test]
async fn deletes_are_answered_as_the_real_server_does() {
    replay(&Server::start(), include_str!("deletes.txt")).await;
}
