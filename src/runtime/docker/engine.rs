//! The engine's API: bollard over our own connections, with a time limit on every call.

pub mod client_config;
pub mod endpoint;
pub(super) mod labels;
pub(super) mod liveness;
pub(super) mod mask;
pub(super) mod names;
pub(super) mod outage;
mod provenance;
mod tls;
mod transport;

use std::{
    fmt,
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION,
    errors::Error as EngineError,
    models::{ContainerCreateBody, ContainerInspectResponse, ContainerSummary, SystemInfo},
    query_parameters::{CreateContainerOptions, ListContainersOptions, RemoveContainerOptions, RemoveVolumeOptions},
};
use tokio::sync::{OnceCell, watch};

use crate::{metrics::backend::BackendCalls, model::sandbox::Platform};

use self::{
    client_config::ClientConfig, endpoint::Endpoint, liveness::Liveness, mask::Mask, provenance::Images,
    transport::transport,
};

/// The longest text of the engine's that is quoted, in bytes: it goes into answers and into the log.
const MAX_WORDS: usize = 1024;

/// The most letters of its id.
const MAX_ID: usize = 128;

/// The engine, reached at one endpoint with one API version.
pub(super) struct Engine {
    /// Used directly for calls that need no wrapper here.
    pub(super) api: bollard::Docker,
    pub(super) endpoint: Endpoint,
    /// What was negotiated, such as `1.41`.
    pub(super) api_version: String,
    /// What the engine itself runs on.
    pub(super) platform: Platform,
    /// What [`Engine::id`] found.
    id: OnceCell<Option<String>>,
    /// Credentials for registries, and proxies of containers.
    pub(super) client_config: ClientConfig,
    /// The limit for one call, and for the silence between two pieces of a stream.
    pub(super) timeout: Duration,
    /// What tells the containers' own labels from their images'.
    images: Images,
    /// Pings for streams that may be silent.
    pub(super) liveness: Liveness,
    /// Counts event streams that the engine has opened: bollard does not show the head of that response.
    event_streams: watch::Sender<u64>,
    /// Counts requests.
    pub(super) calls: BackendCalls,
}

impl Engine {
    /// Asks the engine for its version and platform.
    pub(super) async fn connect(
        endpoint: Endpoint,
        timeout: Duration,
        client_config: ClientConfig,
        calls: BackendCalls,
    ) -> Result<Self, EngineError> {
        let prefix = Arc::new(OnceLock::new());
        let event_streams = watch::Sender::new(0);
        let transport = transport(endpoint.clone(), prefix.clone(), event_streams.clone(), calls.clone());
        let api = bollard::Docker::connect_with_custom_transport(
            transport,
            Some("http://docker"),
            timeout.as_secs().max(1),
            API_DEFAULT_VERSION,
        )?;
        let (api, version) =
            bounded(timeout, async { Ok((api.clone().negotiate_version().await?, api.version().await?)) }).await?;
        let api_version = api.client_version().to_string();
        prefix.get_or_init(|| format!("/v{api_version}"));
        let platform = Platform { os: version.os.unwrap_or_default(), arch: version.arch.unwrap_or_default() };
        Ok(Self {
            api,
            liveness: Liveness::new(endpoint.clone(), timeout),
            endpoint,
            api_version,
            platform,
            id: OnceCell::new(),
            client_config,
            timeout,
            images: Images::default(),
            event_streams,
            calls,
        })
    }

    /// Changes when the engine has opened an event stream that was requested after this call.
    pub(super) fn event_streams(&self) -> watch::Receiver<u64> {
        self.event_streams.subscribe()
    }

    /// The outcome of a call, or [`EngineError::RequestTimeoutError`]: bollard itself limits only the wait for the head.
    pub(super) async fn within<T>(&self, call: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        bounded(self.timeout, call).await
    }

    /// Everything about one container. `container` must be an id or a name that this program made.
    ///
    /// Labels that make it a sandbox or a sidecar are left out if it only has them from its image.
    pub(super) async fn inspect(&self, container: &str) -> Result<ContainerInspectResponse, EngineError> {
        let mut inspected = self.within(self.api.inspect_container(container, None)).await?;
        self.disown_inspected(&mut inspected).await;
        Ok(inspected)
    }

    /// The containers that carry the label `opensandbox.io/id` of their own, or that label with one value.
    pub(super) async fn sandboxes(&self, id: Option<&str>) -> Result<Vec<ContainerSummary>, EngineError> {
        self.labelled(labels::ID, id).await
    }

    /// The containers that are sidecars, or one sandbox's sidecars.
    pub(super) async fn sidecars(&self, id: Option<&str>) -> Result<Vec<ContainerSummary>, EngineError> {
        self.labelled(labels::SIDECAR_FOR, id).await
    }

