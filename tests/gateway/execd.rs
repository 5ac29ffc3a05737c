//! execd of sandboxes that are local processes, asked by hand: what the official clients 1.1.1 send (contract `execd-api.md`),
//! and what they do not.

mod access;
mod command_logs;
mod commands;
mod files;
mod limits;
mod transfers;

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::executable::executable;
use crate::{
    Gateway, Setup,
    support::{
        bounded,
        client::{Client, Response, request},
        eventually,
    },
};

const KEY: &str = "OPEN-SANDBOX-API-KEY: the-key";
const JSON: &str = "Content-Type: application/json";

/// A sandbox and what its execd must be presented.
struct Sandbox<'g> {
    gateway: &'g Gateway,
    id: String,
    /// `/v1/sandboxes/<id>/proxy/44772`.
    base: String,
    token: String,
}

/// A gateway whose sandboxes are processes, with a key.
fn gateway() -> Gateway {
    Setup::process().api_key("the-key").start()
}

impl<'g> Sandbox<'g> {
    async fn create(gateway: &'g Gateway) -> Self {
        Self::with(gateway, json!({})).await
    }

    /// A sandbox that does nothing, with these variables.
    async fn with(gateway: &'g Gateway, env: Value) -> Self {
        let body = json!({"image": {"uri": "any"}, "resourceLimits": {}, "entrypoint": ["tail", "-f", "/dev/null"], "env": env});
        let created = request(gateway.address(), "POST", "/v1/sandboxes", &[KEY, JSON], &body.to_string()).await;
        assert_eq!(created.status(), 202, "{created}");
        let id = created.json()["id"].as_str().unwrap().to_owned();
        let endpoint = format!("/v1/sandboxes/{id}/endpoints/44772");
        let endpoint = request(gateway.address(), "GET", &endpoint, &[KEY], "").await.json();
        let (_, path) = endpoint["endpoint"].as_str().unwrap().split_once('/').unwrap();
        let token = endpoint["headers"]["X-EXECD-ACCESS-TOKEN"].as_str().unwrap().to_owned();
        Self { gateway, id, base: format!("/{path}"), token }
    }

