//! Objects by name, each in the newest state that anyone has told: the watch, a list, a read or an own write.
//!
//! Resource versions are numbers that grow over all objects of a cluster. So up to the version that the watch has come to,
//! everything is known: an answer that was on its way for longer than the object lived brings nothing back.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use kube::Resource;
use tokio::time::Instant;

use super::waiting::Waiting;

/// How long it is known that an object went by an own write: an answer to an older request may still come that has it, before
/// the watch tells that it went.
const GONE_MEMORY: Duration = Duration::from_secs(120);

/// Objects that have a certain label, by name and by that label's value.
pub(super) struct Entries<K> {
    label: &'static str,
    objects: HashMap<String, Entry<K>>,
    names: HashMap<String, BTreeSet<String>>,
    /// All that happened up to this version is in `objects`; 0 before anything was listed.
    complete: u64,
    /// The newest version that was seen. A list that was asked for later cannot be older, unless the cluster's store went back.
    newest: u64,
    /// When objects went by own writes, by UID.
    gone: HashMap<String, Instant>,
    /// Who is told of changes.
    waiting: Arc<Waiting>,
}

struct Entry<K> {
    object: Arc<K>,
    /// When it was last read by itself, or written.
    read: Option<Instant>,
}

impl<K: Resource> Entries<K> {
    /// None.
    pub(super) fn new(label: &'static str, waiting: Arc<Waiting>) -> Self {
        let (objects, names, gone) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { label, objects, names, complete: 0, newest: 0, gone, waiting }
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<K>> {
        self.objects.get(name).map(|entry| Arc::clone(&entry.object))
    }

    /// When the object of this name was last read by itself, or written.
    pub(super) fn read_at(&self, name: &str) -> Option<Instant> {
        self.objects.get(name)?.read
    }

    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().map(|entry| Arc::clone(&entry.object)).collect()
    }

    /// Those whose label has this value.
    pub(super) fn labelled(&self, value: &str) -> Vec<Arc<K>> {
        self.names.get(value).into_iter().flatten().filter_map(|name| self.get(name)).collect()
    }

    /// Whether several have one value of the label.
    pub(super) fn has_doubles(&self) -> bool {
        self.names.len() < self.objects.len()
    }

    /// The newest version that was seen so far: [`Self::replace`] wants that of before its list was asked for.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Takes a state that may not be the newest; answers the newer one of it and what there is. `read` is when it was asked for,
    /// if by itself.
    pub(super) fn note(&mut self, object: K, read: Option<Instant>) -> Arc<K> {
        let object = Arc::new(object);
        let meta = object.meta();
        let Some(name) = meta.name.clone() else { return object };
        let own = version(&*object);
        self.newest = self.newest.max(own.unwrap_or_default());
        if self.is_gone(&*object) {
            return object;
        }
        match self.objects.get_mut(&name) {
            Some(known) if is_newer(&*known.object, &*object) => {
                known.read = known.read.max(read);
                return Arc::clone(&known.object);
            }
            // It went, or lost its label, before the version that everything is known up to.
            None if own.is_some_and(|own| own <= self.complete) => return object,
            Some(_) | None => {}
        }
        self.insert(name, Entry { object: Arc::clone(&object), read });
        object
    }

    /// The object of this name and UID is gone by an own write.
    pub(super) fn forget(&mut self, name: &str, uid: &str) {
        self.gone.retain(|_, since| since.elapsed() < GONE_MEMORY);
        self.gone.insert(uid.to_owned(), Instant::now());
        if self.objects.get(name).is_some_and(|known| known.object.meta().uid.as_deref() == Some(uid)) {
            self.remove(name);
        }
    }

    /// The watch says that an object is gone, or lost its label; then it comes again.
    pub(super) fn delete(&mut self, object: &K) {
        let meta = object.meta();
        let Some(name) = meta.name.as_deref() else { return };
        let known = self.objects.get(name).map(|known| &*known.object);
        if known.is_some_and(|known| known.meta().uid == meta.uid && !is_newer(known, object)) {
            self.remove(name);
        }
    }

    /// The watch has told everything up to this version.
    pub(super) fn complete(&mut self, version: &str) {
        let version = version.parse().unwrap_or_default();
        (self.complete, self.newest) = (self.complete.max(version), self.newest.max(version));
    }

    /// There is no object of this name, as was found after it was `known`.
    pub(super) fn forget_if(&mut self, name: &str, known: Option<&Arc<K>>) {
        if let (Some(present), Some(known)) = (self.objects.get(name), known)
            && Arc::ptr_eq(&present.object, known)
        {
            self.remove(name);
        }
    }

