//! Reading a sandbox's log: opening it on the engine, and what the engine's refusals mean.

pub(super) mod log_driver;

mod backend;
mod silence;
mod source;
mod target;
mod wait;

use std::{future::Future, io, sync::Arc, time::Duration};

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use jiff::Timestamp;

use crate::{
    error::{Error, Family, Kind},
    logs::{
        LogQuery, OpenedLog,
        backend::Backend as _,
        decode::Mode,
        engine::{self, Answer, OpenError},
        exchange::Exchange,
        record_source::RecordSource,
        source::Nothing,
    },
};

use self::{
    backend::{ContainerLog, state_of},
    source::EngineLog,
    wait::{answered_or_alive, within},
};
use crate::runtime::docker::{
    Inner,
    engine::{Engine, endpoint::Socket},
};

/// How long the engine may take to refuse before the answer begins without it. An engine that has nothing to say yet
/// may send no head at all (log-pitfalls B1), and a client must not wait for that.
const GRACE: Duration = Duration::from_millis(50);

/// Where the engine cuts a record, in bytes, whichever driver keeps it (moby's `copier`; measured with json-file and
/// local on 20.10.24).
const RECORD_LIMIT: usize = 16 * 1024;

/// What a log is read from: one container, as it was inspected.
#[derive(Clone)]
struct Container {
    engine: Arc<Engine>,
    id: String,
    tty: bool,
    /// Its log driver.
    driver: String,
    /// Most bytes of one read.
    buffer: usize,
}

impl Inner {
    /// Opens the log of the sandbox `id`, in reads of at most `log_buffer` bytes.
    ///
    /// A log that is not followed is open once the engine has answered, so that one that hangs is an error with a status.
    /// One that is followed may have no head for hours: it is open when the engine has not refused it within [`GRACE`].
    ///
    /// # Errors
    ///
    /// There is no such sandbox or it is being removed, its driver cannot be read, or the engine cannot be asked.
    pub(super) async fn open_logs(&self, id: &str, query: &LogQuery) -> Result<OpenedLog, Error> {
        let inspected = match self.find(id).await {
            Ok(inspected) => inspected,
            // An end that was told stays one, also when the sandbox is gone.
            Err(error) if error.kind == Kind::NotFound && query.after.is_some_and(|after| after.ended) => {
                return Ok(OpenedLog::Ended);
            }
            Err(error) => return Err(unavailable(error)),
        };
        let container = Container::of(&self.engine, &inspected, id, self.options.log_buffer)?;
        if query.is_plain() {
            return Box::pin(container.open_text(id, query)).await;
        }
        if query.until.is_some_and(|until| until <= Timestamp::UNIX_EPOCH) && !query.as_records {
            return Ok(OpenedLog::Text(Box::pin(Nothing)));
        }
        let (backend, state) = (Arc::new(ContainerLog::new(container, id)), state_of(&inspected));
        if query.after.is_some_and(|after| RecordSource::is_over(&after, backend.run(), state)) {
            return Ok(OpenedLog::Ended);
        }
        let opening = RecordSource::open(backend, query, state, self.options.log_reconnect);
        Ok(OpenedLog::Records(Box::pin(opening).await?))
    }
}

impl Container {
    fn of(engine: &Arc<Engine>, inspected: &ContainerInspectResponse, id: &str, buffer: usize) -> Result<Self, Error> {
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
        let Some(container) = inspected.id.clone() else { return Err(Error::not_found(id)) };
        Ok(Self {
            engine: engine.clone(),
            id: container,
            tty: inspected.config.as_ref().and_then(|config| config.tty).unwrap_or_default(),
            driver: driver.to_owned(),
            buffer,
        })
    }

