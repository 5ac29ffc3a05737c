//! Creation, from a checked plan to a started container, or to nothing at all (docker-runtime.md §3).

mod body;
pub(super) mod execd;
mod image;
mod links;
mod plan;
mod windows;

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bollard::{errors::Error, query_parameters::ListNetworksOptions};
use bytes::Bytes;
use uuid::Uuid;

use crate::{
    error::{ErrorKind, RuntimeError},
    model::{
        create::{CreateRequest, ImageSource},
        sandbox::{CreatedSandbox, Platform, State, Status},
    },
};

use self::{
    body::{Parts, body, execd_bind, has_foreign_mounts, has_runtime_volume},
    execd::Deposit,
    plan::{Draft, Plan},
};
use crate::runtime::docker::{
    Inner,
    engine::{Created, is_missing, is_refusal, mask, names, status, text},
    logs::log_driver,
    ports::{
        Reservation,
        host_ports::{EGRESS, EXECD, HTTP, HostPorts, WINDOWS},
        is_clash, named,
    },
    state::find::query_failed,
    volumes::Mounts,
};

/// How often creation is tried with other host ports when the engine found one taken.
const PORT_ATTEMPTS: usize = 3;

/// How often the removal of a half-made container is tried.
const ROLLBACK_ATTEMPTS: usize = 3;

/// The longest that one such removal is waited for, with a client that waits. What stays is looked after by `creations` and
/// `leftovers`.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a creation waits for its sandbox's entry in the list's cache.
const CACHE_TIMEOUT: Duration = Duration::from_secs(1);

/// Network modes that need no network of that name.
const BUILT_IN: [&str; 4] = ["host", "bridge", "none", "default"];

/// The error of a creation that ends with the program.
pub(super) fn closing() -> RuntimeError {
    RuntimeError::new(ErrorKind::StartFailed, "The server is shutting down.")
}

/// Counts the creations that have started nothing on the engine so far.
#[derive(Debug, Default)]
pub(super) struct Preparing(Arc<AtomicUsize>);

/// A creation that is prepared, until this is dropped.
#[derive(Debug)]
pub(super) struct Preparation(Arc<AtomicUsize>);

