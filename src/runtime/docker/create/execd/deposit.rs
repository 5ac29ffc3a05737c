//! execd for a sandbox that mounts what is not the server's own: put into a volume, by way of another container.
//!
//! An engine that unpacks an archive into a container mounts the container's volumes on the host for that, and finds their
//! places, and those of the files, by following links. What a client mounts must not be there then: sandboxes write to it.
//! So the archive goes into a container that has the volume for execd and nothing else, and is never started. On the way it
//! is found out whether the engine sees what this server has mounted for the sandbox.

use bollard::{
    errors::Error as EngineError,
    models::{ContainerCreateBody, HostConfig, Mount, MountType},
};
use bytes::Bytes;

use super::super::image;
use super::{discard, download, helper_name, idle, inject};
use crate::runtime::docker::{
    engine::{Cause, Created, Engine, status, text},
    volumes::{Probe, is_unseen, unseen},
};
use crate::{
    error::{Error, Family, Kind},
    model::{create::ImageSource, sandbox::Platform},
};

/// Where the probe is in the container.
const PROBE: &str = "/opensandbox-probe";

/// What is put into a volume, and by which container.
#[derive(Debug)]
pub(in crate::runtime::docker::create) struct Deposit<'a> {
    /// The image of the container.
    pub(in crate::runtime::docker::create) image: &'a str,
    /// What the sandbox's image runs on, as for reading execd.
    pub(in crate::runtime::docker::create) platform: Option<&'a Platform>,
    /// The volume at execd's place, in the engine's form.
    pub(in crate::runtime::docker::create) bind: &'a str,
    /// What is unpacked at the container's root.
    pub(in crate::runtime::docker::create) archive: Bytes,
    /// What the engine must see; nothing to make sure of that.
    pub(in crate::runtime::docker::create) probe: Option<&'a Probe>,
}

impl Deposit<'_> {
    /// Fills the volume. The container is gone afterwards, unless the engine could not remove it.
    ///
    /// # Errors
    /// The engine could not do it, or does not see what this server mounts.
    pub(in crate::runtime::docker::create) async fn carry_out(self, engine: &Engine) -> Result<(), Error> {
        let foreign = self.platform.filter(|platform| **platform != engine.platform);
        let source = ImageSource { uri: self.image.to_owned(), auth: None };
        image::ensure(engine, &source, foreign).await?;
        let name = helper_name();
        let deposited = match engine.create(&name, foreign, self.body()).await {
            Ok(container) => self.fill(engine, &container).await,
            Err(error) if self.probe.is_some() && is_unseen(&error) => Err(unseen(PROBE, &text(&error))),
            Err(error) => Err(failed(error)),
        };
        discard(engine, &name).await;
        deposited
    }

    fn body(&self) -> ContainerCreateBody {
        let probe = |probe: &Probe| Mount {
            target: Some(PROBE.to_owned()),
            source: Some(probe.source.clone()),
            typ: Some(MountType::BIND),
            read_only: Some(true),
            ..Default::default()
        };
        let host = HostConfig {
            binds: Some(vec![self.bind.to_owned()]),
            mounts: self.probe.map(|seen| vec![probe(seen)]),
            network_mode: Some("none".to_owned()),
            ..Default::default()
        };
        ContainerCreateBody {
            image: Some(self.image.to_owned()),
            cmd: Some(idle()),
            host_config: Some(host),
            ..Default::default()
        }
    }

    async fn fill(&self, engine: &Engine, container: &Created) -> Result<(), Error> {
        if let Some(probe) = self.probe {
            match download(engine, &container.id, &format!("{PROBE}/{}", probe.token)).await {
                Ok(_) => {}
                // What the probe is mounted over is empty, and of a file system from which nothing can be bound.
                Err(error) if status(&error).is_some() => return Err(unseen(PROBE, &text(&error))),
                Err(error) => return Err(failed(error)),
            }
        }
        inject(engine, container, self.archive.clone()).await
    }
}

fn failed(error: EngineError) -> Error {
    let words = text(&error);
    tracing::warn!(error = words, "execd could not be brought into a sandbox's volume");
    let text = format!("Failed to put execd into the sandbox: {words}");
    Error::new(Family::ExecdDelivery, Kind::Failed, text).caused_by(Cause(error))
}
