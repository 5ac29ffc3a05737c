//! Against the gateway itself, with sandboxes that are processes.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::{
    NOTE,
    run::{PATIENCE, Running, command, run},
    support::{
        bounded_thread,
        gateway::{Gateway, Setup},
        program::{self, Ended},
    },
};

const KEY: &str = "the-key";

/// A gateway with a key.
pub(crate) struct Fixture {
    gateway: Gateway,
    url: String,
}

impl Fixture {
    pub(crate) fn start() -> Self {
        let gateway = Setup::process().api_key(KEY).start();
        let url = format!("http://{}", gateway.address());
        Self { gateway, url }
    }

    /// Starts a shell script as a sandbox and gives its id.
    pub(crate) fn shell(&self, script: &str) -> String {
        self.named_shell(script, &[])
    }

    /// The same with metadata.
    pub(crate) fn named_shell(&self, script: &str, metadata: &[(&str, &str)]) -> String {
        let metadata: HashMap<_, _> = metadata.iter().copied().collect();
        let entrypoint = ["sh", "-c", script];
        let body =
            json!({"image": {"uri": "any"}, "resourceLimits": {}, "entrypoint": entrypoint, "metadata": metadata});
        let body = body.to_string();
        let mut io = TcpStream::connect(self.gateway.address()).unwrap();
        let head = format!(
            "POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nOPEN-SANDBOX-API-KEY: {KEY}\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        io.set_read_timeout(Some(PATIENCE)).unwrap();
        io.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn env(&self) -> [(&str, &str); 2] {
        [("OPEN_SANDBOX_DOMAIN", &self.url), ("OPEN_SANDBOX_API_KEY", KEY)]
    }

    pub(crate) fn logs(&self, args: &[&str]) -> Ended {
        run(args, &self.env())
    }

    /// What is written of a log that is followed to its end, without the note of its end.
    fn written(&self, args: &[&str]) -> (String, String) {
        let Ended { code, stdout, stderr } = self.logs(args);
        assert_eq!(code, Some(0), "{args:?} {stderr}");
        let errors = stderr.lines().filter(|line| !line.starts_with(NOTE));
        (stdout, errors.map(|line| line.to_owned() + "\n").collect())
    }
}

#[test]
fn streams_codes_and_forms_are_the_sandbox_s() {
    let fixture = Fixture::start();
    let id = &fixture.shell("echo a; echo b >&2; printf 'c\\377\\n'; echo d >&2; printf e; exit 7");
    let ended = fixture.logs(&["-f", "--exit-code", id]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert_eq!(ended.stdout, "a\nc\u{fffd}\ne");
    assert_eq!(ended.stderr, format!("b\nd\n{NOTE}the sandbox exited with code 7\n"));
    let without = fixture.logs(&["-f", id]);
    assert_eq!((without.code, without.stdout, without.stderr), (Some(0), ended.stdout, ended.stderr));
    assert_eq!(fixture.written(&["-n", "1", id]), ("e".to_owned(), String::new()));
    assert_eq!(fixture.written(&["-n", "0", id]), (String::new(), String::new()));
    assert_eq!(fixture.written(&["--grep", "^[bd]", "--search", "d", id]), (String::new(), "d\n".to_owned()));
    let (raw, errors) = fixture.written(&["-oraw", id]);
    assert_eq!((raw.len(), errors.as_str()), ("a\nb\nc\u{fffd}\nd\ne".len(), ""));
    let (stamped, _) = fixture.written(&["-t", "--grep", "^a", id]);
    assert!(stamped.ends_with("Z a\n") && stamped.len() == "2026-01-31T08:00:00.123456789Z a\n".len(), "{stamped}");
    let (records, errors) = fixture.written(&["-f", "-o", "json", id]);
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |stream| records.iter().filter(move |record| record["stream"] == stream);
    let texts: Vec<_> = of("stdout").map(|record| record["log"].as_str().or(record["log_base64"].as_str())).collect();
    assert_eq!(texts, [Some("a\n"), Some("Y/8K"), Some("e")]);
    assert_eq!((of("stderr").count(), errors.as_str()), (2, ""));
    let end = records.last().unwrap();
    assert_eq!((&end["event"], &end["reason"], &end["exit_code"]), (&json!("end"), &json!("exited"), &json!(7)));
    // Bytes as they are.
    let mut exact = command(&["-o", "text", id], &fixture.env());
    let output = bounded_thread("the command's end", move || exact.output().unwrap());
    assert_eq!(output.stdout, b"a\nc\xff\ne");
}

#[test]
fn both_streams_in_one_file_keep_their_orders() {
    let fixture = Fixture::start();
    let id = fixture.shell("i=0; while [ $i -lt 500 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done");
    let path = fixture.gateway.home().join("both");
    let file = File::create(&path).unwrap();
    let mut command = command(&["-f", &id], &fixture.env());
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let status = bounded_thread("the command's end", move || command.status().unwrap());
    assert!(status.success());
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 1000);
    for stream in ["o", "e"] {
        let numbers = text.lines().filter_map(|line| line.strip_prefix(stream)?.parse::<usize>().ok());
        assert!(numbers.eq(0..500), "{stream}");
    }
}

#[test]
fn what_the_gateway_refuses_is_told() {
    let fixture = Fixture::start();
    let id = &fixture.shell("exit 0");
    let of = |key| [("OPEN_SANDBOX_DOMAIN", fixture.url.as_str()), ("OPEN_SANDBOX_API_KEY", key)];
    for (args, key, told) in [
        (&["-f", id][..], "", "401 MISSING_API_KEY: "),
        (&[id], "wrong", "401 INVALID_API_KEY: "),
        (&["no-such-sandbox"], KEY, "404 "),
        (&["--since", "yesterday", id], KEY, "422 VALIDATION_ERROR: "),
        (&["--grep", "(", id], KEY, "422 VALIDATION_ERROR: "),
    ] {
        let ended = run(args, &of(key));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(ended.stderr.starts_with(&format!("{NOTE}{told}")), "{args:?} {}", ended.stderr);
        assert_eq!(ended.stderr.contains("OPEN_SANDBOX_API_KEY is not set"), key.is_empty());
        assert!(key.is_empty() || !ended.stderr.contains(key), "{}", ended.stderr);
    }
}

#[test]
fn a_sandbox_that_is_silent_keeps_nobody() {
    let fixture = Fixture::start();
    let id = fixture.shell("echo a; sleep 1000");
    let mut shell = Command::new("sh");
    shell.args(["-c", "{ \"$@\"; echo \"code $?\" >&2; } | head -n 1", "sh"]);
    shell.args([env!("CARGO_BIN_EXE_opensandbox-gateway"), "logs", "-f", &id]).envs(fixture.env());
    let child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = program::end(child, PATIENCE);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("a\n", "code 0\n"));
    let mut running = Running::start(&["-f", &id], &fixture.env());
    assert_eq!(running.line(), "a\n");
    assert!(!running.command_line().contains(KEY));
    running.signal("INT");
    assert_eq!(running.end(), (Some(130), String::new()));
}

#[test]
fn a_log_is_whole_through_a_proxy_that_cuts() {
    let fixture = Fixture::start();
    let (script, count) = ("i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); done; exit 5", 200);
    let id = fixture.shell(script);
    let url = format!("http://{}", proxy(fixture.gateway.address(), 4000));
    for (args, code) in [(&["-f", "--exit-code", "--url", &url, &id][..], 5), (&["--url", &url, &id], 0)] {
        let ended = fixture.logs(args);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stdout.lines().map(|line| line.parse::<usize>().unwrap()).eq(0..count), "{}", ended.stdout);
        assert!(ended.stderr.contains("the connection broke: "), "{}", ended.stderr);
    }
}

/// A proxy that closes a connection when it has brought so many bytes.
fn proxy(to: SocketAddr, bytes: u64) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(to).unwrap());
            let (mut request, mut rest) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                // Whoever leaves first ends both ways.
                let _ = std::io::copy(&mut request, &mut rest);
            });
            let _ = std::io::copy(&mut (&mut server).take(bytes), &mut client);
            for io in [&client, &server] {
                let _ = io.shutdown(Shutdown::Both);
            }
        }
    });
    address
}