    /// Opens the log as plain text.
    async fn open_text(&self, id: &str, query: &LogQuery) -> Result<OpenedLog, Error> {
        let answer = self.send_request(target::text(&self.engine.api_version, &self.id, query), query.follow);
        let mode = Mode { tty: self.tty, timestamps: query.timestamps, record_limit: RECORD_LIMIT };
        let buffer = self.buffer;
        let exchange = move |answer| Box::new(Exchange::new(answer, mode, buffer));
        let silence = (!query.follow).then_some(self.engine.timeout);
        let mut log = Box::pin(EngineLog::open(answer, exchange, silence));
        let grace = if query.follow { GRACE } else { Duration::MAX };
        match tokio::time::timeout(grace, log.opened()).await {
            Ok(Err(error)) => Err(refused(id, error)),
            Ok(Ok(())) | Err(_) => Ok(OpenedLog::Text(log)),
        }
    }

    /// Sends a request for `target` on a connection of its own and reads the answer's head, within the engine's limit unless
    /// it `may_wait`. Keeps nothing of this container but what the wait for an engine needs that may say nothing for hours;
    /// each future is boxed by itself, so that none has room for the others.
    fn send_request(
        &self,
        target: String,
        may_wait: bool,
    ) -> impl Future<Output = Result<Answer<Socket>, OpenError>> + Send + use<> {
        let Engine { calls, timeout, liveness, endpoint, .. } = &*self.engine;
        let (call, timeout, liveness, endpoint) = (calls.begin_log(), *timeout, liveness.clone(), endpoint.clone());
        let connected = Box::pin(async move { endpoint.connect().await });
        let answer = Box::pin(async move { engine::send_request(connected.await?, target).await });
        async move {
            let answered = if may_wait {
                answered_or_alive(timeout, &liveness, answer).await
            } else {
                Box::pin(within(timeout, answer)).await
            };
            match &answered {
                Ok(_) => call.answered(200),
                Err(OpenError::Refused { status, .. }) => call.answered(*status),
                Err(OpenError::Io(_) | OpenError::Protocol(_)) => call.failed(),
            }
            answered
        }
    }
}

fn driver(inspected: &ContainerInspectResponse) -> &str {
    let host = inspected.host_config.as_ref().and_then(|host| host.log_config.as_ref());
    host.and_then(|log| log.typ.as_deref()).unwrap_or_default()
}

/// An engine that cannot be asked about a container cannot be asked for its log either.
fn unavailable(error: Error) -> Error {
    if error.family == Family::Query { error.within(Family::Logs) } else { error }
}

fn refused(id: &str, error: OpenError) -> Error {
    match error {
        OpenError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            Error::new(Family::Logs, Kind::TimedOut, format!("The Docker Engine hangs: {error}.")).caused_by(error)
        }
        OpenError::Io(error) => {
            let text = format!("The Docker Engine broke off: {error}.");
            Error::new(Family::Logs, Kind::Unavailable, text).caused_by(error)
        }
        OpenError::Protocol(what) => {
            Error::new(Family::Logs, Kind::Failed, format!("The Docker Engine's answer cannot be understood: {what}."))
        }
        OpenError::Refused { status: 404, .. } => Error::not_found(id),
        OpenError::Refused { status: 409, .. } => being_removed(id),
        // Engines before 1.41 answer 500 with this text, later ones 501.
        OpenError::Refused { status, message }
            if status == 501 || message.contains("logging driver does not support reading") =>
        {
            unreadable(&message)
        }
        OpenError::Refused { status, message } => Error::new(
            Family::Logs,
            Kind::Failed,
            format!("Failed to read logs for sandbox {id}: the engine answered {status}: {message}"),
        ),
    }
}

fn being_removed(id: &str) -> Error {
    Error::new(Family::Logs, Kind::Conflict, format!("Sandbox {id} is being removed; its log cannot be read."))
}

fn unreadable(why: &str) -> Error {
    let text = format!(
        "The sandbox's log driver cannot be read ({why}). Use a driver that can, such as json-file or local, for the \
         engine or this container."
    );
    Error::new(Family::Logs, Kind::Unsupported, text)
}
