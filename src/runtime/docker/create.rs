//! Creation, from a checked plan to a started container, or to nothing at all (docker-runtime.md §3).

mod attempt;
mod body;
pub(super) mod execd;
mod image;
mod links;
mod plan;
mod windows;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bollard::query_parameters::ListNetworksOptions;
use bytes::Bytes;
use uuid::Uuid;

use crate::{
    error::{Error, Family, Kind},
    model::{
        create::{CreateRequest, ImageSource},
        sandbox::{CreatedSandbox, Platform, State, Status},
    },
};

use self::{
    attempt::{Failure, Making},
    plan::{Draft, Plan},
};
use crate::runtime::docker::{
    Inner,
    engine::{is_refusal, mask},
    state::find::query_failed,
    volumes::Mounts,
};

/// Network modes that need no network of that name.
const BUILT_IN: [&str; 4] = ["host", "bridge", "none", "default"];

/// The error of a creation that is cut off by the shutdown.
fn closing() -> Error {
    Error::new(Family::Creation, Kind::Failed, "The server is shutting down.")
}

/// Counts the creations that have made nothing on the engine so far.
#[derive(Debug, Default)]
pub(super) struct Preparing(Arc<AtomicUsize>);

/// Counts one such creation until it is dropped.
#[derive(Debug)]
struct Preparation(Arc<AtomicUsize>);

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
    pub(super) async fn plan(&self, request: CreateRequest) -> Result<Plan, Error> {
        let draft = Draft::new(request, &self.options)?;
        self.check_network().await?;
        draft.finish(&self.options)
    }

    /// Carries out a plan. To be run to its end: a dropped future would leave its container behind.
    pub(super) async fn carry_out(&self, plan: Plan) -> Result<CreatedSandbox, Error> {
        let id = Uuid::new_v4().to_string();
        // Excludes a removal, also by its own expiry, until the creation has ended.
        let _lock = self.change_locks.lock(&id).await;
        let mut preparing = Some(self.preparing.enter());
        let note = self.creations.begin(&id).await;
        let mut mounts = Mounts::default();
        let mut made = self.make(&plan, &id, &mut mounts, &mut preparing).await;
        if made.is_err() && self.creations.has_given_up(&id) {
            // The note stays until what the engine may still make is removed.
        } else if let Some(note) = note
            && let Err(error) = note.end().await
            && made.is_ok()
        {
            // The next start would take the sandbox for an unfinished creation and remove it.
            tracing::error!(sandbox = id, %error, "the note of a creation could not be removed");
            let text = format!("The sandbox could not be recorded as created: {error}");
            let error = Error::new(Family::Creation, Kind::Failed, text).caused_by(error);
            let failure = Failure::Other(error);
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
    ) -> Result<(), Error> {
        self.mount(id, &plan.volumes, mounts).await?;
        // Nothing here has to be undone, and pulling an image may take minutes.
        let image = tokio::select! {
            ready = self.images(plan) => ready?,
            () = self.closing.cancelled() => return Err(closing()),
        };
        self.stage(id, mounts).await?;
        // From here on containers and volumes are made. A shutdown waits for them.
        *preparing = None;
        let archive = self.archive(plan, image.platform.as_ref()).await?;
        self.check_places(plan).await?;
        self.fill(&plan.volumes, mounts).await?;
        if self.closing.is_cancelled() {
            return Err(closing());
        }
        let platform = image.platform.as_ref();
        self.start_anew(&Making { plan, id, inherited: &image.labels, platform, archive, mounts }).await?;
        // Only now: a further attempt would have needed it.
        self.clear_probe(id, mounts).await;
        Ok(())
    }

    /// Makes sure that the images of a plan are there; returns the sandbox's.
    async fn images(&self, plan: &Plan) -> Result<image::LocalImage, Error> {
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

    /// What is put into the sandbox before it starts. It watches the shutdown itself and cleans up, so its future must not be
    /// dropped.
    async fn archive(&self, plan: &Plan, platform: Option<&Platform>) -> Result<Bytes, Error> {
        let image = &self.options.execd_image;
        match plan.windows {
            Some(_) => self.execd.windows_archive(&self.engine, image, &self.closing).await,
            None => self.execd.archive(&self.engine, image, platform, &self.closing).await,
        }
    }

    /// Fails unless the network that sandboxes are to have exists.
    pub(super) async fn check_network(&self) -> Result<(), Error> {
        let name = &self.options.network_mode;
        if BUILT_IN.contains(&name.as_str()) || name.starts_with("container:") {
            return Ok(());
        }
        let filters = Some([("name".to_owned(), vec![name.clone()])].into());
        let networks = self.engine.api.list_networks(Some(ListNetworksOptions { filters }));
        let networks = match self.engine.within(networks).await {
            // The engine itself refuses then when a container is created.
            Err(error) if is_refusal(&error) => return Ok(()),
            networks => networks.map_err(query_failed)?,
        };
        // The engine's filter finds parts of names as well.
        if networks.iter().any(|network| network.name.as_ref() == Some(name)) {
            return Ok(());
        }
        let text =
            format!("Docker network '{name}' does not exist. Create it first with 'docker network create <name>'.");
        Err(Error::new(Family::Parameter, Kind::Invalid, text))
    }
}

fn answer(plan: Plan, id: String) -> CreatedSandbox {
    let status = Status {
        state: State::Running,
        reason: Some("CONTAINER_RUNNING".into()),
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
