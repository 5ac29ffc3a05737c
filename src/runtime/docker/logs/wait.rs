//! How long the engine is waited for when a log is opened and read.

use std::{future::Future, io, time::Duration};

use crate::{logs::engine::OpenError, runtime::docker::engine::liveness::Liveness};

/// What `answer` gives, or an error once the engine takes longer than `limit`.
pub(super) async fn within<T, E: From<io::Error>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(timed_out(limit).into()))
}

/// The answer to a log that is followed. An engine of version 20.10 has none before the first line, so as long as there is
/// none the engine is asked whether it answers at all.
pub(super) async fn answered_or_alive<T>(
    limit: Duration,
    liveness: &Liveness,
    mut answer: impl Future<Output = Result<T, OpenError>> + Unpin,
) -> Result<T, OpenError> {
    loop {
        if let Ok(answer) = tokio::time::timeout(limit, &mut answer).await {
            return answer;
        }
        Box::pin(liveness.check()).await?;
    }
}

/// The error for an engine that has sent nothing for as long as it may.
pub(super) fn timed_out(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("it has sent nothing for {} s", limit.as_secs()))
}
