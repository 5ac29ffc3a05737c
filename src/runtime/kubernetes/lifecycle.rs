//! Shows sandboxes, and changes those that are there (kubernetes-runtime.md §8).
//!
//! A change is one merge patch, which the API server applies as a whole: of labels only those that change are in it, so the
//! changes of two clients, and of the operator, do not undo each other. Only where the new value depends on the old one is the
//! object's version named, and the change tried again when another one came before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::SignedDuration;
use kube::api::{DeleteParams, ListParams, Preconditions};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use crate::{
    error::{Error, Family, Kind},
    model::{
        labels as rules,
        page::{ListQuery, Page, order},
        sandbox::{Sandbox, SandboxJson, State},
        timestamp::Timestamp,
    },
    runtime::kubernetes::{
        Inner, Scope,
        cleanups::pause,
        client::ApiFailure,
        namespaces::Change,
        objects::{Claim, Pod},
        workload::{Deletion, Expiry, Workload, check_alive, failed, labels, names, tell_without_pods},
    },
};

/// How often a change is tried that others come before.
const MAX_ATTEMPTS: usize = 5;

/// How many claims are listed at once, and how many such lists one removal works through.
const CLAIMS_PAGE: u32 = 100;
const MAX_PAGES: usize = 50;

/// How long a deletion waits for its claims to be removed.
const SWEEP_PATIENCE: Duration = Duration::from_secs(5);

