//! The volume claims that a sandbox mounts (kubernetes-runtime.md §4.5).
//!
//! They are looked at before anything is made, and those that are missing are created after the sandbox's object, which owns those
//! that are to go with it from their first moment: whatever becomes of this program, they go when the object does. Nobody else's
//! claim is ever taken over: what goes with another sandbox is refused, what exists is used as it is.

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{plan::Plan, refusal::over_quota};
use crate::{
    config::{is_dns_subdomain, parse_quantity},
    error::{Error, Family, Kind, VolumePart},
    model::volume::{self, Claim as Asked, Source, Volume, Wanted},
    runtime::kubernetes::{
        Inner, Scope,
        client::ApiFailure,
        objects::Claim,
        workload::{Workload, failed, labels},
    },
};

/// How volumes may be mounted.
const ACCESS_MODES: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];

/// A claim that is to be created.
#[derive(Debug)]
pub(super) struct NewClaim {
    name: String,
    /// It goes with the sandbox.
    is_managed: bool,
    spec: Value,
}

/// The claims of a request: each once, with what the first entry says that says it.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) for entries that contradict each other, and for what no claim can be.
fn distinct(volumes: &[Volume]) -> Result<Vec<Asked>, Error> {
    let mut claims: Vec<Asked> = Vec::new();
    for volume in volumes {
        let Source::Claim(asked) = &volume.source else { continue };
        check_wanted(&volume.name, &asked.wanted)?;
        let Some(first) = claims.iter_mut().find(|claim| claim.name == asked.name) else {
            claims.push(asked.clone());
            continue;
        };
        let flags = |claim: &Asked| (claim.create_if_not_exists, claim.delete_on_termination);
        if flags(first) != flags(asked) {
            return Err(invalid(format!(
                "Conflicting provisioning flags for PVC '{}': createIfNotExists/deleteOnSandboxTermination must match \
                 across all mounts of the same claim.",
                asked.name
            )));
        }
        let Wanted { storage_class, storage, access_modes } = asked.wanted.clone();
        first.wanted.storage_class = first.wanted.storage_class.take().or(storage_class);
        first.wanted.storage = first.wanted.storage.take().or(storage);
        if first.wanted.access_modes.is_empty() {
            first.wanted.access_modes = access_modes;
        }
    }
    Ok(claims)
}

/// Checks what a claim would be created as: the API server would refuse it when the sandbox is there already.
fn check_wanted(volume: &str, wanted: &Wanted) -> Result<(), Error> {
    let Wanted { storage_class, storage, access_modes } = wanted;
    if let Some(storage) = storage.as_deref().filter(|size| parse_quantity(size).is_none_or(|size| size == 0)) {
        let shown: String = storage.chars().take(80).collect();
        return Err(invalid(format!("Volume '{volume}': pvc.storage '{shown}' is no size above zero such as 1Gi.")));
    }
    // An empty one is a claim that no class is looked for.
    if storage_class.as_deref().is_some_and(|class| !class.is_empty() && !is_dns_subdomain(class)) {
        return Err(invalid(format!("Volume '{volume}': pvc.storageClass is no name of a StorageClass.")));
    }
    if access_modes.iter().any(|mode| !ACCESS_MODES.contains(&mode.as_str())) {
        let known = ACCESS_MODES.join(", ");
        return Err(invalid(format!("Volume '{volume}': pvc.accessModes can be {known}.")));
    }
    Ok(())
}

fn invalid(text: String) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

fn conflict(text: String) -> Error {
    Error::new(Family::Parameter, Kind::Conflict, text)
}

fn managed(name: &str, by: &str) -> Error {
    conflict(format!(
        "PVC '{name}' is already managed by {by} and cannot be auto-attached to a new sandbox; its owner's cleanup would \
         delete the volume. Pre-create a user-managed PVC if you need to share storage."
    ))
}

/// Whether a claim may be mounted by the sandbox `id`.
fn check_found(scope: &Scope, claim: &Claim, name: &str, id: Option<&str>) -> Result<(), Error> {
    let label = |key| labels::of(&claim.metadata, key);
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(conflict(format!("PVC '{name}' is being deleted. Try again when it is gone, or use another one.")));
    }
    let owner = label(labels::ID).filter(|_| label(labels::MANAGED_BY) == Some("server"));
    match owner.filter(|owner| Some(*owner) != id) {
        // Whose sandbox it is may not be this tenant's to know.
        Some(owner) if scope.owns(label(labels::TENANT)) => Err(managed(name, &format!("sandbox '{owner}'"))),
        Some(_) => Err(managed(name, "another sandbox")),
        None => Ok(()),
    }
}

