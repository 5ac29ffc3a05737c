//! Creating, updating and patching (kubernetes-api.md §10).

use serde_json::{Value, json};

use super::{
    failure::{Cause, Failure, quoted},
    managed, objects, patch,
    resource::{NAMESPACES, PODS, Resource},
    store::{Key, Object, Store},
    validate,
};

/// The parameters of a write.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) is_dry: bool,
    pub(super) is_strict: bool,
    /// Whose fields they become; none are noted if it is empty.
    pub(super) manager: String,
}

/// Which part of an object a write reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All but a status that is a subresource.
    Main,
    /// The status alone.
    Status,
    /// Everything and unchecked: what stands for the kubelet, the operator and a test.
    Whole,
}

/// What was stored, and the texts of the `Warning` headers.
pub(super) type Written = (Object, Vec<String>);

/// How a patch is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum PatchKind {
    Merge,
    Strategic,
    Json,
}

impl Store {
    pub(super) fn create(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        object: Value,
        options: &Options,
    ) -> Result<Written, Failure> {
        self.create_with(resource, namespace, object, None, options)
    }

    /// The same with a status from its beginning, as what is restored has: watches never tell of the object without it.
    pub(super) fn create_with(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        mut object: Value,
        status: Option<&Value>,
        options: &Options,
    ) -> Result<Written, Failure> {
        check_type(resource, &mut object)?;
        let metadata = &mut object["metadata"];
        if metadata["name"].as_str().unwrap_or_default().is_empty()
            && let Some(start) = metadata["generateName"].as_str()
        {
            metadata["name"] = format!("{start}{}", objects::random_suffix()).into();
        }
        if resource.namespaced {
            if metadata["namespace"].as_str().is_some_and(|own| own != namespace) {
                let message = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Failure::bad_request(message));
            }
            metadata["namespace"] = namespace.into();
        }
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        let warnings = check_fields(resource, &mut object, options)?;
        self.check_namespace(resource, namespace, &name)?;
        if resource.status {
            object.as_object_mut().expect("checked").shift_remove("status");
        }
        objects::set_defaults(resource, &mut object);
        validate::check(resource, &object)?;
        let key = Key::new(if resource.namespaced { namespace } else { "" }, &name);
        if let Some(old) = self.get(resource, &key) {
            let is_deleted = !old["metadata"]["deletionTimestamp"].is_null();
            return Err(Failure::already_exists(resource, &name, is_deleted));
        }
        self.check_quota(resource, namespace, &object)?;
        let metadata = object["metadata"].as_object_mut().expect("checked");
        for key in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"] {
            metadata.shift_remove(key);
        }
        metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        metadata.insert("creationTimestamp".into(), objects::now().into());
        if has_generation(resource) {
            metadata.insert("generation".into(), 1.into());
        }
        if !options.manager.is_empty() {
            managed::manage(resource, &mut object, &options.manager, false);
        }
        if options.is_dry {
            return Ok((objects::ordered(resource, object).into(), warnings));
        }
        if let Some(status) = status {
            patch::merge(&mut object["status"], status);
        }
        Ok((self.put(resource, object), warnings))
    }

    fn check_namespace(&self, resource: &'static Resource, namespace: &str, name: &str) -> Result<(), Failure> {
        if !resource.namespaced {
            return Ok(());
        }
        let found = self.find(&NAMESPACES, "", namespace)?;
        if found["status"]["phase"] != "Terminating" {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut failure = Failure::forbidden(resource, name, &why);
        failure.details.get_or_insert_with(|| json!({}))["causes"] = json!([{"reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"), "field": "metadata.namespace"}]);
        Err(failure)
    }

    fn check_quota(&self, resource: &'static Resource, namespace: &str, object: &Value) -> Result<(), Failure> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        for quota in self.quotas.iter().filter(|quota| quota.namespace == namespace) {
            for (item, limit) in &quota.hard {
                if let Some((list, unit)) =
                    item.split_once('.').filter(|(list, _)| *list == "requests" || *list == "limits")
                {
                    let lacks = |container: &&Value| container["resources"][list][unit].is_null();
                    let containers = object["spec"]["containers"].as_array().into_iter().flatten();
                    if let Some(container) = containers.filter(|_| resource == &PODS).find(lacks) {
                        let container = container["name"].as_str().unwrap_or_default();
                        let why = format!("failed quota: {}: must specify {item} for: {container}", quota.name);
                        return Err(Failure::forbidden(resource, name, &why));
                    }
                    continue;
                }
                if item != resource.plural && *item != format!("count/{}", resource.qualified()) {
                    continue;
                }
                let used = self.all(resource, namespace).len() as u64;
                if used >= *limit {
                    let why = format!(
                        "exceeded quota: {}, requested: {item}=1, used: {item}={used}, limited: {item}={limit}",
                        quota.name
                    );
                    return Err(Failure::forbidden(resource, name, &why));
                }
            }
        }
        Ok(())
    }

    /// A `PUT`.
    pub(super) fn replace(
        &mut self,
        resource: &'static Resource,
        key: &Key,
        part: Part,
        mut object: Value,
        options: &Options,
    ) -> Result<Written, Failure> {
        check_type(resource, &mut object)?;
        let old = self.find(resource, &key.namespace, &key.name)?;
        if resource.custom && object["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
            let cause = Cause::invalid("metadata.resourceVersion", "0", "must be specified for an update");
            return Err(Failure::invalid_plural(resource, &key.name, &[cause]));
        }
        self.finish(resource, key, part, &old, object, options)
    }

    /// A `PATCH`.
    pub(super) fn patch(
        &mut self,
        resource: &'static Resource,
        key: &Key,
        part: Part,
        (kind, patch): (PatchKind, &Value),
        options: &Options,
    ) -> Result<Written, Failure> {
        let old = self.find(resource, &key.namespace, &key.name)?;
        let mut object = (*old).clone();
        match kind {
            PatchKind::Merge => patch::merge(&mut object, patch),
            PatchKind::Strategic => patch::strategic(&mut object, patch, ""),
            PatchKind::Json => patch::json_patch(&mut object, patch).ok_or_else(|| {
                let message = "the server rejected our request due to an error in our request";
                Failure::new(422, "Invalid", message).with_details(json!({}))
            })?,
        }
        self.finish(resource, key, part, &old, object, options)
    }

    /// Stores `new` in the place of `old`.
    fn finish(
        &mut self,
        resource: &'static Resource,
        key: &Key,
        part: Part,
        old: &Object,
        mut new: Value,
        options: &Options,
    ) -> Result<Written, Failure> {
        let (was, is) = (&old["metadata"], &new["metadata"]);
        if is["name"] != was["name"] {
            let [other, name] = [is, was].map(|one| one["name"].as_str().unwrap_or_default());
            let message = format!("the name of the object ({other}) does not match the name on the URL ({name})");
            return Err(Failure::bad_request(message));
        }
        if !is["resourceVersion"].is_null() && is["resourceVersion"] != was["resourceVersion"] {
            return Err(Failure::modified(resource, &key.name));
        }
        if !is["uid"].is_null() && is["uid"] != was["uid"] {
            let cause = Cause::invalid("metadata.uid", &is["uid"].to_string(), "field is immutable");
            return Err(Failure::invalid(resource, &key.name, &[cause.clone(), cause]));
        }
        match part {
            Part::Status => {
                let status = new["status"].take();
                new = (**old).clone();
                new["status"] = status;
            }
            Part::Main if resource.status => match old.get("status") {
                Some(status) => new["status"] = status.clone(),
                None => drop(new.as_object_mut().expect("an object").shift_remove("status")),
            },
            Part::Main | Part::Whole => {}
        }
        for (key, value) in [("apiVersion", resource.api_version()), ("kind", resource.kind.to_owned())] {
            new[key] = value.into();
        }
        for fixed in [
            "namespace",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "resourceVersion",
            "managedFields",
        ] {
            match old["metadata"].get(fixed) {
                Some(value) => new["metadata"][fixed] = value.clone(),
                None => drop(new["metadata"].as_object_mut().expect("an object").shift_remove(fixed)),
            }
        }
        let warnings = check_fields(resource, &mut new, options)?;
        if part != Part::Whole {
            validate::check(resource, &new)?;
            check_pod_update(resource, &key.name, old, &new)?;
            check_finalizers(resource, &key.name, old, &new)?;
        }
        let new = objects::ordered(resource, new);
        if new == **old {
            return Ok((old.clone(), warnings));
        }
        let mut new = new;
        if has_generation(resource) && new.get("spec") != old.get("spec") {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(1);
            new["metadata"]["generation"] = (generation + 1).into();
        }
        if !options.manager.is_empty() {
            managed::manage(resource, &mut new, &options.manager, part == Part::Status);
        }
        if options.is_dry {
            return Ok((objects::ordered(resource, new).into(), warnings));
        }
        let has_finalizers = new["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let had_finalizers = old["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        if !old["metadata"]["deletionTimestamp"].is_null() && had_finalizers && !has_finalizers {
            // What held it is gone; the answer still has the version before.
            let answer = objects::ordered(resource, new.clone());
            self.remove(resource, new);
            return Ok((answer.into(), warnings));
        }
        Ok((self.put(resource, new), warnings))
    }
}

