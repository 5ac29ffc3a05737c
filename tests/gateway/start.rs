//! Starting and refusing to start: exit codes and the one clear line (config.md §4), `dev`, and the program's own log.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Engine, Pair, Setup, logs,
    support::{
        client::{get_once, request},
        docker,
        engine::Script,
        gateway::free_port,
        program::{self, Ended, Home},
    },
};

const OPEN: (&str, &str) = ("OPENSANDBOX_INSECURE_SERVER", "YES");
const PROCESS: &str = "[runtime]\ntype = 'process'\nexecd_image = 'x'\n";

fn process(server: &str) -> String {
    format!("[server]\nhost = '127.0.0.1'\n{server}\n{PROCESS}")
}

/// One line on the standard error, with all of these parts and without a trace of where the program's code is.
fn refuses(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("opensandbox-gateway: "), "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is not in {}", ended.stderr);
    }
    for trace in ["panicked", "src/", "RUST_BACKTRACE", "\u{1b}"] {
        assert!(!ended.stderr.contains(trace), "{}", ended.stderr);
    }
}

#[test]
fn configuration_errors_name_the_file_the_key_and_the_reason() {
    for (text, parts) in [
        ("[server]\nhost = '127.0.0.1'\n", &["runtime", "Field required"][..]),
        ("[server\n", &["line 1", "not valid TOML"]),
        ("[server]\nport = 99999\n[runtime]\ntype = 'docker'\nexecd_image = 'x'\n", &["server.port"]),
        ("[server]\nport = 'k-hidden'\n[runtime]\ntype = 'docker'\nexecd_image = 'x'\n", &["server.port"]),
        ("[runtime]\ntype = 'docker'\nexecd_image = 'x'\n[logs]\nbuffer_bytes = 1\n", &["logs.buffer_bytes"]),
        ("[log]\nlevel = 'LOUD'\n[runtime]\ntype = 'docker'\nexecd_image = 'x'\n", &["log.level"]),
    ] {
        let home = Home::with(text);
        let ended = home.run(&[OPEN]);
        refuses(&ended, 1, parts);
        refuses(&ended, 1, &[home.config().to_str().unwrap()]);
        assert!(!ended.stderr.contains("k-hidden"), "{}", ended.stderr);
    }
}

#[test]
fn a_missing_file_is_said_so() {
    let home = Home::with("");
    let missing = home.path().join("nowhere.toml");
    refuses(&home.run_args(&["--config", missing.to_str().unwrap()]), 1, &["nowhere.toml", "does not exist"]);
    refuses(&home.run_args(&[]), 1, &[".sandbox.toml", "does not exist"]);
}

#[test]
fn an_unknown_key_is_a_warning_with_its_name() {
    let port = free_port();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let home = Home::with(&process(&format!("port = {port}\ntimeout_keepalive = 3")));
    let ended = home.run(&[OPEN]);
    assert_eq!(ended.code, Some(3));
    let warned = ended.stdout.lines().any(|line| line.starts_with("WARNING") && line.contains("timeout_keepalive"));
    assert!(warned, "{ended:?}");
    drop(taken);
    let mistyped = Home::with("[server]\nhost = '127.0.0.1'\n[runtimes]\ntype = 'docker'\n");
    let ended = mistyped.run(&[OPEN]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("warning") && ended.stderr.contains("runtimes"), "{ended:?}");
}