/// How often they are tried to be removed: after 1 s, 4 s, 16 s and 64 s more, or after what the API server asks for, up to 64 s.
const MAX_SWEEPS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) async fn get(&self, scope: &Scope, id: &str) -> Result<Sandbox, Error> {
        let workload = self.find(scope, id).await?;
        Ok(self.show(scope, &workload).await)
    }

    async fn show(&self, scope: &Scope, workload: &Workload) -> Sandbox {
        workload.show(&self.pods_for_state(scope, workload).await)
    }

    /// All sandboxes, in no order.
    pub(super) async fn list(&self, scope: &Scope) -> Result<Vec<Sandbox>, Error> {
        let all = self.all(scope).await?;
        let pods = self.pods_of_each(scope, &all).await;
        Ok(all.iter().zip(&pods).map(|(workload, pods)| workload.show(pods)).collect())
    }

    /// A page of them. No more is looked at than what is filtered and the order ask, and what was written before is written no
    /// more.
    pub(super) async fn page(&self, scope: &Scope, query: &ListQuery) -> Result<Page<SandboxJson>, Error> {
        let mut all = self.all(scope).await?;
        all.retain(|workload| query.has_metadata(|key| workload.metadata(key)));
        if !query.states.is_empty() {
            let pods = self.pods_of_each(scope, &all).await;
            let states = query.shown_states();
            let has_state = |(it, pods): &(Workload, Vec<_>)| states.contains(&it.status(pods).state);
            all = all.into_iter().zip(pods).filter(has_state).map(|(it, _)| it).collect();
        }
        let total = all.len() as u64;
        let keyed: Vec<_> = all.iter().map(|workload| (workload.created_at(), workload.id(), workload)).collect();
        let keyed = query.page.cut(keyed, |(a, a_id, _), (b, b_id, _)| order((*a, a_id), (*b, b_id)));
        let page: Vec<_> = keyed.into_iter().map(|(.., workload)| workload.clone()).collect();
        let pods = self.pods_of_each(scope, &page).await;
        let items = page.iter().zip(&pods).map(|(workload, pods)| workload.json(pods)).collect();
        Ok(query.page.with(items, total))
    }

    async fn all(&self, scope: &Scope) -> Result<Vec<Workload>, Error> {
        let unreadable = |failure: ApiFailure| {
            let mut error = Error::new(Family::KubeList, Kind::Unavailable, "Cannot read the complete sandbox list.");
            error.retry_after = failure.retry_after;
            error.caused_by(failure)
        };
        let mut all = self.workloads(scope).list().await.map_err(unreadable)?;
        all.retain(|workload| scope.owns(workload.tenant()));
        Ok(all)
    }

    /// The pods that each one's state is told by; none where they are not needed, or cannot be read.
    async fn pods_of_each(&self, scope: &Scope, workloads: &[Workload]) -> Vec<Vec<Arc<Pod>>> {
        let ids: Vec<_> = workloads.iter().map(|it| if it.needs_pods() { it.id() } else { "" }).collect();
        if ids.iter().all(|id| id.is_empty()) {
            return vec![Vec::new(); workloads.len()];
        }
        let mut pods = self.pods(scope).labelled_each(&ids).await.unwrap_or_else(|failure| {
            tell_without_pods(&failure);
            vec![Vec::new(); workloads.len()]
        });
        for (pods, workload) in pods.iter_mut().zip(workloads) {
            pods.retain(|pod| workload.selects(pod));
        }
        pods
    }

    pub(super) async fn renew(&self, scope: &Scope, id: &str, time: Timestamp) -> Result<Timestamp, Error> {
        // Before the sandbox is looked for, as in the existing server.
        if time <= Timestamp::now() {
            return Err(Error::new(Family::Expiry, Kind::Invalid, "New expiration time must be in the future."));
        }
        let workload = self.find(scope, id).await?;
        check_alive(&workload)?;
        // One that cannot be read is one: the client's new time takes its place.
        if workload.expiry() == Expiry::Never {
            let text = format!("Sandbox {id} does not have automatic expiration enabled.");
            return Err(Error::new(Family::Expiry, Kind::Conflict, text));
        }
        let patched = self.workloads(scope).merge(&workload, &workload.expiry_patch(time)).await;
        let patched = patched.map_err(|failure| failed(failure, "Failed to renew expiration"))?;
        check_alive(&patched.ok_or_else(|| names::not_found(id))?)?;
        tracing::info!(sandbox = id, %time, "the expiry was moved");
        Ok(time)
    }

    /// Moves the expiry of a sandbox that is used and asked for it, never to an earlier time.
    pub(super) async fn renew_on_access(&self, scope: &Scope, id: &str) -> Result<Option<Timestamp>, Error> {
        let mut workload = self.find(scope, id).await?;
        for _ in 0..MAX_ATTEMPTS {
            let (Some(seconds), Expiry::At(present)) = (workload.renewal(), workload.expiry()) else { return Ok(None) };
            if workload.status(&self.pods_for_state(scope, &workload).await).state != State::Running {
                return Ok(None);
            }
            let moved = jiff::Timestamp::now().saturating_add(SignedDuration::from_secs(seconds)).map(Timestamp::from);
            let Some(time) = moved.ok().filter(|time| *time > present) else { return Ok(Some(present)) };
            let mut patch = workload.expiry_patch(time);
            patch["metadata"] = json!({"resourceVersion": workload.resource_version()});
            let what = "Failed to renew expiration";
            let found = match self.workloads(scope).merge(&workload, &patch).await {
                Ok(Some(_)) => return Ok(Some(time)),
                Ok(None) => None,
                Err(failure) if failure.is_conflict() => {
                    let found = self.workloads(scope).read_anew(&workload).await;
                    found.map_err(|failure| failed(failure, what))?
                }
                Err(failure) => return Err(failed(failure, what)),
            };
            workload = found.ok_or_else(|| names::not_found(id))?;
        }
        let text = format!("The expiry of sandbox {id} was not moved: its object is changed all the time.");
        Err(Error::new(Family::KubeApi, Kind::Overloaded, text))
    }

    pub(super) async fn patch_metadata(
        &self,
        scope: &Scope,
        id: &str,
        patch: BTreeMap<String, Option<String>>,
    ) -> Result<Sandbox, Error> {
        let workload = self.find(scope, id).await?;
        rules::check_patch(&patch)?;
        if patch.is_empty() {
            return Ok(self.show(scope, &workload).await);
        }
        let labels: Value = patch.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        let patched = self.workloads(scope).merge(&workload, &json!({"metadata": {"labels": labels}})).await;
        let patched = patched.map_err(|failure| failed(failure, "Failed to patch sandbox labels"))?;
        Ok(self.show(scope, &patched.ok_or_else(|| names::not_found(id))?).await)
    }

    /// Deletes a sandbox, and the claims that are to go with it: also those that one left that is gone already. `change` is its
    /// place among the changes.
    pub(super) async fn delete(self: &Arc<Self>, scope: &Scope, id: &str, change: Change) -> Result<(), Error> {
        names::check(id)?;
        let what = "Failed to delete sandbox";
        let found = self.workloads(scope).find(id).await.map_err(|failure| failed(failure, what))?;
        // Another tenant's claims are not this one's to remove.
        if found.as_ref().is_some_and(|workload| !scope.owns(workload.tenant())) {
            return Err(names::not_found(id));
        }
        let deletion = match &found {
            Some(workload) => self.workloads(scope).delete(workload).await.map_err(|failure| failed(failure, what))?,
            None => Deletion::Gone,
        };
        if deletion != Deletion::Replaced {
            // Of a sandbox that is gone nobody can say whose it was, except that its claims bear the tenant's name.
            let tenant = scope.tenant.clone().filter(|_| found.is_none());
            self.sweep(scope, id, tenant, change).await;
        }
        if deletion == Deletion::Begun { Ok(()) } else { Err(names::not_found(id)) }
    }

    /// Removes the claims in a task of its own, and waits a while for it: there may be thousands, and the API server may be busy.
    /// What takes longer has no place among the changes, since it may be tried again for minutes; unless there are too many such
    /// tasks. That never keeps the client: its sandbox is deleted.
    async fn sweep(self: &Arc<Self>, scope: &Scope, id: &str, tenant: Option<Arc<str>>, change: Change) {
        let (inner, scope, name) = (Arc::clone(self), scope.clone(), id.to_owned());
        let place = self.cleanups.begin(&scope);
        let change = Some(change).filter(|_| place.is_none());
        let work = async move {
            let _places = (place, change);
            let mut wait = FIRST_PAUSE;
            for attempt in 1.. {
                let turn = inner.cleanups.turn(&scope).await;
                let swept = inner.sweep_claims(&scope, &name, tenant.as_deref()).await;
                drop(turn);
                match swept {
                    Ok(()) => return,
                    // A conflict is another claim that was made under one's name since, or a webhook's word.
                    Err(failure) if (failure.is_outage() || failure.is_conflict()) && attempt < MAX_SWEEPS => {
                        tracing::info!(sandbox = name, %failure, "its volume claims are removed later");
                        sleep(pause(wait, &failure)).await;
                        wait *= 4;
                    }
                    Err(failure) => {
                        tracing::warn!(sandbox = name, %failure, "the volume claims of a deleted sandbox could not be removed");
                        return;
                    }
                }
            }
        };
        if timeout(SWEEP_PATIENCE, tokio::spawn(work.in_current_span())).await.is_err() {
            tracing::info!(sandbox = id, "its volume claims take long to remove: that goes on");
        }
    }

    /// Removes the claims that the server made for a sandbox; only those that bear a tenant's name, if there is one. `id` and
    /// `tenant` are labels' values (`names::check`, `crate::tenants`).
    pub(super) async fn sweep_claims(&self, scope: &Scope, id: &str, tenant: Option<&str>) -> Result<(), ApiFailure> {
        let api = self.cluster.api::<Claim>(&scope.namespace);
        let mut selector = format!("{}=server,{}={id}", labels::MANAGED_BY, labels::ID);
        if let Some(tenant) = tenant {
            selector = selector + "," + labels::TENANT + "=" + tenant;
        }
        let mut parameters = ListParams::default().labels(&selector).limit(CLAIMS_PAGE);
        let mut refused = None;
        for _ in 0..MAX_PAGES {
            let page = self.cluster.read("list_claims", api.list(&parameters)).await?;
            for Claim { metadata } in page.items {
                let Some(name) = metadata.name else { continue };
                let preconditions = Some(Preconditions { uid: metadata.uid, resource_version: None });
                let deletion = DeleteParams { preconditions, ..DeleteParams::default() };
                match self.cluster.write("delete_claim", api.delete(&name, &deletion)).await {
                    Ok(_) => tracing::info!(sandbox = id, claim = name, "the volume claim was removed"),
                    Err(failure) if failure.is_missing() => {}
                    Err(failure) if failure.is_outage() => return Err(failure),
                    // The others can go all the same.
                    Err(failure) => refused = Some(failure),
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => break,
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::Semaphore, time::Instant};

    use super::*;
    use crate::runtime::kubernetes::{
        Kubernetes,
        namespaces::{MAX_CHANGES, MAX_CLEANUPS},
        options,
    };

    #[tokio::test(start_paused = true)]
    async fn a_deletion_answers_while_its_claims_are_removed_and_keeps_its_place_if_it_must() {
        let dir = tempfile::tempdir().unwrap();
        for is_full in [false, true] {
            let runtime = Kubernetes::start(options::tests::unreachable(dir.path())).await.unwrap();
            let Kubernetes { inner, scope } = &runtime;
            let others = if is_full { MAX_CLEANUPS } else { 0 };
            let _others = scope.places().cleanups.try_acquire_many(others).unwrap();
            let of = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().unwrap();
            let change = Arc::new((of(&scope.places().changes), of(&inner.changes)));
            let begun = Instant::now();
            inner.sweep(scope, "an-id", None, change).await;
            assert!((SWEEP_PATIENCE..2 * SWEEP_PATIENCE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
            // It goes on.
            let kept = MAX_CHANGES as usize - inner.changes.available_permits();
            assert_eq!(kept, usize::from(is_full));
        }
    }
}
