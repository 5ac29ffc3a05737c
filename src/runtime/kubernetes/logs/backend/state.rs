//! How a log's container does, by its pod, and which pod that is: it may be replaced by another one.

use std::sync::{Arc, atomic::Ordering};

use super::{Place, PodLog};
use crate::{
    error::Error,
    logs::{
        backend::{Start, State},
        cursor::RunId,
    },
    runtime::kubernetes::{
        logs::owner::Owner,
        objects::Pod,
        pods::{self, Instance},
        workload::failed,
    },
};

const NO_POD: &str = "Failed to read the sandbox's pod";

impl PodLog {
    /// How the container does by its pod, which is the one that is read.
    pub(in crate::runtime::kubernetes::logs) fn state_of(&self, pod: &Pod) -> State {
        let Some(instance) = Instance::present(pod, &self.container) else { return State::Created };
        let mut place = self.place();
        *place = Place { is_gone: place.is_gone, ..Place::of(pod, &self.container, place.number, &instance) };
        let run = RunId::of_instance(&place.uid, &self.container, instance.number);
        let start = |at| Start {
            at,
            previous_end: (instance.number > 0).then_some(at),
            run: Some(run),
            begins_log: !place.is_chained,
        };
        instance.state(instance.started_at.map(start))
    }

    /// The pod of this name as the watch has it: who follows many pods asks for none of them after an outage, since one list
    /// serves all. A pool's pod does not bear the sandbox's id, and a watch may not have seen a new pod yet.
    async fn known_pod(&self, name: &str) -> Result<Option<Arc<Pod>>, Error> {
        if self.lease.is_some() {
            return self.read_pod(name).await;
        }
        let Owner { inner, scope, id } = &self.owner;
        match inner.pods(scope).labelled(id).await {
            Ok(pods) => match pods.into_iter().find(|pod| pod.name() == name && !self.is_late(pod)) {
                Some(pod) => Ok(Some(pod)),
                None => self.read_pod(name).await,
            },
            Err(failure) if failure.is_outage() => Err(failed(failure, NO_POD)),
            // It may be allowed to read a pod, and not to list them.
            Err(_) => self.read_pod(name).await,
        }
    }

    /// Whether this is an older state of the pod than one that was seen: in that, an instance was present.
    fn is_late(&self, pod: &Pod) -> bool {
        let place = self.place();
        let is_older = Instance::present(pod, &self.container).is_none_or(|instance| instance.number < place.present);
        is_older && pod.metadata.uid.as_deref() == Some(place.uid.as_str())
    }

    async fn read_pod(&self, name: &str) -> Result<Option<Arc<Pod>>, Error> {
        let found = pods::named(&self.cluster, &self.namespace, name).await;
        Ok(found.map_err(|failure| failed(failure, NO_POD))?.map(Arc::new))
    }

    /// How the container does, by the pod as it is now or as it is known.
    pub(super) async fn state_by(&self, is_now: bool) -> Result<State, Error> {
        if let Some(state) = self.previous {
            return Ok(state);
        }
        if let Some(lease) = &self.lease
            && !lease.holds().await?
        {
            return Ok(State::Removed);
        }
        let Place { pod: name, uid, is_gone, .. } = self.place().clone();
        if is_gone {
            return self.replaced().await;
        }
        let pod = if is_now { self.read_pod(&name).await? } else { self.known_pod(&name).await? };
        match pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid.as_str())) {
            Some(pod) => Ok(self.state_of(&pod)),
            None => self.replaced().await,
        }
    }

    /// The pod is not the sandbox's any more: another one may be.
    async fn replaced(&self) -> Result<State, Error> {
        let Some(workload) = self.owner.workload().await? else { return Ok(State::Removed) };
        // A pod that is gone never comes back.
        self.place().is_gone = true;
        let found = if workload.is_pooled() {
            let found = pods::of(&self.cluster, &self.namespace, &workload).await;
            found.map(|found| found.into_iter().map(Arc::new).collect())
        } else {
            self.owner.inner.pods_of(&self.owner.scope, &workload).await
        };
        let found = found.map_err(|failure| failed(failure, NO_POD))?;
        let gone = self.place().uid.clone();
        let pod = pods::present(found).filter(|pod| pod.metadata.uid.as_deref() != Some(gone.as_str()));
        let another = pod.and_then(|pod| Some((Instance::present(&pod, &self.container)?, pod)));
        let Some((instance, pod)) = another else { return Ok(State::Replacing) };
        *self.place() = Place::of(&pod, &self.container, instance.number, &instance);
        // Its times are another clock's.
        self.newest.store(0, Ordering::Relaxed);
        Ok(self.state_of(&pod))
    }
}

/// Whether `pods/log` has the log of the instance before `present`. Of a container that waits to be started again it gives the last
/// one's twice.
pub(super) fn has_previous(pod: &Pod, container: &str, present: &Instance) -> bool {
    Instance::previous(pod, container).is_some_and(|previous| previous.number < present.number)
}
