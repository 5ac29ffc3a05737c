//! Lists (kubernetes-api.md §8).

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{
    failure::{Cause, Failure},
    objects,
    query::Query,
    resource::{Resource, Target},
    selector::Selector,
    store::{Key, Object, Store},
};

/// How long a list waits for a version that is not there yet (L4).
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What a list is to show, checked.
pub(super) struct Listing {
    target: Target,
    selector: Selector,
    limit: usize,
    state: State,
    after: Option<Key>,
}

enum State {
    /// At least this version.
    Present(u64),
    Exact(u64),
    /// A following page of the state of this version.
    Page(u64),
    /// The rest after an expired page, of the state that is there now.
    Inconsistent,
}

impl Listing {
    pub(super) fn read(target: Target, query: &Query) -> Result<Self, Failure> {
        let selector = Selector::parse(target.resource, query)?;
        query.number("timeoutSeconds")?;
        let limit = query.number("limit")?.unwrap_or(0);
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let (version, match_rule) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
        let token = query.text("continue");
        if !token.is_empty() {
            if !version.is_empty() {
                let message = "specifying resource version is not allowed when using continue";
                return Err(Failure::bad_request(message));
            }
            let (version, after) = parse_token(token, &target)?;
            let state = u64::try_from(version).map_or(State::Inconsistent, State::Page);
            return Ok(Self { target, selector, limit, state, after: Some(after) });
        }
        if !match_rule.is_empty() && version.is_empty() {
            let why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided".to_owned();
            let cause = Cause::new("FieldValueForbidden", "resourceVersionMatch", why);
            return Err(Failure::invalid_options("ListOptions", cause));
        }
        let number = if version.is_empty() { 0 } else { parse_version(version, "invalid resource version: ", 400)? };
        let state = if match_rule == "Exact" { State::Exact(number) } else { State::Present(number) };
        Ok(Self { target, selector, limit, state, after: None })
    }

    /// The version that must be there first.
    pub(super) fn awaited(&self) -> u64 {
        match self.state {
            State::Present(version) | State::Exact(version) => version,
            State::Page(_) | State::Inconsistent => 0,
        }
    }

    pub(super) fn objects(&self, store: &Store) -> Result<(u64, BTreeMap<Key, Object>), Failure> {
        let (resource, namespace) = (self.target.resource, &self.target.namespace);
        let present = (store.version(), store.all(resource, namespace));
        match self.state {
            State::Present(_) | State::Inconsistent => Ok(present),
            State::Exact(version) => {
                let all = store.all_at(resource, namespace, version);
                let message = "The resourceVersion for the provided list is too old.";
                all.map(|all| (version, all)).ok_or_else(|| Failure::new(410, "Expired", message))
            }
            State::Page(version) => {
                let all = store.all_at(resource, namespace, version);
                all.map(|all| (version, all)).ok_or_else(|| self.expired_page())
            }
        }
    }

    fn expired_page(&self) -> Failure {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start \
             a new list without the continue parameter, or use the continue token in this response to retrieve the \
             remainder of the results. Continuing with the provided token results in an inconsistent list - objects \
             that were created, modified, or deleted between the time the first chunk was returned and now may show \
             up in the list.";
        let mut failure = Failure::new(410, "Expired", message);
        failure.token = self.after.as_ref().map(|after| token(-1, after, &self.target));
        failure
    }

    pub(super) fn answer(&self, store: &Store) -> Result<Value, Failure> {
        let (version, all) = self.objects(store)?;
        let resource = self.target.resource;
        let after = |key: &Key| self.after.as_ref().is_none_or(|after| key > after);
        let mut matching = all.iter().filter(|(key, object)| after(key) && self.selector.matches(object)).peekable();
        let mut items = Vec::new();
        let mut last = None;
        while items.len() < self.limit
            && let Some((key, object)) = matching.next()
        {
            items.push(objects::list_item(resource, object));
            last = Some(key);
        }
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), version.to_string().into());
        if matching.peek().is_some()
            && let Some(last) = last
        {
            let token = token(i64::try_from(version).unwrap_or(i64::MAX), last, &self.target);
            metadata.insert("continue".into(), token.into());
            if self.selector.is_empty() {
                metadata.insert("remainingItemCount".into(), matching.count().into());
            }
        }
        Ok(list(resource, metadata, items))
    }
}

/// A list in the order of keys of its kind.
pub(super) fn list(resource: &Resource, mut metadata: Map<String, Value>, items: Vec<Value>) -> Value {
    let kind = format!("{}List", resource.kind);
    if !resource.custom {
        return json!({"kind": kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": items});
    }
    metadata.entry("continue").or_insert_with(|| "".into());
    metadata.sort_keys();
    json!({"apiVersion": resource.api_version(), "items": items, "kind": kind, "metadata": metadata})
}

/// Of too new a version: 504 after [`PATIENCE`].
pub(super) fn too_large(asked: u64, current: u64) -> Failure {
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let details = json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]});
    Failure::new(504, "Timeout", message).with_details(details).with_retry_after(1)
}

pub(super) fn parse_version(text: &str, prefix: &str, code: u16) -> Result<u64, Failure> {
    text.parse().map_err(|_| {
        let message = format!(
            "{prefix}resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        );
        Failure::new(code, if code == 400 { "BadRequest" } else { "" }, message)
    })
}

/// The token of a page that ended with `last`, as the API server writes it.
fn token(version: i64, last: &Key, target: &Target) -> String {
    let slash = if version < 0 { "" } else { "/" };
    let start = if target.namespace.is_empty() && target.resource.namespaced {
        format!("{slash}{}/{}\0", last.namespace, last.name)
    } else {
        format!("{slash}{}\0", last.name)
    };
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": version, "start": start}).to_string())
}

fn parse_token(token: &str, target: &Target) -> Result<(i64, Key), Failure> {
    let bad = |why: String| Failure::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).unwrap_or_else(|_| token.as_bytes().to_vec());
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| {
        let first = char::from(bytes.first().copied().unwrap_or(b' '));
        bad(format!("invalid character '{first}' looking for beginning of value"))
    })?;
    let start = value["start"].as_str().ok_or_else(|| bad("no start".to_owned()))?;
    let start = start.trim_start_matches('/').trim_end_matches('\0');
    let key = match start.split_once('/') {
        Some((namespace, name)) => Key::new(namespace, name),
        None => Key::new(&target.namespace, start),
    };
    Ok((value["rv"].as_i64().unwrap_or(-1), key))
}