    /// Takes a whole list as of `version`, which was asked for when `newest` was [`Self::newest`]. Keeps what was noted of
    /// later; a list that is older than what was seen before it is of a store that was put back, so all before it is void.
    pub(super) fn replace(&mut self, listed: Vec<K>, version: &str, newest: u64) {
        let at = version.parse().ok();
        let went_back = at.is_some_and(|at: u64| at < newest);
        if went_back {
            tracing::warn!(from = newest, to = at, "the cluster's resource versions went back: what was known is void");
            self.clear();
            (self.complete, self.newest) = (0, 0);
        } else if at.is_some_and(|at| at < self.complete) {
            // The watch has come further while the list was on its way.
            return;
        }
        let before = std::mem::take(&mut self.objects);
        self.names.clear();
        for object in listed {
            let read = object.meta().name.as_ref().and_then(|name| before.get(name)).and_then(|known| known.read);
            if let Some(name) = object.meta().name.clone().filter(|_| !self.is_gone(&object)) {
                self.insert(name, Entry { object: Arc::new(object), read });
            }
        }
        for (name, entry) in before {
            if self::version(&*entry.object).zip(at).is_some_and(|(own, at)| own > at) {
                self.insert(name, entry);
            }
        }
        self.complete(version);
        self.waiting.tell_all();
    }

    /// There are none, since there is no such kind.
    pub(super) fn clear(&mut self) {
        self.objects.clear();
        self.names.clear();
        self.gone.clear();
        self.waiting.tell_all();
    }

    fn is_gone(&self, object: &K) -> bool {
        object.meta().uid.as_ref().is_some_and(|uid| self.gone.contains_key(uid))
    }

    /// Takes a state that is newer than what there is.
    fn insert(&mut self, name: String, mut entry: Entry<K>) {
        if let Some(known) = self.objects.get(&name) {
            if is_newer(&*known.object, &*entry.object) {
                return;
            }
            entry.read = entry.read.max(known.read);
        }
        self.remove(&name);
        let Some(value) = value(&*entry.object, self.label).map(str::to_owned) else { return };
        self.waiting.tell(&value);
        self.names.entry(value).or_default().insert(name.clone());
        self.objects.insert(name, entry);
    }

    fn remove(&mut self, name: &str) {
        let Some(entry) = self.objects.remove(name) else { return };
        let Some(value) = value(&*entry.object, self.label) else { return };
        self.waiting.tell(value);
        if let Some(names) = self.names.get_mut(value) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(value);
            }
        }
    }
}

/// The value of an object's label.
fn value<'a, K: Resource>(object: &'a K, label: &str) -> Option<&'a str> {
    object.meta().labels.as_ref()?.get(label).map(String::as_str)
}

fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

