//! `opensandbox-gateway logs` as a program: against a server that plays a script, and against the gateway itself.

#![allow(clippy::unwrap_used, reason = "a test's failure is the panic")]

#[path = "logs_command/ps.rs"]
mod ps;
#[path = "logs_command/real.rs"]
mod real;
#[path = "logs_command/run.rs"]
mod run;
#[path = "logs_command/server.rs"]
mod server;
#[path = "logs_command/several.rs"]
mod several;
#[path = "support/mod.rs"]
mod support;

use std::{
    fs::OpenOptions,
    io::{Read, pipe},
    process::{Command, Stdio},
};

use rustix::io::ioctl_fionread;

use self::{
    run::{PATIENCE, Running, command, run, until},
    server::{Server, Turn, certificates, is_error},
    support::{bounded_thread, program},
};

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The name with which every note begins.
const NOTE: &str = "opensandbox-gateway: ";

/// The lines of an output that are no notes.
fn numbers(output: &str) -> Vec<usize> {
    output.lines().filter(|line| !line.starts_with(NOTE)).map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let server = Server::start(2, [Turn::Silent(2)]);
    let mut running = Running::start(&["-f", "--url", &server.url(), "id"], &[]);
    assert_eq!(running.line(), "1\n");
    running.stdout = None;
    assert_eq!(running.end(), (Some(0), String::new()));
    for length in [2, 100_000] {
        let server = Server::start(length, [Turn::Silent(length)]);
        let mut shell = Command::new("sh");
        shell.args(["-c", "{ \"$@\" -o raw id; echo \"code $?\" >&2; } | head -n 1", "sh"]);
        shell.args([env!("CARGO_BIN_EXE_opensandbox-gateway"), "logs", "-f", "--url", &server.url()]);
        let child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = program::end(child, PATIENCE);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("1\n", "code 0\n"));
    }
}

#[test]
fn a_signal_ends_it_whatever_it_waits_for() {
    let busy = Turn::Refusal("503 x", "Retry-After: 300\r\n", r#"{"code":"C","message":"m"}"#);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        for turn in [Turn::Silent(2), Turn::Silent(100_000), Turn::Mute, busy.clone()] {
            let server = Server::start(100_000, [turn.clone()]);
            let mut running = Running::start(&["-f", "-oraw", "--url", &server.url(), "id"], &[]);
            match turn {
                Turn::Silent(2) => assert_eq!(running.line(), "1\n"),
                // It waits for whoever reads the pipe.
                Turn::Silent(_) => {
                    let held = || ioctl_fionread(running.stdout.as_ref().unwrap().get_ref()).unwrap();
                    until("a full pipe", || held() > 60_000);
                }
                Turn::Mute => until("a request", || !server.asked().is_empty()),
                _ => running.says("503 C: m; trying again in 300"),
            }
            running.signal(signal);
            let (ended, _) = running.end();
            assert_eq!(ended, Some(code), "{turn:?}");
        }
    }
}

#[test]
fn a_command_line_or_environment_that_is_wrong_is_usage() {
    for (args, env, text) in [
        (&[][..], ("A", ""), "<ID>"),
        (&["a", "-l", "b=c"], ("A", ""), "cannot be used with"),
        (&["-l", "b"], ("A", ""), "metadata is key=value"),
        (&["-n", "x", "a"], ("A", ""), "a number of lines is"),
        (&["-o", "xml", "a"], ("A", ""), "possible values: text, json, raw"),
        (&["-t", "-o", "json", "a"], ("A", ""), "--timestamps is for -o text"),
        (&["--exit-code", "a"], ("A", ""), "--exit-code needs --follow"),
        (&["--url", "ftp://a", "a"], ("A", ""), "a server is host, host:port, or a URL"),
        (&["--url", "http://u:p@a", "a"], ("A", ""), "a key is not put in a URL"),
        (&["a"], ("OPEN_SANDBOX_PROTOCOL", "ftp"), "neither http nor https"),
        (&["a"], ("OPEN_SANDBOX_DOMAIN", "a b"), "OPEN_SANDBOX_DOMAIN: "),
    ] {
        let ended = run(args, &[env]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ended.stderr.contains(text), "{args:?} {}", ended.stderr);
    }
}

