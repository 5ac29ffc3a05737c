//! Deleting: finalizers, preconditions, grace, and what goes with its owner (kubernetes-api.md §10).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    failure::{Cause, Failure},
    objects,
    query::Query,
    resource::{NAMESPACES, PODS, Resource},
    store::{Key, Object, Store},
};

/// The finalizer of a deletion that waits for what the object owns.
const FOREGROUND: &str = "foregroundDeletion";

/// The parameters of a deletion, from the query and the body.
#[derive(Debug, Clone, Default)]
pub(super) struct DeleteOptions {
    uid: Option<String>,
    version: Option<String>,
    grace: Option<i64>,
    propagation: Option<String>,
    is_dry: bool,
}

/// What became of an object.
pub(super) enum Deleted {
    /// It is gone.
    Gone(Object),
    /// It is still there, marked.
    Marked(Object),
}

impl DeleteOptions {
    /// Removes at once, whatever the object is.
    pub(super) fn now() -> Self {
        Self { grace: Some(0), ..Self::default() }
    }

    pub(super) fn read(query: &Query, body: &Value) -> Result<Self, Failure> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let propagation =
            query.get("propagationPolicy").map(str::to_owned).or_else(|| text(&body["propagationPolicy"]));
        if let Some(policy) = &propagation
            && !["Foreground", "Background", "Orphan"].contains(&policy.as_str())
        {
            let why = format!(
                "Unsupported value: {policy:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            );
            let cause = Cause::new("FieldValueNotSupported", "propagationPolicy", why);
            return Err(Failure::invalid_options("DeleteOptions", cause));
        }
        let orphans = query.get("orphanDependents").is_some() || !body["orphanDependents"].is_null();
        if let (Some(policy), true) = (&propagation, orphans) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            let cause = Cause::invalid("propagationPolicy", &format!("{policy:?}"), why);
            return Err(Failure::invalid_options("DeleteOptions", cause));
        }
        Ok(Self {
            uid: text(&body["preconditions"]["uid"]),
            version: text(&body["preconditions"]["resourceVersion"]),
            grace: query.number("gracePeriodSeconds")?.or_else(|| body["gracePeriodSeconds"].as_i64()),
            propagation,
            is_dry: query.text("dryRun") == "All",
        })
    }
}

impl Store {
    pub(super) fn delete(
        &mut self,
        resource: &'static Resource,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deleted, Failure> {
        let old = self.find(resource, &key.namespace, &key.name)?;
        let has = |field: &str| old["metadata"][field].as_str().unwrap_or_default();
        let differs = |asked: &Option<String>, field: &str| asked.as_ref().is_some_and(|asked| asked != has(field));
        if differs(&options.uid, "uid") {
            let why = format!(
                "the UID in the precondition ({}) does not match the UID in record ({}). The object might have been \
                 deleted and then recreated",
                options.uid.as_deref().unwrap_or_default(),
                has("uid")
            );
            return Err(Failure::precondition(resource, &key.name, &why));
        }
        if differs(&options.version, "resourceVersion") {
            let why = format!(
                "the ResourceVersion in the precondition ({}) does not match the ResourceVersion in record ({}). The \
                 object might have been modified",
                options.version.as_deref().unwrap_or_default(),
                has("resourceVersion")
            );
            return Err(Failure::precondition(resource, &key.name, &why));
        }
        if options.is_dry {
            return Ok(Deleted::Gone(old));
        }
        let mut marked = (*old).clone();
        let was_marked = !old["metadata"]["deletionTimestamp"].is_null();
        if options.propagation.as_deref() == Some("Foreground") && !was_marked {
            let finalizers = &mut marked["metadata"]["finalizers"];
            let mut all = finalizers.as_array().cloned().unwrap_or_default();
            all.push(FOREGROUND.into());
            *finalizers = all.into();
        }
        if options.propagation.as_deref() == Some("Orphan") {
            self.orphan(has("uid"));
        }
        let is_pod = resource == &PODS;
        let is_scheduled = is_pod && !old["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
        let is_over = ["Succeeded", "Failed"].contains(&old["status"]["phase"].as_str().unwrap_or_default());
        let grace = match options.grace.or_else(|| old["spec"]["terminationGracePeriodSeconds"].as_i64()) {
            Some(grace) if is_scheduled && !is_over => grace.max(0),
            _ => 0,
        };
        let is_held = marked["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        if !is_pod && !is_held {
            return Ok(Deleted::Gone(self.remove(resource, marked)));
        }
        if was_marked && (is_held || grace > 0) {
            return Ok(Deleted::Marked(old));
        }
        if !was_marked {
            let metadata = &mut marked["metadata"];
            metadata["deletionTimestamp"] = objects::now().into();
            metadata["deletionGracePeriodSeconds"] = grace.into();
            metadata["generation"] = (metadata["generation"].as_i64().unwrap_or(1) + 1).into();
        }
        let marked = self.put(resource, marked);
        if is_held {
            if options.propagation.as_deref() == Some("Foreground") {
                self.collect(marked["metadata"]["uid"].as_str().unwrap_or_default());
            }
            return Ok(Deleted::Marked(marked));
        }
        if grace > 0 {
            if let Some(after) = self.pod_stop {
                let after = after.min(Duration::from_secs(grace.unsigned_abs()));
                self.stopping.push((Instant::now() + after, key.clone(), marked["metadata"]["uid"].clone()));
            }
        } else {
            self.remove(resource, (*marked).clone());
        }
        Ok(Deleted::Marked(marked))
    }

    /// Takes the object away, and what belongs to it.
    pub(super) fn remove(&mut self, resource: &'static Resource, last: Value) -> Object {
        let last = self.take(resource, last);
        self.collect(last["metadata"]["uid"].as_str().unwrap_or_default());
        if resource == &NAMESPACES {
            let name = last["metadata"]["name"].as_str().unwrap_or_default();
            let inside: Vec<_> = self
                .everything()
                .filter(|(_, key, _)| key.namespace == name)
                .map(|(resource, key, _)| (resource, key.clone()))
                .collect();
            for (resource, key) in inside {
                // One that went with its owner meanwhile is as well.
                let _ = self.delete(resource, &key, &DeleteOptions::now());
            }
        }
        last
    }

    fn owned_by(&self, uid: &str) -> Vec<(&'static Resource, Key)> {
        let is_owned = |object: &Object| {
            object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == uid)
        };
        let owned = self.everything().filter(|(_, _, object)| is_owned(object));
        owned.map(|(resource, key, _)| (resource, key.clone())).collect()
    }

