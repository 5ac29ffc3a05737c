//! Creating a sandbox, from a checked plan to one that is ready, or to nothing at all (kubernetes-runtime.md §4, §5).
//!
//! ```text
//! plan ─▶ pool, claims are looked at ─▶ object ─▶ secret, claims ─▶ ready
//! ```
//!
//! The object is made first and owns what comes after it, so that nothing is left when it goes, whoever removes it.

mod claims;
mod creations;
mod manifest;
mod parts;
mod plan;
mod pod;
mod readiness;
mod refusal;
mod resources;
mod secret;
mod sidecar;
mod template;
mod undo;
mod windows;

use std::{pin::pin, sync::Arc, time::Duration};

use k8s_openapi::api::{core::v1::Secret, node::v1::RuntimeClass};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};
use tracing::Instrument;

pub(super) use self::{creations::Creations, template::Template};
use self::{
    creations::Turn,
    plan::{Draft, Plan},
    undo::{Made, Object},
};
use crate::{
    config::is_dns_subdomain,
    error::{Error, Family, Kind},
    model::{
        create::CreateRequest,
        sandbox::{CreatedSandbox, Platform, Status},
    },
    runtime::kubernetes::{
        Inner, Scope,
        client::{ApiFailure, Cluster},
        objects::Pool,
        pools::is_ours,
        workload::{Workload, failed},
    },
};

/// How long the answer to a failed creation waits until what was made is removed.
const UNDO_PATIENCE: Duration = Duration::from_secs(5);

/// What a failure begins with.
const WHAT: &str = "Failed to create sandbox";

/// Checks that the RuntimeClass of all sandboxes is there. That it cannot be told within 5 s is no error: it is told in the log.
///
/// # Errors
/// ([`Family::Startup`], [`Kind::Failed`]) if it is not.
pub(super) async fn check_runtime_class(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let missing = || {
        let text = format!(
            "secure_runtime: the cluster has no RuntimeClass '{name}'; create it, or name another one in \
             secure_runtime.k8s_runtime_class"
        );
        Error::new(Family::Startup, Kind::Failed, text)
    };
    // It becomes part of a path.
    if !is_dns_subdomain(name) {
        return Err(missing());
    }
    match cluster.read_at_start("get_runtime_class", cluster.api_of_all::<RuntimeClass>().get(name)).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.is_missing_named(name) => Err(missing()),
        Err(failure) => {
            tracing::warn!(%failure, "whether the cluster has the RuntimeClass '{name}' cannot be told");
            Ok(())
        }
    }
}

impl Inner {
    /// Creates a sandbox, and waits until it is ready. It goes on when the caller leaves.
    pub(super) async fn create(
        self: &Arc<Self>,
        scope: &Scope,
        request: CreateRequest,
    ) -> Result<CreatedSandbox, Error> {
        let turn = self.creations.turn(scope).await?;
        let (inner, scope) = (Arc::clone(self), scope.clone());
        let (answer, answered) = oneshot::channel();
        let work = async move { inner.carry_out(&scope, request, answer, turn).await };
        tokio::spawn(work.in_current_span());
        answered.await.unwrap_or_else(|error| {
            tracing::error!("the creation of a sandbox broke off");
            let text = format!("{WHAT}: the work broke off.");
            Err(Error::new(Family::KubeApi, Kind::Failed, text).caused_by(error))
        })
    }

    /// Tells the outcome as soon as what was made of a failed creation is removed, or takes long to be.
    async fn carry_out(
        &self,
        scope: &Scope,
        request: CreateRequest,
        answer: oneshot::Sender<Result<CreatedSandbox, Error>>,
        mut turn: Turn,
    ) {
        // Nobody may be there to hear it.
        let tell = |outcome| drop(answer.send(outcome));
        let mut made = None;
        let attempt = self.attempt(scope, request, &mut made);
        let error = match self.creations.unless_closing(attempt).await.flatten() {
            Ok(created) => {
                tracing::info!(sandbox = created.id, "created");
                return tell(Ok(created));
            }
            Err(error) => error,
        };
        let Some(made) = made else { return tell(Err(error)) };
        tracing::info!(sandbox = made.id, %error, "the creation failed");
        let patience = match made.object {
            Object::No => return tell(Err(error)),
            // It was looked for in vain.
            Object::Perhaps => Duration::ZERO,
            Object::Yes(_) => UNDO_PATIENCE,
        };
        let mut undone = pin!(self.undo(scope, made));
        let is_slow = timeout(patience, undone.as_mut()).await.is_err();
        tell(Err(error));
        if is_slow {
            let place = self.cleanups.begin(scope);
            if place.is_some() {
                turn.give_way();
            }
            undone.await;
            drop(place);
        }
    }

    /// Creates a sandbox. What was made is in `made`, also on failure, and when this is dropped before it ends.
    async fn attempt(
        &self,
        scope: &Scope,
        request: CreateRequest,
        made: &mut Option<Made>,
    ) -> Result<CreatedSandbox, Error> {
        let (plan, claims) = self.plan(scope, request).await?;
        let Some(name) = scope.workloads().name_of(&plan.id) else {
            return Err(Error::new(Family::KubeApi, Kind::Failed, format!("{WHAT}: it has no name.")));
        };
        let made = made.insert(Made { id: plan.id.clone(), name, object: Object::No, has_claims: false });
        let (status, platform) = self.make(scope, &plan, &claims, made).await?;
        Ok(answer_of(plan, status, platform))
    }

