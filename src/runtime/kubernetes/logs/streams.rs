//! Whether a cluster can give one stream of a log alone (kubernetes-api.md §2, `stream=`).
//!
//! Servers before 1.32 ignore the parameter and give both. Later ones refuse it, unless the feature `PodLogsQuerySplitStreams` is on
//! in them and in the kubelet.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{refused, target::name};
use crate::{
    error::{Error, Family, Kind},
    logs::record::Stream,
    runtime::kubernetes::client::{Cluster, LogFailure},
};

/// How long it is believed that the API server does not look at the parameter, or does.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What is no stream: whoever looks at the parameter refuses it.
const NO_STREAM: &str = "opensandbox-gateway";

/// What is known of a cluster.
#[derive(Debug, Default)]
pub(in crate::runtime::kubernetes) struct Streams {
    /// Whether the API server looks at the parameter, and since when that is known.
    is_looked_at: Mutex<Option<(bool, Instant)>>,
}

impl Streams {
    /// Asks for a byte of `stream`.
    ///
    /// # Errors
    /// ([`Family::LogStream`], [`Kind::Unsupported`]) if the cluster cannot tell the streams apart; others if it cannot be asked.
    pub(super) async fn check(
        &self,
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
        container: &str,
        stream: Stream,
    ) -> Result<(), Error> {
        // Another program's 400 tells nothing.
        let ask = async |stream: &str, refusals: &[u16]| {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log");
            let target = format!("{path}?container={container}&limitBytes=1&stream={stream}");
            match cluster.open_log(target, false).await {
                Ok(_) => Ok(true),
                Err(LogFailure::Refused(failure))
                    if failure.is_status() && failure.status.is_some_and(|status| refusals.contains(&status)) =>
                {
                    Ok(false)
                }
                Err(failure) => Err(refused(failure, pod, false)),
            }
        };
        let is_looked_at = if let Some(known) = self.known() {
            known
        } else {
            // 400 is also that of a container that was not started.
            let is_looked_at = !ask(NO_STREAM, &[422]).await?;
            *self.is_looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some((is_looked_at, Instant::now()));
            is_looked_at
        };
        if is_looked_at && ask(name(stream), &[400, 422]).await? { Ok(()) } else { Err(not_separable()) }
    }

    fn known(&self) -> Option<bool> {
        let known = *self.is_looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|(_, since)| since.elapsed() < MAX_AGE).map(|(is_looked_at, _)| is_looked_at)
    }
}

fn not_separable() -> Error {
    let text = "This cluster cannot tell a log's streams apart: leave out stdout and stderr. Kubernetes can from 1.32 on, where \
                the feature gate PodLogsQuerySplitStreams is on in the API server and in the node's kubelet.";
    Error::new(Family::LogStream, Kind::Unsupported, text)
}
