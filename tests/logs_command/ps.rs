//! `opensandbox-gateway ps`, against the gateway itself and against servers that mean harm.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;

use crate::{
    NOTE, NOWHERE,
    real::Fixture,
    run::{PATIENCE, command_of},
    server::certificates,
    support::program::{self, Ended},
};

fn ps(args: &[&str], env: &[(&str, &str)]) -> Ended {
    program::end(command_of("ps", args, env).spawn().unwrap(), PATIENCE)
}

/// A server that answers each request with what `answer` makes of its number, from 1; and how many there were.
fn server(answer: impl Fn(usize) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (url, count) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for io in listener.incoming() {
            let (mut io, mut head, mut byte) = (io.unwrap(), Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && matches!(io.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            // The client may have enough before it has all.
            let _ = io.write_all(answer(counted.fetch_add(1, Ordering::SeqCst) + 1).as_bytes());
        }
    });
    (url, count)
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn page(items: &str, has_next: bool) -> String {
    answer("200 OK", "", &format!(r#"{{"items":[{items}],"pagination":{{"hasNextPage":{has_next}}}}}"#))
}

#[test]
fn sandboxes_are_listed_in_every_form() {
    let fixture = Fixture::start();
    let ps = |args: &[&str]| ps(args, &fixture.env());
    let empty = ps(&[]);
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(0), "ID  STATE  AGE  EXPIRES  IMAGE  METADATA\n"));
    let web = fixture.named_shell("sleep 1000", &[("name", "web"), ("team", "a")]);
    let other = fixture.named_shell("sleep 1000", &[("team", "b")]);
    let table = ps(&[]);
    assert_eq!((table.code, table.stderr.as_str()), (Some(0), ""));
    let lines: Vec<Vec<_>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 3);
    let of = |id: &str| lines.iter().find(|line| line[0] == id).unwrap();
    assert_eq!((of(&web)[1], of(&web)[4..].join(" ")), ("Running", "any name=web,team=a".to_owned()));
    assert_eq!(of(&other)[5], "team=b");
    assert_eq!(ps(&["-q", "-l", "team=a", "--label", "name=web"]).stdout, format!("{web}\n"));
    assert_eq!(ps(&["-q", "--state", "paused", "--state", "terminated"]).stdout, "");
    assert_eq!(ps(&["--no-header", "--state", "running", "-l", "team=b"]).stdout.lines().count(), 1);
    let array: Value = serde_json::from_str(&ps(&["-o", "json"]).stdout).unwrap();
    let objects: Vec<Value> =
        ps(&["-ondjson"]).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(array, Value::from(objects));
    assert!(array[1]["metadata"]["name"] == "web" && array[1]["id"] == web.as_str(), "{array}");
    assert_eq!(ps(&["-ojson", "-l", "team=c"]).stdout, "[]\n");
}

#[test]
fn what_cannot_be_listed_is_told() {
    let fixture = Fixture::start();
    let domain = fixture.env()[0];
    let no_key = ps(&[], &[domain]);
    assert_eq!((no_key.code, no_key.stdout.as_str()), (Some(1), ""));
    assert!(no_key.stderr.starts_with(&format!("{NOTE}401 MISSING_API_KEY: ")), "{}", no_key.stderr);
    assert!(no_key.stderr.contains("OPEN_SANDBOX_API_KEY is not set"));
    let nowhere = ps(&["--url", NOWHERE], &[]);
    assert!(nowhere.code == Some(1) && nowhere.stderr.contains("cannot be reached"), "{}", nowhere.stderr);
    let trusted = certificates().join("ca.pem");
    let trusted = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
    let tls = ps(&["--url", &domain.1.replace("http:", "https:")], &trusted);
    assert!(tls.code == Some(1) && tls.stderr.contains("does not speak TLS"), "{}", tls.stderr);
    for args in
        [&["a"][..], &["-q", "-ojson"], &["--no-header", "-q"], &["-l", "a"], &["--state", ""], &["--url", "ftp://a"]]
    {
        assert_eq!(ps(args, &[]).code, Some(2), "{args:?}");
    }
}

#[test]
fn pages_are_read_to_the_last_and_no_further() {
    let (url, count) = server(|number| page(&format!(r#"{{"id":"{number}"}},{{"id":"{}"}}"#, number + 1), number < 3));
    assert_eq!(ps(&["-q", "--url", &url], &[]).stdout, "1\n2\n3\n4\n");
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let (url, count) = server(|number| page(&format!(r#"{{"id":"{number}"}}"#), true));
    let ended = ps(&["-q", "--url", &url], &[]);
    assert_eq!((ended.code, ended.stdout.as_str(), count.load(Ordering::SeqCst)), (Some(1), "", 250));
    assert!(ended.stderr.contains("more than 50000 sandboxes"), "{}", ended.stderr);
    let (url, count) = server(|_| page("", true));
    assert_eq!((ps(&["--url", &url], &[]).code, count.load(Ordering::SeqCst)), (Some(1), 1));
}

#[test]
fn a_server_that_means_harm_is_refused() {
    let huge = "x".repeat(33 << 20);
    for (told, say) in [
        ("is not understood", answer("200 OK", "", "<html>")),
        (" sends text/html, so it may be", answer("200 OK", "Content-Type: text/html; charset=utf-8\r\n", "<html>")),
        ("is not understood", answer("200 OK", "", &"[".repeat(1 << 20))),
        ("is not understood", page("1", false).replace("items", "other")),
        ("without an id", page(r#"{"id":1}"#, false)),
        ("without an id", page(r#"{"id":".."}"#, false)),
        ("longer than 32 MiB", answer("200 OK", "", &huge)),
        ("302 Found", answer("302 Found", "Location: http://127.0.0.1:1/\r\n", "")),
        ("before its answer's end", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_owned()),
        ("does not speak HTTP/1", "SSH-2.0\r\n".to_owned()),
    ] {
        let (url, count) = server(move |_| say.clone());
        let ended = ps(&["--url", &url], &[]);
        assert_eq!((ended.code, ended.stdout.as_str(), count.load(Ordering::SeqCst)), (Some(1), "", 1), "{told}");
        assert!(ended.stderr.contains(told) && ended.stderr.lines().count() == 1, "{told} {}", ended.stderr);
    }
}

#[test]
fn what_a_creator_wrote_is_escaped_for_a_person_and_kept_for_a_program() {
    let text = r#""\u001b[2J\n\u202e""#;
    let (url, _) = server(move |_| page(&format!(r#"{{"id":"a","metadata":{{"name":{text}}}}}"#), false));
    let table = ps(&["--url", &url, "--no-header"], &[]).stdout;
    assert!(table.ends_with("name=\\u{1b}[2J\\n\\u{202e}\n") && table.lines().count() == 1, "{table:?}");
    let json = ps(&["--url", &url, "-o", "ndjson"], &[]).stdout;
    let object: Value = serde_json::from_str(json.trim_end()).unwrap();
    assert!(object["metadata"]["name"] == "\u{1b}[2J\n\u{202e}" && !json.contains('\u{1b}'), "{json:?}");
}

#[test]
fn a_reader_that_has_enough_is_no_fault() {
    let (url, _) =
        server(|_| page(&(0..20_000).map(|n| format!(r#"{{"id":"{n}"}}"#)).collect::<Vec<_>>().join(","), false));
    let mut command = command_of("ps", &["-q", "--url", &url], &[]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (mut stderr, mut text) = (child.stderr.take().unwrap(), String::new());
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!((child.wait().unwrap().code(), text.as_str()), (Some(0), ""));
}
