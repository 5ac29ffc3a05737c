//! `command=<id>` where execd is whatever a sandbox makes of it: what is wrong is told, what has no end is bounded.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Pair, Setup,
    support::{
        backend::{Backend, Conn},
        client::{Client, Response, request},
        engine::{Sandbox, Script},
        eventually,
    },
};

const RUNNING: &str = r#"{"running":true}"#;
const TOKEN: &str = "X-EXECD-ACCESS-TOKEN: t0ken";

/// How execd answers a request for a command's output; its state is answered as it must be.
struct Hostile {
    pair: Pair,
    id: String,
    execd: Backend,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    async fn start<Fut>(answer: impl Fn(Conn, Option<u64>) -> Fut + Clone + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let execd = Backend::start(move |mut conn| {
            let (answer, noted) = (answer.clone(), Arc::clone(&noted));
            async move {
                let Some(head) = conn.head().await else { return };
                noted.lock().unwrap().push(head.clone());
                if head.contains("/command/status/") {
                    return conn.answer("200 OK", &[], RUNNING.as_bytes()).await;
                }
                let cursor = head.split_once("cursor=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
                answer(conn, cursor).await;
            }
        })
        .await;
        let pair = Pair::with(|setup: Setup| setup.section("[logs]\nreconnect_seconds = 2"));
        let labels = vec![("opensandbox.io/embedding-proxy-port".to_owned(), execd.port.to_string())];
        let id = pair.engine.sandbox(Sandbox { labels, ..Sandbox::new(Script::silent()) });
        Self { pair, id, execd, asked }
    }

    /// An execd that answers with these lines of a head and this body, whatever the cursor.
    async fn same(status: &'static str, lines: &'static [&'static str], body: &'static [u8]) -> Self {
        Self::start(move |mut conn, _| async move { conn.answer(status, lines, body).await }).await
    }

    fn target(&self, query: &str) -> String {
        format!("/v1/sandboxes/{}/logs?command=c1{query}", self.id)
    }

    async fn get(&self, query: &str) -> Response {
        request(self.pair.address(), "GET", &self.target(query), &[TOKEN], "").await
    }

    async fn records(&self, query: &str) -> Vec<Value> {
        let response = self.get(&format!("&format=ndjson{query}")).await;
        assert_eq!(response.status(), 200, "{response}");
        String::from_utf8(response.body.to_vec())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// How many requests for the output have come so far.
    fn asked_for_output(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|head| head.contains("/logs")).count()
    }

    /// Follows to the end: its reason, and that execd was not asked without a pause.
    async fn ends_with(&self, reason: &str) -> Vec<Value> {
        let begun = Instant::now();
        let mut client = Client::connect(self.pair.address()).await;
        client.send_get(&self.target("&follow=true&format=ndjson"), &[TOKEN]).await;
        assert_eq!(client.head().await.status, 200);
        let mut text = Vec::new();
        // It is broken off behind what tells its end.
        while let Ok(Some(piece)) = client.piece().await {
            text.extend_from_slice(&piece);
        }
        let text = String::from_utf8(text).unwrap();
        let mut records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let end = records.pop().unwrap();
        assert_eq!((&end["event"], &end["reason"]), (&"end".into(), &reason.into()), "{end}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert!(self.execd.accepted() < 40, "asked {} times", self.execd.accepted());
        records
    }
}

fn logs(records: &[Value]) -> String {
    records.iter().filter_map(|record| record["log"].as_str()).collect()
}

#[tokio::test]
async fn cursors_that_are_wrong_end_in_time_and_no_line_comes_twice() {
    // It goes back; it is no number.
    let back = Hostile::start(|mut conn, cursor| async move {
        let (told, text) = if cursor.is_none() { ("5", "a\nb\n") } else { ("1", "c\n") };
        conn.answer("200 OK", &[&format!("EXECD-COMMANDS-TAIL-CURSOR: {told}")], text.as_bytes()).await;
    })
    .await;
    assert_eq!(logs(&back.ends_with("backend_lost").await), "a\nb\n");
    let stands = Hostile::same("200 OK", &["EXECD-COMMANDS-TAIL-CURSOR: 9"], b"a\n").await;
    assert_eq!(logs(&stands.ends_with("backend_lost").await), "a\n");
    let word = Hostile::same("200 OK", &["EXECD-COMMANDS-TAIL-CURSOR: many"], b"a\n").await;
    assert_eq!(logs(&word.ends_with("backend_lost").await), "");
    let largest = Hostile::same("200 OK", &["EXECD-COMMANDS-TAIL-CURSOR: 18446744073709551614"], b"a\nb").await;
    assert_eq!(logs(&largest.ends_with("backend_lost").await), "a\n");
}

#[tokio::test]
async fn without_a_cursor_lines_are_counted() {
    let missing = Hostile::start(|mut conn, cursor| async move {
        let lines = ["a\n", "b\n", "c\n"];
        let from = cursor.map_or(0, |cursor| cursor as usize + 1).min(3);
        conn.answer("200 OK", &[], lines[from..].concat().as_bytes()).await;
    })
    .await;
    let mut client = Client::connect(missing.pair.address()).await;
    client.send_get(&missing.target("&follow=true"), &[TOKEN]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.piece().await.unwrap().unwrap(), "a\nb\nc\n");
    assert!(client.is_silent_for(Duration::from_secs(1)).await);
    // One that takes no notice of cursors either prints for ever, but slowly.
    let deaf = Hostile::same("200 OK", &[], b"a\n").await;
    let mut client = Client::connect(deaf.pair.address()).await;
    client.send_get(&deaf.target("&follow=true"), &[TOKEN]).await;
    assert_eq!(client.head().await.status, 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(deaf.execd.accepted() < 50, "asked {} times", deaf.execd.accepted());
}

#[tokio::test]
async fn an_execd_that_hangs_is_left() {
    let hangs = Hostile::start(|mut conn, _| async move { conn.wait_closed().await }).await;
    let begun = Instant::now();
    let response = hangs.get("&tail=1").await;
    assert_eq!((response.status(), response.code()), (504, "LOGS::EXECD_TIMEOUT".to_owned()), "{response}");
    assert!(response.head.field("retry-after") == "5" && begun.elapsed() < Duration::from_secs(25));
    // Its connection may still be under way to its end.
    hangs.execd.wait_closed(0).await;
    // A client that does not wait so long takes the connection with it.
    let mut client = Client::connect(hangs.pair.address()).await;
    client.send_get(&hangs.target("&follow=true"), &[TOKEN]).await;
    // A connection alone is none yet: what is closed before its request is not noted.
    eventually("execd is asked", Duration::from_secs(5), || hangs.asked_for_output() == 2).await;
    client.close();
    let left = Instant::now();
    assert!(hangs.execd.wait_closed(1).await.duration_since(left) < Duration::from_secs(5));
    assert!(logs(&hangs.ends_with("backend_lost").await).is_empty());
}

#[tokio::test]
async fn a_body_without_an_end_is_read_as_the_client_takes_it() {
    let sent = Arc::new(Mutex::new(0_u64));
    let counted = Arc::clone(&sent);
    let endless = Hostile::start(move |mut conn, _| {
        let counted = Arc::clone(&counted);
        async move {
            conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
            let text = vec![b'x'; 64 * 1024];
            while conn.send(&text).await {
                *counted.lock().unwrap() += text.len() as u64;
            }
            conn.note_closed();
        }
    })
    .await;
    let before = endless.pair.gateway.resident();
    let mut client = Client::connect(endless.pair.address()).await;
    client.send_get(&endless.target("&follow=true&format=ndjson"), &[TOKEN]).await;
    assert_eq!(client.head().await.status, 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (held, grown) = (*sent.lock().unwrap(), endless.pair.gateway.resident().saturating_sub(before));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(*sent.lock().unwrap(), held, "nobody reads");
    assert!(grown < 32 << 20, "{grown} bytes");
    client.close();
    endless.execd.wait_closed(0).await;
}

#[tokio::test]
async fn a_huge_line_comes_in_parts_and_is_resumed_in_any() {
    let whole = Arc::new([vec![b'x'; 3_500_000], b"\nnext\n".to_vec()].concat());
    let body = Arc::clone(&whole);
    let huge = Hostile::start(move |mut conn, cursor| {
        let body = Arc::clone(&body);
        async move {
            let from = cursor.map_or(0, |cursor| cursor as usize).min(body.len());
            conn.answer("200 OK", &[&format!("EXECD-COMMANDS-TAIL-CURSOR: {}", body.len())], &body[from..]).await;
        }
    })
    .await;
    let mut records = huge.records("").await;
    assert_eq!(records.pop().unwrap()["reason"], "complete");
    assert!(logs(&records).as_bytes() == &whole[..] && records.len() == 5, "{}", records.len());
    assert!(records[..3].iter().all(|record| record["partial"] == true));
    let mut seen = 0;
    for record in &records {
        seen += record["log"].as_str().unwrap().len();
        let rest = huge.records(&format!("&after={}", record["id"].as_str().unwrap())).await;
        assert!(logs(&rest).as_bytes() == &whole[seen..], "behind {seen} bytes");
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_kept() {
    let bytes = Hostile::start(|mut conn, cursor| async move {
        let text: &[u8] = if cursor.is_none() { b"\xff\xfe\n\0\x1b[1m\n" } else { b"" };
        conn.answer("200 OK", &["EXECD-COMMANDS-TAIL-CURSOR: 1"], text).await;
    })
    .await;
    let records = bytes.records("").await;
    assert_eq!(
        (&records[0]["log_base64"], &records[1]["log"]),
        (&"//4K".into(), &"\0\u{1b}[1m\n".into()),
        "{records:?}"
    );
    assert_eq!(&bytes.get("").await.body[..], b"\xff\xfe\n\0\x1b[1m\n");
}

#[tokio::test]
async fn the_token_goes_to_execd_and_nowhere_else() {
    let other = Backend::mirror().await;
    let place = format!("Location: http://127.0.0.1:{}/x", other.port);
    let redirects = Hostile::start(move |mut conn, _| {
        let place = place.clone();
        async move { conn.answer("302 Found", &[&place], b"").await }
    })
    .await;
    // The state is told; the output is elsewhere.
    assert_eq!(redirects.ends_with("backend_lost").await.len(), 0);
    let refused = redirects.get("&tail=1").await;
    assert_eq!((refused.status(), refused.code()), (502, "LOGS::EXECD_FAILED".to_owned()), "{refused}");
    assert_eq!(other.accepted(), 0);
    let asked = redirects.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|head| head.contains("\r\nX-EXECD-ACCESS-TOKEN: t0ken\r\n")), "{asked:?}");
    let engine = redirects.pair.engine.requests().join("\n");
    assert!(!engine.contains("t0ken") && !redirects.pair.gateway.output().contains("t0ken"));
}

#[tokio::test]
async fn statuses_are_told_as_what_they_mean() {
    for (status, expected, code) in [
        ("401 No", 401, "LOGS::EXECD_UNAUTHORIZED"),
        ("403 No", 401, "LOGS::EXECD_UNAUTHORIZED"),
        ("404 No", 404, "LOGS::COMMAND_NOT_FOUND"),
        ("400 No", 400, "LOGS::COMMAND_NOT_IN_BACKGROUND"),
        ("500 No", 502, "LOGS::EXECD_FAILED"),
        ("204 No", 502, "LOGS::EXECD_FAILED"),
    ] {
        let execd = Hostile::same(status, &[], b"").await;
        let answer = execd.get("&tail=1").await;
        assert_eq!((answer.status(), answer.code()), (expected, code.to_owned()), "{status}");
    }
}
