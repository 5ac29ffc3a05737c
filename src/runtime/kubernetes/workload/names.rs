//! The names that an object of a sandbox may have (kubernetes-runtime.md §3), and ids that no sandbox can have.
//!
//! An id is a client's text. It becomes part of a path and of a label selector, so only what can be a name gets there.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

use crate::{
    config::is_dns_subdomain,
    error::{Error, Family, Kind},
};

/// What the ids of the fast-sandbox backend begin with, which this server does not have.
const FAST_PREFIX: &str = "fsb-";

/// The longest value of a label, in bytes, and the longest DNS label.
const MAX_LABEL: usize = 63;

/// The prefix of the names of older objects, and of DNS labels that would begin with a digit.
const PREFIX: &str = "sandbox-";

/// How many bytes of the digest tell apart what is cut to the same label.
const DIGEST: usize = 4;

/// Refuses what no sandbox has as its id, before anything is asked of the cluster.
///
/// # Errors
/// ([`Family::FastSandbox`], [`Kind::NotFound`]) for ids of the fast-sandbox backend, ([`Family::KubeSandbox`],
/// [`Kind::NotFound`]) for those that cannot be a label's value.
pub(in crate::runtime::kubernetes) fn check(id: &str) -> Result<(), Error> {
    if id.starts_with(FAST_PREFIX) {
        return Err(Error::new(Family::FastSandbox, Kind::NotFound, "Sandbox not found."));
    }
    if is_label(id) { Ok(()) } else { Err(not_found(id)) }
}

/// There is no such sandbox.
pub(in crate::runtime::kubernetes) fn not_found(id: &str) -> Error {
    let text = format!("Sandbox '{}' not found", Error::shown_id(id));
    Error::new(Family::KubeSandbox, Kind::NotFound, text)
}

/// The names of a BatchSandbox with an id, the likeliest first.
pub(super) fn of_batch(id: &str) -> Vec<String> {
    names([id.to_owned(), format!("{PREFIX}{id}")])
}

/// The names of an agent-sandbox with an id, the likeliest first.
pub(super) fn of_agent(id: &str) -> Vec<String> {
    names([dns_label(id), id.to_owned(), format!("{PREFIX}{id}")])
}

/// Whether [`of_batch`] has this name.
pub(super) fn is_of_batch(id: &str, name: &str) -> bool {
    (name == id || name.strip_prefix(PREFIX) == Some(id)) && is_dns_subdomain(name)
}

/// Whether [`of_agent`] has this name.
pub(super) fn is_of_agent(id: &str, name: &str) -> bool {
    is_of_batch(id, name) || is_dns_subdomain(name) && name == dns_label(id)
}

/// What can be names among some, each once.
fn names(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names = Vec::new();
    for name in all {
        if is_dns_subdomain(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// An id as a DNS label that begins with a letter (RFC 1035), since an agent-sandbox has a service of its name.
fn dns_label(id: &str) -> String {
    let safe = |char: char| if char.is_ascii_lowercase() || char.is_ascii_digit() { char } else { '-' };
    let label: String = id.to_lowercase().chars().map(safe).collect();
    let label = label.trim_matches('-');
    let label = if label.starts_with(|char: char| char.is_ascii_lowercase()) {
        label.to_owned()
    } else {
        format!("{PREFIX}{label}")
    };
    if label.len() <= MAX_LABEL {
        return label.trim_end_matches('-').to_owned();
    }
    let mut end = "-".to_owned();
    for byte in &digest(&SHA256, id.as_bytes()).as_ref()[..DIGEST] {
        // Writing to a string does not fail.
        let _ = write!(end, "{byte:02x}");
    }
    format!("{}{end}", label[..MAX_LABEL - end.len()].trim_end_matches('-'))
}

/// Whether a text can be a label's value that is not empty.
fn is_label(text: &str) -> bool {
    let is_edge = |byte: &u8| byte.is_ascii_alphanumeric();
    text.len() <= MAX_LABEL && is_framed(text, is_edge, |byte| is_edge(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_framed(text: &str, is_edge: impl Fn(&u8) -> bool, is_inner: impl Fn(&u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(&is_edge) && bytes.last().is_some_and(&is_edge) && bytes.iter().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2ac503a7-652a-42be-a827-aa31fab376d3";

    #[test]
    fn an_id_has_few_names() {
        assert_eq!(of_batch(ID), [ID.to_owned(), format!("sandbox-{ID}")]);
        assert_eq!(of_agent(ID), [format!("sandbox-{ID}"), ID.to_owned()]);
        assert_eq!(of_agent("My_Box.1"), ["my-box-1"]);
        assert_eq!(of_batch("My_Box.1"), <[String; 0]>::default());
        assert_eq!(of_agent("b0b"), ["b0b", "sandbox-b0b"]);
    }

    #[test]
    fn a_name_is_an_id_s_or_is_not() {
        let long = "9".repeat(63);
        let ids = [ID, "My_Box.1", "b0b", "-", "", "a.", "a..b", "sandbox-a", "9", &long];
        for id in ids {
            for other in ids {
                let all = of_batch(other).into_iter().chain(of_agent(other)).chain([other.to_owned()]);
                for name in all.chain(["".to_owned(), "sandbox-".to_owned()]) {
                    assert_eq!(is_of_batch(id, &name), of_batch(id).contains(&name), "{id} {name}");
                    assert_eq!(is_of_agent(id, &name), of_agent(id).contains(&name), "{id} {name}");
                }
            }
        }
    }

    #[test]
    fn a_long_id_is_cut_and_told_apart() {
        let id = format!("{}{}", "9".repeat(60), "abc");
        let name = &of_agent(&id)[0];
        assert_eq!(name.len(), 63);
        assert!(name.starts_with("sandbox-999") && name.as_bytes()[54] == b'-', "{name}");
        // SHA-256 of the id begins with these.
        assert_eq!(
            &name[55..],
            digest(&SHA256, id.as_bytes()).as_ref()[..4].iter().map(|b| format!("{b:02x}")).collect::<String>()
        );
    }

    #[test]
    fn what_no_sandbox_has_is_not_asked_for() {
        let long = "a".repeat(64);
        for id in ["", "..", ".", "a/b", "a b", "a%2Fb", "a,b=c", "-a", "a-", "ä", "a\n", "a?b", &long] {
            assert_eq!(check(id).unwrap_err().key(), (Family::KubeSandbox, Kind::NotFound), "{id}");
        }
        assert!(check("nope").is_ok() && check("2ac503a7-652a-42be-a827-aa31fab376d3").is_ok());
        assert_eq!(check("nope/").unwrap_err().message, "Sandbox 'nope/' not found");
        assert_eq!(check("fsb-x").unwrap_err().key(), (Family::FastSandbox, Kind::NotFound));
    }
}
