//! Lists: filter, order and pages (http-api.md §7).

use std::{cmp::Ordering, collections::BTreeMap};

use serde::Serialize;

use super::{
    sandbox::{Sandbox, SandboxJson, State},
    timestamp::Timestamp,
};

/// How many items a page has when the client does not say.
const DEFAULT_PAGE_SIZE: u64 = 20;

/// Which page of a list a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Which page, from 1.
    pub page: u64,
    /// How many items a page has, 1 to [`PageRequest::MAX_SIZE`].
    pub page_size: u64,
}

/// What a client asked to see of the list of sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// The states to show, in any case; all when empty. Unknown names match nothing.
    pub states: Vec<String>,
    /// Metadata that a sandbox must have, key and value.
    pub metadata: BTreeMap<String, String>,
    /// Which page of the list.
    pub page: PageRequest,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The items of this page, newest first.
    pub items: Vec<T>,
    /// Where this page is in the list.
    pub pagination: Pagination,
}

/// Where a page is in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    /// Which page this is, from 1.
    pub page: u64,
    /// How many items a page has.
    pub page_size: u64,
    /// How many items the list has, on all pages.
    pub total_items: u64,
    /// How many pages the list has; 0 when it is empty.
    pub total_pages: u64,
    /// Whether a page follows this one.
    pub has_next_page: bool,
}

impl Default for PageRequest {
    /// What a client gets that does not ask for a page.
    fn default() -> Self {
        Self { page: 1, page_size: DEFAULT_PAGE_SIZE }
    }
}

impl PageRequest {
    /// How many items a page has at most.
    pub const MAX_SIZE: u64 = 200;

    /// How many items the pages before this one have.
    pub fn skipped(&self) -> u64 {
        self.page.saturating_sub(1).saturating_mul(self.page_size)
    }

    /// The items of this page, in `order`, of those of all pages, which are in none. Only this page's are sorted.
    pub fn cut<T>(&self, mut items: Vec<T>, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
        let from = usize::try_from(self.skipped()).unwrap_or(usize::MAX);
        let size = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        if from >= items.len() {
            return Vec::new();
        }
        let to = from.saturating_add(size);
        if to < items.len() {
            items.select_nth_unstable_by(to, &order);
            items.truncate(to);
        }
        if from > 0 {
            items.select_nth_unstable_by(from, &order);
            items.drain(..from);
        }
        items.sort_by(order);
        items
    }

    /// This page, with its items, of a list of `total_items`.
    pub fn with<T>(&self, items: Vec<T>, total_items: u64) -> Page<T> {
        let Self { page, page_size } = *self;
        let total_pages = total_items.div_ceil(page_size.max(1));
        Page {
            items,
            pagination: Pagination { page, page_size, total_items, total_pages, has_next_page: page < total_pages },
        }
    }
}

impl ListQuery {
    /// Chooses, sorts and cuts. Newest first; of one instant, by id.
    pub fn page_of(&self, sandboxes: Vec<Sandbox>) -> Page<Sandbox> {
        let states = self.shown_states();
        let has_all = |sandbox: &Sandbox| {
            let metadata = |key: &str| sandbox.metadata.get(key).map(String::as_str);
            states.contains(&sandbox.status.state) && self.has_metadata(metadata)
        };
        let items: Vec<_> = sandboxes.into_iter().filter(has_all).collect();
        let total = items.len() as u64;
        let order = |a: &Sandbox, b: &Sandbox| order((a.created_at, &a.id), (b.created_at, &b.id));
        self.page.with(self.page.cut(items, order), total)
    }

    /// The states that it shows; all of them where none was named. A query can name thousands, so they are looked at once.
    pub fn shown_states(&self) -> Vec<State> {
        let is_named = |state: &State| self.states.iter().any(|name| name.eq_ignore_ascii_case(state.name()));
        State::ALL.into_iter().filter(|state| self.states.is_empty() || is_named(state)).collect()
    }

    /// Whether it shows what has this metadata, told by its keys, as far as that goes.
    pub fn has_metadata<'a>(&self, metadata: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.metadata.iter().all(|(key, value)| metadata(key) == Some(value))
    }
}

/// Which of two sandboxes comes first in a list, by when they were created and by their ids.
pub fn order((a, a_id): (Timestamp, &str), (b, b_id): (Timestamp, &str)) -> Ordering {
    b.cmp(&a).then_with(|| a_id.cmp(b_id))
}

impl<T> Page<T> {
    /// The same page of other items.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(item).collect(), pagination: self.pagination }
    }
}

