//! Signs of use that an ingress gateway pushes to a list in Redis.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::sleep};

use super::search::Search;
use crate::config::Redis;

/// How long `BRPOP` waits while the list is empty, in seconds.
const POP_TIMEOUT_SECONDS: u64 = 5;

/// How long an answer may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(POP_TIMEOUT_SECONDS + 10);

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before Redis is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// How old an intent may be.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(300);

/// An entry of the list. Its other members are about the request, and are not read.
#[derive(Debug, Deserialize)]
struct Intent {
    sandbox_id: String,
    observed_at: String,
    /// Where the ingress found it.
    #[serde(default)]
    namespace: Option<String>,
}

/// A sandbox to be renewed, and the namespace that it is in as far as the ingress knows.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    id: String,
    namespace: Option<String>,
}

/// Reads the queue for ever. While Redis cannot be reached, only requests through the proxy renew.
pub(super) async fn consume(config: Redis, search: Search) {
    let search = Arc::new(search);
    let client = match Client::open(config.dsn.expose()) {
        Ok(client) => client,
        Err(error) => return tracing::warn!("[renew_intent] redis.dsn is no address: {}", told(&error)),
    };
    let room = Arc::new(Semaphore::new(config.consumer_concurrency as usize));
    let mut was_lost = false;
    loop {
        let Err(error) = read(&client, &config.queue_key, &search, &room, &mut was_lost).await;
        if !was_lost {
            tracing::warn!("Redis is lost, only requests through the proxy renew until it is back: {}", told(&error));
            was_lost = true;
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// Reads the queue until Redis is lost.
async fn read(
    client: &Client,
    queue: &str,
    search: &Arc<Search>,
    room: &Arc<Semaphore>,
    was_lost: &mut bool,
) -> RedisResult<std::convert::Infallible> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    if std::mem::take(was_lost) {
        tracing::info!("Redis is back");
    }
    loop {
        // Before the next entry is taken out: what cannot be worked on yet stays in Redis.
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { std::future::pending().await };
        let Some(wanted) = pop(&mut connection, queue).await?.and_then(|intent| wanted(&intent, Timestamp::now()))
        else {
            continue;
        };
        let search = Arc::clone(search);
        tokio::spawn(async move {
            search.renew(&wanted.id, wanted.namespace.as_deref()).await;
            drop(permit);
        });
    }
}

async fn pop(connection: &mut MultiplexedConnection, queue: &str) -> RedisResult<Option<Vec<u8>>> {
    let popped: Option<(Vec<u8>, Vec<u8>)> =
        redis::cmd("BRPOP").arg(queue).arg(POP_TIMEOUT_SECONDS).query_async(connection).await?;
    Ok(popped.map(|(_, intent)| intent))
}

/// The sandbox that an intent is for; `None` for what is none, or is too old.
fn wanted(intent: &[u8], now: Timestamp) -> Option<Wanted> {
    let Intent { sandbox_id: id, observed_at, namespace } = serde_json::from_slice(intent)
        .inspect_err(|error| tracing::debug!(%error, "what is no intent was dropped"))
        .ok()?;
    let observed_at: Timestamp = observed_at.parse().ok()?;
    let is_fresh = now.duration_since(observed_at) <= MAX_AGE;
    (is_fresh && !id.is_empty()).then_some(Wanted { id, namespace })
}

/// The kind of an error, and the system's text. Redis' own text could quote the address, which may hold a password.
fn told(error: &RedisError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!("{:?}{cause}", error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_intent_is_wanted() {
        let now: Timestamp = "2026-11-24T07:00:00Z".parse().unwrap();
        let wanted = |text: &str| wanted(text.as_bytes(), now);
        let of = |namespace: Option<&str>| Some(Wanted { id: "x".to_owned(), namespace: namespace.map(str::to_owned) });
        let id = of(None);
        assert_eq!(wanted(r#"{"sandbox_id":"x","observed_at":"2026-11-24T07:00:00Z","namespace":"a"}"#), of(Some("a")));
        assert_eq!(wanted(r#"{"sandbox_id":"x","observed_at":"2026-11-24T06:59:00.123456789Z","port":80}"#), id);
        assert_eq!(wanted(r#"{"sandbox_id":"x","observed_at":"2026-11-24T08:55:00+02:00","request_uri":"/"}"#), id);
        assert_eq!(wanted(r#"{"sandbox_id":"x","observed_at":"2026-11-24T07:00:10Z"}"#), id, "clocks differ");
        for dropped in [
            r#"{"sandbox_id":"x","observed_at":"2026-11-24T06:54:59Z"}"#,
            r#"{"sandbox_id":"","observed_at":"2026-11-24T07:00:00Z"}"#,
            r#"{"sandbox_id":"x"}"#,
            r#"{"sandbox_id":1,"observed_at":"2026-11-24T07:00:00Z"}"#,
            r#"{"sandbox_id":"x","observed_at":"yesterday"}"#,
            "[]",
            "",
            "\u{0}",
        ] {
            assert_eq!(wanted(dropped), None, "{dropped}");
        }
    }
}
