//! Watches (kubernetes-api.md §9).

use std::{future, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Shared,
    body::{self, BUFFER, Body, Feed},
    failure::{Cause, Failure},
    list::parse_version,
    query::Query,
    resource::{Resource, Target},
    selector::Selector,
    store::Change,
};

/// A watch without `timeoutSeconds` lasts 30 to 60 minutes.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// How long before its end a watch tells its last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// A reader that takes nothing for [`STALL`] while this many bytes of events wait, or [`EVENTS`], is given up (W13).
const BACKLOG: usize = 2 * 1024 * 1024;
const EVENTS: usize = 100;
const STALL: Duration = Duration::from_secs(1);

/// What a watch is to show, checked.
pub(super) struct Watch {
    target: Target,
    selector: Selector,
    /// Changes after this one are told; none: the present objects first.
    start: Option<u64>,
    sends_end_mark: bool,
    bookmarks: bool,
    lasts: Duration,
}

impl Watch {
    pub(super) fn read(target: Target, query: &Query) -> Result<Self, Failure> {
        let selector = Selector::parse(target.resource, query)?;
        let bookmarks = query.flag("allowWatchBookmarks");
        let forbidden = |why: &str| {
            let cause = Cause::new("FieldValueForbidden", "resourceVersionMatch", format!("Forbidden: {why}"));
            Err(Failure::invalid_options("ListOptions", cause))
        };
        let initial = query.flag("sendInitialEvents");
        match (initial, query.text("resourceVersionMatch")) {
            (true, "NotOlderThan") | (false, "") => {}
            (true, _) => return forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
            (false, _) => {
                return forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
        }
        let version = match query.text("resourceVersion") {
            "" => 0,
            text => parse_version(text, "", 500)?,
        };
        let seconds = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = seconds.filter(|seconds| *seconds > 0).map_or(LONGEST, Duration::from_secs);
        let start = (version > 0 && !initial).then_some(version);
        Ok(Self { target, selector, start, sends_end_mark: initial && bookmarks, bookmarks, lasts })
    }

    /// The body, which a task feeds until the client has left, the time is over or the kind is gone.
    pub(super) fn body(self, shared: Arc<Shared>) -> Body {
        // What is in the buffers of a connection that nobody reads is more than what waits here.
        let (feed, body) = body::pipe(8);
        // Before the head is sent: who has read it has a watch that can be ended.
        let began = Instant::now();
        tokio::spawn(async move {
            tokio::select! {
                () = feed.closed() => {}
                () = self.run(&feed, &shared, began) => {}
            }
        });
        body
    }

    async fn run(self, feed: &Feed, shared: &Shared, began: Instant) {
        let end = began + self.lasts;
        let mut changes = shared.store().changes();
        let mut out = Buffer::default();
        let mut cursor = match self.start {
            Some(version) => version,
            None => {
                let store = shared.store();
                for object in store.all(self.target.resource, &self.target.namespace).values() {
                    if self.selector.matches(object) {
                        out.event("ADDED", object);
                    }
                }
                if self.sends_end_mark {
                    out.event("BOOKMARK", &bookmark(self.target.resource, store.version(), true));
                }
                store.version()
            }
        };
        let every = shared.settings().bookmark_every;
        let mut next_bookmark = began + every;
        let mut is_last_due = self.bookmarks && self.lasts > 2 * LAST_BOOKMARK;
        loop {
            changes.mark_unchanged();
            let is_gone = {
                let store = shared.store();
                match store.changes_after(cursor) {
                    None => {
                        let message = format!("too old resource version: {cursor} ({})", store.floor());
                        out.event("ERROR", &Failure::new(410, "Expired", message).json());
                        true
                    }
                    Some(changes) => {
                        changes.for_each(|change| self.tell(change, &mut out));
                        cursor = cursor.max(store.version());
                        !store.is_there(self.target.resource)
                    }
                }
            };
            let is_behind = |waiting: usize| {
                let store = shared.store();
                let changes = store.changes_after(cursor).map_or(usize::MAX, Iterator::count);
                waiting > BACKLOG || changes > EVENTS
            };
            let has_reader = send(feed, &mut out, is_behind).await;
            let mut ended = std::pin::pin!(shared.watches_ended.notified());
            ended.as_mut().enable();
            if is_gone || !has_reader || shared.watches_end_before(began) {
                return;
            }
            let last_bookmark = end - LAST_BOOKMARK.min(self.lasts);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = ended => {}
                () = at(self.bookmarks.then_some(next_bookmark)) => {
                    next_bookmark += every;
                    self.bookmark(shared, cursor, &mut out);
                }
                () = at(is_last_due.then_some(last_bookmark)) => {
                    is_last_due = false;
                    self.bookmark(shared, cursor, &mut out);
                }
                () = sleep_until(end) => return,
            }
        }
    }