/// A claim as it is created.
fn manifest(plan: &Plan, claim: &NewClaim, namespace: &str, owner: &Workload) -> Value {
    let mut metadata = json!({"name": claim.name, "namespace": namespace});
    if claim.is_managed {
        metadata["labels"] = json!({labels::MANAGED_BY: "server", labels::ID: plan.id});
        // By which a deletion of a sandbox that is gone knows whose they are.
        if let Some(tenant) = &plan.tenant {
            metadata["labels"][labels::TENANT] = Value::from(&**tenant);
        }
        metadata["ownerReferences"] = json!([owner.owner()]);
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim.spec})
}

fn spec(wanted: Wanted, default_size: &str) -> Value {
    let Wanted { storage_class, storage, access_modes } = wanted;
    let modes = if access_modes.is_empty() { vec![ACCESS_MODES[0].to_owned()] } else { access_modes };
    let size = storage.unwrap_or_else(|| default_size.to_owned());
    let mut spec = json!({"accessModes": modes, "resources": {"requests": {"storage": size}}});
    if let Some(class) = storage_class {
        spec["storageClassName"] = class.into();
    }
    spec
}

impl Inner {
    /// Looks at the claims of a request, and gives those that have to be created.
    ///
    /// # Errors
    /// As [`distinct`]; ([`Family::Parameter`], [`Kind::Conflict`]) for one that goes with another sandbox;
    /// ([`VolumePart::Claim`], [`Kind::NotFound`]) for one that is not there and is not to be created; [`failed`].
    pub(super) async fn check_claims(&self, scope: &Scope, volumes: &[Volume]) -> Result<Vec<NewClaim>, Error> {
        let mut new = Vec::new();
        for Asked { name, create_if_not_exists, delete_on_termination, wanted } in distinct(volumes)? {
            match self.read_claim(scope, &name).await? {
                Some(found) => check_found(scope, &found, &name, None)?,
                None if create_if_not_exists => {
                    let spec = spec(wanted, &self.options.creation.volume_default_size);
                    new.push(NewClaim { name, is_managed: delete_on_termination, spec });
                }
                None => {
                    let text = format!("PVC '{name}' does not exist, and createIfNotExists is false.");
                    return Err(volume::fault(VolumePart::Claim, Kind::NotFound, text));
                }
            }
        }
        Ok(new)
    }

    async fn read_claim(&self, scope: &Scope, name: &str) -> Result<Option<Claim>, Error> {
        let api = self.cluster.api::<Claim>(&scope.namespace);
        match self.cluster.read("get_claim", api.get(name)).await {
            Ok(claim) => Ok(Some(claim)),
            Err(failure) if failure.is_missing_named(name) => Ok(None),
            Err(failure) if failure.is_forbidden() => {
                let text = format!(
                    "Cannot verify ownership of PVC '{name}': server lacks 'get' on persistentvolumeclaims. Operator \
                     must grant the missing RBAC."
                );
                Err(Error::new(Family::KubeApi, Kind::Failed, text).caused_by(failure))
            }
            Err(failure) => Err(failed(failure, &format!("Failed to read PVC '{name}'"))),
        }
    }

    /// Creates claims, which `owner` owns if they go with it; `has_claims` tells, also on failure, whether there may be such.
    ///
    /// # Errors
    /// ([`Family::KubeQuota`], [`Kind::Denied`]); ([`Family::Parameter`], [`Kind::Invalid`]) for what the API server refuses;
    /// ([`Family::Parameter`], [`Kind::Conflict`]) for one that another sandbox has since; ([`Family::KubeClaim`],
    /// [`Kind::Failed`]) and [`failed`] for other failures.
    pub(super) async fn create_claims(
        &self,
        scope: &Scope,
        plan: &Plan,
        owner: &Workload,
        claims: &[NewClaim],
        has_claims: &mut bool,
    ) -> Result<(), Error> {
        for claim in claims {
            let name = &claim.name;
            // Before it is tried: the answer may be lost.
            *has_claims |= claim.is_managed;
            let object = manifest(plan, claim, &scope.namespace, owner);
            match self.cluster.create::<Claim, IgnoredAny>("create_claim", &scope.namespace, &object).await {
                Ok(_) => {}
                // It is there, made by this or by somebody else.
                Err(failure) if failure.is_conflict() || failure.leaves_open() => {
                    match self.read_claim(scope, name).await? {
                        Some(found) => check_found(scope, &found, name, Some(&plan.id))?,
                        None if failure.is_conflict() => {
                            let text = format!(
                                "PVC '{name}' was created concurrently and then removed before we could verify it; \
                                 refusing to mount a missing claim. Retry the request."
                            );
                            return Err(Error::new(Family::KubeApi, Kind::Unavailable, text).caused_by(failure));
                        }
                        None => return Err(refused(failure, name)),
                    }
                }
                Err(failure) => return Err(refused(failure, name)),
            }
        }
        Ok(())
    }
}