impl Page<SandboxJson> {
    /// The page as it is on the wire.
    pub fn to_json(&self) -> Vec<u8> {
        let items = self.items.iter().map(|item| item.as_bytes().len() + 1).sum::<usize>();
        let mut json = Vec::with_capacity(items + 160);
        json.extend_from_slice(br#"{"items":["#);
        for (number, item) in self.items.iter().enumerate() {
            if number > 0 {
                json.push(b',');
            }
            json.extend_from_slice(item.as_bytes());
        }
        json.extend_from_slice(br#"],"pagination":"#);
        serde_json::to_writer(&mut json, &self.pagination).expect("numbers serialise");
        json.push(b'}');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sandbox::Status;

    fn sandbox(id: &str, second: i64, state: State, project: &str) -> Sandbox {
        Sandbox {
            id: id.to_owned(),
            image: None,
            snapshot_id: None,
            platform: None,
            status: Status { state, reason: None, message: None, last_transition_at: None },
            metadata: BTreeMap::from([("project".to_owned(), project.to_owned())]),
            extensions: BTreeMap::new(),
            allocation: None,
            entrypoint: vec!["a".to_owned()],
            expires_at: None,
            created_at: Timestamp::from(jiff::Timestamp::from_second(second).unwrap()),
        }
    }

    fn all() -> Vec<Sandbox> {
        vec![
            sandbox("b", 1, State::Running, "x"),
            sandbox("c", 2, State::Paused, "y"),
            sandbox("a", 1, State::Failed, "x"),
        ]
    }

    fn query() -> ListQuery {
        ListQuery { states: Vec::new(), metadata: BTreeMap::new(), page: PageRequest::default() }
    }

    fn ids(page: &Page<Sandbox>) -> Vec<&str> {
        page.items.iter().map(|sandbox| sandbox.id.as_str()).collect()
    }

    #[test]
    fn newest_first_then_by_id() {
        assert_eq!(ids(&query().page_of(all())), ["c", "a", "b"]);
    }

    #[test]
    fn states_in_any_case_are_alternatives() {
        let states = vec!["running".to_owned(), "PAUSED".to_owned(), "Nope".to_owned()];
        assert_eq!(ids(&ListQuery { states, ..query() }.page_of(all())), ["c", "b"]);
        assert!(ListQuery { states: vec!["Nope".to_owned()], ..query() }.page_of(all()).items.is_empty());
    }

    #[test]
    fn metadata_must_all_match() {
        let metadata = |pairs: &[(&str, &str)]| ListQuery {
            metadata: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..query()
        };
        assert_eq!(ids(&metadata(&[("project", "x")]).page_of(all())), ["a", "b"]);
        assert!(metadata(&[("project", "x"), ("other", "")]).page_of(all()).items.is_empty());
    }

    #[test]
    fn pages_are_cut_after_sorting() {
        let second = ListQuery { page: PageRequest { page: 2, page_size: 2 }, ..query() }.page_of(all());
        assert_eq!(ids(&second), ["b"]);
        assert!(!second.pagination.has_next_page);
        let beyond = ListQuery { page: PageRequest { page: u64::MAX, page_size: 200 }, ..query() }.page_of(all());
        assert!(beyond.items.is_empty());
        assert_eq!((beyond.pagination.total_items, beyond.pagination.total_pages), (3, 1));
    }

    #[test]
    fn each_page_has_what_a_sorted_list_has_there() {
        let items: Vec<u32> = (0..97).map(|number| number * 37 % 97 / 2).collect();
        let mut sorted = items.clone();
        sorted.sort_unstable();
        for page_size in [1, 2, 10, 96, 97, 98, 200] {
            for page in [1, 2, 3, 9, 10, 97, 98, u64::MAX] {
                let page = PageRequest { page, page_size };
                let from = usize::try_from(page.skipped()).unwrap_or(usize::MAX);
                let expected: Vec<u32> = sorted.iter().copied().skip(from).take(page_size as usize).collect();
                assert_eq!(page.cut(items.clone(), Ord::cmp), expected, "{page:?}");
            }
        }
    }

    #[test]
    fn a_page_that_was_written_before_looks_the_same() {
        for (sandboxes, size) in [(Vec::new(), 20), (all(), 1), (all(), 20)] {
            let page = ListQuery { page: PageRequest { page: 1, page_size: size }, ..query() }.page_of(sandboxes);
            let json = serde_json::to_string(&page).unwrap();
            assert_eq!(String::from_utf8(page.map(|sandbox| SandboxJson::from(&sandbox)).to_json()).unwrap(), json);
        }
    }

    #[test]
    fn an_empty_page_looks_as_on_the_wire() {
        assert_eq!(
            serde_json::to_string(&query().page_of(Vec::new())).unwrap(),
            r#"{"items":[],"pagination":{"page":1,"pageSize":20,"totalItems":0,"totalPages":0,"hasNextPage":false}}"#
        );
    }
}
