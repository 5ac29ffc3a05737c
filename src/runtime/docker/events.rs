//! The engine's event stream, which keeps the cache right.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::{errors::Error, models::EventMessage, query_parameters::EventsOptions};
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{Inner, labels};

/// What can change the picture of a container; the rest (exec, archive, health) is much and means nothing here.
const ACTIONS: [&str; 9] = ["start", "restart", "die", "stop", "pause", "unpause", "rename", "update", "destroy"];

/// The shortest and the longest wait before the stream is opened again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Follows the engine's events for as long as the process lives.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut wait = BACK_OFF.0;
    loop {
        let began = Instant::now();
        let error = follow(&inner).await.err();
        inner.cache.set_live(false);
        tracing::warn!(error = error.map(tracing::field::display), "the engine's event stream ended; opening another");
        if began.elapsed() > BACK_OFF.1 {
            wait = BACK_OFF.0;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

/// Follows one event stream to its end.
async fn follow(inner: &Inner) -> Result<(), Error> {
    // Events since this moment of the engine's own clock are told again, so none is lost between here and there.
    let since = inner.engine.within(inner.engine.api.info()).await?.system_time.as_deref().and_then(unix_time);
    inner.cache.set_live(true);
    let mut events = pin!(inner.engine.api.events(Some(options(since))));
    let mut refreshes = FuturesUnordered::new();
    refreshes.push(boxed(warm(inner)));
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => refreshes.extend(note(inner, event?).map(|container| boxed(refresh(inner, container)))),
                None => return Ok(()),
            },
            Some(()) = refreshes.next() => {}
        }
    }
}

/// Takes back what an event made wrong; gives the container that is worth a new look.
fn note(inner: &Inner, event: EventMessage) -> Option<String> {
    let container = event.actor?.id?;
    if event.action.as_deref() == Some("destroy") {
        inner.cache.forget(&container);
        return None;
    }
    inner.cache.stale(&container);
    Some(container)
}

async fn refresh(inner: &Inner, container: String) {
    if let Err(error) = inner.inspect_and_keep(&container).await {
        tracing::debug!(container, %error, "a changed container could not be inspected");
    }
}

async fn warm(inner: &Inner) {
    if let Err(error) = inner.list().await {
        tracing::debug!(%error, "the sandboxes could not be listed in advance");
    }
}

fn boxed<'a>(future: impl Future<Output = ()> + Send + 'a) -> futures_util::future::BoxFuture<'a, ()> {
    Box::pin(future)
}

/// A time of the engine's in the only form that its event stream takes: seconds and nanoseconds.
fn unix_time(text: &str) -> Option<String> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
}

fn options(since: Option<String>) -> EventsOptions {
    let filter =
        |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect());
    let filters = [filter("type", &["container"]), filter("label", &[labels::ID]), filter("event", &ACTIONS)];
    EventsOptions { since, until: None, filters: Some(filters.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_s_clock_becomes_unix_time() {
        assert_eq!(unix_time("2026-11-23T07:26:08.069084366Z").as_deref(), Some("1795418768.069084366"));
        assert_eq!(unix_time("now"), None);
    }
}