#[test]
fn bad_usage_is_2_and_help_is_0() {
    let home = Home::with("");
    let ended = home.run_args(&["--no-such-option"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--no-such-option"), "{ended:?}");
    assert_eq!(home.run_args(&["no-such-command"]).code, Some(2));
    let help = home.run_args(&["--help"]);
    assert_eq!(help.code, Some(0));
    for part in ["dev", "--config", "OPENSANDBOX_SERVER_API_KEY", "DOCKER_HOST"] {
        assert!(help.stdout.contains(part), "{}", help.stdout);
    }
    let version = home.run_args(&["--version"]);
    let own = concat!("opensandbox-gateway ", env!("CARGO_PKG_VERSION"), " (API of opensandbox-server 1.1.1)\n");
    assert!(version.stdout.starts_with(own), "{}", version.stdout);
}

#[test]
fn a_port_in_use_is_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let home = Home::with(&process(&format!("port = {port}")));
    refuses(&home.run(&[OPEN]), 3, &[&port.to_string(), "server.port", "in use"]);
}

#[test]
fn a_missing_key_stops_the_start_before_it_has_any_effect() {
    let engine = Engine::start();
    let port = free_port();
    let docker = "[runtime]\ntype = 'docker'\nexecd_image = 'x'\n";
    let home = Home::with(&format!("[server]\nhost = '127.0.0.1'\nport = {port}\n{docker}"));
    for env in [&[][..], &[("OPENSANDBOX_INSECURE_SERVER", "yes")], &[("OPENSANDBOX_SERVER_API_KEY", "  ")]] {
        let env: Vec<_> = env.iter().copied().chain([("DOCKER_HOST", engine.docker_host())]).collect();
        refuses(&home.run(&env), 1, &["server.api_key", "OPENSANDBOX_INSECURE_SERVER=YES"]);
    }
    assert!(engine.requests().is_empty(), "{:?}", engine.requests());
    // Nothing was left in the home either.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn an_engine_that_does_not_answer_stops_the_start() {
    let home = Home::with(&format!(
        "[server]\nhost = '127.0.0.1'\nport = {}\n[runtime]\ntype = 'docker'\nexecd_image = 'x'\n",
        free_port()
    ));
    let ended = home.run(&[OPEN, ("DOCKER_HOST", "unix:///nonexistent/docker.sock")]);
    refuses(&ended, 1, &["Docker", "unix:///nonexistent/docker.sock"]);
}

#[test]
fn a_log_driver_that_the_engine_lacks_stops_the_start() {
    let refused = |lines: &str, parts: &[&str]| {
        let docker = format!("[runtime]\ntype = 'docker'\nexecd_image = 'x'\n[docker]\nexpiry = 'own'\n{lines}");
        let home = Home::with(&format!("[server]\nhost = '127.0.0.1'\nport = {}\n{docker}", free_port()));
        refuses(&home.run(&[OPEN, ("DOCKER_HOST", &docker::host())]), 1, parts);
    };
    refused("log_driver = 'jsonfile'", &["docker.log_driver", "no log driver 'jsonfile'", "It has:", "local"]);
    refused("log_driver = 'a b'", &["docker.log_driver", "must be the name of a log driver"]);
    refused("log_driver = 'local'\nlog_opts = { max-size = '10x' }", &["docker.log_opts.max-size", "such as"]);
    refused("log_driver = 'none'\nlog_opts = { max-size = '1m' }", &["docker.log_opts", "no options"]);
    refused("log_opts = { max-file = 3 }", &["docker.log_opts", "max-file", "must be a string"]);
    refused("log_driver = 'splunk'\nlog_opts = { \"\" = 's3cret' }", &["docker.log_opts", "empty"]);
}

#[tokio::test]
async fn the_process_runtime_refuses_to_be_reached_from_elsewhere() {
    let home = Home::with(&format!("[server]\nhost = '0.0.0.0'\nport = {}\n{PROCESS}", free_port()));
    refuses(&home.run(&[OPEN]), 1, &["server.host", "non-loopback"]);
    let gateway = Setup::process().start();
    let warned = || gateway.output().contains("WITHOUT isolation");
    crate::support::eventually("the warning", Duration::from_secs(5), warned).await;
}

#[tokio::test]
async fn the_key_comes_from_the_environment_before_the_file() {
    let engine = Engine::start();
    let setup = Setup::docker(engine.docker_host()).api_key("of-the-file");
    let gateway = setup.env("OPENSANDBOX_SERVER_API_KEY", "of-the-environment").start();
    for (key, status) in [("of-the-file", 401), ("of-the-environment", 200)] {
        let line = format!("OPEN-SANDBOX-API-KEY: {key}");
        let response = request(gateway.address(), "GET", "/v1/sandboxes", &[&line], "").await;
        assert_eq!(response.status(), status, "{key}");
    }
    assert!(!gateway.output().contains("of-the-"), "{}", gateway.output());
}

/// A `dev` that is up, and what it printed. It is killed when this is dropped.
struct Dev {
    child: std::process::Child,
    home: Home,
    port: u16,
}

impl Dev {
    fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let (home, port) = (Home::with(""), free_port());
        let port_text = port.to_string();
        let mut command = home.command(&[&["dev", "--port", &port_text], args].concat(), env);
        command.env("TMPDIR", home.path());
        let output = std::fs::File::create(home.path().join("output")).unwrap();
        let child = command.stdout(output).spawn().unwrap();
        let dev = Self { child, home, port };
        let start = Instant::now();
        while !dev.output().contains("Ctrl-C") {
            assert!(start.elapsed() < Duration::from_secs(10), "{}", dev.output());
            thread::sleep(Duration::from_millis(10));
        }
        dev
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.home.path().join("output")).unwrap()
    }

    /// The lines to type that have this in them.
    fn lines(&self, part: &str) -> Vec<String> {
        let text = self.output();
        text.lines().filter(|line| line.starts_with("  ") && line.contains(part)).map(str::to_owned).collect()
    }

    /// The key in the line for the SDKs.
    fn key(&self) -> Option<String> {
        let line = self.lines("export ").pop().expect("a line for the SDKs");
        let (_, rest) = line.split_once("OPEN_SANDBOX_API_KEY=")?;
        rest.split(' ').next().map(str::to_owned)
    }

    /// The status of a request with these header lines.
    async fn status(&self, method: &str, path: &str, lines: &[&str]) -> u16 {
        request(([127, 0, 0, 1], self.port).into(), method, path, lines, "").await.status()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // As Ctrl-C does, so that its sandboxes end too.
            let _ = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status();
            let _ = self.child.wait();
        }
    }
}

