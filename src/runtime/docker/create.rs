//! Creation, from a checked plan to a started container, or to nothing at all (docker-runtime.md §3).

use std::time::Duration;

use bollard::{errors::Error, query_parameters::ListNetworksOptions};
use uuid::Uuid;

use crate::{
    model::{
        create::CreateRequest,
        sandbox::{CreatedSandbox, State, Status},
    },
    runtime::{ErrorKind, RuntimeError},
};

use super::{
    Inner,
    body::{HostPorts, body},
    describe::container_name,
    engine::{is_missing, text},
    execd::{self, Shelf},
    find::query_failed,
    image::{self, LocalImage},
    plan::Plan,
    ports::is_clash,
};

/// How often creation is tried with other host ports when the engine found one taken.
const ATTEMPTS: usize = 3;

/// How often the removal of a half-made container is tried.
const ROLLBACKS: usize = 3;

/// How long a creation waits for its sandbox's entry in the list's cache.
const LOOK: Duration = Duration::from_secs(1);

/// Network modes that need no network of that name.
const BUILT_IN: [&str; 4] = ["host", "bridge", "none", "default"];

impl Inner {
    /// The checks that must pass before anything is changed.
    pub(super) async fn plan(&self, request: CreateRequest) -> Result<Plan, RuntimeError> {
        let plan = Plan::new(request, &self.options)?;
        self.check_network().await?;
        Ok(plan)
    }

    /// Carries out a plan. To be run to its end: a dropped future would leave its container behind.
    pub(super) async fn carry_out(&self, plan: Plan) -> Result<CreatedSandbox, RuntimeError> {
        let id = Uuid::new_v4().to_string();
        let image = image::ensure(&self.engine, &plan.image, plan.platform.as_ref()).await?;
        let shelf = self.execd.artifacts(&self.engine, &self.options.execd_image, image.platform.as_ref()).await?;
        self.start_anew(&plan, &id, &image, &shelf).await?;
        if let Some(time) = plan.expires_at {
            self.expiry.arm(&id, time);
        }
        tracing::info!(sandbox = id, image = plan.image.uri, "created");
        Ok(answer(plan, id))
    }

    async fn check_network(&self) -> Result<(), RuntimeError> {
        let name = &self.options.network_mode;
        if BUILT_IN.contains(&name.as_str()) || name.starts_with("container:") {
            return Ok(());
        }
        let filters = Some([("name".to_owned(), vec![name.clone()])].into());
        let networks = self.engine.api.list_networks(Some(ListNetworksOptions { filters }));
        let networks = self.engine.within(networks).await.map_err(query_failed)?;
        // The engine's filter finds parts of names as well.
        if networks.iter().any(|network| network.name.as_ref() == Some(name)) {
            return Ok(());
        }
        let text =
            format!("Docker network '{name}' does not exist. Create it first with 'docker network create <name>'.");
        Err(RuntimeError::new(ErrorKind::InvalidParameter, text))
    }

    /// Creates and starts the container, with other host ports if the engine says that they clash.
    async fn start_anew(&self, plan: &Plan, id: &str, image: &LocalImage, shelf: &Shelf) -> Result<(), RuntimeError> {
        let mut attempt = 1;
        loop {
            let ports = self.host_ports()?;
            let body = body(plan, id, &image.labels, ports.as_ref(), &self.options);
            let Err(failure) = self.start_one(plan, id, body, shelf).await else { return Ok(()) };
            self.roll_back(id).await;
            match failure {
                Failure::Engine(error) if attempt < ATTEMPTS && is_clash(&text(&error)) => {
                    tracing::info!(sandbox = id, attempt, "a host port was taken");
                    attempt += 1;
                }
                failure => return Err(failure.into()),
            }
        }
    }

    async fn start_one(
        &self,
        plan: &Plan,
        id: &str,
        body: bollard::models::ContainerCreateBody,
        shelf: &Shelf,
    ) -> Result<(), Failure> {
        let container = self.engine.create(&container_name(id), plan.platform.as_ref(), body).await?;
        execd::inject(&self.engine, &container, shelf).await?;
        // From here on the event of the start knows that an inspection is coming.
        self.cache.begin(&container);
        self.engine.start(&container).await?;
        // So that a list right after this asks the engine no more than any other; if this fails, it does.
        let looked = tokio::time::timeout(LOOK, self.inspect_and_keep(&container)).await;
        if !matches!(looked, Ok(Ok(_))) {
            tracing::debug!(sandbox = id, "a new sandbox could not be inspected; the next list will");
        }
        Ok(())
    }

    /// Ports in every mode that has a network of the sandbox's own.
    fn host_ports(&self) -> Result<Option<HostPorts>, RuntimeError> {
        let mode = &self.options.network_mode;
        if mode == "host" || mode.starts_with("container:") {
            return Ok(None);
        }
        let exhausted = || {
            let text = "Failed to allocate host ports for sandbox container.";
            RuntimeError::new(ErrorKind::StartFailed, text)
        };
        let port = || self.ports.reserve().ok_or_else(exhausted);
        Ok(Some(HostPorts { execd: port()?, http: port()? }))
    }

    /// Removes what a failed attempt left. By name, since the engine may have made the container and not said so.
    async fn roll_back(&self, id: &str) {
        let name = container_name(id);
        for _ in 0..ROLLBACKS {
            match self.engine.remove(&name).await {
                Err(error) if !is_missing(&error) => tracing::warn!(sandbox = id, %error, "roll-back failed"),
                _ => return,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

enum Failure {
    /// The engine refused to create or to start.
    Engine(Error),
    Other(RuntimeError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Other(error) => error,
            Failure::Engine(error) => {
                tracing::warn!(%error, "a sandbox's container could not be created or started");
                let text = format!("Failed to create or start container: {}", text(&error));
                Self::new(ErrorKind::StartFailed, text)
            }
        }
    }
}

fn answer(plan: Plan, id: String) -> CreatedSandbox {
    let status = Status {
        state: State::Running,
        reason: Some("CONTAINER_RUNNING"),
        message: Some("Sandbox container started successfully.".to_owned()),
        last_transition_at: Some(plan.created_at),
    };
    CreatedSandbox {
        id,
        status,
        metadata: plan.metadata,
        extensions: plan.extensions.echoed,
        platform: plan.platform,
        expires_at: plan.expires_at,
        created_at: plan.created_at,
        entrypoint: plan.entrypoint,
    }
}