    /// The checks that must pass before anything is made.
    async fn plan(&self, scope: &Scope, request: CreateRequest) -> Result<(Plan, Vec<claims::NewClaim>), Error> {
        let template = self.template.as_ref();
        let draft = Draft::new(request, &self.options, template)?;
        if let Some(pool) = draft.named_pool() {
            self.check_pool(scope, pool).await?;
        }
        let claims = self.check_claims(scope, draft.volumes()).await?;
        Ok((draft.finish(&self.options, template, scope.tenant.clone())?, claims))
    }

    async fn check_pool(&self, scope: &Scope, name: &str) -> Result<(), Error> {
        let missing =
            || Error::new(Family::Pool, Kind::NotFound, format!("Pool '{}' not found.", Error::shown_id(name)));
        // It becomes part of a path.
        if !is_dns_subdomain(name) {
            return Err(missing());
        }
        let api = self.cluster.api::<Pool>(&scope.namespace);
        match self.cluster.read("get_pool", api.get(name)).await {
            Ok(pool) if is_ours(scope, &pool) => Ok(()),
            Ok(_) => Err(missing()),
            Err(failure) if failure.is_missing_named(name) || failure.is_missing_kind() => Err(missing()),
            Err(failure) if failure.is_outage() || failure.is_forbidden() => {
                Err(failed(failure, &format!("Failed to validate pool '{name}'")))
            }
            Err(failure) => {
                let text = format!("Failed to validate pool '{name}': {}", failure.for_client());
                Err(Error::new(Family::Pool, Kind::Failed, text).caused_by(failure))
            }
        }
    }

    /// Makes everything and waits until the sandbox is ready. What was made is in `made`, also on failure.
    async fn make(
        &self,
        scope: &Scope,
        plan: &Plan,
        claims: &[claims::NewClaim],
        made: &mut Made,
    ) -> Result<(Status, Option<Platform>), Error> {
        // Before the object is there, so that none of its changes is missed.
        let changes = Arc::new(Notify::new());
        let _interests = (scope.workloads().wake(&plan.id, &changes), scope.pods().wake(&plan.id, &changes));
        let workload = self.create_object(scope, plan, made).await?;
        if let Some(auth) = &plan.image.auth {
            let secret = secret::secret(&plan.id, &plan.image, auth, &workload.owner());
            let secret = secret.map_err(|error| {
                let text = format!("{WHAT}: the credentials for its image cannot be written.");
                Error::new(Family::KubeApi, Kind::Failed, text).caused_by(error)
            })?;
            self.create_secret(scope, &secret).await.map_err(refused)?;
        }
        self.create_claims(scope, plan, &workload, claims, &mut made.has_claims).await?;
        self.until_ready(scope, workload, &changes, plan.image.auth.is_some()).await
    }

    /// Creates a secret. Nobody else knows its name, so one whose creation was not answered is created again, unless it is there.
    async fn create_secret(&self, scope: &Scope, secret: &Value) -> Result<(), ApiFailure> {
        let create = || self.cluster.create::<Secret, IgnoredAny>("create_secret", &scope.namespace, secret);
        match create().await {
            Err(failure) if failure.leaves_open() => match create().await {
                Err(failure) if failure.is_conflict() => Ok(()),
                again => again.map(drop),
            },
            created => created.map(drop),
        }
    }

    /// Creates the sandbox's object. One whose creation was not answered is looked for, and not created again.
    async fn create_object(&self, scope: &Scope, plan: &Plan, made: &mut Made) -> Result<Workload, Error> {
        let object = manifest::object(plan, &self.options, self.template.as_ref(), &made.name, &scope.namespace);
        manifest::check_size(&object)?;
        // Until there is an answer.
        made.object = Object::Perhaps;
        let failure = match scope.workloads().create(&object).await {
            Ok(workload) => {
                made.object = Object::Yes(workload.clone());
                return Ok(workload);
            }
            Err(failure) if failure.leaves_open() => failure,
            Err(failure) => {
                made.object = Object::No;
                let is_invalid = failure.is_status() && matches!(failure.status, Some(400 | 422));
                if is_invalid {
                    let text = format!("{WHAT}: {}", failure.for_client());
                    return Err(Error::new(Family::Parameter, Kind::Invalid, text).caused_by(failure));
                }
                return Err(refused(failure));
            }
        };
        match scope.workloads().read_named(&plan.id, &made.name).await {
            Ok(Some(found)) => {
                tracing::info!(sandbox = plan.id, %failure, "the object is there, though its creation was not answered");
                made.object = Object::Yes(found.clone());
                Ok(found)
            }
            Ok(None) | Err(_) => Err(refused(failure)),
        }
    }
}

/// A sandbox, or a part of it, that could not be created.
fn refused(failure: ApiFailure) -> Error {
    if failure.is_over_quota() {
        return refusal::over_quota(&failure.for_client()).caused_by(failure);
    }
    if failure.is_missing() && failure.details_kind == "namespaces" {
        let text = format!("Namespace not found: {}", failure.for_client());
        return Error::new(Family::Parameter, Kind::Invalid, text).caused_by(failure);
    }
    failed(failure, WHAT)
}

/// `platform` is that of the object, which may be the operator's template's.
fn answer_of(plan: Plan, status: Status, platform: Option<Platform>) -> CreatedSandbox {
    CreatedSandbox {
        id: plan.id,
        status,
        metadata: plan.metadata,
        extensions: plan.extensions.echoed,
        platform: platform.or(plan.platform),
        expires_at: plan.expires_at,
        created_at: plan.created_at,
        entrypoint: plan.entrypoint,
    }
}
