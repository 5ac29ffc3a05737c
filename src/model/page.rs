//! Lists: filter, order and pages (http-api.md §7).

use std::collections::BTreeMap;

use serde::Serialize;

use super::sandbox::Sandbox;

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
        let mut items: Vec<_> = sandboxes.into_iter().filter(|sandbox| self.matches(sandbox)).collect();
        items.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        let total = items.len() as u64;
        self.page.with(self.cut(items).collect(), total)
    }

    /// Those of the sorted `items` of all pages that are on this one.
    pub fn cut<T>(&self, items: Vec<T>) -> impl Iterator<Item = T> {
        let skipped = usize::try_from(self.page.skipped()).unwrap_or(usize::MAX);
        items.into_iter().skip(skipped).take(self.page.page_size as usize)
    }

    /// Whether it shows all sandboxes.
    pub fn is_of_all(&self) -> bool {
        self.states.is_empty() && self.metadata.is_empty()
    }

    fn matches(&self, sandbox: &Sandbox) -> bool {
        let state = sandbox.status.state.name();
        let has_state = self.states.is_empty() || self.states.iter().any(|name| name.eq_ignore_ascii_case(state));
        has_state && self.metadata.iter().all(|(key, value)| sandbox.metadata.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        sandbox::{State, Status},
        timestamp::Timestamp,
    };

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
    fn an_empty_page_looks_as_on_the_wire() {
        assert_eq!(
            serde_json::to_string(&query().page_of(Vec::new())).unwrap(),
            r#"{"items":[],"pagination":{"page":1,"pageSize":20,"totalItems":0,"totalPages":0,"hasNextPage":false}}"#
        );
    }
}
