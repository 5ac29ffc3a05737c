//! execds of many kinds, on real sockets.

use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Answers one connection each, by the request's first line; notes those lines.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let read = client.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                noted.lock().unwrap().push(request.clone());
                let path = request.split(' ').nth(1).unwrap().to_owned();
                // The client may have had enough.
                let _ = client.write_all(&answer(&path)).await;
            }
        });
        Self { address, asked }
    }

    fn command(&self) -> RemoteCommand {
        let address = self.address.clone();
        let find = move || {
            let backend = Backend { path_prefix: "/proxy/44772".to_owned(), ..Backend::plain(address.clone()) };
            Box::pin(async move { Ok(backend) }) as _
        };
        RemoteCommand::new(Arc::new(find), "c1".to_owned(), Some(Secret::new("t0ken")))
    }

    fn paths(&self) -> Vec<String> {
        let path = |request: &String| request.split(' ').nth(1).unwrap().replace("/proxy/44772/command/", "");
        self.asked.lock().unwrap().iter().map(path).collect()
    }
}

fn answer(cursor: Option<i64>, text: &str) -> Vec<u8> {
    let cursor = cursor.map_or_else(String::new, |cursor| format!("EXECD-COMMANDS-TAIL-CURSOR: {cursor}\r\n"));
    format!("HTTP/1.1 200 OK\r\n{cursor}Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

fn asked_cursor(path: &str) -> Option<u64> {
    path.split_once("?cursor=").map(|(_, cursor)| cursor.parse().unwrap())
}

/// What one look at the output gives.
async fn look(command: &mut RemoteCommand) -> Result<String, Error> {
    let mut text = String::new();
    while let Some(batch) = command.read().await? {
        batch.records.iter().for_each(|(_, bytes)| text += &String::from_utf8_lossy(bytes));
    }
    Ok(text)
}

/// An execd whose cursors are lines, with the line that has no end or without it, or bytes.
async fn execd(text: Arc<Mutex<String>>, unit: &'static str) -> Server {
    Server::start(move |path| {
        let text = text.lock().unwrap().clone();
        let cursor = asked_cursor(path);
        if unit == "bytes" {
            let from = cursor.map_or(0, |cursor| cursor as usize).min(text.len());
            return answer(Some(text.len() as i64), &text[from..]);
        }
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        if unit == "whole lines" {
            lines.retain(|line| line.ends_with('\n'));
        }
        let from = cursor.map_or(0, |cursor| cursor as usize + 1).min(lines.len());
        let mut last = lines.len() as i64 - 1;
        if unit == "lines and more" && lines.last().is_some_and(|line| !line.ends_with('\n')) {
            last -= 1;
        }
        answer(Some(last), &lines[from..].concat())
    })
    .await
}

#[tokio::test]
async fn lines_come_once_whatever_cursors_count() {
    for unit in ["lines", "lines and more", "whole lines", "bytes"] {
        let text = Arc::new(Mutex::new(String::new()));
        let server = execd(Arc::clone(&text), unit).await;
        let mut command = server.command();
        assert_eq!(command.seek(None).await.unwrap(), Sought::Beginning);
        for (printed, given) in [
            ("", ""),
            ("a\nb\n", "a\nb\n"),
            ("", ""),
            ("par", ""),
            ("t", ""),
            ("\nc\n\n", "part\nc\n\n"),
            ("x\nla", "x\n"),
        ] {
            text.lock().unwrap().push_str(printed);
            assert_eq!(look(&mut command).await.unwrap(), given, "{unit}, {printed:?}");
        }
        let rest = command.rest().map(|rest| String::from_utf8_lossy(&rest.buf).into_owned());
        assert_eq!(rest.as_deref(), (unit != "whole lines").then_some("la"), "{unit}");
    }
}

#[tokio::test]
async fn a_line_is_found_again_whatever_cursors_count() {
    for unit in ["lines", "bytes"] {
        let text = Arc::new(Mutex::new("one\ntwo\nthree\nfour\n".to_owned()));
        let server = execd(Arc::clone(&text), unit).await;
        let mut command = server.command();
        let records = command.read().await.unwrap().unwrap().records;
        let marks: Vec<Mark> = records.iter().map(|(record, bytes)| Mark::of(record, bytes)).collect();
        for (at, rest) in ["two\nthree\nfour\n", "three\nfour\n", "four\n", ""].iter().enumerate() {
            let mut command = server.command();
            assert!(matches!(command.seek(Some(marks[at])).await.unwrap(), Sought::Found(_)), "{unit} {at}");
            assert_eq!(look(&mut command).await.unwrap(), *rest, "{unit} {at}");
        }
        let mut command = server.command();
        let unknown = Mark { sum: 1, ..marks[2] };
        assert_eq!(command.seek(Some(unknown)).await.unwrap(), Sought::Lost(GapReason::CursorExpired));
        assert_eq!(look(&mut command).await.unwrap(), "one\ntwo\nthree\nfour\n");
    }
    let server = execd(Arc::new(Mutex::new("a\nb\nc\n".to_owned())), "lines").await;
    let mut command = server.command();
    let sum = crc32fast::hash(b"b\n");
    let place = crate::logs::record::Place { time: 1, ordinal: 1 };
    let mark = Mark { stream: crate::logs::record::Stream::Stdout, place, sum };
    command.seek(Some(mark)).await.unwrap();
    assert_eq!(look(&mut command).await.unwrap(), "c\n");
    assert_eq!(server.paths(), ["c1/logs?cursor=0"; 2], "the quick way");
}

#[tokio::test]
async fn lines_that_repeat_are_found_by_their_number_whatever_cursors_count() {
    for text in ["x\n".repeat(40), "\n".repeat(40), "a\n\n\n\nb\n\n\n\n\n".to_owned(), "\n\n\nx".to_owned()] {
        for unit in ["lines", "lines and more", "whole lines", "bytes"] {
            let server = execd(Arc::new(Mutex::new(text.clone())), unit).await;
            let mut first = server.command();
            let records = first.read().await.unwrap().unwrap().records;
            for (at, (record, bytes)) in records.iter().enumerate() {
                let mut command = server.command();
                let sought = command.seek(Some(Mark::of(record, bytes))).await.unwrap();
                assert!(matches!(sought, Sought::Found(_)), "{unit} {at}");
                let rest: String =
                    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).skip(at + 1).collect();
                assert_eq!(look(&mut command).await.unwrap(), rest, "{unit} {at} {text:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_long_line_of_the_same_bytes_is_gone_on_with_where_it_was() {
    let text = "x".repeat(200_000) + "\nnext\n";
    for unit in ["lines", "bytes"] {
        let server = execd(Arc::new(Mutex::new("first\n".to_owned() + &text)), unit).await;
        let mut command = server.command();
        let (mut marks, mut seen) = (Vec::new(), 0);
        while let Some(batch) = command.read().await.unwrap() {
            for (record, bytes) in batch.records.iter() {
                seen += bytes.len();
                marks.push((Mark::of(record, bytes), seen - "first\n".len().min(seen)));
            }
        }
        for (mark, seen) in marks.into_iter().skip(1) {
            let mut command = server.command();
            assert!(matches!(command.seek(Some(mark)).await.unwrap(), Sought::Found(_)), "{unit} {seen}");
            assert!(look(&mut command).await.unwrap() == text[seen..], "{unit} {seen}");
        }
    }
}

#[tokio::test]
async fn cursors_near_the_end_of_numbers_do_no_harm() {
    for last in [u64::MAX, u64::MAX - 1, u64::MAX - 2, u64::MAX - 3, i64::MAX as u64] {
        let server = Server::start(move |path| {
            let text = if path.contains('?') { "c\nd\ne" } else { "a\nb\n" };
            let head = format!("HTTP/1.1 200 OK\r\nEXECD-COMMANDS-TAIL-CURSOR: {last}\r\n");
            format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
        })
        .await;
        let mut command = server.command();
        assert_eq!(look(&mut command).await.unwrap(), "a\nb\n", "{last}");
        assert_eq!(look(&mut command).await.unwrap_err().kind, Kind::Failed, "{last}");
    }
}

#[tokio::test]
async fn the_exit_is_told() {
    for (body, code) in [
        (r#"{"id":"c1","running":true}"#, None),
        (r#"{"running":false,"exit_code":3,"finished_at":"2026-01-31T08:00:00Z"}"#, Some(Some(3))),
        (r#"{"running":false,"finished_at":"when?"}"#, Some(None)),
    ] {
        let server = Server::start(move |_| answer(None, body)).await;
        let exit = server.command().exit().await.unwrap();
        assert_eq!(exit.map(|exit| exit.code), code, "{body}");
        assert_eq!(server.paths(), ["status/c1"]);
    }
}

#[tokio::test]
async fn the_token_goes_to_execd_alone() {
    let server = Server::start(|_| b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\n\r\n".to_vec()).await;
    let error = server.command().exit().await.unwrap_err();
    assert_eq!(error.kind, Kind::Failed);
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "no redirect is followed");
    assert!(
        asked[0].contains("\r\nX-EXECD-ACCESS-TOKEN: t0ken\r\n") && asked[0].contains("connection: close"),
        "{asked:?}"
    );
    let server =
        Server::start(|_| b"HTTP/1.1 400 Bad\r\n\r\n{\"code\":\"X\",\"message\":\"t0ken\\u001b[1m is bad\"}".to_vec())
            .await;
    let error = server.command().exit().await.unwrap_err();
    assert!(error.message.ends_with(r#"It says: "***[1m is bad""#), "{error}");
}

#[tokio::test]
async fn what_breaks_the_rules_is_an_error() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (answer, kind) in [
        (String::new(), Kind::Unavailable),
        ("SSH-2.0-x\r\n\r\n".to_owned(), Kind::Failed),
        (format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000)), Kind::Failed),
        ("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), Kind::NotFound),
        ("HTTP/1.1 401 No\r\n\r\n".to_owned(), Kind::Unauthenticated),
        ("HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n".to_owned(), Kind::Failed),
        (format!("{ok}Execd-Commands-Tail-Cursor: many\r\n\r\na\n"), Kind::Failed),
        (format!("{ok}Execd-Commands-Tail-Cursor: -2\r\n\r\na\n"), Kind::Failed),
        (format!("{ok}Execd-Commands-Tail-Cursor: 99999999999999999999\r\n\r\na\n"), Kind::Failed),
        (format!("{ok}Content-Length: 9\r\n\r\na\n"), Kind::Unavailable),
        (format!("{ok}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), Kind::Failed),
    ] {
        let shown = answer[..answer.len().min(80)].to_owned();
        let server = Server::start(move |_| answer.clone().into_bytes()).await;
        let mut command = server.command();
        assert_eq!(look(&mut command).await.unwrap_err().kind, kind, "{shown}");
    }
    for (first, second) in [(5, 4), (1, 0), (1, 7)] {
        let server = Server::start(move |path| match asked_cursor(path) {
            None => answer(Some(first), "a\nb\n"),
            Some(_) => answer(Some(second), "c\n"),
        })
        .await;
        let mut command = server.command();
        assert_eq!(look(&mut command).await.unwrap(), "a\nb\n");
        assert_eq!(look(&mut command).await.unwrap_err().kind, Kind::Failed, "{first} {second}");
    }
    let server = Server::start(|_| answer(None, &format!("{{\"x\":\"{}\"}}", "y".repeat(100_000)))).await;
    assert_eq!(server.command().exit().await.unwrap_err().kind, Kind::Failed, "a status that is too long");
}

#[tokio::test]
async fn what_breaks_off_is_gone_on_with() {
    let count = Mutex::new(0);
    let server = Server::start(move |path| {
        *count.lock().unwrap() += 1;
        let from = asked_cursor(path).map_or(0, |cursor| cursor as usize + 1);
        let lines = ["a\n", "b\n", "c\n", "d\n"];
        let whole = answer(Some(3), &lines[from..].concat());
        // A line more each time.
        let left = (4_usize - from) * 2;
        let cut = left.saturating_sub(2 * *count.lock().unwrap());
        whole[..whole.len() - cut].to_vec()
    })
    .await;
    let mut command = server.command();
    let mut text = String::new();
    for _ in 0..4 {
        while let Ok(Some(batch)) = command.read().await {
            text += &String::from_utf8_lossy(&batch.records.buf);
        }
    }
    assert_eq!(text, "a\nb\nc\nd\n");
}

#[tokio::test]
async fn a_line_of_any_length_and_any_bytes_costs_a_piece() {
    let long = [vec![0xff; 3_000_000], b"\nnext\n".to_vec()].concat();
    let body = long.clone();
    let server = Server::start(move |_| [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), body.clone()].concat()).await;
    let mut command = server.command();
    let mut found = Vec::new();
    while let Some(batch) = command.read().await.unwrap() {
        assert!(batch.records.buf.len() <= 256 * 1024);
        assert!(batch.records.index.iter().all(|record| record.end - record.start <= 16 * 1024));
        found.extend_from_slice(&batch.records.buf);
    }
    assert!(found == long);
}
