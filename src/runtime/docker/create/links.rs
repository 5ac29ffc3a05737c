//! Where in a sandbox volumes come to lie once the links of its image are followed.
//!
//! The engine follows them when it mounts. So before a sandbox with volumes is made, a container of the same image that
//! mounts nothing and is never started is asked about each step of their places. The sandbox's own container would not do:
//! an engine that looks into a container mounts the container's volumes meanwhile, and follows the links in them.

use std::collections::HashMap;

use bollard::{
    errors::Error as EngineError,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::ContainerArchiveInfoOptions,
};

use crate::{
    error::{Error, Family, Kind, VolumePart},
    model::volume::{fault, mount_path},
};

use super::{execd, plan::Plan};
use crate::runtime::docker::{
    Inner,
    engine::{Cause, Engine, is_missing, text},
};

/// The most steps that are asked about for one sandbox.
const MAX_STEPS: usize = 256;

/// What marks a symbolic link in what the engine tells of a file (Go's `fs.ModeSymlink`).
const LINK: u32 = 1 << 27;

impl Inner {
    /// Refuses a volume whose place is the server's own, or the engine's, by a link of the image. What cannot be told is a
    /// failure.
    pub(super) async fn check_places(&self, plan: &Plan) -> Result<(), Error> {
        if plan.volumes.is_empty() {
            return Ok(());
        }
        let name = execd::helper_name();
        let body = ContainerCreateBody {
            image: Some(plan.image.uri.clone()),
            cmd: Some(execd::idle()),
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..Default::default() }),
            ..Default::default()
        };
        let checked = match self.engine.create(&name, plan.pinned(), body).await {
            Ok(container) => Steps::new(&self.engine, &container.id).check(plan).await,
            Err(error) => Err(unasked(error)),
        };
        execd::discard(&self.engine, &name).await;
        checked
    }
}

/// What a path is in the image, if it is there.
#[derive(Debug, Clone)]
enum Step {
    Link(String),
    Other,
}

/// What is known of an image.
struct Steps<'a> {
    engine: &'a Engine,
    container: &'a str,
    known: HashMap<String, Option<Step>>,
}

impl<'a> Steps<'a> {
    fn new(engine: &'a Engine, container: &'a str) -> Self {
        Self { engine, container, known: HashMap::new() }
    }

    async fn check(mut self, plan: &Plan) -> Result<(), Error> {
        let reserved = plan.reserved();
        for volume in &plan.volumes {
            let found = self.follow(&mount_path::plain(&volume.mount_path)).await?;
            mount_path::check_found(&volume.mount_path, &found, &reserved)?;
        }
        Ok(())
    }

    /// Where a plain path leads in the image.
    async fn follow(&mut self, path: &str) -> Result<String, Error> {
        let mut at = String::new();
        let mut names = path.split('/').skip(1);
        while let Some(name) = names.next() {
            at = format!("{at}/{name}");
            match self.step(&at).await? {
                Some(Step::Other) => {}
                // The engine tells where it leads in the end, with every link behind it followed.
                Some(Step::Link(target)) => at = mount_path::plain(&target).trim_end_matches('/').to_owned(),
                // The engine makes the rest.
                None => return Ok(names.fold(at, |at, name| at + "/" + name)),
            }
        }
        Ok(at)
    }

    async fn step(&mut self, path: &str) -> Result<Option<Step>, Error> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        if self.known.len() >= MAX_STEPS {
            let text = format!("The mount paths lead through more than {MAX_STEPS} directories of the image.");
            return Err(fault(VolumePart::MountPath, Kind::Invalid, text));
        }
        let options = ContainerArchiveInfoOptions { path: path.to_owned() };
        let asked = self.engine.within(self.engine.api.get_container_archive_info(self.container, Some(options))).await;
        let found = match asked {
            Ok(found) if found.file_mode & LINK != 0 => Some(Step::Link(found.link_target)),
            Ok(_) => Some(Step::Other),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(unasked(error)),
        };
        self.known.insert(path.to_owned(), found.clone());
        Ok(found)
    }
}

fn unasked(error: EngineError) -> Error {
    let words = text(&error);
    tracing::warn!(error = words, "the places of a sandbox's volumes could not be looked for in its image");
    let text = format!("Failed to look for the places of the volumes in the image: {words}");
    Error::new(Family::Creation, Kind::Failed, text).caused_by(Cause(error))
}