    /// From a version that is not there yet nothing is told (W6).
    fn bookmark(&self, shared: &Shared, cursor: u64, out: &mut Buffer) {
        if cursor <= shared.store().version() {
            out.event("BOOKMARK", &bookmark(self.target.resource, cursor, false));
        }
    }

    fn tell(&self, change: &Change, out: &mut Buffer) {
        let (resource, namespace) = (self.target.resource, &self.target.namespace);
        if change.resource != resource || !namespace.is_empty() && change.key.namespace != *namespace {
            return;
        }
        let was = change.old.as_ref().filter(|old| self.selector.matches(old));
        let is = !change.is_deleted && self.selector.matches(&change.new);
        match (was, is) {
            (None, false) => {}
            (None, true) => out.event("ADDED", &change.new),
            (Some(_), true) => out.event("MODIFIED", &change.new),
            (Some(_), false) if change.is_deleted => out.event("DELETED", &change.new),
            // It left the selection: as it was, with the new version (W9).
            (Some(old), false) => {
                let mut old = (**old).clone();
                old["metadata"]["resourceVersion"] = change.version.to_string().into();
                out.event("DELETED", &old);
            }
        }
    }
}

/// Sends what is ready. False if there is nobody to read it, or one who is given up.
async fn send(feed: &Feed, out: &mut Buffer, is_behind: impl Fn(usize) -> bool) -> bool {
    let chunks = out.take();
    let mut waiting = chunks.iter().map(Bytes::len).sum::<usize>();
    let mut is_given_up = false;
    for chunk in chunks {
        waiting -= chunk.len();
        let mut permit = None;
        while permit.is_none() {
            match timeout(STALL, feed.reserve()).await {
                Ok(Ok(reserved)) => permit = Some(reserved),
                Ok(Err(_)) => return false,
                Err(_) => is_given_up |= is_behind(waiting),
            }
        }
        let is_end_of_event = chunk.ends_with(b"\n");
        if let Some(permit) = permit {
            permit.send(Ok(chunk));
        }
        if is_given_up && is_end_of_event {
            return false;
        }
    }
    true
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => future::pending().await,
    }
}

fn bookmark(resource: &Resource, version: u64, is_end_of_initial: bool) -> Value {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if is_end_of_initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    if resource.custom {
        let mut object = json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": metadata});
        object.sort_all_objects();
        return object;
    }
    let mut object = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
    match resource.kind {
        "Pod" => object["spec"] = json!({"containers": null}),
        "Namespace" | "Node" => object["spec"] = json!({}),
        "PersistentVolumeClaim" => object["spec"] = json!({"resources": {}}),
        _ => return object,
    }
    object["status"] = json!({});
    object
}

/// Go's buffered writer: events that are ready together share chunks of [`BUFFER`] bytes; one that meets an empty buffer and is
/// larger is a chunk of its own (W1).
#[derive(Default)]
struct Buffer {
    chunks: Vec<Bytes>,
    rest: Vec<u8>,
}

impl Buffer {
    fn event(&mut self, kind: &str, object: &Value) {
        let text = format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", body::json_text(object));
        let mut bytes = text.as_bytes();
        while bytes.len() > BUFFER - self.rest.len() {
            if self.rest.is_empty() {
                self.chunks.push(Bytes::copy_from_slice(bytes));
                bytes = &[];
            } else {
                let (fits, more) = bytes.split_at(BUFFER - self.rest.len());
                self.rest.extend_from_slice(fits);
                self.chunks.push(std::mem::take(&mut self.rest).into());
                bytes = more;
            }
        }
        self.rest.extend_from_slice(bytes);
    }

    /// Flushes.
    fn take(&mut self) -> Vec<Bytes> {
        if !self.rest.is_empty() {
            self.chunks.push(std::mem::take(&mut self.rest).into());
        }
        std::mem::take(&mut self.chunks)
    }
}
