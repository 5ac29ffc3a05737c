//! Orphans on the engine, left by servers that were killed or because a removal failed: helper containers of execd, and
//! sidecars and volumes whose sandbox is gone (docker-runtime.md §13).

use std::{collections::HashSet, time::Duration};

use bollard::{
    errors::Error as EngineError,
    models::{ContainerSummary, Volume},
    query_parameters::ListVolumesOptions,
};
use futures_util::{StreamExt, stream};
use uuid::Uuid;

use crate::runtime::docker::{
    Inner,
    engine::{is_missing, is_refusal, labels, names, status},
};

/// How old a container or a volume must be: another server may be making a younger one's sandbox right now.
const MIN_AGE: Duration = Duration::from_mins(10);

/// How many containers are removed at the same time.
const MAX_CONCURRENT: usize = 4;

/// The most that one start removes; the next goes on.
const MAX_REMOVED: usize = 1000;

/// Removes the orphans. A failure is only logged: they cost disk space and nothing else.
pub(in crate::runtime::docker) async fn remove(inner: &Inner) {
    remove_shared_expiries(inner).await;
    match find(inner).await {
        Ok(found) => stream::iter(found).for_each_concurrent(MAX_CONCURRENT, |leftover| leftover.remove(inner)).await,
        Err(error) => tracing::warn!(%error, "leftovers of earlier servers could not be looked for"),
    }
    // A container that was left has its volume in use.
    match find_volumes(inner).await {
        Ok(found) => stream::iter(found).for_each_concurrent(MAX_CONCURRENT, |found| remove_volume(inner, found)).await,
        Err(error) if is_refusal(&error) => tracing::debug!(%error, "volumes that were left are not looked for"),
        Err(error) => tracing::warn!(%error, "volumes of earlier servers could not be looked for"),
    }
}

/// The volumes that each belong to one sandbox which is gone.
async fn find_volumes(inner: &Inner) -> Result<Vec<OwnVolume>, EngineError> {
    let engine = &inner.engine;
    let Some(now) = engine.now().await? else { return Ok(Vec::new()) };
    // Parts of names, which the engine's filter finds.
    let names = [names::runtime_volume(""), names::oem_volume("")];
    let filters = Some([("name".to_owned(), names.to_vec())].into());
    let volumes = engine.within(engine.api.list_volumes(Some(ListVolumesOptions { filters }))).await?;
    let volumes = volumes.volumes.unwrap_or_default();
    let old = volumes.iter().filter(|volume| is_old_volume(volume, now.as_second())).filter_map(OwnVolume::of);
    let mut found: Vec<OwnVolume> = old.collect();
    if found.is_empty() {
        return Ok(found);
    }
    let (sidecars, sandboxes) = (engine.sidecars(None).await?, engine.sandboxes(None).await?);
    let users = sidecars.iter().filter_map(|sidecar| label(sidecar, labels::SIDECAR_FOR));
    let users: HashSet<&str> = users.chain(sandboxes.iter().filter_map(|sandbox| label(sandbox, labels::ID))).collect();
    found.retain(|volume| !users.contains(volume.sandbox.as_str()));
    found.truncate(MAX_REMOVED);
    Ok(found)
}

fn is_old_volume(volume: &Volume, now: i64) -> bool {
    let created = volume.created_at.as_deref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    created.is_some_and(|created| now.saturating_sub(created.as_second()) >= MIN_AGE.as_secs().cast_signed())
}

/// A volume that the gateway gave to one sandbox.
#[derive(Debug, PartialEq)]
struct OwnVolume {
    name: String,
    sandbox: String,
}

impl OwnVolume {
    /// By the whole name that servers give it.
    fn of(volume: &Volume) -> Option<Self> {
        let prefixes = [names::runtime_volume(""), names::oem_volume("")];
        let sandbox = prefixes.iter().find_map(|prefix| volume.name.strip_prefix(prefix.as_str()))?;
        Uuid::try_parse(sandbox).ok()?;
        Some(Self { name: volume.name.clone(), sandbox: sandbox.to_owned() })
    }
}

async fn remove_volume(inner: &Inner, OwnVolume { name, sandbox }: OwnVolume) {
    // Nobody here creates or removes the sandbox meanwhile; one that was created has the volume in use.
    let _lock = inner.change_locks.lock(&sandbox).await;
    match inner.engine.remove_volume(&name).await {
        Ok(()) => tracing::info!(sandbox, name, "removed a volume that was left"),
        Err(error) if is_missing(&error) || status(&error) == Some(409) => {}
        Err(error) => tracing::warn!(sandbox, name, %error, "a leftover stays"),
    }
}

/// Removes the volumes that tell of the expiries of sandboxes that are gone.
async fn remove_shared_expiries(inner: &Inner) {
    // The volumes first: a sandbox that is renewed meanwhile is then in the second list.
    let told = inner.shared_volumes(None).await;
    let found = async { Ok::<_, EngineError>((told?, inner.engine.sandboxes(None).await?)) };
    let (told, sandboxes) = match found.await {
        Ok(found) => found,
        Err(error) => return tracing::warn!(%error, "volumes that tell of expiries could not be looked for"),
    };
    let sandboxes: HashSet<&str> = sandboxes.iter().filter_map(|sandbox| label(sandbox, labels::ID)).collect();
    let of = |volume: &Volume| labels::value(&volume.labels, labels::EXPIRY_OF).map(str::to_owned);
    let gone: HashSet<String> = told.iter().filter_map(of).filter(|id| !sandboxes.contains(id.as_str())).collect();
    for id in gone.iter().take(MAX_REMOVED) {
        inner.forget_shared(id).await;
    }
}

