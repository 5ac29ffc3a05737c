//! Reading a sandbox's log: what to ask the engine for, and what its refusals mean.

mod ask;
mod source;
mod tail;

use std::{pin::Pin, time::Duration};

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use jiff::Timestamp;

use crate::{
    logs::{
        LogQuery, LogSource,
        engine::{self, Answer, OpenError},
    },
    metrics::backend::BackendCalls,
    runtime::{ErrorKind, RuntimeError},
};

use self::source::{EngineLog, Nothing};
use super::{
    endpoint::{Endpoint, Socket},
    engine::Engine,
    find,
};

/// How long the engine may take to refuse before the answer begins without it. An engine that has nothing to say yet
/// may send no head at all (log-pitfalls B1), and a client must not wait for that.
const GRACE: Duration = Duration::from_millis(50);

/// Where the engine cuts a record, in bytes, whichever driver keeps it (moby's `copier`; measured with json-file and
/// local on 20.10.24).
const RECORD_LIMIT: usize = 16 * 1024;

/// What a log is read from: one container, as it was inspected.
#[derive(Debug, Clone)]
struct Container {
    endpoint: Endpoint,
    api_version: String,
    id: String,
    tty: bool,
    /// Most bytes of one read.
    buffer: usize,
    calls: BackendCalls,
}

/// Opens the log of the sandbox `id`, in reads of at most `buffer` bytes.
///
/// # Errors
///
/// There is no such sandbox or it is being removed, its driver cannot be read, or the engine cannot be asked.
pub(super) async fn open(
    engine: &Engine,
    id: &str,
    query: &LogQuery,
    buffer: usize,
) -> Result<Pin<Box<dyn LogSource>>, RuntimeError> {
    let inspected = find::find(engine, id).await.map_err(unavailable)?;
    let container = Container::of(engine, &inspected, id, buffer)?;
    // The engine takes an `until` of 0 for none at all.
    if query.until.is_some_and(|until| until <= Timestamp::UNIX_EPOCH) {
        return Ok(Box::pin(Nothing));
    }
    let mut log = EngineLog::open(container, query.clone());
    match tokio::time::timeout(GRACE, log.opened()).await {
        Ok(Err(error)) => Err(refused(id, error)),
        Ok(Ok(())) | Err(_) => Ok(Box::pin(log)),
    }
}

impl Container {
    fn of(
        engine: &Engine,
        inspected: &ContainerInspectResponse,
        id: &str,
        buffer: usize,
    ) -> Result<Self, RuntimeError> {
        let state = inspected.state.as_ref();
        let status = state.and_then(|state| state.status);
        let dead = state.and_then(|state| state.dead).unwrap_or_default();
        if dead || matches!(status, Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD)) {
            return Err(being_removed(id));
        }
        let driver = driver(inspected);
        if driver == "none" {
            return Err(unreadable(driver));
        }
        let Some(container) = inspected.id.clone() else { return Err(RuntimeError::not_found(id)) };
        Ok(Self {
            endpoint: engine.endpoint.clone(),
            api_version: engine.api_version.clone(),
            id: container,
            tty: inspected.config.as_ref().and_then(|config| config.tty).unwrap_or_default(),
            buffer,
            calls: engine.calls.clone(),
        })
    }

    /// Sends a request for `target` on a connection of its own and reads the answer's head.
    async fn ask(&self, target: &str) -> Result<Answer<Socket>, OpenError> {
        let call = self.calls.begin_log();
        let asked = async {
            // Boxed, so that it takes no room in the wait for an engine that may say nothing for hours.
            let io = Box::pin(self.endpoint.connect()).await?;
            engine::ask(io, target).await
        };
        let answer = asked.await;
        match &answer {
            Ok(_) => call.answered(200),
            Err(OpenError::Refused { status, .. }) => call.answered(*status),
            Err(OpenError::Io(_) | OpenError::Protocol(_)) => call.failed(),
        }
        answer
    }
}

fn driver(inspected: &ContainerInspectResponse) -> &str {
    let host = inspected.host_config.as_ref().and_then(|host| host.log_config.as_ref());
    host.and_then(|log| log.typ.as_deref()).unwrap_or_default()
}

/// An engine that cannot be asked about a container cannot be asked for its log either.
fn unavailable(error: RuntimeError) -> RuntimeError {
    match error.kind {
        ErrorKind::QueryFailed => RuntimeError::new(ErrorKind::LogEngineUnavailable, error.message),
        _ => error,
    }
}

fn refused(id: &str, error: OpenError) -> RuntimeError {
    match error {
        OpenError::Io(error) => {
            RuntimeError::new(ErrorKind::LogEngineUnavailable, format!("The Docker Engine broke off: {error}."))
        }
        OpenError::Protocol(what) => RuntimeError::new(
            ErrorKind::LogQueryFailed,
            format!("The Docker Engine's answer cannot be understood: {what}."),
        ),
        OpenError::Refused { status: 404, .. } => RuntimeError::not_found(id),
        OpenError::Refused { status: 409, .. } => being_removed(id),
        // Engines before 1.41 answer 500 with this text, later ones 501.
        OpenError::Refused { status, message }
            if status == 501 || message.contains("logging driver does not support reading") =>
        {
            unreadable(&message)
        }
        OpenError::Refused { status, message } => RuntimeError::new(
            ErrorKind::LogQueryFailed,
            format!("Failed to read logs for sandbox {id}: the engine answered {status}: {message}"),
        ),
    }
}

fn being_removed(id: &str) -> RuntimeError {
    RuntimeError::new(ErrorKind::LogSandboxRemoving, format!("Sandbox {id} is being removed; its log cannot be read."))
}

fn unreadable(why: &str) -> RuntimeError {
    let text = format!(
        "The sandbox's log driver cannot be read ({why}). Use a driver that can, such as json-file or local, for the \
         engine or this container."
    );
    RuntimeError::new(ErrorKind::LogDriverUnreadable, text)
}
