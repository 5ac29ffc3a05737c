//! Renewals, counted by a runtime that does nothing else, with a real Redis.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use super::*;
use crate::{config::Redis, error::Error, model::timestamp::Timestamp, runtime::stub::Stub, secret::Secret};

const QUEUE: &str = "test:intents";

/// Counts renewals.
#[derive(Default)]
struct Counting(Mutex<Vec<String>>);

impl Counting {
    fn renewed(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn wait_for(&self, ids: &[&str]) {
        let wait = async {
            while self.renewed().len() < ids.len() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), wait).await.expect("renewals in time");
        let mut renewed = self.renewed();
        renewed.sort();
        assert_eq!(renewed, ids);
    }
}

#[async_trait]
impl Stub for Counting {
    async fn renew_on_access(&self, id: &str) -> Result<Option<Timestamp>, Error> {
        self.0.lock().unwrap().push(id.to_owned());
        Ok(None)
    }
}

/// A Redis of the test's own.
struct Server(Child);

impl Server {
    fn start(port: u16) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--requirepass", "hunter2"]);
        Self(command.stdout(Stdio::null()).spawn().expect("redis-server is installed: scripts/test"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn started(port: u16) -> (Arc<Counting>, Renewer) {
    let runtime = Arc::new(Counting::default());
    let redis = Redis {
        dsn: Secret::new(format!("redis://:hunter2@127.0.0.1:{port}/0")),
        queue_key: QUEUE.to_owned(),
        consumer_concurrency: 2,
    };
    let config = RenewIntent { enabled: true, min_interval: Duration::from_secs(60), redis: Some(redis) };
    let renewer = Renewer::start(&config, &(Arc::clone(&runtime) as Arc<dyn Runtime>), None);
    (runtime, renewer)
}

/// Pushes an intent as soon as Redis is there.
async fn push(port: u16, id: &str, age: i64) {
    let client = redis::Client::open(format!("redis://:hunter2@127.0.0.1:{port}/0")).unwrap();
    let connect = async {
        loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return connection,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let mut connection = timeout(Duration::from_secs(20), connect).await.expect("Redis answers");
    let observed_at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(age);
    let intent = serde_json::json!({"sandbox_id": id, "observed_at": observed_at.to_string(), "port": 80}).to_string();
    let _: i64 = redis::cmd("LPUSH").arg(QUEUE).arg(intent).query_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn use_renews_once_in_the_time() {
    let (runtime, renewer) = started(free_port());
    for id in ["a", "a", "b", "a"] {
        renewer.touched(id);
    }
    runtime.wait_for(&["a", "b"]).await;
}

#[tokio::test]
async fn nothing_is_renewed_when_nobody_wants_it() {
    let runtime = Arc::new(Counting::default());
    let config = RenewIntent { enabled: false, min_interval: Duration::from_secs(1), redis: None };
    let renewer = Renewer::start(&config, &(Arc::clone(&runtime) as Arc<dyn Runtime>), None);
    renewer.touched("a");
    tokio::task::yield_now().await;
    assert!(runtime.renewed().is_empty());
}

#[tokio::test]
async fn intents_are_taken_from_redis() {
    let port = free_port();
    let _server = Server::start(port);
    push(port, "early", 0).await;
    let (runtime, _renewer) = started(port);
    runtime.wait_for(&["early"]).await;
    push(port, "old", 301).await;
    for id in ["x", "y", "z"] {
        push(port, id, 10).await;
    }
    runtime.wait_for(&["early", "x", "y", "z"]).await;
}

#[tokio::test]
async fn redis_may_come_late_and_go_for_a_while() {
    let port = free_port();
    let (runtime, renewer) = started(port);
    renewer.touched("through the proxy");
    runtime.wait_for(&["through the proxy"]).await;
    let server = Server::start(port);
    push(port, "x late", 0).await;
    runtime.wait_for(&["through the proxy", "x late"]).await;
    drop(server);
    let _server = Server::start(port);
    push(port, "y again", 0).await;
    runtime.wait_for(&["through the proxy", "x late", "y again"]).await;
}