/// A container without an owner.
#[derive(Debug, PartialEq)]
struct Leftover {
    container: String,
    /// The sandbox that it served, for a sidecar.
    sandbox: Option<String>,
}

async fn find(inner: &Inner) -> Result<Vec<Leftover>, EngineError> {
    let engine = &inner.engine;
    let Some(now) = engine.now().await? else { return Ok(Vec::new()) };
    let execd = engine.containers("name", format!("^/{}", names::EXECD_PREFIX)).await?;
    // Sidecars first: a sandbox that is created meanwhile is then in the second list.
    let sidecars = engine.sidecars(None).await?;
    let sandboxes = engine.sandboxes(None).await?;
    let sandboxes: HashSet<&str> = sandboxes.iter().filter_map(|sandbox| label(sandbox, labels::ID)).collect();
    let is_old = |container: &&ContainerSummary| is_old(container, now.as_second());
    let execd = execd.iter().filter(is_old).filter_map(of_execd);
    let sidecars = sidecars.iter().filter(is_old).filter_map(|sidecar| of_sidecar(sidecar, &sandboxes));
    Ok(execd.chain(sidecars).take(MAX_REMOVED).collect())
}

fn is_old(container: &ContainerSummary, now: i64) -> bool {
    container.created.is_some_and(|created| now.saturating_sub(created) >= MIN_AGE.as_secs().cast_signed())
}

/// A container by the whole name that servers give it, since the engine's filter finds others too.
fn of_execd(container: &ContainerSummary) -> Option<Leftover> {
    let is_ours = |name: &String| {
        let random = name.strip_prefix('/').and_then(|name| name.strip_prefix(names::EXECD_PREFIX));
        random.is_some_and(|random| Uuid::try_parse(random).is_ok())
    };
    let is_ours = container.names.iter().flatten().any(is_ours) && label(container, labels::ID).is_none();
    is_ours.then_some(Leftover { container: container.id.clone()?, sandbox: None })
}

fn of_sidecar(container: &ContainerSummary, sandboxes: &HashSet<&str>) -> Option<Leftover> {
    let sandbox =
        label(container, labels::SIDECAR_FOR).filter(|id| names::is_plausible_id(id) && !sandboxes.contains(id))?;
    Some(Leftover { container: container.id.clone()?, sandbox: Some(sandbox.to_owned()) })
}

fn label<'a>(container: &'a ContainerSummary, key: &str) -> Option<&'a str> {
    labels::value(container.labels.as_ref()?, key)
}

impl Leftover {
    async fn remove(self, inner: &Inner) {
        let Self { container, sandbox } = self;
        match inner.engine.remove(&container).await {
            Err(error) if !is_missing(&error) => tracing::warn!(container, %error, "a leftover stays"),
            _ => tracing::info!(container, sandbox, "removed what an earlier server left"),
        }
        if let Some(id) = sandbox {
            inner.remove_runtime_volume(&id).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn container(name: &str, labels: &[(&str, &str)]) -> ContainerSummary {
        ContainerSummary {
            id: Some("c".to_owned()),
            names: Some(vec![name.to_owned()]),
            labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
            created: Some(NOW - 600),
            ..Default::default()
        }
    }

    #[test]
    fn only_the_old_are_left_over() {
        let mut container = container("/x", &[]);
        assert!(is_old(&container, NOW));
        assert!(!is_old(&container, NOW - 1));
        container.created = None;
        assert!(!is_old(&container, NOW));
    }

    #[test]
    fn a_sandbox_s_own_volumes_are_known_by_their_whole_name_and_their_age() {
        let id = "c06b280d-c896-4ce5-8bc5-69f52e8b885e";
        let volume = |name: String| Volume { name, ..Default::default() };
        for name in [format!("opensandbox-runtime-{id}"), format!("opensandbox-win-oem-{id}")] {
            let found = OwnVolume::of(&volume(name.clone()));
            assert_eq!(found, Some(OwnVolume { name, sandbox: id.to_owned() }));
        }
        for name in [format!("my-opensandbox-runtime-{id}"), "opensandbox-runtime-mine".to_owned(), id.to_owned()] {
            assert_eq!(OwnVolume::of(&volume(name)), None);
        }
        let created = |time: &str| Volume { created_at: Some(time.to_owned()), ..Default::default() };
        assert!(is_old_volume(&created("2027-01-15T07:50:00Z"), NOW));
        assert!(is_old_volume(&created("2027-01-15T08:50:00+01:00"), NOW));
        assert!(!is_old_volume(&created("2027-01-15T07:50:01Z"), NOW));
        assert!(!is_old_volume(&created("yesterday"), NOW) && !is_old_volume(&Volume::default(), NOW));
    }

    #[test]
    fn execd_s_containers_are_known_by_their_whole_name() {
        let name = "/sandbox-execd-c06b280d-c896-4ce5-8bc5-69f52e8b885e";
        assert_eq!(of_execd(&container(name, &[])), Some(Leftover { container: "c".to_owned(), sandbox: None }));
        assert_eq!(of_execd(&container("/sandbox-execd-mine", &[])), None);
        assert_eq!(of_execd(&container(name, &[(labels::ID, "x")])), None);
    }

    #[test]
    fn a_sidecar_goes_after_its_sandbox() {
        let sidecar = container("/sandbox-egress-x", &[(labels::SIDECAR_FOR, "x")]);
        assert_eq!(of_sidecar(&sidecar, &HashSet::from(["x"])), None);
        let alone = of_sidecar(&sidecar, &HashSet::from(["y"]));
        assert_eq!(alone.unwrap().sandbox.as_deref(), Some("x"));
        assert_eq!(of_sidecar(&container("/x", &[(labels::SIDECAR_FOR, "../x")]), &HashSet::new()), None);
    }
}