impl Preparing {
    fn enter(&self) -> Preparation {
        self.0.fetch_add(1, Ordering::Relaxed);
        Preparation(Arc::clone(&self.0))
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// The checks that must pass before anything is changed.
    pub(super) async fn plan(&self, request: CreateRequest) -> Result<Plan, RuntimeError> {
        let draft = Draft::new(request, &self.options)?;
        self.check_network().await?;
        draft.finish(&self.options)
    }

    /// Carries out a plan. To be run to its end: a dropped future would leave its container behind.
    pub(super) async fn carry_out(&self, plan: Plan) -> Result<CreatedSandbox, RuntimeError> {
        let id = Uuid::new_v4().to_string();
        // Neither a removal nor its own expiry may come in between.
        let _lock = self.change_locks.lock(&id).await;
        let mut preparing = Some(self.preparing.enter());
        let note = self.creations.begin(&id).await;
        let mut mounts = Mounts::default();
        let mut made = self.make(&plan, &id, &mut mounts, &mut preparing).await;
        if made.is_err() && self.creations.has_given_up(&id) {
            // The note stays until what the engine may yet make of it is gone.
        } else if let Some(note) = note
            && let Err(error) = note.end().await
            && made.is_ok()
        {
            // It would be removed at the next start.
            tracing::error!(sandbox = id, %error, "the note of a creation could not be removed");
            let text = format!("The sandbox could not be recorded as created: {error}");
            let failure = Failure::Other(RuntimeError::new(ErrorKind::StartFailed, text));
            if !self.roll_back(&plan, &id, &failure).await {
                self.creations.give_up(&id);
            }
            made = Err(failure.into());
        }
        if let Err(error) = made {
            self.unmount(&id, &mounts).await;
            return Err(error);
        }
        self.settle_buckets(&id, &mounts).await;
        if let Some(time) = plan.expires_at {
            self.expiry.arm(&id, time);
        }
        tracing::info!(sandbox = id, image = mask::reference(&plan.image.uri), "created");
        Ok(answer(plan, id))
    }

    async fn make(
        &self,
        plan: &Plan,
        id: &str,
        mounts: &mut Mounts,
        preparing: &mut Option<Preparation>,
    ) -> Result<(), RuntimeError> {
        self.mount(id, &plan.volumes, mounts).await?;
        // Nothing of what is awaited here has to be undone, and pulling an image may take minutes.
        let image = tokio::select! {
            ready = self.images(plan) => ready?,
            () = self.closing.cancelled() => return Err(closing()),
        };
        self.stage(id, mounts).await?;
        // From here on the engine makes things, which a shutdown waits for.
        *preparing = None;
        let archive = self.archive(plan, image.platform.as_ref()).await?;
        self.check_places(plan).await?;
        self.fill(&plan.volumes, mounts).await?;
        if self.closing.is_cancelled() {
            return Err(closing());
        }
        let platform = image.platform.as_ref();
        self.start_anew(&Making { plan, id, inherited: &image.labels, platform, archive, mounts }).await?;
        // A further attempt would have needed it.
        self.clear_probe(id, mounts).await;
        Ok(())
    }

    /// Sees to the images of a plan; answers the sandbox's.
    async fn images(&self, plan: &Plan) -> Result<image::LocalImage, RuntimeError> {
        let image = match &plan.snapshot_id {
            Some(_) => image::present(&self.engine, &plan.image).await?,
            None => image::ensure(&self.engine, &plan.image, plan.pinned()).await?,
        };
        if let Some(sidecar) = &plan.sidecar {
            let source = ImageSource { uri: sidecar.image.clone(), auth: None };
            image::ensure(&self.engine, &source, None).await?;
        }
        Ok(image)
    }

    /// What is put into the sandbox before it starts. Ends soon when the program does, and leaves nothing; so it is not to be
    /// cut.
    async fn archive(&self, plan: &Plan, platform: Option<&Platform>) -> Result<Bytes, RuntimeError> {
        let image = &self.options.execd_image;
        match plan.windows {
            Some(_) => self.execd.windows_archive(&self.engine, image, &self.closing).await,
            None => self.execd.archive(&self.engine, image, platform, &self.closing).await,
        }
    }

    /// Fails unless the network that sandboxes are to have exists.
    pub(super) async fn check_network(&self) -> Result<(), RuntimeError> {
        let name = &self.options.network_mode;
        if BUILT_IN.contains(&name.as_str()) || name.starts_with("container:") {
            return Ok(());
        }
        let filters = Some([("name".to_owned(), vec![name.clone()])].into());
        let networks = self.engine.api.list_networks(Some(ListNetworksOptions { filters }));
        let networks = match self.engine.within(networks).await {
            // Then the engine itself says no when a container is created.
            Err(error) if is_refusal(&error) => return Ok(()),
            networks => networks.map_err(query_failed)?,
        };
        // The engine's filter finds parts of names as well.
        if networks.iter().any(|network| network.name.as_ref() == Some(name)) {
            return Ok(());
        }
        let text =
            format!("Docker network '{name}' does not exist. Create it first with 'docker network create <name>'.");
        Err(RuntimeError::new(ErrorKind::InvalidParameter, text))
    }

    /// Creates and starts the container, with other host ports if the engine says that they clash.
    async fn start_anew(&self, making: &Making<'_>) -> Result<(), RuntimeError> {
        let mut attempt = 1;
        // Not drawn again as long as this is tried.
        let mut taken = Taken::default();
        loop {
            let ports = self.host_ports(making.plan)?;
            let Err(failure) = self.start_one(making, ports.as_ref()).await else { return Ok(()) };
            if !self.roll_back(making.plan, making.id, &failure).await {
                self.creations.give_up(making.id);
                return Err(self.told(failure));
            }
            match failure {
                Failure::Engine(error) | Failure::Sidecar(error)
                    if attempt < PORT_ATTEMPTS && is_clash(&text(&error)) =>
                {
                    tracing::info!(sandbox = making.id, attempt, "a host port was taken");
                    attempt += 1;
                    self.pass_over_taken(ports, &text(&error), &mut taken).await;
                }
                failure => return Err(self.told(failure)),
            }
        }
    }

    /// What the client is told; the operator is named as the one to act where the log driver is the cause.
    fn told(&self, failure: Failure) -> RuntimeError {
        let advice = match &failure {
            Failure::Engine(error) | Failure::Sidecar(error) => log_driver::advice(&text(error), &self.options),
            Failure::Other(_) => None,
        };
        let mut error = RuntimeError::from(failure);
        if let Some(advice) = advice {
            tracing::error!("no sandbox can start: {advice}");
            error.message = format!("{}. {advice}", error.message.trim_end_matches('.'));
        }
        error
    }

    /// Sees to it that ports are not drawn which the engine says are taken, nor those that it publishes already: where the
    /// engine is elsewhere, this server cannot try them.
    async fn pass_over_taken(&self, ports: Option<HostPorts>, words: &str, taken: &mut Taken) {
        match named(words) {
            Some(port) => {
                drop(ports);
                taken.single.extend(self.ports.pass_over(port));
            }
            None => taken.whole.extend(ports),
        }
        let running = self.engine.containers("status", "running".to_owned()).await;
        let published = running.unwrap_or_default().into_iter().filter_map(|container| container.ports).flatten();
        let published = published.filter_map(|port| port.public_port);
        taken.single.extend(published.filter_map(|port| self.ports.pass_over(port)));
    }

    async fn start_one(&self, making: &Making<'_>, ports: Option<&HostPorts>) -> Result<(), Failure> {
        let Making { plan, id, inherited, archive, mounts, .. } = making;
        let sidecar = match (&plan.sidecar, ports) {
            (Some(wanted), Some(ports)) => Some(self.start_sidecar(id, wanted, ports).await.map_err(Failure::Sidecar)?),
            _ => None,
        };
        let options = &self.options;
        let is_deposited = has_foreign_mounts(plan, options);
        if is_deposited {
            self.deposit(making).await?;
        }
        let created_by = &self.owner.signature(id);
        let body = body(&Parts { plan, id, inherited, ports, mounts, sidecar: sidecar.as_ref(), options, created_by });
        let container = self.engine.create(&names::sandbox(id), plan.pinned(), body).await?;
        // A request for it that comes next must not be told that there is no such sandbox.
        self.cache.learn(&container.id, id);
        if !is_deposited {
            execd::inject(&self.engine, &container, archive.clone()).await?;
        }
        // The sidecar had time until here to get ready.
        if let (Some(sidecar), Some(ports)) = (&sidecar, ports) {
            self.wait_for_sidecar(id, sidecar, ports).await?;
        }
        self.start(id, &container, mounts).await
    }

    /// Puts execd into a volume, since the sandbox has mounts that it must be kept away from.
    async fn deposit(&self, making: &Making<'_>) -> Result<(), Failure> {
        let Making { plan, id, platform, archive, mounts, .. } = making;
        if has_runtime_volume(plan, &self.options) {
            self.create_volume(&names::runtime_volume(id)).await?;
        }
        let probe = self.probe(id, mounts).await?;
        let deposit = Deposit {
            image: &self.options.execd_image,
            platform: platform.filter(|_| plan.windows.is_none()),
            bind: &execd_bind(plan, &self.options, id),
            archive: archive.clone(),
            probe: probe.as_ref(),
        };
        Ok(deposit.carry_out(&self.engine).await?)
    }

    async fn start(&self, id: &str, created: &Created, mounts: &Mounts) -> Result<(), Failure> {
        let container = created.id.as_str();
        self.check_mounts(container, mounts).await?;
        // From here on the event of the start knows that an inspection is coming.
        self.cache.begin(container);
        self.engine.start(created).await?;
        // So that a list right after this asks the engine no more than any other; if this fails, it does.
        let looked = tokio::time::timeout(CACHE_TIMEOUT, self.inspect_and_keep(container)).await;
        if !matches!(looked, Ok(Ok(_))) {
            tracing::debug!(sandbox = id, "a new sandbox could not be inspected; the next list will");
        }
        Ok(())
    }

    /// Ports in every mode that has a network of the sandbox's own, or its sidecar's.
    fn host_ports(&self, plan: &Plan) -> Result<Option<HostPorts>, RuntimeError> {
        let mode = &self.options.network_mode;
        if plan.sidecar.is_none() && (mode == "host" || mode.starts_with("container:")) {
            return Ok(None);
        }
        let sidecar = plan.sidecar.iter().map(|_| EGRESS);
        let windows = plan.windows.iter().flat_map(|_| WINDOWS);
        let ports = HostPorts::reserve(&self.ports, [EXECD, HTTP].into_iter().chain(sidecar).chain(windows));
        ports.map(Some).ok_or_else(|| {
            let text = "Failed to allocate host ports for sandbox container.";
            RuntimeError::new(ErrorKind::StartFailed, text)
        })
    }

    /// Removes what a failed attempt left. By name, since the engine may have made things and not said so. Tells whether the
    /// engine can make nothing more of it.
    async fn roll_back(&self, plan: &Plan, id: &str, failure: &Failure) -> bool {
        let names = (names::sandbox(id), names::sidecar(id));
        let sandbox = self.insist(id, || self.engine.remove(&names.0)).await;
        let sidecar = match &plan.sidecar {
            Some(_) => self.insist(id, || self.engine.remove(&names.1)).await,
            None => Removal::Missing,
        };
        let volumes = [
            has_runtime_volume(plan, &self.options).then(|| names::runtime_volume(id)),
            plan.windows.as_ref().map(|_| names::oem_volume(id)),
        ];
        let mut stays = [&sandbox, &sidecar].contains(&&Removal::Stays);
        for name in volumes.into_iter().flatten() {
            stays |= self.insist(id, || self.engine.remove_volume(&name)).await == Removal::Stays;
        }
        // What was asked for without an answer may come later, unless it was there already.
        let may_come = match failure {
            Failure::Engine(error) => status(error).is_none() && sandbox != Removal::Removed,
            Failure::Sidecar(error) => status(error).is_none() && sidecar != Removal::Removed,
            Failure::Other(_) => false,
        };
        !stays && !may_come
    }

    /// Tries a removal a few times, but only once of an engine that says nothing.
    async fn insist<F: Future<Output = Result<(), Error>>>(&self, id: &str, remove: impl Fn() -> F) -> Removal {
        for _ in 0..ROLLBACK_ATTEMPTS {
            let removed =
                tokio::time::timeout(ROLLBACK_TIMEOUT, remove()).await.unwrap_or(Err(Error::RequestTimeoutError));
            match removed {
                Ok(()) => return Removal::Removed,
                Err(error) if is_missing(&error) => return Removal::Missing,
                Err(error) => {
                    tracing::warn!(sandbox = id, %error, "roll-back failed");
                    if matches!(error, Error::RequestTimeoutError) {
                        return Removal::Stays;
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Removal::Stays
    }
}

/// What became of a removal.
#[derive(Debug, PartialEq, Eq)]
enum Removal {
    Removed,
    /// There was nothing to remove.
    Missing,
    Stays,
}

/// Ports that others have, held for as long as a sandbox is being created.
#[derive(Default)]
struct Taken {
    single: Vec<Reservation>,
    /// All of an attempt, of which the engine does not say which one was taken.
    whole: Vec<HostPorts>,
}

/// What every attempt has to go by.
struct Making<'a> {
    plan: &'a Plan,
    id: &'a str,
    /// The labels of the image.
    inherited: &'a HashMap<String, String>,
    /// What the image says that it runs on.
    platform: Option<&'a Platform>,
    archive: Bytes,
    mounts: &'a Mounts,
}

enum Failure {
    /// The engine refused to create or to start.
    Engine(Error),
    /// The same, of the sidecar.
    Sidecar(Error),
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
            Failure::Sidecar(error) => {
                tracing::warn!(error = text(&error), "a sandbox's sidecar could not be created or started");
                Self::new(ErrorKind::StartFailed, "Egress sidecar container failed to start.")
            }
            Failure::Engine(error) => {
                tracing::warn!(error = text(&error), "a sandbox's container could not be created or started");
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
