//! `command=<id>` of a log request where execd is a server in a container: the tests' stub of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Setup,
    one_sandbox::{JSON, OneSandbox},
    support::{
        client::{Client, Response, request},
        docker,
    },
};

struct Sandbox(OneSandbox);

impl Sandbox {
    async fn create() -> Self {
        let docker = "[docker]\nnetwork_mode = \"bridge\"\npublish_host = \"127.0.0.1\"";
        let sandbox =
            Self(OneSandbox::create(Setup::docker(&docker::host()).section(docker), r#","timeout":600"#).await);
        let begun = Instant::now();
        while sandbox.ask("GET", "/proxy/44772/ping", "").await.status() != 200 {
            assert!(begun.elapsed() < Duration::from_secs(20), "execd does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sandbox
    }

    async fn ask(&self, method: &str, below: &str, body: &str) -> Response {
        self.0.ask(method, below, &[JSON], body).await
    }

    /// Starts a command in the background.
    async fn run(&self, line: &str) -> String {
        let body = json!({"command": line, "background": true}).to_string();
        let response = self.ask("POST", "/proxy/44772/command", &body).await;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        let event: Value = serde_json::from_str(text.trim().strip_prefix("data: ").unwrap()).unwrap();
        event["text"].as_str().unwrap().to_owned()
    }

    async fn records(&self, query: &str) -> Vec<Value> {
        let response = self.ask("GET", &format!("/logs?format=ndjson&{query}"), "").await;
        assert_eq!(response.status(), 200, "{response}");
        let text = String::from_utf8(response.body.to_vec()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How often execd was asked about commands.
    async fn asked(&self) -> usize {
        self.ask("GET", "/proxy/44772/asked", "").await.body.iter().filter(|byte| **byte == b'\n').count()
    }
}

fn logs(records: &[Value]) -> String {
    records.iter().filter_map(|record| record["log"].as_str()).collect()
}

#[tokio::test]
async fn a_command_of_a_container_is_followed_and_resumed() {
    let sandbox = Sandbox::create().await;
    let id = sandbox.run("for i in 1 2 3 4; do echo line $i; sleep 0.2; done; echo oops >&2; printf end; exit 3").await;
    let records = sandbox.records(&format!("command={id}&follow=true")).await;
    let (end, lines) = records.split_last().unwrap();
    assert_eq!(logs(lines), "line 1\nline 2\nline 3\nline 4\noops\nend");
    assert_eq!((&end["reason"], &end["exit_code"]), (&json!("exited"), &json!(3)), "{end}");
    assert!(lines.iter().all(|line| line["time_source"] == "gateway"), "{lines:?}");
    for (at, line) in lines.iter().enumerate() {
        let again = sandbox.records(&format!("command={id}&after={}", line["id"].as_str().unwrap())).await;
        assert_eq!(logs(&again), logs(&lines[at + 1..]), "{at}");
    }
    let over = sandbox.ask("GET", &format!("/logs?command={id}&after={}", end["id"].as_str().unwrap()), "").await;
    assert_eq!(over.status(), 204, "{over}");
    let unknown = sandbox.ask("GET", "/logs?command=no-such", "").await;
    assert_eq!((unknown.status(), unknown.code()), (404, "LOGS::COMMAND_NOT_FOUND".to_owned()), "{unknown}");
    assert_eq!(sandbox.ask("DELETE", "", "").await.status(), 204);
}

#[tokio::test]
async fn execd_is_asked_no_more_when_the_client_has_left() {
    let sandbox = Sandbox::create().await;
    let id = sandbox.run("while :; do echo x; sleep 0.1; done").await;
    let mut client = Client::connect(sandbox.0.gateway.address()).await;
    client.send_get(&format!("{}/logs?command={id}&follow=true", sandbox.0.path), &[]).await;
    assert_eq!(client.head().await.status, 200);
    for _ in 0..3 {
        assert!(client.piece().await.unwrap().is_some());
    }
    client.close();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = sandbox.asked().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(sandbox.asked().await, asked);
    assert_eq!(sandbox.ask("DELETE", "", "").await.status(), 204);
}

/// The next line of a stream, which may come in pieces.
async fn line(client: &mut Client) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.extend_from_slice(&client.piece().await.unwrap().expect("a line"));
    }
    String::from_utf8(line).unwrap()
}

/// The last number of what is printed next.
async fn number(client: &mut Client) -> u64 {
    line(client).await.lines().last().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_command_of_a_paused_sandbox_is_waited_for() {
    let sandbox = Sandbox::create().await;
    let over = sandbox.run("echo x; exit 1").await;
    let end = sandbox.records(&format!("command={over}&follow=true")).await.pop().unwrap();
    let id = sandbox.run("i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done").await;
    let mut client = Client::connect(sandbox.0.gateway.address()).await;
    client.send_get(&format!("{}/logs?command={id}&follow=true", sandbox.0.path), &[]).await;
    assert_eq!(client.head().await.status, 200);
    let mut last = number(&mut client).await;
    assert!(last > 0);
    assert_eq!(sandbox.ask("POST", "/pause", "").await.status(), 202);
    let begun = Instant::now();
    while sandbox.ask("GET", "", "").await.json()["status"]["state"] != "Paused" {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not paused");
    }
    // What was on its way comes: execd is asked each second at least.
    let mut rest = Vec::new();
    while let Ok(piece) = timeout(Duration::from_secs(3), client.piece()).await {
        rest.extend_from_slice(&piece.unwrap().expect("the stream goes on"));
    }
    if let Some(line) = String::from_utf8(rest).unwrap().lines().last() {
        last = line.parse().unwrap();
    }
    // Longer than an execd may be away that does not answer.
    assert!(client.is_silent_for(Duration::from_secs(12)).await);
    let refused = sandbox.ask("GET", &format!("/logs?command={id}"), "").await;
    assert_eq!((refused.status(), refused.code()), (409, "LOGS::SANDBOX_PAUSED".to_owned()), "{refused}");
    let over = sandbox.ask("GET", &format!("/logs?command={over}&after={}", end["id"].as_str().unwrap()), "").await;
    assert_eq!(over.status(), 204, "{over}");
    assert_eq!(sandbox.ask("POST", "/resume", "").await.status(), 202);
    let resumed = Instant::now();
    let next = number(&mut client).await;
    assert!(next > last && resumed.elapsed() < Duration::from_secs(5), "{next} behind {last}");
    assert_eq!(sandbox.ask("DELETE", "", "").await.status(), 204);
}

#[tokio::test]
async fn a_command_ends_with_its_sandbox() {
    let sandbox = Sandbox::create().await;
    let id = sandbox.run("echo first; exec sleep 100").await;
    let mut client = Client::connect(sandbox.0.gateway.address()).await;
    let target = format!("{}/logs?command={id}&follow=true&format=ndjson", sandbox.0.path);
    client.send_get(&target, &[]).await;
    assert_eq!(client.head().await.status, 200);
    let first: Value = serde_json::from_str(&line(&mut client).await).unwrap();
    assert_eq!(first["log"], "first\n");
    assert_eq!(sandbox.ask("DELETE", "", "").await.status(), 204);
    let end: Value = serde_json::from_str(&line(&mut client).await).unwrap();
    assert_eq!((&end["event"], &end["reason"]), (&json!("end"), &json!("removed")), "{end}");
    assert!(client.piece().await.unwrap().is_none(), "it ends well");
    // Who comes back is told the same, and behind the end nothing.
    let after = |record: &Value| format!("command={id}&after={}", record["id"].as_str().unwrap());
    let records = sandbox.records(&after(&first)).await;
    let words: Vec<_> = records.iter().map(|record| (&record["event"], &record["reason"])).collect();
    assert_eq!(words, [(&json!("gap"), &json!("cursor_expired")), (&json!("end"), &json!("removed"))], "{records:?}");
    for end in [&end, &records[1]] {
        let over = sandbox.ask("GET", &format!("/logs?format=sse&{}", after(end)), "").await;
        assert_eq!((over.status(), over.body.len()), (204, 0), "{over}");
    }
    let gone = sandbox.ask("GET", &format!("/logs?command={id}"), "").await;
    assert_eq!((gone.status(), gone.code()), (404, "DOCKER::SANDBOX_NOT_FOUND".to_owned()), "{gone}");
}

#[tokio::test]
async fn a_container_without_a_port_of_execd_has_no_commands() {
    let container = docker::Container::run("sleep 100");
    let gateway = Setup::docker(&docker::host()).start();
    let target = format!("/v1/sandboxes/{}/logs?command=x", container.id());
    let refused = request(gateway.address(), "GET", &target, &[], "").await;
    assert_eq!((refused.status(), refused.code()), (502, "LOGS::EXECD_UNAVAILABLE".to_owned()), "{refused}");
}