/// Runs what `dev` prints, as a newcomer does.
#[test]
fn dev_prints_two_lines_that_work() {
    for (args, env) in [
        (&[][..], &[][..]),
        (&["--no-key"], &[("OPENSANDBOX_SERVER_API_KEY", "not this")]),
        (&[], &[("OPENSANDBOX_SERVER_API_KEY", "it's \"quoted\" \\n $HOME")]),
    ] {
        let mut dev = Dev::start(args, env);
        let lines = dev.lines("curl");
        assert_eq!(lines.len(), 2, "{}", dev.output());
        let created = shell(&lines[0], env);
        assert!(created.stdout.contains("\"state\":\"Running\""), "{created:?}");
        // The first line's server is asked in the second for the sandbox's id; the log follows.
        let followed = shell(&format!("timeout 3 sh <<'END'\n{}\nEND", lines[1].replace("curl -N", "curl -sN")), env);
        assert!(followed.stdout.contains("Z line 1\n") && followed.stdout.contains("Z line 2\n"), "{followed:?}");
        assert!(!dev.output().contains('\u{1b}'), "colour without a terminal");
        let id = dev.child.id();
        // A sandbox is its gateway's child and leads a group. Its program alone does not tell it from another gateway's.
        let group = shell(&format!("pgrep -P {id}"), &[]).stdout.trim().to_owned();
        assert!(group.parse::<u32>().is_ok(), "one sandbox: {group:?}");
        assert!(Command::new("kill").args(["-s", "INT", &id.to_string()]).status().unwrap().success());
        assert_eq!(wait(&mut dev.child).code(), Some(0));
        // Its sandbox has ended with it.
        let left = shell(&format!("pgrep -g {group} -f 'echo line [$]i' || true"), &[]);
        assert!(left.stdout.is_empty(), "{left:?}");
    }
}

/// Any user of the machine reaches its loopback interface, and so does any page of a web server on it.
#[tokio::test]
async fn dev_obeys_nobody_without_its_key() {
    let dev = Dev::start(&[], &[]);
    let key = dev.key().expect("a key");
    assert!(key.len() >= 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "128 bits: {key}");
    let wrong = format!("OPEN-SANDBOX-API-KEY: {}", "0".repeat(key.len()));
    let right = format!("OPEN-SANDBOX-API-KEY: {key}");
    let page = "Origin: http://localhost:3000";
    for lines in [&[][..], &[page], &[&wrong], &["OPEN-SANDBOX-API-KEY:"]] {
        for path in ["/v1/sandboxes", "/sandboxes", "/v1/sandboxes/x", "/v1/sandboxes/x/logs?follow=true"] {
            assert_eq!(dev.status("GET", path, lines).await, 401, "{path}, {lines:?}");
        }
        assert_eq!(dev.status("POST", "/v1/sandboxes", lines).await, 401, "{lines:?}");
        assert_eq!(dev.status("DELETE", "/v1/sandboxes/x", lines).await, 401, "{lines:?}");
    }
    assert_eq!(dev.status("GET", "/v1/sandboxes", &[&right]).await, 200);
    assert_eq!(dev.status("GET", "/v1/sandboxes", &[&right, page]).await, 200);
    assert_eq!(dev.status("GET", "/health", &[]).await, 200);
    // The key is in the lines to type, and nowhere in the log.
    let text = dev.output();
    assert!(text.lines().all(|line| line.starts_with("  ") || !line.contains(&key)), "{text}");
    assert_ne!(Dev::start(&[], &[]).key(), Some(key), "each start has its own");
}

#[tokio::test]
async fn dev_asks_for_no_key_only_when_told_so() {
    let open = Dev::start(&["--no-key"], &[("OPENSANDBOX_SERVER_API_KEY", "of-the-environment")]);
    assert_eq!(open.key(), None);
    assert!(open.output().contains("There is no key"), "{}", open.output());
    assert_eq!(open.status("GET", "/v1/sandboxes", &[]).await, 200);
    let given = Dev::start(&[], &[("OPENSANDBOX_SERVER_API_KEY", "of-the-environment\n")]);
    assert_eq!(given.status("GET", "/v1/sandboxes", &[]).await, 401);
    assert_eq!(given.status("GET", "/v1/sandboxes", &["OPEN-SANDBOX-API-KEY: of-the-environment"]).await, 200);
    assert!(!given.output().contains("of-the-environment"), "{}", given.output());
    let blank = Dev::start(&[], &[("OPENSANDBOX_SERVER_API_KEY", "  ")]);
    assert_eq!(blank.status("GET", "/v1/sandboxes", &[]).await, 401);
    assert!(blank.key().is_some());
}

