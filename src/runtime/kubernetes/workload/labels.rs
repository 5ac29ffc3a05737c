//! The labels and annotations by which a sandbox's object says what it is (kubernetes-runtime.md §3).

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

use crate::model::extensions::{self, ECHOED_PREFIX};

/// The prefix of the labels that are no metadata of the client's.
const OWN_PREFIX: &str = "opensandbox.io";

/// The sandbox's id; on its pods and claims as well.
pub(in crate::runtime::kubernetes) const ID: &str = "opensandbox.io/id";
/// The tenant whose the sandbox is.
pub(in crate::runtime::kubernetes) const TENANT: &str = "opensandbox.io/tenant";
/// `true` on a sandbox that does not end by itself.
pub(in crate::runtime::kubernetes) const MANUAL_CLEANUP: &str = "opensandbox.io/manual-cleanup";
/// The snapshot that it was restored from.
pub(in crate::runtime::kubernetes) const SNAPSHOT: &str = "opensandbox.io/snapshot-id";
/// `server` on the claims that are removed with their sandbox.
pub(in crate::runtime::kubernetes) const MANAGED_BY: &str = "opensandbox.io/volume-managed-by";

/// The token that callers of a secured sandbox present.
pub(in crate::runtime::kubernetes) const SECURE_ACCESS: &str = "opensandbox.io/secure-access-token";
/// The token of the egress sidecar.
pub(in crate::runtime::kubernetes) const EGRESS_TOKEN: &str = "opensandbox.io/egress-auth-token";
/// Seconds by which an access extends the sandbox's life.
pub(in crate::runtime::kubernetes) const RENEWAL: &str = "opensandbox.io/access-renew-extend-seconds";
/// The prefix of the extensions that are echoed.
const EXTENSIONS: &str = "opensandbox.io/extensions.";

/// The pods' addresses, as a JSON array.
pub(super) const ENDPOINTS: &str = "sandbox.opensandbox.io/endpoints";

/// A label of an object.
pub(in crate::runtime::kubernetes) fn of<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// An annotation of an object that is not empty.
pub(super) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// The labels that are the client's, or a template's, or another controller's: all but the server's own.
pub(super) fn metadata(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let labels = meta.labels.iter().flatten().filter(|(key, _)| !is_own(key));
    labels.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// One of them.
pub(super) fn of_metadata<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    of(meta, key).filter(|_| !is_own(key))
}

/// Whether a label is none of the client's.
fn is_own(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| prefix == OWN_PREFIX)
}

/// The extensions that are echoed, under their full names.
pub(super) fn extensions(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let all = meta.annotations.iter().flatten();
    all.filter_map(|(key, value)| Some((format!("{ECHOED_PREFIX}{}", key.strip_prefix(EXTENSIONS)?), value.clone())))
        .collect()
}

/// The annotation of an extension that is echoed, by its full name.
pub(in crate::runtime::kubernetes) fn of_extension(name: &str) -> String {
    format!("{EXTENSIONS}{}", name.strip_prefix(ECHOED_PREFIX).unwrap_or(name))
}

/// Seconds by which an access extends the sandbox's life; nothing for a value out of its bounds.
pub(super) fn renewal(meta: &ObjectMeta) -> Option<i64> {
    extensions::renewal(annotation(meta, RENEWAL)?.trim()).ok().map(|renewal| renewal.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> ObjectMeta {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        ObjectMeta { labels: Some(map(labels)), annotations: Some(map(annotations)), ..ObjectMeta::default() }
    }

    #[test]
    fn metadata_is_all_but_the_own_prefix() {
        let meta = meta(
            &[
                ("opensandbox.io/id", "x"),
                ("opensandbox.io/manual-cleanup", "true"),
                ("project", "a"),
                ("opensandbox.io", "b"),
                ("sandbox.opensandbox.io/x", "c"),
            ],
            &[],
        );
        let shown: Vec<_> = metadata(&meta).into_keys().collect();
        assert_eq!(shown, ["opensandbox.io", "project", "sandbox.opensandbox.io/x"]);
        assert_eq!((of_metadata(&meta, "project"), of_metadata(&meta, "opensandbox.io/id")), (Some("a"), None));
    }

    #[test]
    fn extensions_have_their_full_names() {
        let meta = meta(&[], &[("opensandbox.io/extensions.foo", "bar"), ("opensandbox.io/egress-auth-token", "t")]);
        assert_eq!(extensions(&meta), [("opensandbox.extensions.foo".to_owned(), "bar".to_owned())].into());
    }

    #[test]
    fn a_renewal_has_bounds() {
        for (text, seconds) in [("600", Some(600)), ("299", None), ("86401", None), ("x", None), ("", None)] {
            assert_eq!(renewal(&meta(&[], &[(RENEWAL, text)])), seconds, "{text}");
        }
    }
}
