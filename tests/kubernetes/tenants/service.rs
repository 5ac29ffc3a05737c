//! Tenants by a service that is asked for each key.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;

use super::fixture::{World, seen};
use crate::{
    fixture::{ID, OTHER},
    support::{
        backend::Backend,
        gateway::{Gateway, Setup},
        kube::Role,
    },
};

/// A service of tenants, which a test tells what to answer.
struct Service {
    server: Backend,
    asked: Arc<Mutex<Vec<String>>>,
    says: Arc<Mutex<Says>>,
}

#[derive(Clone)]
enum Says {
    /// The namespace of the key `key-<namespace>`, for so many seconds; another key is unknown.
    Known(f64),
    /// This status and body to every question.
    Answer(&'static str, String),
    Silence,
}

impl Service {
    async fn start() -> Self {
        let (asked, says) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Mutex::new(Says::Known(60.0))));
        let (seen, answers) = (asked.clone(), says.clone());
        let server = Backend::start(move |mut conn| {
            let (seen, answers) = (seen.clone(), answers.clone());
            async move {
                while let Some(head) = conn.head().await {
                    seen.lock().unwrap().push(head.clone());
                    let answer = answers.lock().unwrap().clone();
                    // Long enough for others to come meanwhile.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    match answer {
                        Says::Known(ttl) => match key(&head).strip_prefix("key-").filter(|name| name.len() == 1) {
                            Some(name) => {
                                let body = json!({"namespace": name, "ttl": ttl}).to_string();
                                conn.answer("200 OK", &[], body.as_bytes()).await;
                            }
                            None => conn.answer("401 Unauthorized", &[], b"{}").await,
                        },
                        Says::Answer(status, body) => conn.answer(status, &[], body.as_bytes()).await,
                        Says::Silence => std::future::pending().await,
                    }
                }
            }
        })
        .await;
        Self { server, asked, says }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn gateway(&self, world: &World, lines: &str) -> Gateway {
        let port = self.server.port;
        let tenants = format!(
            "[tenants]\nprovider = 'http'\nendpoint = 'http://127.0.0.1:{port}/who?x=1'\nauth_header = 'X-Service'\n\
             auth_token = 'hunter2'\n{lines}"
        );
        let setup: Setup =
            world.cluster.gateway_as(Role::Tenants, "").section(&tenants).env("OPENSANDBOX_INSECURE_SERVER", "NO");
        setup.start()
    }
}

fn key(head: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut keys = lines.filter(|(name, _)| name.eq_ignore_ascii_case("open-sandbox-api-key"));
    keys.next().map(|(_, key)| key.to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn the_service_is_asked_once_a_key_for_as_long_as_it_says() {
    let world = World::start();
    world.sandbox(ID, "a", "a", "");
    world.sandbox(OTHER, "b", "b", "");
    let service = Service::start().await;
    let gateway = service.gateway(&world, "");
    let all = futures_util::future::join_all((0..50).map(|_| seen(&gateway, "key-a"))).await;
    assert!(all.iter().all(|seen| *seen == 1), "{all:?}");
    assert_eq!(service.count(), 1, "one question for all who wait");
    let head = service.asked.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /who?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nx-service: hunter2\r\n"), "{head}");
    assert_eq!(seen(&gateway, "key-b").await, 1);
    for unknown in ["key-xx", "key-xx", "zzz"] {
        assert_eq!(seen(&gateway, unknown).await, "INVALID_API_KEY");
    }
    assert_eq!(service.count(), 5, "what is unknown is asked for again");
    assert_eq!(seen(&gateway, "").await, "MISSING_API_KEY");
    assert_eq!((seen(&gateway, "key-a").await, service.count()), (json!(1), 5));
    let output = gateway.output();
    assert!(!output.contains("key-a") && !output.contains("hunter2"), "{output}");
}

#[tokio::test]
async fn a_service_that_fails_is_survived_for_a_while() {
    let world = World::start();
    world.sandbox(ID, "a", "a", "");
    let service = Service::start().await;
    service.say(Says::Known(0.0));
    // All the answers below come within the latter, on a slow machine too.
    let gateway = service.gateway(&world, "timeout_seconds = 3\nmax_stale_seconds = 20\n");
    assert_eq!(seen(&gateway, "key-a").await, 1);
    let long = "x".repeat(70_000);
    for (status, body) in [
        ("500 Internal Server Error", "no"),
        ("302 Found", ""),
        ("403 Forbidden", ""),
        ("200 OK", "<html>"),
        ("200 OK", r#"{"namespace":7}"#),
        ("200 OK", r#"{"namespace":"../b","ttl":9}"#),
        ("200 OK", r#"{"namespace":"","ttl":9}"#),
        ("200 OK", &long),
    ] {
        service.say(Says::Answer(status, body.to_owned()));
        // Who was known still is, and nobody becomes known so.
        assert_eq!(seen(&gateway, "key-a").await, 1, "{status} {body:.40}");
        assert_eq!(seen(&gateway, "key-b").await, "TENANT_PROVIDER_UNAVAILABLE", "{status} {body:.40}");
    }
    service.say(Says::Silence);
    let begun = std::time::Instant::now();
    let all = futures_util::future::join_all((0..20).map(|_| seen(&gateway, "key-b"))).await;
    assert!(all.iter().all(|seen| *seen == "TENANT_PROVIDER_UNAVAILABLE"), "{all:?}");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    // What was said once does not count for ever.
    let begun = std::time::Instant::now();
    while seen(&gateway, "key-a").await == 1 {
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(seen(&gateway, "key-a").await, "TENANT_PROVIDER_UNAVAILABLE");
    service.say(Says::Known(60.0));
    assert_eq!(seen(&gateway, "key-a").await, 1);
}

#[tokio::test]
async fn a_key_that_was_taken_back_ends_with_its_time() {
    let world = World::start();
    world.sandbox(ID, "a", "a", "");
    let service = Service::start().await;
    service.say(Says::Known(0.2));
    let gateway = service.gateway(&world, "");
    assert_eq!(seen(&gateway, "key-a").await, 1);
    service.say(Says::Answer("401 Unauthorized", String::new()));
    let begun = std::time::Instant::now();
    while seen(&gateway, "key-a").await != "INVALID_API_KEY" {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    // Not even while the service is away.
    service.say(Says::Answer("500 Internal Server Error", String::new()));
    assert_eq!(seen(&gateway, "key-a").await, "TENANT_PROVIDER_UNAVAILABLE");
}
