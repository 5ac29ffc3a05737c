//! Listing: one engine call, and one more for each container whose picture is not at hand (docker-runtime.md §10, §18).

use std::{collections::HashMap, sync::Arc, time::Duration};

use bollard::{errors::Error, models::ContainerSummary};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::{
    error::RuntimeError,
    model::sandbox::Sandbox,
    telemetry::rate_limit::{Due, RateLimit},
};

use super::{
    describe::{Described, state_name},
    find::query_failed,
};
use crate::runtime::docker::{Inner, engine::is_missing};

/// How many containers are inspected at the same time, over all lists and events.
pub(in crate::runtime::docker) const INSPECTIONS: usize = 16;

/// The longest that the containers of a list are waited for; it then shows their summaries instead. And the longest for one.
const PATIENCE: Duration = Duration::from_secs(5);

impl Inner {
    /// All sandboxes of the engine, this server's own or not.
    pub(in crate::runtime::docker) async fn list(&self) -> Result<Vec<Sandbox>, RuntimeError> {
        let summaries = self.engine.sandboxes(None).await.map_err(query_failed)?;
        // For all of them: an engine that hangs at each would hold a long list up for minutes.
        let end = Instant::now() + PATIENCE;
        let pictures = stream::iter(summaries).map(|summary| self.picture(summary, end)).buffered(INSPECTIONS);
        let mut sandboxes = unique(pictures.filter_map(std::future::ready).collect().await);
        sandboxes.retain(|sandbox| !self.creations.has_given_up(&sandbox.id));
        let mut overlays = self.overlays().await;
        for sandbox in &mut sandboxes {
            if let Some(overlay) = overlays.remove(&sandbox.id) {
                overlay.apply(sandbox);
            }
            self.copies.mask(sandbox);
        }
        Ok(sandboxes)
    }

    /// A listed container as a sandbox; nothing when it vanished meanwhile. Trouble with it is only logged, once in a while:
    /// a scrape of the metrics needs no key, and lists.
    async fn picture(&self, summary: ContainerSummary, end: Instant) -> Option<Arc<Described>> {
        static WRITTEN: RateLimit = RateLimit::new();
        let container = summary.id.as_deref()?;
        if let Some(picture) = self.cache.picture(container, &state_name(&summary)) {
            return Some(picture);
        }
        let inspected = tokio::time::timeout_at(end, self.inspect_and_keep(container)).await;
        match inspected.unwrap_or(Err(Error::RequestTimeoutError)) {
            Ok(Some(picture)) => return Some(picture),
            Ok(None) => {}
            Err(error) if is_missing(&error) => return None,
            Err(error) => {
                if let Some(Due { left_out }) = WRITTEN.due("details") {
                    tracing::warn!(container, %error, left_out, "a sandbox is listed without its details");
                }
            }
        }
        Described::from_summary(&summary).map(Arc::new)
    }

    /// Inspects a container and keeps its picture; nothing when it is no sandbox. Gives up after [`PATIENCE`].
    pub(in crate::runtime::docker) async fn inspect_and_keep(
        &self,
        container: &str,
    ) -> Result<Option<Arc<Described>>, Error> {
        let _permit = self.inspections.acquire().await;
        let ticket = self.cache.begin(container);
        let inspected = tokio::time::timeout(PATIENCE, self.engine.inspect(container)).await;
        let inspected = inspected.unwrap_or(Err(Error::RequestTimeoutError)).inspect_err(|error| {
            if is_missing(error) {
                self.cache.forget(container);
            }
        })?;
        let picture = Described::from_inspected(&inspected).map(Arc::new);
        if let Some(picture) = &picture {
            self.cache.keep(container, ticket, picture.clone());
        }
        Ok(picture)
    }
}

/// One sandbox an id: the container with the right name, else the last.
fn unique(pictures: Vec<Arc<Described>>) -> Vec<Sandbox> {
    let mut chosen: HashMap<&str, &Described> = HashMap::with_capacity(pictures.len());
    for picture in &pictures {
        let rival = chosen.entry(&picture.sandbox.id).or_insert(picture);
        if picture.is_named || !rival.is_named {
            *rival = picture;
        }
    }
    chosen.into_values().map(|picture| picture.sandbox.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::docker::engine::labels;

    fn picture(name: &str, image: &str) -> Arc<Described> {
        let summary = ContainerSummary {
            names: Some(vec![name.to_owned()]),
            image: Some(image.to_owned()),
            labels: Some([(labels::ID.to_owned(), "x".to_owned())].into()),
            ..Default::default()
        };
        Arc::new(Described::from_summary(&summary).unwrap())
    }

    fn chosen(pictures: Vec<Arc<Described>>) -> Vec<String> {
        unique(pictures).into_iter().map(|sandbox| sandbox.image.unwrap().uri).collect()
    }

    #[test]
    fn the_named_container_wins_then_the_last() {
        assert_eq!(chosen(vec![picture("/sandbox-x", "a"), picture("/other", "b")]), ["a"]);
        assert_eq!(chosen(vec![picture("/other", "b"), picture("/sandbox-x", "a")]), ["a"]);
        assert_eq!(chosen(vec![picture("/one", "a"), picture("/two", "b")]), ["b"]);
    }
}