    fn lines(&self) -> String {
        format!("X-EXECD-ACCESS-TOKEN: {}", self.token)
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Response {
        request(self.gateway.address(), method, &format!("{}{path}", self.base), &[&self.lines(), JSON], body).await
    }

    async fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "").await
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.ask("POST", path, &body.to_string()).await
    }

    /// Runs a command line to its end, and gives its events.
    async fn run(&self, line: &str) -> Vec<Value> {
        self.run_with(json!({"command": line})).await
    }

    async fn run_with(&self, body: Value) -> Vec<Value> {
        let response = self.post("/command", body).await;
        assert_eq!((response.status(), response.head.field("content-type")), (200, "text/event-stream"), "{response}");
        events(&response.body)
    }

    /// What a command line prints to its standard output.
    async fn output(&self, line: &str) -> String {
        text(&self.run(line).await, "stdout")
    }

    /// Begins a command whose end is not waited for, and gives its id and the connection that it is streamed by.
    async fn begin(&self, line: &str) -> (String, Client) {
        let mut client = Client::connect(self.gateway.address()).await;
        let body = json!({"command": line}).to_string();
        let head = format!("POST {}/command HTTP/1.1\r\nHost: localhost\r\n{}\r\n{JSON}\r\n", self.base, self.lines());
        client.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
        assert_eq!(client.head().await.status, 200);
        let init = next_events(&mut client).await.remove(0);
        assert_eq!(init["type"], "init");
        (init["text"].as_str().unwrap().to_owned(), client)
    }

    /// Starts a command in the background.
    async fn start(&self, line: &str) -> String {
        let events = self.run_with(json!({"command": line, "background": true})).await;
        assert_eq!(kinds(&events), ["init", "execution_complete"]);
        events[0]["text"].as_str().unwrap().to_owned()
    }

    async fn status(&self, id: &str) -> Value {
        self.get(&format!("/command/status/{id}")).await.json()
    }

    /// Waits until a command has ended, and gives its status.
    async fn ended(&self, id: &str) -> Value {
        let end = async {
            loop {
                let status = self.status(id).await;
                if status["running"] == false {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        bounded(&format!("the end of {id}"), end).await
    }

    /// The sandbox's working directory.
    async fn work(&self) -> PathBuf {
        self.output("pwd -P").await.trim_end().into()
    }

    async fn lifecycle(&self, method: &str, path: &str) -> Response {
        request(self.gateway.address(), method, &format!("/v1/sandboxes/{}{path}", self.id), &[KEY], "").await
    }
}

/// A program whose start hangs, as that of one on a dead file server does: who opens a file under a lease waits for its holder.
struct Hanging {
    holder: Child,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Hanging {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leased");
        executable(&path, format!("#!/bin/sh\n{script}\n"));
        let lease = "$SIG{IO} = 'IGNORE'; open(my $f, '<', $ARGV[0]) or die; fcntl($f, 1024, 1) or die \"lease: $!\"; \
                     syswrite(STDOUT, 'x'); sleep 1000";
        let mut holder =
            Command::new("perl").args(["-e", lease]).arg(&path).stdout(Stdio::piped()).spawn().expect("perl is there");
        holder.stdout.as_mut().unwrap().read_exact(&mut [0]).expect("the lease is taken");
        Self { holder, path, _directory: directory }
    }

    /// Has a sandbox start it; the answer comes by the connection.
    async fn start(&self, sandbox: &Sandbox<'_>) -> Client {
        let body = json!({"argv": [self.path], "background": true}).to_string();
        let mut client = Client::connect(sandbox.gateway.address()).await;
        let head = format!("POST {}/command HTTP/1.1\r\nHost: localhost\r\n{}\r\n", sandbox.base, sandbox.lines());
        client.send(format!("{head}{JSON}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        lease_is_waited_for(&self.path).await;
        client
    }

    fn release(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }

    /// Whether it runs now.
    fn runs(&self) -> bool {
        let path = self.path.as_os_str().as_encoded_bytes();
        let is_it = |line: Vec<u8>| line.windows(path.len()).any(|part| part == path);
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.map(|entry| entry.path()).any(|process| {
            fs::read(process.join("cmdline")).is_ok_and(is_it)
                && process.file_name().is_some_and(|pid| *pid != *self.holder.id().to_string())
        })
    }
}

/// Waits until somebody waits for the end of a lease on this file.
async fn lease_is_waited_for(path: &Path) {
    let inode = format!(":{}", fs::metadata(path).unwrap().ino());
    let is_it = |line: &str| line.contains("BREAKING") && line.split_whitespace().any(|word| word.ends_with(&inode));
    let waits = || fs::read_to_string("/proc/locks").unwrap().lines().any(is_it);
    eventually("the lease is waited for", Duration::from_secs(10), waits).await;
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    let event = |event: &str| serde_json::from_str(event.strip_prefix("data: ").expect("an event's data")).unwrap();
    text.split_terminator("\n\n").map(event).collect()
}

/// The next events of a stream: those of one piece.
async fn next_events(client: &mut Client) -> Vec<Value> {
    let mut piece = Vec::new();
    while !piece.ends_with(b"\n\n") {
        piece.extend_from_slice(&client.body_of(1).await);
    }
    events(&piece)
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// What came of one kind.
fn text(events: &[Value], kind: &str) -> String {
    events.iter().filter(|event| event["type"] == kind).filter_map(|event| event["text"].as_str()).collect()
}

/// Whether a process of this number lives.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

async fn dies(pid: &str) {
    eventually("the process ends", Duration::from_secs(10), || !lives(pid)).await;
}