/// A claim that could not be created.
fn refused(failure: ApiFailure, name: &str) -> Error {
    let what = format!("Failed to auto-create PVC '{name}'");
    if failure.is_over_quota() {
        return over_quota(&failure.for_client()).caused_by(failure);
    }
    match failure.status {
        Some(400 | 422) if failure.is_status() => {
            invalid(format!("Invalid PVC spec for '{name}': {}", failure.for_client())).caused_by(failure)
        }
        _ if failure.is_outage() || failure.is_forbidden() => failed(failure, &what),
        _ => {
            Error::new(Family::KubeClaim, Kind::Failed, format!("{what}: {}", failure.for_client())).caused_by(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, asked: Asked) -> Volume {
        let (name, mount_path) = (name.to_owned(), format!("/{name}"));
        Volume { name, mount_path, read_only: false, sub_path: None, source: Source::Claim(asked) }
    }

    fn asked(change: impl FnOnce(&mut Asked)) -> Asked {
        let mut asked = Asked { name: "c".to_owned(), create_if_not_exists: true, ..Default::default() };
        change(&mut asked);
        asked
    }

    fn refused(volumes: &[Volume]) -> String {
        let error = distinct(volumes).unwrap_err();
        assert_eq!(error.key(), (Family::Parameter, Kind::Invalid));
        error.message
    }

    /// Row "created with spec …".
    #[test]
    fn a_claim_is_made_of_all_that_is_said_of_it() {
        let volumes = [
            volume("a", asked(|it| it.wanted.storage = Some("2Gi".to_owned()))),
            volume("b", asked(|it| it.wanted.storage_class = Some("fast".to_owned()))),
            volume("c", asked(|it| it.name = "other".to_owned())),
        ];
        let [first, second] = &distinct(&volumes).unwrap()[..] else { panic!("two claims") };
        let expected = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}},
            "storageClassName": "fast"});
        assert_eq!(spec(first.wanted.clone(), "1Gi"), expected);
        let expected = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        assert_eq!(spec(second.wanted.clone(), "1Gi"), expected);
        let wanted = Wanted { access_modes: vec!["ReadWriteMany".to_owned()], ..Default::default() };
        assert_eq!(spec(wanted, "1Gi")["accessModes"], json!(["ReadWriteMany"]));
    }

    /// Row "contradictory … for the same claim", and what the API server would refuse later.
    #[test]
    fn what_cannot_be_is_refused_before_anything_is_made() {
        let plain = || volume("a", asked(|_| {}));
        let other = volume("b", asked(|it| it.delete_on_termination = true));
        assert!(refused(&[plain(), other]).starts_with("Conflicting provisioning flags for PVC 'c'"));
        let of = |change: fn(&mut Wanted)| refused(&[volume("v", asked(|it| change(&mut it.wanted)))]);
        let size = of(|it| it.storage = Some("0".to_owned()));
        assert_eq!(size, "Volume 'v': pvc.storage '0' is no size above zero such as 1Gi.");
        assert!(of(|it| it.storage = Some("9".repeat(100))).contains("is no size"));
        let class = of(|it| it.storage_class = Some("../x".to_owned()));
        assert_eq!(class, "Volume 'v': pvc.storageClass is no name of a StorageClass.");
        assert!(of(|it| it.access_modes = vec!["rw".to_owned()]).contains("ReadWriteOnce, ReadOnlyMany"));
        assert!(distinct(&[volume("v", asked(|it| it.wanted.storage_class = Some(String::new())))]).is_ok());
    }
}
