//! Listing: one engine call, and one more for each container whose view is not cached (docker-runtime.md §10, §18).

use std::{collections::HashMap, sync::Arc, time::Duration};

use bollard::{errors::Error as EngineError, models::ContainerSummary};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::{
    error::Error,
    model::sandbox::Sandbox,
    telemetry::rate_limit::{Due, RateLimit},
};

use super::{
    find::query_failed,
    view::{ContainerView, state_name},
};
use crate::runtime::docker::{Inner, engine::is_missing};

/// How many containers are inspected at the same time, over all lists and events.
pub(in crate::runtime::docker) const MAX_INSPECTIONS: usize = 16;

/// How long the inspections of one list may take together; after that it shows summaries. Also the limit of one inspection.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Inner {
    /// All sandboxes that the engine has containers of, this server's own or not, as those show them.
    pub(in crate::runtime::docker) async fn list_containers(&self) -> Result<Vec<Sandbox>, Error> {
        let summaries = self.engine.sandboxes(None).await.map_err(query_failed)?;
        // One deadline for all of them: an engine that hangs at each would delay a long list for minutes.
        let deadline = Instant::now() + INSPECT_TIMEOUT;
        let views = stream::iter(summaries).map(|summary| self.view(summary, deadline)).buffered(MAX_INSPECTIONS);
        Ok(unique(views.filter_map(std::future::ready).collect().await))
    }

    /// The view of a listed container; `None` if it has gone meanwhile. A failure is only logged, and rate-limited: a scrape of
    /// the metrics needs no key, and lists.
    async fn view(&self, summary: ContainerSummary, deadline: Instant) -> Option<Arc<ContainerView>> {
        static WRITTEN: RateLimit = RateLimit::new();
        let container = summary.id.as_deref()?;
        if let Some(view) = self.cache.view(container, &state_name(&summary)) {
            return Some(view);
        }
        let inspected = tokio::time::timeout_at(deadline, self.inspect_and_keep(container)).await;
        match inspected.unwrap_or(Err(EngineError::RequestTimeoutError)) {
            Ok(Some(view)) => return Some(view),
            Ok(None) => {}
            Err(error) if is_missing(&error) => return None,
            Err(error) => {
                if let Some(Due { left_out }) = WRITTEN.due("details") {
                    tracing::warn!(container, %error, left_out, "a sandbox is listed without its details");
                }
            }
        }
        ContainerView::from_summary(&summary).map(Arc::new)
    }

    /// Inspects a container and keeps its view; nothing when it is no sandbox. Gives up after [`INSPECT_TIMEOUT`].
    pub(in crate::runtime::docker) async fn inspect_and_keep(
        &self,
        container: &str,
    ) -> Result<Option<Arc<ContainerView>>, EngineError> {
        let _permit = self.inspections.acquire().await;
        let ticket = self.cache.begin(container);
        let inspected = tokio::time::timeout(INSPECT_TIMEOUT, self.engine.inspect(container)).await;
        let inspected = inspected.unwrap_or(Err(EngineError::RequestTimeoutError)).inspect_err(|error| {
            if is_missing(error) {
                self.cache.forget(container);
            }
        })?;
        let view = ContainerView::from_inspected(&inspected).map(Arc::new);
        if let Some(view) = &view {
            self.cache.keep(container, ticket, view.clone());
        }
        Ok(view)
    }
}

/// One sandbox for each id: the container with the right name, else the last.
fn unique(views: Vec<Arc<ContainerView>>) -> Vec<Sandbox> {
    let mut chosen: HashMap<&str, &ContainerView> = HashMap::with_capacity(views.len());
    for view in &views {
        let rival = chosen.entry(&view.sandbox.id).or_insert(view);
        if view.is_named || !rival.is_named {
            *rival = view;
        }
    }
    chosen.into_values().map(|view| view.sandbox.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::docker::engine::labels;

    fn view(name: &str, image: &str) -> Arc<ContainerView> {
        let summary = ContainerSummary {
            names: Some(vec![name.to_owned()]),
            image: Some(image.to_owned()),
            labels: Some([(labels::ID.to_owned(), "x".to_owned())].into()),
            ..Default::default()
        };
        Arc::new(ContainerView::from_summary(&summary).unwrap())
    }

    fn chosen(views: Vec<Arc<ContainerView>>) -> Vec<String> {
        unique(views).into_iter().map(|sandbox| sandbox.image.unwrap().uri).collect()
    }

    #[test]
    fn the_named_container_wins_then_the_last() {
        assert_eq!(chosen(vec![view("/sandbox-x", "a"), view("/other", "b")]), ["a"]);
        assert_eq!(chosen(vec![view("/other", "b"), view("/sandbox-x", "a")]), ["a"]);
        assert_eq!(chosen(vec![view("/one", "a"), view("/two", "b")]), ["b"]);
    }
}
