//! Attempts to create and start a sandbox's containers, each taken back when it fails.

use std::{collections::HashMap, future::Future, time::Duration};

use bollard::errors::Error as EngineError;
use bytes::Bytes;

use crate::{
    error::{Error, Family, Kind},
    model::sandbox::Platform,
};

use super::{
    body::{Parts, body, execd_bind, has_foreign_mounts, has_runtime_volume},
    execd::{self, Deposit},
    plan::Plan,
};
use crate::runtime::docker::{
    Inner,
    engine::{Cause, Created, is_missing, names, status, text},
    logs::log_driver,
    ports::{
        Reservation,
        host_ports::{EGRESS, EXECD, HTTP, HostPorts, WINDOWS},
        is_clash, named,
    },
    volumes::Mounts,
};

/// How often creation is tried with other host ports when the engine found one taken.
const PORT_ATTEMPTS: usize = 3;

/// How often the removal of a half-made container is tried.
const ROLLBACK_ATTEMPTS: usize = 3;

/// How long one such removal may take, while a client waits. What stays is removed later by `creations` and `leftovers`.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a creation waits for its sandbox's entry in the list's cache.
const CACHE_TIMEOUT: Duration = Duration::from_secs(1);

impl Inner {
    /// Creates and starts the container, with other host ports if the engine says that they clash.
    pub(super) async fn start_anew(&self, making: &Making<'_>) -> Result<(), Error> {
        let mut attempt = 1;
        // Kept out of the draw until this creation has ended.
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

    /// The error for the client; it points to the operator where the log driver is the cause.
    fn told(&self, failure: Failure) -> Error {
        let advice = match &failure {
            Failure::Engine(error) | Failure::Sidecar(error) => log_driver::advice(&text(error), &self.options),
            Failure::Other(_) => None,
        };
        let mut error = Error::from(failure);
        if let Some(advice) = advice {
            tracing::error!("no sandbox can start: {advice}");
            error.message = format!("{}. {advice}", error.message.trim_end_matches('.'));
        }
        error
    }

    /// Keeps ports out of the draw that the engine says are taken, and those that it publishes already: this server cannot
    /// probe the ports of an engine on another machine.
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
        // So that the next request for it does not find an unknown sandbox.
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
        // So that the event of the start causes no inspection beside the one below.
        self.cache.begin(container);
        self.engine.start(created).await?;
        // So that the next list needs no inspection for it.
        let looked = tokio::time::timeout(CACHE_TIMEOUT, self.inspect_and_keep(container)).await;
        if !matches!(looked, Ok(Ok(_))) {
            tracing::debug!(sandbox = id, "a new sandbox could not be inspected; the next list will");
        }
        Ok(())
    }

    /// Ports in every mode that has a network of the sandbox's own, or its sidecar's.
    fn host_ports(&self, plan: &Plan) -> Result<Option<HostPorts>, Error> {
        let mode = &self.options.network_mode;
        if plan.sidecar.is_none() && (mode == "host" || mode.starts_with("container:")) {
            return Ok(None);
        }
        let sidecar = plan.sidecar.iter().map(|_| EGRESS);
        let windows = plan.windows.iter().flat_map(|_| WINDOWS);
        let ports = HostPorts::reserve(&self.ports, [EXECD, HTTP].into_iter().chain(sidecar).chain(windows));
        ports.map(Some).ok_or_else(|| {
            let text = "Failed to allocate host ports for sandbox container.";
            Error::new(Family::Creation, Kind::Failed, text)
        })
    }

    /// Removes what a failed attempt left, by name, since the engine may have made it without answering. Returns whether it
    /// is certain that nothing is left and nothing will appear later.
    pub(super) async fn roll_back(&self, plan: &Plan, id: &str, failure: &Failure) -> bool {
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
        // A create call without an answer may take effect later, unless it already has.
        let may_come = match failure {
            Failure::Engine(error) => status(error).is_none() && sandbox != Removal::Removed,
            Failure::Sidecar(error) => status(error).is_none() && sidecar != Removal::Removed,
            Failure::Other(_) => false,
        };
        !stays && !may_come
    }

    /// Tries a removal a few times, but only once if the engine does not answer.
    async fn insist<F: Future<Output = Result<(), EngineError>>>(&self, id: &str, remove: impl Fn() -> F) -> Removal {
        for _ in 0..ROLLBACK_ATTEMPTS {
            let removed =
                tokio::time::timeout(ROLLBACK_TIMEOUT, remove()).await.unwrap_or(Err(EngineError::RequestTimeoutError));
            match removed {
                Ok(()) => return Removal::Removed,
                Err(error) if is_missing(&error) => return Removal::Missing,
                Err(error) => {
                    tracing::warn!(sandbox = id, %error, "roll-back failed");
                    if matches!(error, EngineError::RequestTimeoutError) {
                        return Removal::Stays;
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Removal::Stays
    }
}

/// The outcome of a removal.
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

/// What all attempts have in common.
pub(super) struct Making<'a> {
    pub(super) plan: &'a Plan,
    pub(super) id: &'a str,
    /// The labels of the image.
    pub(super) inherited: &'a HashMap<String, String>,
    /// The image's platform, if it says one.
    pub(super) platform: Option<&'a Platform>,
    pub(super) archive: Bytes,
    pub(super) mounts: &'a Mounts,
}

pub(super) enum Failure {
    /// The engine refused to create or to start.
    Engine(EngineError),
    /// The same, of the sidecar.
    Sidecar(EngineError),
    Other(Error),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Other(error) => error,
            Failure::Sidecar(error) => {
                tracing::warn!(error = text(&error), "a sandbox's sidecar could not be created or started");
                let text = "Egress sidecar container failed to start.";
                Self::new(Family::Creation, Kind::Failed, text).caused_by(Cause(error))
            }
            Failure::Engine(error) => {
                tracing::warn!(error = text(&error), "a sandbox's container could not be created or started");
                let text = format!("Failed to create or start container: {}", text(&error));
                Self::new(Family::Creation, Kind::Failed, text).caused_by(Cause(error))
            }
        }
    }
}