fn has_generation(resource: &Resource) -> bool {
    resource.custom || resource.kind == "Pod"
}

/// Checks `apiVersion` and `kind`, which a client may leave out for built-in kinds.
fn check_type(resource: &Resource, object: &mut Value) -> Result<(), Failure> {
    let Some(map) = object.as_object_mut() else {
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            resource.kind
        )));
    };
    let expected = resource.api_version();
    match map.get("apiVersion").and_then(Value::as_str) {
        None => {}
        Some(version) if version == expected => {}
        Some(version) => {
            let message =
                format!("the API version in the data ({version}) does not match the expected API version ({expected})");
            return Err(Failure::bad_request(message));
        }
    }
    if let Some(kind) = map.get("kind").and_then(Value::as_str).filter(|kind| *kind != resource.kind) {
        let name = map.get("metadata").and_then(|metadata| metadata["name"].as_str()).unwrap_or_default();
        let cause = Cause::invalid("kind", &quoted(kind), &format!("must be {}", resource.kind));
        return Err(Failure::invalid_of_kind(resource, kind, name, cause));
    }
    map.insert("apiVersion".into(), expected.into());
    map.insert("kind".into(), resource.kind.into());
    if !map.get("metadata").is_some_and(Value::is_object) {
        map.insert("metadata".into(), json!({}));
    }
    Ok(())
}

