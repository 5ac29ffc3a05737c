//! Renewal by a queue in a Redis that speaks TLS (`[renew_intent]`, config.md).

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    Setup,
    support::{eventually, gateway::free_port},
};

const QUEUE: &str = "opensandbox:renew:intent";

const LONG: Duration = Duration::from_secs(20);

/// A Redis with a certificate of an authority of the test's own.
struct Server {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        certify(dir.path());
        let file = |name: &str| dir.path().join(name).display().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", "0", "--tls-port", &port.to_string(), "--save", ""]);
        command.args(["--tls-cert-file", &file("server.crt"), "--tls-key-file", &file("server.key")]);
        command.args(["--tls-ca-cert-file", &file("ca.crt"), "--tls-auth-clients", "no", "--requirepass", "hunter2"]);
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed: scripts/test");
        Self { child, port, dir }
    }

    fn authority(&self) -> String {
        self.dir.path().join("ca.crt").display().to_string()
    }

    /// What it answers to a command; empty if it cannot be asked.
    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--tls", "--cacert", &self.authority()]);
        let output = command.args(["--no-auth-warning", "-a", "hunter2"]).args(words).stderr(Stdio::null()).output();
        String::from_utf8(output.expect("redis-cli is installed").stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Makes an authority, and a certificate of it for 127.0.0.1.
fn certify(dir: &Path) {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test &&
        openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1 &&
        printf 'subjectAltName=IP:127.0.0.1' > names &&
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names";
    let made = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn gateway(server: &Server) -> Setup {
    let dsn = format!("rediss://:hunter2@127.0.0.1:{}/0", server.port);
    Setup::process().section(&format!("[renew_intent]\nenabled = true\nredis.enabled = true\nredis.dsn = \"{dsn}\""))
}

#[tokio::test]
async fn intents_are_taken_over_tls() {
    let server = Server::start();
    eventually("Redis answers", LONG, || server.ask(&["PING"]) == "PONG").await;
    let intent = format!(r#"{{"sandbox_id":"x","observed_at":"{}"}}"#, jiff::Timestamp::now());
    assert_eq!(server.ask(&["LPUSH", QUEUE, &intent]), "1");
    let _gateway = gateway(&server).env("SSL_CERT_FILE", &server.authority()).start();
    eventually("the intent is taken", LONG, || server.ask(&["LLEN", QUEUE]) == "0").await;
}

#[tokio::test]
async fn a_redis_that_nobody_vouches_for_is_not_used() {
    let server = Server::start();
    eventually("Redis answers", LONG, || server.ask(&["PING"]) == "PONG").await;
    assert_eq!(server.ask(&["LPUSH", QUEUE, "{}"]), "1");
    let gateway = gateway(&server).start();
    eventually("it is told", LONG, || gateway.output().contains("Redis is lost")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.ask(&["LLEN", QUEUE]), "1");
    assert!(!gateway.output().contains("hunter2"), "{}", gateway.output());
}
