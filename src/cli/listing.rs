//! The server's list of sandboxes, page by page.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use form_urlencoded::Serializer;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    connect::Connector,
    exchange::{exchange, media_type},
    refusal,
    server::Server,
};

/// How many sandboxes a page has: the most that the server gives.
const PAGE: usize = 200;

/// Most pages that are asked for: 50,000 sandboxes.
const MAX_PAGES: usize = 250;

/// Longest page, in bytes: 160 KiB a sandbox.
const MAX_PAGE_BYTES: usize = 32 << 20;

/// Most bytes of all pages: what is held in memory.
const MAX_BYTES: usize = 256 << 20;

/// How long a page may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Which sandboxes are asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// One of these states; all where there is none.
    pub(super) states: Vec<String>,
    /// All of this metadata.
    pub(super) labels: Vec<(String, String)>,
}

/// A sandbox as the server sent it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) id: String,
    /// The whole object; it has the members of [`Listed`] too.
    pub(super) object: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Value>,
    pagination: Pagination,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    has_next_page: bool,
}

impl Filter {
    /// What stands behind `?`.
    fn query(&self, page: usize) -> String {
        let mut query = Serializer::new(String::new());
        for state in &self.states {
            query.append_pair("state", state);
        }
        if !self.labels.is_empty() {
            // A form in a form: http-api.md §7.
            let form = Serializer::new(String::new()).extend_pairs(&self.labels).finish();
            query.append_pair("metadata", &form);
        }
        query.append_pair("page", &page.to_string()).append_pair("pageSize", &PAGE.to_string()).finish()
    }

    /// Whether a sandbox has the metadata: a server that does not know the filter sends all.
    fn matches(&self, listed: &Listed) -> bool {
        self.labels.iter().all(|(key, value)| listed.metadata(key) == Some(value))
    }

    /// Every sandbox of the server's that matches, newest first, each once.
    ///
    /// # Errors
    ///
    /// A text for a person.
    pub(super) async fn list(&self, connector: &Connector, server: &Server) -> Result<Vec<Listed>, String> {
        let (mut found, mut seen, mut bytes) = (Vec::new(), HashSet::new(), 0);
        for page in 1..=MAX_PAGES {
            let target = format!("{}/sandboxes?{}", server.prefix, self.query(page));
            let body = get(connector, server, &target).await?;
            bytes += body.len();
            if bytes > MAX_BYTES {
                return Err(too_long(&format!("{} MiB", MAX_BYTES >> 20)));
            }
            let read = serde_json::from_slice(&body);
            let Page { items, pagination } =
                read.map_err(|error| format!("the server's list of sandboxes is not understood: {error}"))?;
            let is_empty = items.is_empty();
            for object in items {
                let listed = Listed::read(object)?;
                // While pages are read, a new sandbox moves the others on: the last of a page comes again on the next.
                if self.matches(&listed) && seen.insert(listed.id.clone()) {
                    found.push(listed);
                }
            }
            if !pagination.has_next_page {
                return Ok(found);
            }
            if is_empty {
                return Err("the server's list of sandboxes has an empty page, and says that more follow".to_owned());
            }
        }
        Err(too_long(&format!("{} sandboxes", MAX_PAGES * PAGE)))
    }
}

fn too_long(what: &str) -> String {
    format!("the server's list has more than {what}; ask for fewer, by state or by metadata")
}

async fn get(connector: &Connector, server: &Server, target: &str) -> Result<Vec<u8>, String> {
    let request = [b"GET ", target.as_bytes(), &server.fields("application/json")].concat();
    let asked = async {
        let io = connector.connect().await.map_err(|error| format!("{} cannot be reached: {error}", server.shown()))?;
        let broke = |why| format!("the connection broke: {why}");
        let mut answer = exchange(io, &request).await.map_err(broke)?;
        match (answer.head.status(), media_type(answer.head.headers()).as_str()) {
            (StatusCode::OK, "application/json" | "") => answer.body.whole(MAX_PAGE_BYTES).await.map_err(broke),
            (StatusCode::OK, other) => {
                let shown = server.shown();
                Err(format!(
                    "the list of sandboxes is not understood: {shown} sends {other}, so it may be another server"
                ))
            }
            (status, _) => Err(refusal::told(status, &answer.body.refusal().await, server.key.is_some())),
        }
    };
    timeout(TIMEOUT, asked).await.unwrap_or_else(|_| Err("the server does not send its list of sandboxes".to_owned()))
}

impl Listed {
    fn read(object: Value) -> Result<Self, String> {
        match object.get("id").and_then(Value::as_str) {
            // One that no path could name.
            None | Some("" | "." | "..") => Err("the server's list has a sandbox without an id".to_owned()),
            Some(id) => Ok(Self { id: id.to_owned(), object }),
        }
    }

    /// A text in the object; none where there is no text.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.object.pointer(pointer)?.as_str()
    }

    /// A value of the metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.object.get("metadata")?.get(key)?.as_str()
    }

    /// All of the metadata, by key.
    pub(super) fn all_metadata(&self) -> BTreeMap<&str, &str> {
        let object = self.object.get("metadata").and_then(Value::as_object);
        object.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
    }
}

/// Reads `key=value` of a command line.
///
/// # Errors
///
/// There is no key.
pub(super) fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("metadata is key=value"),
    }
}

/// Checks that no key is there with two values, which no sandbox can have.
///
/// # Errors
///
/// A text for a person.
pub(super) fn check_labels(labels: &[(String, String)]) -> Result<(), String> {
    let mut keys = HashSet::new();
    match labels.iter().find(|(key, _)| !keys.insert(key)) {
        Some((key, _)) => Err(format!("-l names {key} twice, and a sandbox has one value of it")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_a_form_in_a_form() {
        let labels = vec![("team".to_owned(), "a&b=c".to_owned()), ("x".to_owned(), String::new())];
        let filter = Filter { states: vec!["Running".to_owned(), "paused".to_owned()], labels };
        let query = filter.query(3);
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let expected = [
            ("state", "Running"),
            ("state", "paused"),
            ("metadata", "team=a%26b%3Dc&x="),
            ("page", "3"),
            ("pageSize", "200"),
        ];
        assert!(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected), "{pairs:?}");
    }

    #[test]
    fn a_sandbox_is_looked_at_whatever_the_server_has_filtered() {
        let filter = Filter { states: vec![], labels: vec![("name".to_owned(), "a".to_owned())] };
        for (object, expected) in [
            (json!({"id": "i", "metadata": {"name": "a"}}), true),
            (json!({"id": "i", "metadata": {"name": "ab"}}), false),
            (json!({"id": "i", "metadata": {"name": 1}}), false),
            (json!({"id": "i", "metadata": []}), false),
            (json!({"id": "i"}), false),
        ] {
            assert_eq!(filter.matches(&Listed::read(object).unwrap()), expected);
        }
        for object in [json!({}), json!({"id": 1}), json!({"id": ".."}), json!([])] {
            assert!(Listed::read(object).is_err());
        }
    }

    #[test]
    fn a_label_is_a_key_and_a_value() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(label("a="), Ok(("a".to_owned(), String::new())));
        assert!(label("a").is_err() && label("=b").is_err());
        let twice = [label("a=1").unwrap(), label("a=2").unwrap()];
        assert!(check_labels(&twice).is_err() && check_labels(&twice[1..]).is_ok());
    }
}
