//! Objects by name, each in the newest state that anyone has told: the watch, a list, a read or an own write.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use kube::Resource;
use tokio::time::Instant;

/// How long it is known that an object is gone: an answer to an older request may still come that has it.
const GONE_MEMORY: Duration = Duration::from_secs(120);

/// Objects by name.
pub(super) struct Entries<K> {
    selector: Vec<(String, Option<String>)>,
    objects: HashMap<String, Arc<K>>,
    /// Objects that are gone, by UID.
    gone: HashMap<String, Gone>,
}

struct Gone {
    since: Instant,
    /// The version in which it went, by the watch: it may come back with a later one, since a selector may let it through again.
    version: Option<u64>,
}

impl<K: Resource> Entries<K> {
    /// None. `selector` lets through what has each of its keys, with its value where it has one.
    pub(super) fn new(selector: &str) -> Self {
        let terms = selector.split(',').map(str::trim).filter(|term| !term.is_empty());
        let term = |term: &str| match term.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.trim_start_matches('=').to_owned())),
            None => (term.to_owned(), None),
        };
        Self { selector: terms.map(term).collect(), objects: HashMap::new(), gone: HashMap::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<K>> {
        self.objects.get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    /// Takes a state that may not be the newest; answers the newer one of it and what there is.
    pub(super) fn note(&mut self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        let meta = object.meta();
        let Some(name) = meta.name.clone() else { return object };
        let gone = meta.uid.as_ref().and_then(|uid| self.gone.get(uid));
        if gone.is_some_and(|gone| gone.version.is_none_or(|last| version(&*object).is_none_or(|own| own <= last))) {
            return object;
        }
        if let Some(known) = self.objects.get(&name).filter(|known| is_newer(&***known, &*object)) {
            return Arc::clone(known);
        }
        if self.selects(meta.labels.as_ref()) {
            self.objects.insert(name, Arc::clone(&object));
        } else {
            self.objects.remove(&name);
        }
        object
    }

    /// The object of this name and UID is gone.
    pub(super) fn forget(&mut self, name: &str, uid: &str) {
        self.remember_gone(uid, None);
        if self.objects.get(name).is_some_and(|known| known.meta().uid.as_deref() == Some(uid)) {
            self.objects.remove(name);
        }
    }

    /// The watch says that an object is gone, or that the selector no longer lets it through; then it comes again.
    pub(super) fn delete(&mut self, object: &K) {
        let meta = object.meta();
        let Some(name) = meta.name.as_deref() else { return };
        let known = self.objects.get(name);
        if known.is_some_and(|known| known.meta().uid == meta.uid && !is_newer(&**known, object)) {
            self.objects.remove(name);
        }
        if let (Some(uid), Some(version)) = (&meta.uid, version(object)) {
            self.remember_gone(uid, Some(version));
        }
    }

    fn remember_gone(&mut self, uid: &str, version: Option<u64>) {
        self.gone.retain(|_, gone| gone.since.elapsed() < GONE_MEMORY);
        self.gone.insert(uid.to_owned(), Gone { since: Instant::now(), version });
    }

    /// There is no object of this name, as was found after it was `known`.
    pub(super) fn forget_if(&mut self, name: &str, known: Option<&Arc<K>>) {
        if let (Some(present), Some(known)) = (self.objects.get(name), known)
            && Arc::ptr_eq(present, known)
        {
            self.objects.remove(name);
        }
    }

    /// Takes a whole list as of `version`; keeps what was noted of later.
    pub(super) fn replace(&mut self, listed: Vec<K>, version: &str) {
        let before = std::mem::take(&mut self.objects);
        for object in listed {
            self.note(object);
        }
        let listed_at: Option<u64> = version.parse().ok();
        for (name, object) in before {
            if self::version(&*object).zip(listed_at).is_none_or(|(own, listed)| own <= listed) {
                continue;
            }
            if self.objects.get(&name).is_none_or(|known| is_newer(&*object, &**known)) {
                self.objects.insert(name, object);
            }
        }
    }

    fn selects(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.selector.iter().all(|(key, value)| {
            let found = labels.and_then(|labels| labels.get(key));
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        })
    }
}

fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

/// Whether `one` is a later state than `other`. Resource versions are numbers that grow; where they are none, what comes later is
/// newer.
fn is_newer<K: Resource>(one: &K, other: &K) -> bool {
    version(one).zip(version(other)).is_some_and(|(one, other)| one > other)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    fn object(name: &str, uid: &str, version: &str) -> ConfigMap {
        let labels = Some([("id".to_owned(), "1".to_owned())].into());
        let (name, uid, version) = (Some(name.to_owned()), Some(uid.to_owned()), Some(version.to_owned()));
        ConfigMap {
            metadata: ObjectMeta { name, uid, resource_version: version, labels, ..Default::default() },
            ..Default::default()
        }
    }

    fn shown(entries: &Entries<ConfigMap>) -> Vec<String> {
        let text = |object: &Arc<ConfigMap>| {
            let meta = &object.metadata;
            [&meta.name, &meta.uid, &meta.resource_version].map(|part| part.clone().unwrap_or_default()).join(" ")
        };
        let mut shown: Vec<String> = entries.all().iter().map(text).collect();
        shown.sort();
        shown
    }

    #[test]
    fn the_newest_state_counts_whoever_tells_it() {
        let mut entries = Entries::new("id");
        entries.note(object("a", "1", "5"));
        let newest = entries.note(object("a", "1", "3"));
        assert_eq!(newest.metadata.resource_version.as_deref(), Some("5"));
        entries.note(object("a", "1", "12"));
        entries.delete(&object("a", "1", "7"));
        assert_eq!(shown(&entries), ["a 1 12"], "an old deletion, of a label that came back");
        entries.delete(&object("a", "1", "13"));
        entries.note(object("a", "1", "12"));
        assert!(entries.all().is_empty(), "an answer to an own write that comes late");
        entries.note(object("a", "1", "14"));
        assert_eq!(shown(&entries), ["a 1 14"], "its label came back");
    }

    #[test]
    fn what_was_deleted_does_not_return_with_an_older_answer() {
        let mut entries = Entries::new("");
        entries.note(object("a", "1", "5"));
        entries.forget("a", "1");
        entries.note(object("a", "1", "6"));
        assert!(entries.all().is_empty());
        entries.note(object("a", "2", "7"));
        entries.forget("a", "1");
        assert_eq!(shown(&entries), ["a 2 7"], "another of that name");
    }

    #[test]
    fn a_list_replaces_what_it_is_newer_than() {
        let mut entries = Entries::new("id=1");
        for (name, version) in [("old", "1"), ("kept", "2"), ("written", "20"), ("changed", "30")] {
            entries.note(object(name, "u", version));
        }
        entries.replace(vec![object("kept", "u", "2"), object("changed", "u", "9"), object("new", "u", "8")], "10");
        assert_eq!(shown(&entries), ["changed u 30", "kept u 2", "new u 8", "written u 20"]);
    }

    #[test]
    fn what_the_selector_does_not_let_through_is_not_kept() {
        let mut entries = Entries::new("id=2");
        assert_eq!(entries.note(object("a", "1", "1")).metadata.name.as_deref(), Some("a"));
        assert!(entries.all().is_empty());
        let mut entries = Entries::new("id,other");
        entries.note(object("a", "1", "1"));
        assert!(entries.all().is_empty());
    }

    #[test]
    fn a_missing_name_is_forgotten_unless_it_came_meanwhile() {
        let mut entries = Entries::new("");
        let known = entries.note(object("a", "1", "1"));
        entries.forget_if("a", None);
        entries.note(object("a", "2", "2"));
        entries.forget_if("a", Some(&known));
        assert_eq!(shown(&entries), ["a 2 2"]);
        let known = entries.get("a");
        entries.forget_if("a", known.as_ref());
        assert!(entries.all().is_empty());
    }
}