    /// The garbage collector: deletes what only this object owned.
    fn collect(&mut self, uid: &str) {
        for (resource, key) in self.owned_by(uid) {
            let Some(object) = self.get(resource, &key) else { continue };
            let others = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let others: Vec<_> = others.filter(|owner| owner["uid"] != uid).cloned().collect();
            if others.is_empty() {
                // One that is marked already goes its way.
                let _ = self.delete(resource, &key, &DeleteOptions::default());
            } else {
                let mut object = (*object).clone();
                object["metadata"]["ownerReferences"] = others.into();
                self.put(resource, object);
            }
        }
    }

    fn orphan(&mut self, uid: &str) {
        for (resource, key) in self.owned_by(uid) {
            let Some(object) = self.get(resource, &key) else { continue };
            let mut object = (*object).clone();
            let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let owners: Vec<_> = owners.filter(|owner| owner["uid"] != uid).cloned().collect();
            object["metadata"]["ownerReferences"] = owners.into();
            self.put(resource, object);
        }
    }

    /// Does what is due: pods that have stopped, owners whose last dependent is gone. Returns when the next thing is.
    pub(super) fn housekeep(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let due: Vec<_> = self.stopping.iter().filter(|(at, ..)| *at <= now).cloned().collect();
        self.stopping.retain(|(at, ..)| *at > now);
        for (_, key, uid) in due {
            if let Some(pod) = self.get(&PODS, &key).filter(|pod| pod["metadata"]["uid"] == uid) {
                self.remove(&PODS, (*pod).clone());
            }
        }
        let is_waiting = |object: &Object| {
            let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
            !object["metadata"]["deletionTimestamp"].is_null() && finalizers.into_iter().any(|one| one == FOREGROUND)
        };
        let waiting: Vec<_> = self
            .everything()
            .filter(|(_, _, object)| is_waiting(object))
            .map(|(resource, _, object)| (resource, object.clone()))
            .collect();
        for (resource, object) in waiting {
            if !self.owned_by(object["metadata"]["uid"].as_str().unwrap_or_default()).is_empty() {
                continue;
            }
            let mut object = (*object).clone();
            let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
            let others: Vec<_> = finalizers.filter(|one| *one != FOREGROUND).cloned().collect();
            let is_last = others.is_empty();
            object["metadata"]["finalizers"] = others.into();
            if is_last {
                self.remove(resource, object);
            } else {
                self.put(resource, object);
            }
        }
        self.stopping.iter().map(|(at, ..)| *at).min()
    }
}

/// The `Status` of an object that is gone.
pub(super) fn success(resource: &Resource, object: &Value) -> Value {
    let mut details = json!({"name": object["metadata"]["name"]});
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    details["kind"] = resource.plural.into();
    details["uid"] = object["metadata"]["uid"].clone();
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
