//! The objects with their resource versions, and what happened to them.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::watch;

use super::{
    failure::Failure,
    objects,
    resource::{NAMESPACES, Resource},
};

/// An object as it is stored, with `kind` and `apiVersion`.
pub type Object = Arc<Value>;

/// How many changes are kept for watches and for lists of an older version.
const HISTORY: usize = 200_000;

/// Where an object lies in its kind. They are listed in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Empty for kinds without namespaces.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// A change of an object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: &'static Resource,
    pub(super) key: Key,
    pub(super) old: Option<Object>,
    /// The object, of a deleted one its last state, with this change's version.
    pub(super) new: Object,
    pub(super) is_deleted: bool,
}

/// A limit on the objects of a namespace.
#[derive(Debug, Clone)]
pub(super) struct Quota {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `pods`, `count/<plural>.<group>`, or `requests.cpu` and the like, which pods must then name.
    pub(super) hard: Vec<(String, u64)>,
}

/// Everything that is in etcd, and the schedule of what is about to leave it.
pub(super) struct Store {
    version: u64,
    /// Changes of this version and older are forgotten.
    floor: u64,
    objects: HashMap<&'static Resource, BTreeMap<Key, Object>>,
    history: VecDeque<Change>,
    absent: HashSet<&'static Resource>,
    pub(super) quotas: Vec<Quota>,
    /// Pods that their kubelet has stopped by then.
    pub(super) stopping: Vec<(Instant, Key, Value)>,
    /// How long a kubelet takes to stop a pod; none: it never does by itself.
    pub(super) pod_stop: Option<Duration>,
    told: watch::Sender<u64>,
}

impl Store {
    pub(super) fn new() -> Self {
        let mut store = Self {
            version: 1000,
            floor: 1000,
            objects: HashMap::new(),
            history: VecDeque::new(),
            absent: HashSet::new(),
            quotas: Vec::new(),
            stopping: Vec::new(),
            pod_stop: Some(Duration::from_millis(50)),
            told: watch::Sender::new(1000),
        };
        for name in ["default", "osb"] {
            let namespace = serde_json::json!({"metadata": {"name": name}});
            store.create(&NAMESPACES, "", namespace, &super::write::Options::default()).expect("a namespace");
        }
        store.compact();
        store
    }

    /// The version of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version from which a watch can go on.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Forgets all changes, as an API server does that was restarted over a compacted etcd.
    pub(super) fn compact(&mut self) {
        self.history.clear();
        self.floor = self.version;
    }

    /// Raises the version as writes to other kinds do.
    pub(super) fn pass_versions(&mut self, count: u64) {
        self.version += count;
        self.told.send_replace(self.version);
    }

    /// Goes back to an older version, as a store that is restored from a backup does; the objects stay, with versions of then.
    pub(super) fn restore(&mut self, version: u64) {
        for object in self.objects.values_mut().flat_map(BTreeMap::values_mut) {
            Arc::make_mut(object)["metadata"]["resourceVersion"] = version.to_string().into();
        }
        self.version = version;
        self.compact();
    }

    /// Tells of each change's version.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    pub(super) fn is_there(&self, resource: &'static Resource) -> bool {
        !self.absent.contains(resource)
    }

    /// Adds or removes a CRD. Its objects go with it.
    pub(super) fn set_there(&mut self, resource: &'static Resource, is_there: bool) {
        if is_there {
            self.absent.remove(resource);
        } else {
            self.absent.insert(resource);
            self.objects.remove(resource);
        }
        self.pass_versions(1);
    }

    pub(super) fn get(&self, resource: &'static Resource, key: &Key) -> Option<Object> {
        self.objects.get(resource)?.get(key).cloned()
    }

    pub(super) fn find(&self, resource: &'static Resource, namespace: &str, name: &str) -> Result<Object, Failure> {
        let namespace = if resource.namespaced { namespace } else { "" };
        self.get(resource, &Key::new(namespace, name)).ok_or_else(|| Failure::not_found(resource, name))
    }

    /// The objects of a namespace, or of all if it is empty.
    pub(super) fn all(&self, resource: &'static Resource, namespace: &str) -> BTreeMap<Key, Object> {
        let all = self.objects.get(resource).into_iter().flatten();
        let inside = all.filter(|(key, _)| namespace.is_empty() || key.namespace == namespace);
        inside.map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// The same as they were at `version`; none if that is forgotten.
    pub(super) fn all_at(
        &self,
        resource: &'static Resource,
        namespace: &str,
        version: u64,
    ) -> Option<BTreeMap<Key, Object>> {
        if version < self.floor {
            return None;
        }
        let mut all = self.all(resource, namespace);
        for change in self.history.iter().rev().take_while(|change| change.version > version) {
            if change.resource != resource || !namespace.is_empty() && change.key.namespace != namespace {
                continue;
            }
            match &change.old {
                Some(old) => drop(all.insert(change.key.clone(), old.clone())),
                None => drop(all.remove(&change.key)),
            }
        }
        Some(all)
    }

    /// The changes after `version`; none if some are forgotten.
    pub(super) fn changes_after(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let start = self.history.partition_point(|change| change.version <= version);
        (version >= self.floor).then(|| self.history.iter().skip(start))
    }

    /// All objects with a kind, for owners and quotas.
    pub(super) fn everything(&self) -> impl Iterator<Item = (&'static Resource, &Key, &Object)> {
        self.objects.iter().flat_map(|(resource, all)| all.iter().map(move |(key, object)| (*resource, key, object)))
    }

    /// Stores `object` under the next version.
    pub(super) fn put(&mut self, resource: &'static Resource, object: Value) -> Object {
        let (key, object) = self.versioned(resource, object);
        let old = self.objects.entry(resource).or_default().insert(key.clone(), object.clone());
        self.note(resource, key, old, object.clone(), false);
        object
    }

    /// Takes an object away; `last` is what is told of it.
    pub(super) fn take(&mut self, resource: &'static Resource, last: Value) -> Object {
        let (key, last) = self.versioned(resource, last);
        let old = self.objects.get_mut(resource).and_then(|all| all.remove(&key));
        self.note(resource, key, old, last.clone(), true);
        last
    }

    fn versioned(&mut self, resource: &'static Resource, mut object: Value) -> (Key, Object) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        let key = Key::new(text("namespace"), text("name"));
        (key, Arc::new(objects::ordered(resource, object)))
    }

    fn note(&mut self, resource: &'static Resource, key: Key, old: Option<Object>, new: Object, is_deleted: bool) {
        let version = self.version;
        self.history.push_back(Change { version, resource, key, old, new, is_deleted });
        if self.history.len() > HISTORY {
            self.floor = self.history.pop_front().map_or(self.floor, |change| change.version);
        }
        self.told.send_replace(version);
    }
}
