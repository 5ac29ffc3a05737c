//! The engine's event stream: it invalidates the cache, and reports sandboxes that other servers create.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::{
    errors::Error as EngineError,
    models::{ContainerSummary, EventMessage, EventMessageTypeEnum},
    query_parameters::EventsOptions,
};
use futures_util::{StreamExt, stream::FuturesUnordered};

use crate::error_chain;
use crate::runtime::docker::{
    Inner,
    engine::labels,
    lifecycle::{expiry::Expiry, shared_expiry},
    state::{cache::Cache, view},
};

/// The actions that can change the view of a container or concern a volume. Others (exec, archive, health) are frequent and
/// irrelevant.
const ACTIONS: [&str; 13] = [
    "create",
    "start",
    "restart",
    "die",
    "stop",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "connect",
    "disconnect",
    "prune",
];

/// How many changed containers may wait to be inspected again. The next list inspects the others.
const MAX_REFRESHES: usize = 1024;

/// The time between two censuses, and the longest that one may take. A census compares the engine's containers with what the
/// events said: the stream is silent for hours when nothing happens, the engine drops events that are not read in time, and
/// a connection may be dead without an error. Capped by the time limit of engine calls.
const CENSUS_INTERVAL: Duration = Duration::from_secs(30);

/// The shortest and the longest wait before the stream is opened again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Follows the engine's events for as long as the process lives.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut wait = BACK_OFF.0;
    loop {
        let began = Instant::now();
        let error = follow(&inner).await.err();
        inner.cache.set_live(false);
        inner.outage.ping_now();
        tracing::warn!(error = error.map(tracing::field::display), "the engine's event stream ended; opening another");
        if began.elapsed() > BACK_OFF.1 {
            wait = BACK_OFF.0;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

/// Follows one event stream to its end.
async fn follow(inner: &Inner) -> Result<(), EngineError> {
    // The engine repeats events since this moment of its own clock, so none is lost until the stream is open.
    let since = inner.engine.now().await?.map(unix_time);
    let mut streams = inner.engine.event_streams();
    inner.cache.set_live(true);
    // Removals while no stream was open went unnoticed.
    inner.owner.check_for_lost();
    let mut events = pin!(inner.engine.api.events(Some(options(since))));
    let mut refreshes = FuturesUnordered::new();
    refreshes.push(boxed(warm(inner)));
    let interval = CENSUS_INTERVAL.min(inner.engine.timeout);
    let mut census = pin!(tokio::time::sleep(interval));
    // None while there is none under way.
    let mut counting = FuturesUnordered::new();
    let mut was_surprised = false;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => {
                    let changed = note(inner, event?).filter(|_| refreshes.len() < MAX_REFRESHES);
                    refreshes.extend(changed.map(|container| boxed(refresh(inner, container))));
                }
                None => return Ok(()),
            },
            Some(()) = refreshes.next() => {}
            Ok(()) = streams.changed() => {
                inner.cache.subscribed();
                counting.push(count(inner));
            }
            () = census.as_mut(), if counting.is_empty() => counting.push(count(inner)),
            Some(surprises) = counting.next() => {
                let is_surprised = surprises? > 0;
                // A single difference may be an event that is still on its way.
                if is_surprised && was_surprised {
                    return Err(std::io::Error::other("it does not tell all that happens").into());
                }
                was_surprised = is_surprised;
                census.as_mut().reset(tokio::time::Instant::now() + interval);
            }
        }
    }
}

/// Takes a census; returns how many containers the events should have reported and did not. An engine that does not
/// answer sends no events either.
async fn count(inner: &Inner) -> Result<usize, EngineError> {
    let census = inner.cache.begin_census();
    let limit = CENSUS_INTERVAL.min(inner.engine.timeout);
    let listed = tokio::time::timeout(limit, inner.engine.sandboxes(None)).await;
    let listed = listed.unwrap_or(Err(EngineError::RequestTimeoutError));
    let found = listed.map(|summaries| summaries.iter().filter_map(census_entry).collect());
    match found {
        Ok(found) => Ok(inner.cache.end_census(&census, Some(found))),
        Err(error) => {
            inner.cache.end_census(&census, None);
            Err(error)
        }
    }
}

/// A container, its sandbox and the engine's name for its state.
fn census_entry(summary: &ContainerSummary) -> Option<(String, String, String)> {
    let id = labels::value(summary.labels.as_ref()?, labels::ID)?;
    Some((summary.id.clone()?, id.to_owned(), view::state_name(summary)))
}