    async fn labelled(&self, key: &str, value: Option<&str>) -> Result<Vec<ContainerSummary>, EngineError> {
        let filter = value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}"));
        let mut found = self.containers("label", filter).await?;
        found.retain(|container| container.labels.as_ref().is_some_and(|labels| labels.contains_key(key)));
        Ok(found)
    }

    /// The containers in any state that one of the engine's filters lets through, with labels as in [`Engine::inspect`].
    pub(super) async fn containers(&self, filter: &str, value: String) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = Some([(filter.to_owned(), vec![value])].into());
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        let mut found = self.within(self.api.list_containers(Some(options))).await?;
        self.disown_listed(&mut found).await;
        Ok(found)
    }

    /// The present time by the engine's own clock; `None` if it does not say.
    pub(super) async fn now(&self) -> Result<Option<jiff::Timestamp>, EngineError> {
        Ok(self.info().await?.system_time.and_then(|time| time.parse().ok()))
    }

    /// The engine's random id, by letters, digits and `-`; nothing if it has none or does not tell it.
    pub(super) async fn id(&self) -> Result<Option<&str>, EngineError> {
        let id = self.id.get_or_try_init(|| async {
            let id = self.info().await?.id.filter(|id| !id.is_empty());
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            Ok::<_, EngineError>(id.map(|id| id.chars().take(MAX_ID).map(plain).collect()))
        });
        Ok(id.await?.as_deref())
    }

    /// What the engine says of itself; empty if that is refused.
    async fn info(&self) -> Result<SystemInfo, EngineError> {
        match self.within(self.api.info()).await {
            Err(error) if is_refusal(&error) => Ok(SystemInfo::default()),
            info => info,
        }
    }

    /// Creates a container, with the proxies of Docker's client configuration where it has no such variable itself. Errors
    /// are redacted: they quote nothing of `body`.
    pub(super) async fn create(
        &self,
        name: &str,
        platform: Option<&Platform>,
        mut body: ContainerCreateBody,
    ) -> Result<Created, EngineError> {
        let mut env = self.client_config.proxies().await;
        let own = body.env.take().unwrap_or_default();
        env.retain(|proxy| !own.iter().any(|entry| name_of(entry) == name_of(proxy)));
        env.extend(own);
        body.env = Some(env).filter(|env| !env.is_empty());
        let options = CreateContainerOptions { name: Some(name.to_owned()), platform: platform_text(platform) };
        let mask = Mask::of(&body);
        let created = self.within(self.api.create_container(Some(options), body)).await;
        match created {
            Ok(created) => Ok(Created { id: created.id, mask }),
            Err(error) => Err(mask.error(error)),
        }
    }

    /// Starts a container. Errors quote nothing of its create request.
    pub(super) async fn start(&self, container: &Created) -> Result<(), EngineError> {
        self.within(self.api.start_container(&container.id, None)).await.map_err(|error| container.mask.error(error))
    }

    /// Freezes a container's processes.
    pub(super) async fn pause(&self, container: &str) -> Result<(), EngineError> {
        self.within(self.api.pause_container(container)).await
    }

    /// Lets a frozen container's processes go on.
    pub(super) async fn unpause(&self, container: &str) -> Result<(), EngineError> {
        self.within(self.api.unpause_container(container)).await
    }

    /// Removes a container with its anonymous volumes, whatever it is doing: what runs is killed.
    pub(super) async fn remove(&self, container: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        self.within(self.api.remove_container(container, Some(options))).await
    }

    /// Removes a volume.
    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.within(self.api.remove_volume(name, Some(RemoveVolumeOptions { force: false }))).await
    }
}

/// A container that was just created.
pub(super) struct Created {
    /// The engine's id of it.
    pub(super) id: String,
    /// Redacts its create request in errors.
    pub(super) mask: Mask,
}

/// The name of a `NAME=value`.
fn name_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or_default()
}

/// A platform as the engine's query parameters have it; empty for none.
pub(super) fn platform_text(platform: Option<&Platform>) -> String {
    platform.map(|platform| format!("{}/{}", platform.os, platform.arch)).unwrap_or_default()
}

/// The status of the engine's answer, when there was one.
pub(super) fn status(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine answered 404.
pub(super) fn is_missing(error: &EngineError) -> bool {
    status(error) == Some(404)
}

/// Whether a call is not permitted at all, by a proxy before the engine or by an authorization plugin. Where the object may
/// be missing, check [`is_missing`] first.
pub(super) fn is_refusal(error: &EngineError) -> bool {
    matches!(status(error), Some(401 | 403 | 404 | 405 | 501))
}

/// The engine's own words, without bollard's frame around them; the first [`MAX_WORDS`] bytes.
pub(super) fn text(error: &EngineError) -> String {
    let mut text = match error {
        EngineError::DockerResponseServerError { message, .. } => message.clone(),
        EngineError::DockerStreamError { error } => error.clone(),
        EngineError::RequestTimeoutError => "the engine did not answer in time".to_owned(),
        other => other.to_string(),
    };
    if text.len() > MAX_WORDS {
        text.truncate(text.floor_char_boundary(MAX_WORDS));
        text.push('…');
    }
    text
}

/// A call's failure as what lies beneath an error: told in the engine's own words, like [`text`].
#[derive(Debug)]
pub(super) struct Cause(pub(super) EngineError);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.0))
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

async fn bounded<T>(timeout: Duration, call: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    tokio::time::timeout(timeout, call).await.unwrap_or(Err(EngineError::RequestTimeoutError))
}