#[test]
fn a_refusal_is_told_with_the_server_s_words() {
    for (status, told) in [
        ("401 x", "401 C: m (OPEN_SANDBOX_API_KEY is not set)"),
        ("404 x", "404 C: m"),
        ("422 x", "422 C: m"),
        ("501 x", "501 C: m"),
    ] {
        let server = Server::start(0, [Turn::Refusal(status, "", r#"{"code":"C","message":"m"}"#)]);
        let ended = run(&["-f", "--url", &server.url(), "id"], &[]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert_eq!(ended.stderr, format!("{NOTE}{told}\n"));
        // What is no UUID may be a name.
        assert_eq!(server.asked().len(), if status == "404 x" { 2 } else { 1 });
    }
    let ended = run(&["-f", "--url", NOWHERE, "id"], &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.starts_with(&format!("{NOTE}{NOWHERE} cannot be reached: ")), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_resumed_is_broken() {
    for refusal in ["404 x", "400 x", "401 x"] {
        let turns = [Turn::Cut(3), Turn::Refusal(refusal, "", r#"{"code":"C","message":"m"}"#)];
        let server = Server::start(9, turns);
        let ended = run(&["-f", "--url", &server.url(), "id"], &[]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), "1\n2\n"));
        let notes: Vec<_> = ended.stderr.lines().collect();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0] == "3" && notes[1].ends_with("; reconnecting"), "{notes:?}");
        assert!(notes[2].starts_with(&format!("{NOTE}the log cannot be resumed: {} C: m", &refusal[..3])), "{notes:?}");
    }
}

#[test]
fn a_log_is_whole_though_every_connection_is_cut() {
    let ways = [Turn::Cut(4), Turn::Reset(3), Turn::Short(5), Turn::Cut(1)];
    let turns = ways.iter().cycle().take(16).cloned().chain([Turn::Cut(2)]);
    let server = Server::start(60, turns);
    let ended = run(&["-f", "-n", "100", "--url", &server.url(), "id"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (errors, out): (Vec<_>, Vec<_>) = (1..=60).partition(|number| is_error(*number));
    assert_eq!((numbers(&ended.stdout), numbers(&ended.stderr)), (out, errors));
    let asked = server.asked();
    assert!(asked.len() > 15 && asked[0].contains("tail=100"), "{}", asked.len());
    assert!(asked[1..].iter().all(|request| request.contains("after=v1.") && !request.contains("tail")));
}

#[test]
fn one_pipe_for_both_keeps_the_order() {
    let server = Server::start(30_000, [Turn::Whole]);
    let (mut reader, writer) = pipe().unwrap();
    let mut command = command(&["--url", &server.url(), "id"], &[]);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    // It holds the pipe's other ends.
    drop(command);
    let (all, status) = bounded_thread("the command's end", move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        (all, child.wait().unwrap())
    });
    assert!(status.success());
    assert_eq!(numbers(&all), (1..=30_000).collect::<Vec<_>>());
}

#[test]
fn a_server_with_tls_is_trusted_by_a_file_of_certificates() {
    let file = |name: &str| certificates().join(name).to_str().unwrap().to_owned();
    let server = Server::tls(9, [Turn::Cut(4), Turn::Whole]);
    let domain = format!("localhost:{}", server.port);
    let env = [("OPEN_SANDBOX_DOMAIN", domain.as_str()), ("OPEN_SANDBOX_PROTOCOL", "https")];
    let with = |ca: &str| run(&["-f", "id"], &[env[0], env[1], ("SSL_CERT_FILE", &file(ca))]);
    let ended = with("ca.pem");
    assert_eq!((ended.code, numbers(&ended.stdout)), (Some(0), vec![1, 2, 4, 5, 7, 8]), "{}", ended.stderr);
    // Another's certificate, and no certificate at all.
    for (ca, told) in [("cert.pem", "SSL_CERT_FILE can name a file"), ("nothing.pem", "SSL_CERT_FILE: /")] {
        let ended = with(ca);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
    let other = format!("https://127.0.0.2:{}", Server::tls(1, [Turn::Whole]).port);
    let ended = run(&["--url", &other, "id"], &[("SSL_CERT_FILE", &file("ca.pem"))]);
    assert_eq!(ended.code, Some(1));
}

#[test]
fn a_certificate_as_openssl_makes_it_is_told_from_one_for_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    for (is_authority, code) in [(true, 1), (false, 0)] {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
        if !is_authority {
            openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        }
        let made = openssl.arg("-out").arg(&certificate).arg("-keyout").arg(&key).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let server = Server::tls_with(&certificate, &key, 1, [Turn::Whole]);
        let url = format!("https://localhost:{}", server.port);
        let ended = run(&["--url", &url, "id"], &[("SSL_CERT_FILE", certificate.to_str().unwrap())]);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("a server needs one with CA:FALSE"), is_authority, "{}", ended.stderr);
    }
}

#[test]
fn what_is_no_gateway_is_told() {
    for (fields, told) in [
        ("Content-Type: text/html\r\n", " sends text/html, so it may be another server"),
        ("Content-Type: text/plain; charset=utf-8\r\n", "must be a newer one"),
    ] {
        let server = Server::start(1, [Turn::Refusal("200 OK", fields, "<html>")]);
        let ended = run(&["--url", &server.url(), "id"], &[]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
}

#[test]
fn a_full_disk_is_told() {
    let server = Server::start(2, [Turn::Whole]);
    for ids in [&["id"][..], &["id", "other"]] {
        let mut command = command(&["--url", &server.url()], &[]);
        command.args(ids).stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let output = bounded_thread("the command's end", move || command.output().unwrap());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("the output cannot be written: No space left on device"), "{stderr}");
    }
}

#[test]
fn the_key_is_shown_to_the_server_alone() {
    let key = "a-key-that-is-hidden";
    let refusal = Turn::Refusal("403 x", "", r#"{"code":"C","message":"m"}"#);
    for turn in [Turn::Silent(2), Turn::Cut(2), refusal] {
        let server = Server::start(9, [turn.clone(), Turn::Silent(1)]);
        let (url, is_over) = (server.url(), matches!(turn, Turn::Refusal(..)));
        let env = [("OPEN_SANDBOX_API_KEY", key), ("OPEN_SANDBOX_DOMAIN", &url), ("RUST_LOG", "trace")];
        let mut running = Running::start(&["-f", "-ojson", "id"], &env);
        until("a request", || !server.asked().is_empty());
        assert!(server.asked()[0].contains(&format!("\r\nOPEN-SANDBOX-API-KEY: {key}\r\n")));
        if !is_over {
            assert!(!running.command_line().contains(key));
            until("all requests", || server.asked().len() > usize::from(matches!(turn, Turn::Cut(_))));
            running.signal("TERM");
        }
        let mut rest = running.stdout.take().unwrap();
        let stdout = bounded_thread("the end of its output", move || {
            let mut stdout = String::new();
            rest.read_to_string(&mut stdout).unwrap();
            stdout
        });
        let (_, stderr) = running.end();
        assert!(!stdout.contains(key) && !stderr.contains(key), "{stdout}{stderr}");
    }
    // Neither where it cannot be sent, nor where it is put in a URL.
    let bad = format!("{key}\u{7}");
    for (args, env) in [
        (&["id"][..], ("OPEN_SANDBOX_API_KEY", bad.as_str())),
        (&["--url", "http://a-key-that-is-hidden@a", "id"], ("A", "")),
    ] {
        let ended = run(args, &[env]);
        assert_eq!(ended.code, Some(2));
        assert!(!ended.stderr.contains(key), "{}", ended.stderr);
    }
}