/// Invalidates what an event made stale; returns the container that is to be inspected again.
fn note(inner: &Inner, event: EventMessage) -> Option<String> {
    let actor = event.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    if event.typ == Some(EventMessageTypeEnum::CONTAINER)
        && let Some("create" | "start") = event.action.as_deref()
        && let Some(name) = attributes.get("name")
    {
        inner.creations.appeared(name);
    }
    match event.typ? {
        EventMessageTypeEnum::VOLUME => {
            let volume = actor.id.unwrap_or_default();
            // Some engines report a prune as one event, others each of its volumes.
            match event.action.as_deref()? {
                "destroy" if inner.owner.is_own(&volume) => inner.owner.check_for_lost(),
                // Made by another gateway; this one may know a later expiry.
                "create" if shared_expiry::is_again(&volume) => inner.owner.check_for_lost(),
                "prune" => inner.owner.check_for_lost(),
                _ => {}
            }
            None
        }
        EventMessageTypeEnum::NETWORK => note_network(&inner.cache, event.action.as_deref()?, &attributes),
        // Not every container is a sandbox; the engine's own filter by label would keep the networks' events back.
        EventMessageTypeEnum::CONTAINER if attributes.contains_key(labels::ID) => {
            note_container(inner, event.action.as_deref()?, actor.id?, &attributes)
        }
        _ => None,
    }
}

/// A container came into a network or left it: its address there changes. Starts and stops tell this too, and are often
/// known by then.
fn note_network(cache: &Cache, action: &str, attributes: &HashMap<String, String>) -> Option<String> {
    let (container, network) = (attributes.get("container")?, attributes.get("name")?);
    let is_known = match (action, cache.shows(container, network)) {
        ("connect", shows) => shows.unwrap_or(true),
        ("disconnect", shows) => shows == Some(false),
        _ => true,
    };
    if is_known {
        return None;
    }
    cache.stale(container);
    cache.knows(container).then(|| container.clone())
}

fn note_container(
    inner: &Inner,
    action: &str,
    container: String,
    attributes: &HashMap<String, String>,
) -> Option<String> {
    match action {
        "destroy" => {
            inner.cache.forget(&container);
            return None;
        }
        "create" => {
            learn(inner, &container, attributes);
            // This includes sandboxes of other servers on the same engine, and those that never start.
            expires(attributes, &inner.expiry);
            return None;
        }
        "start" => {
            learn(inner, &container, attributes);
            expires(attributes, &inner.expiry);
            return inner.cache.started(&container).then_some(container);
        }
        _ => inner.cache.stale(&container),
    }
    Some(container)
}

fn learn(inner: &Inner, container: &str, attributes: &HashMap<String, String>) {
    if let Some(id) = labels::value(attributes, labels::ID) {
        inner.cache.learn(container, id);
    }
}

/// Arms the expiry timer of the sandbox with these labels.
fn expires(labels: &HashMap<String, String>, expiry: &Expiry) {
    if let Some(id) = labels::value(labels, labels::ID)
        && let Some(time) = view::expiry(labels)
    {
        expiry.suggest(id, time);
    }
}

async fn refresh(inner: &Inner, container: String) {
    if let Err(error) = inner.inspect_and_keep(&container).await {
        tracing::debug!(container, %error, "a changed container could not be inspected");
    }
}

/// Fills the cache, and learns of sandboxes that were created while no stream was open.
async fn warm(inner: &Inner) {
    match inner.list().await {
        Ok(sandboxes) => {
            let timed = sandboxes.iter().filter_map(|sandbox| Some((&sandbox.id, sandbox.expires_at?)));
            timed.for_each(|(id, time)| inner.expiry.suggest(id, time));
        }
        Err(error) => {
            tracing::debug!(error = error_chain::text(&error), "the sandboxes could not be listed in advance")
        }
    }
}

fn boxed<'a>(future: impl Future<Output = ()> + Send + 'a) -> futures_util::future::BoxFuture<'a, ()> {
    Box::pin(future)
}

/// A time of the engine's in the only form that its event stream takes: seconds and nanoseconds.
fn unix_time(time: jiff::Timestamp) -> String {
    format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())
}

fn options(since: Option<String>) -> EventsOptions {
    let filter =
        |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect());
    let filters = [filter("type", &["container", "network", "volume"]), filter("event", &ACTIONS)];
    EventsOptions { since, until: None, filters: Some(filters.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_s_clock_becomes_unix_time() {
        let time = "2026-11-23T07:26:08.069084366Z".parse().unwrap();
        assert_eq!(unix_time(time), "1795418768.069084366");
    }
}
