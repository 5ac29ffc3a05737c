//! The ids of all sandboxes on the engine, so that a request for an unknown one costs no engine call.
//!
//! Containers are learnt from the engine's events, from creations here, and from censuses: lists of all containers that
//! have a sandbox's label. A census that began after the event stream was open makes the index complete.
//! Events during a census override what it finds, which may be older.

use std::collections::HashMap;

/// Containers and the sandboxes that they belong to.
#[derive(Debug, Default)]
pub(in crate::runtime::docker) struct IdIndex {
    /// Counts events; orders them with the starts of censuses.
    clock: u64,
    is_complete: bool,
    containers: HashMap<String, Container>,
    /// How many containers a sandbox has.
    ids: HashMap<String, usize>,
    /// Containers that went while a census was under way, and when.
    gone: HashMap<String, u64>,
    /// How many censuses are under way.
    under_way: usize,
}

#[derive(Debug)]
struct Container {
    id: String,
    since: u64,
}

/// A census that is under way.
#[derive(Debug)]
pub(super) struct Census {
    began: u64,
    is_of_all: bool,
}

impl IdIndex {
    /// Whether there certainly is no such sandbox.
    pub(in crate::runtime::docker) fn lacks(&self, id: &str) -> bool {
        self.is_complete && !self.ids.contains_key(id)
    }

    /// There is a container of the sandbox `id`.
    pub(in crate::runtime::docker) fn learn(&mut self, container: &str, id: &str) {
        self.clock += 1;
        self.gone.remove(container);
        let since = self.clock;
        let old = self.containers.insert(container.to_owned(), Container { id: id.to_owned(), since });
        *self.ids.entry(id.to_owned()).or_default() += 1;
        old.into_iter().for_each(|old| self.lose(&old.id));
    }

    /// The container is gone.
    pub(in crate::runtime::docker) fn forget(&mut self, container: &str) {
        self.clock += 1;
        if self.under_way > 0 {
            self.gone.insert(container.to_owned(), self.clock);
        }
        if let Some(old) = self.containers.remove(container) {
            self.lose(&old.id);
        }
    }

    /// Begins a census, before the engine is asked for all containers. `is_told`: the event stream is open.
    pub(in crate::runtime::docker) fn begin(&mut self, is_told: bool) -> Census {
        self.under_way += 1;
        Census { began: self.clock, is_of_all: is_told }
    }

    /// Applies what a census found, as containers and sandboxes; `None` if it failed. Returns how many containers it found
    /// that no event had reported. Containers that it did not find are not counted: one that has a sandbox's label from its
    /// image is reported by events, and is no sandbox.
    pub(in crate::runtime::docker) fn end(&mut self, census: &Census, found: Option<&[(String, String)]>) -> usize {
        self.under_way = self.under_way.saturating_sub(1);
        let surprises = found.map_or(0, |found| self.take_over(census, found));
        if self.under_way == 0 {
            self.gone.clear();
        }
        surprises
    }

    fn take_over(&mut self, census: &Census, found: &[(String, String)]) -> usize {
        let mut surprises = 0;
        for (container, id) in found {
            let went = self.gone.get(container).is_some_and(|at| *at > census.began);
            if !went && self.containers.get(container).is_none_or(|known| known.id != *id) {
                surprises += 1;
                self.learn(container, id);
            }
        }
        let found: std::collections::HashSet<&str> = found.iter().map(|(container, _)| container.as_str()).collect();
        let is_missing = |(container, known): &(&String, &Container)| {
            known.since <= census.began && !found.contains(container.as_str())
        };
        let missing: Vec<String> = self.containers.iter().filter(is_missing).map(|(name, _)| name.clone()).collect();
        missing.iter().for_each(|container| self.forget(container));
        let is_first = !self.is_complete;
        self.is_complete |= census.is_of_all;
        if is_first { 0 } else { surprises }
    }

    fn lose(&mut self, id: &str) {
        if let Some(count) = self.ids.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.ids.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(container, id)| ((*container).to_owned(), (*id).to_owned())).collect()
    }

    fn complete(pairs: &[(&str, &str)]) -> IdIndex {
        let mut index = IdIndex::default();
        let census = index.begin(true);
        index.end(&census, Some(&found(pairs)));
        index
    }

    #[test]
    fn nothing_is_surely_missing_before_a_census_that_began_while_changes_were_told() {
        let mut index = IdIndex::default();
        assert!(!index.lacks("x"));
        let (early, failed) = (index.begin(false), index.begin(true));
        index.end(&early, Some(&[]));
        index.end(&failed, None);
        assert!(!index.lacks("x"));
        let census = index.begin(true);
        index.end(&census, Some(&found(&[("c", "x")])));
        assert!(!index.lacks("x") && index.lacks("y"));
    }

    #[test]
    fn what_happens_meanwhile_counts_more_than_a_census() {
        let mut index = complete(&[("old", "a"), ("lost", "b")]);
        let census = index.begin(true);
        index.learn("new", "c");
        index.forget("old");
        assert_eq!(index.end(&census, Some(&found(&[("old", "a"), ("late", "d")]))), 1, "'late'");
        assert!(index.lacks("a") && index.lacks("b") && !index.lacks("c") && !index.lacks("d"));
        assert!(index.gone.is_empty());
    }

    #[test]
    fn a_sandbox_is_there_as_long_as_one_of_its_containers() {
        let mut index = complete(&[("one", "x"), ("two", "x")]);
        index.learn("one", "x");
        index.forget("two");
        assert!(!index.lacks("x"));
        index.forget("one");
        index.forget("one");
        assert!(index.lacks("x") && index.ids.is_empty() && index.containers.is_empty());
    }
}