fn check_fields(resource: &Resource, object: &mut Value, options: &Options) -> Result<Vec<String>, Failure> {
    let unknown: Vec<_> =
        validate::prune(resource, object).iter().map(|field| format!("unknown field {}", quoted(field))).collect();
    if options.is_strict && !unknown.is_empty() {
        return Err(Failure::bad_request(format!(
            "{kind} in version {version} cannot be handled as a {kind}: strict decoding error: {}",
            unknown.join(", "),
            kind = resource.kind,
            version = quoted(resource.version),
        )));
    }
    Ok(unknown)
}

fn check_finalizers(resource: &Resource, name: &str, old: &Value, new: &Value) -> Result<(), Failure> {
    let finalizers = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let before = finalizers(old);
    let added: Vec<_> = finalizers(new).iter().filter(|one| !before.contains(one)).map(Value::to_string).collect();
    if old["metadata"]["deletionTimestamp"].is_null() || added.is_empty() {
        return Ok(());
    }
    let why = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    let cause = Cause::new("FieldValueForbidden", "metadata.finalizers", why);
    Err(Failure::invalid(resource, name, &[cause.clone(), cause]))
}

fn check_pod_update(resource: &Resource, name: &str, old: &Value, new: &Value) -> Result<(), Failure> {
    if resource != &PODS {
        return Ok(());
    }
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            spec[key] = Value::Null;
        }
        spec
    };
    if fixed(old) == fixed(new) {
        return Ok(());
    }
    let why = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
         tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    Err(Failure::invalid(resource, name, &[Cause::new("FieldValueForbidden", "spec", why.into())]))
}