/// Whether `one` is a later state than `other`. Where versions are no numbers, what comes later is newer.
fn is_newer<K: Resource>(one: &K, other: &K) -> bool {
    version(one).zip(version(other)).is_some_and(|(one, other)| one > other)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    fn object(name: &str, uid: &str, version: &str) -> ConfigMap {
        let labels = Some([("id".to_owned(), format!("of {name}"))].into());
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

    /// The watch's event.
    fn event(entries: &mut Entries<ConfigMap>, object: ConfigMap, is_deletion: bool) {
        let version = object.metadata.resource_version.clone().unwrap();
        if is_deletion {
            entries.delete(&object);
        } else {
            entries.note(object, None);
        }
        entries.complete(&version);
    }

    #[test]
    fn the_newest_state_counts_whoever_tells_it() {
        let mut entries = Entries::new("id", Arc::default());
        entries.note(object("a", "1", "5"), None);
        let newest = entries.note(object("a", "1", "3"), None);
        assert_eq!(newest.metadata.resource_version.as_deref(), Some("5"));
        entries.note(object("a", "1", "12"), None);
        event(&mut entries, object("a", "1", "7"), true);
        assert_eq!(shown(&entries), ["a 1 12"], "an old deletion, of a label that came back");
        event(&mut entries, object("a", "1", "13"), true);
        entries.note(object("a", "1", "12"), None);
        assert!(entries.all().is_empty(), "an answer to an own write that comes late");
        event(&mut entries, object("a", "1", "14"), false);
        assert_eq!(shown(&entries), ["a 1 14"], "its label came back");
    }

    #[test]
    fn an_answer_that_was_overtaken_brings_nothing_back() {
        let mut entries = Entries::new("id", Arc::default());
        entries.replace(vec![object("a", "1", "5")], "5", 0);
        // A read of version 5 is on its way; the object is deleted at 7, and everything is listed at 8.
        let newest = entries.newest();
        entries.replace(Vec::new(), "8", newest);
        entries.note(object("a", "1", "5"), Some(Instant::now()));
        assert!(entries.all().is_empty() && entries.labelled("of a").is_empty());
        // So with a list that the watch overtakes.
        event(&mut entries, object("b", "2", "9"), false);
        let newest = entries.newest();
        event(&mut entries, object("b", "2", "10"), true);
        entries.replace(vec![object("b", "2", "9")], "9", newest);
        assert!(entries.all().is_empty());
        event(&mut entries, object("b", "3", "11"), false);
        assert_eq!(shown(&entries), ["b 3 11"]);
    }

    #[test]
    fn what_was_deleted_does_not_return_with_an_older_answer() {
        let mut entries = Entries::new("id", Arc::default());
        entries.note(object("a", "1", "5"), None);
        entries.forget("a", "1");
        entries.note(object("a", "1", "6"), None);
        assert!(entries.all().is_empty());
        entries.note(object("a", "2", "7"), None);
        entries.forget("a", "1");
        assert_eq!(shown(&entries), ["a 2 7"], "another of that name");
        entries.replace(vec![object("a", "1", "6"), object("b", "1", "6")], "6", 6);
        assert_eq!(shown(&entries), ["a 2 7"], "a list from before");
    }

    #[test]
    fn a_list_replaces_what_it_is_newer_than() {
        let mut entries = Entries::new("id", Arc::default());
        for (name, version) in [("old", "1"), ("kept", "2"), ("changed", "3")] {
            entries.note(object(name, "u", version), None);
        }
        let newest = entries.newest();
        // While the list is on its way.
        for (name, version) in [("written", "20"), ("changed", "30")] {
            entries.note(object(name, "u", version), None);
        }
        entries.replace(
            vec![object("kept", "u", "2"), object("changed", "u", "9"), object("new", "u", "8")],
            "10",
            newest,
        );
        assert_eq!(shown(&entries), ["changed u 30", "kept u 2", "new u 8", "written u 20"]);
    }

    #[test]
    fn a_store_that_was_put_back_voids_what_was_known() {
        let mut entries = Entries::new("id", Arc::default());
        entries.replace(vec![object("a", "1", "90")], "100", 0);
        entries.note(object("b", "2", "110"), None);
        entries.forget("c", "3");
        let newest = entries.newest();
        entries.replace(vec![object("a", "1", "40"), object("c", "3", "41")], "50", newest);
        assert_eq!(shown(&entries), ["a 1 40", "c 3 41"]);
        event(&mut entries, object("a", "1", "51"), false);
        event(&mut entries, object("d", "4", "52"), false);
        assert_eq!(shown(&entries), ["a 1 51", "c 3 41", "d 4 52"]);
    }

    #[test]
    fn objects_are_found_by_their_label_s_value_and_not_kept_without() {
        let mut entries = Entries::new("id", Arc::default());
        entries.note(object("a", "1", "1"), None);
        let named = |entries: &Entries<ConfigMap>, value: &str| {
            let names = entries.labelled(value).into_iter().filter_map(|object| object.metadata.name.clone());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named(&entries, "of a"), "a");
        let mut moved = object("a", "1", "2");
        moved.metadata.labels = Some([("id".to_owned(), "of b".to_owned())].into());
        entries.note(moved, None);
        entries.note(object("b", "1", "3"), None);
        assert_eq!((named(&entries, "of a"), named(&entries, "of b")), (String::new(), "a b".to_owned()));
        assert!(entries.has_doubles());
        let mut plain = object("a", "1", "4");
        plain.metadata.labels = None;
        assert_eq!(entries.note(plain, None).metadata.name.as_deref(), Some("a"));
        assert!(!entries.has_doubles());
        assert_eq!((named(&entries, "of b"), entries.all().len()), ("b".to_owned(), 1));
    }

    #[test]
    fn a_missing_name_is_forgotten_unless_it_came_meanwhile() {
        let mut entries = Entries::new("id", Arc::default());
        let known = entries.note(object("a", "1", "1"), None);
        entries.forget_if("a", None);
        entries.note(object("a", "2", "2"), None);
        entries.forget_if("a", Some(&known));
        assert_eq!(shown(&entries), ["a 2 2"]);
        let known = entries.get("a");
        entries.forget_if("a", known.as_ref());
        assert!(entries.all().is_empty());
    }

    #[test]
    fn it_is_known_when_an_object_was_last_read() {
        let mut entries = Entries::new("id", Arc::default());
        let now = Instant::now();
        entries.note(object("a", "1", "5"), None);
        assert_eq!(entries.read_at("a"), None);
        // An older state was on its way: what is known is as new as that read.
        entries.note(object("a", "1", "4"), Some(now));
        assert_eq!(entries.read_at("a"), Some(now));
        let newest = entries.newest();
        entries.replace(vec![object("a", "1", "5")], "6", newest);
        assert_eq!(entries.read_at("a"), Some(now));
    }
}