fn wait(child: &mut std::process::Child) -> std::process::ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "dev does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

fn shell(line: &str, env: &[(&str, &str)]) -> Ended {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    program::end(command.spawn().unwrap(), Duration::from_secs(20))
}

#[tokio::test]
async fn the_log_as_json_is_json_line_by_line() {
    let pair = Pair::with(|setup| setup.section("[log]\nformat = 'json'\nlevel = 'DEBUG'"));
    let target = pair.log(Script::texts(["12345\n"]), "");
    let response = request(pair.address(), "GET", &target, &["X-Request-ID: my-own-id"], "").await;
    assert_eq!(response.body, "12345\n");
    let line = pair.access_line("my-own-id").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["target"], "access");
    assert_eq!(line["bytes"], 6);
    assert_eq!(line["end"], "complete");
    assert!(line["ms"].is_u64() && line["level"] == "INFO", "{line}");
    for line in pair.gateway.output().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
}

#[tokio::test]
async fn the_access_line_is_written_when_the_body_ends() {
    use crate::support::{client::Client, engine::Step};
    let pair = Pair::start();
    let mut client = Client::connect(pair.address()).await;
    let script = Script::new([Step::output("hello\n"), Step::Present, Step::Open]);
    let followed = pair.log(script, "follow=true&since=1&_secretive=yes");
    client.send_get(&followed, &["X-Request-ID: leaver"]).await;
    client.head().await;
    client.body_of(6).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!pair.gateway.output().contains("[leaver] access"), "the body has not ended");
    client.close();
    let line = pair.access_line("leaver").await;
    assert!(line.starts_with("INFO:") && line.contains("[leaver]"), "{line}");
    assert!(line.contains("bytes=6 ") && line.contains("end=client_gone"), "{line}");
    assert!(!line.contains("secretive"), "{line}");
    for (script, id, part) in [
        (
            Script::new([Step::output("a\n"), Step::Wait(Duration::from_millis(30)), Step::Cut]),
            "loser",
            "end=backend_lost",
        ),
        (Script::new([Step::output("a\n"), Step::on(3, b"no disk"), Step::End]), "failer", "end=backend_failed"),
    ] {
        let mut client = Client::connect(pair.address()).await;
        client.send_get(&pair.log(script, ""), &[&format!("X-Request-ID: {id}")]).await;
        client.head().await;
        client.body().await.expect_err("aborted");
        let line = pair.access_line(id).await;
        assert!(line.starts_with("WARNING:") && line.contains(part), "{line}");
    }
    assert!(!pair.gateway.output().contains('\u{1b}'), "colour without a terminal");
}

/// All of it in one: what an operator does on a machine with an engine.
#[tokio::test]
async fn a_sandbox_is_made_followed_and_deleted_on_the_real_engine() {
    let gateway = Setup::docker(&docker::host()).start();
    let body = r#"{"image":{"uri":"osb-test/busybox:1"},"resourceLimits":{},"timeout":60,"entrypoint":["/bin/sh","-c","echo hello; exec sleep 100"]}"#;
    let json = ["Content-Type: application/json"];
    let created = request(gateway.address(), "POST", "/v1/sandboxes", &json, body).await;
    assert_eq!(created.status(), 202, "{created}");
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let mut client = crate::support::client::Client::connect(gateway.address()).await;
    assert_eq!(client.get(&logs(&id, "follow=true")).await.status, 200);
    assert!(client.body_of(6).await.ends_with(b"hello\n"));
    let path = format!("/v1/sandboxes/{id}");
    assert_eq!(get_once(gateway.address(), &path).await.json()["status"]["state"], "Running");
    assert_eq!(request(gateway.address(), "DELETE", &path, &[], "").await.status(), 204);
    client.body().await.expect("deletion is a proper end");
    assert_eq!(get_once(gateway.address(), &path).await.status(), 404);
}

/// A stopped pager, Ctrl-S on a terminal, a collector that hangs.
#[test]
fn a_standard_output_that_nobody_reads_stops_nothing() {
    let (home, port) = (Home::with(""), free_port());
    let mut command = home.command(&["dev", "--no-key", "--port", &port.to_string()], &[]);
    command.env("TMPDIR", home.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let due = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < due, "it listens");
        thread::sleep(Duration::from_millis(10));
    }
    // The access lines are five times what a pipe holds.
    let path = "x".repeat(1000);
    for _ in 0..320 {
        let mut io = TcpStream::connect(("127.0.0.1", port)).unwrap();
        io.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(io, "GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < due + Duration::from_secs(20), "it ends");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().unwrap().success());
}
