//! The labels of a sandbox's container (docker-runtime.md §2). Keys are shared with the existing server's sandboxes.

use std::collections::{BTreeMap, HashMap};

use crate::model::{
    extensions::{self, ECHOED_PREFIX},
    labels::RESERVED_PREFIX,
    sandbox::Platform,
};

/// The sandbox's id.
pub(in crate::runtime::docker) const ID: &str = "opensandbox.io/id";
/// When the sandbox ends by itself.
pub(in crate::runtime::docker) const EXPIRES_AT: &str = "opensandbox.io/expires-at";
/// `true` for a sandbox that never ends by itself.
pub(in crate::runtime::docker) const MANUAL_CLEANUP: &str = "opensandbox.io/manual-cleanup";
/// The requested operating system.
pub(in crate::runtime::docker) const PLATFORM_OS: &str = "opensandbox.io/platform-os";
/// The requested architecture.
pub(in crate::runtime::docker) const PLATFORM_ARCH: &str = "opensandbox.io/platform-arch";
/// The snapshot that the sandbox was restored from.
pub(in crate::runtime::docker) const SNAPSHOT_ID: &str = "opensandbox.io/snapshot-id";
/// The trimmed value of the renew-on-access extension.
pub(in crate::runtime::docker) const RENEW_SECONDS: &str = "opensandbox.io/access-renew-extend-seconds";
/// Before the rest of an extension `opensandbox.extensions.<x>`.
pub(in crate::runtime::docker) const EXTENSION_PREFIX: &str = "opensandbox.io/extensions.";
/// The host port of execd, container port 44772.
pub(in crate::runtime::docker) const EXECD_PORT: &str = "opensandbox.io/embedding-proxy-port";
/// The host port of container port 8080.
pub(in crate::runtime::docker) const HTTP_PORT: &str = "opensandbox.io/http-port";
/// The engine's volumes that go with the sandbox, as a JSON list; on a volume `server` if a server created it.
pub(in crate::runtime::docker) const MANAGED_BY: &str = "opensandbox.io/volume-managed-by";
/// The mounted buckets that the sandbox uses, as a JSON list of paths.
pub(in crate::runtime::docker) const BUCKETS: &str = "opensandbox.io/ossfs-mounts";
/// Marks of the credentials that those were mounted with, as a JSON list. This server's own; by its name it is hidden
/// where labels are shown.
pub(in crate::runtime::docker) const BUCKET_MARKS: &str = "opensandbox.io/ossfs-credentials";
/// What a client must show to the sandbox's egress sidecar; only sandboxes with a sidecar have it.
pub(in crate::runtime::docker) const EGRESS_TOKEN: &str = "opensandbox.io/egress-auth-token";
/// The keys of the labels that came with the image, as a JSON array: they are not metadata.
pub(in crate::runtime::docker) const IMAGE_LABELS: &str = "opensandbox.io/image-labels";
/// On an egress sidecar: the sandbox that it serves.
pub(in crate::runtime::docker) const SIDECAR_FOR: &str = "opensandbox.io/egress-sidecar-for";
/// Which gateway's home created the sandbox: the home's id, a slash, the sandbox's id. This server's own.
pub(in crate::runtime::docker) const CREATED_BY: &str = "opensandbox.io/created-by";
/// On the volume that marks the engine: the id of the home that owns it.
pub(in crate::runtime::docker) const OWNER: &str = "opensandbox.io/gateway-owner";
/// On the same: where that home is, for people.
pub(in crate::runtime::docker) const OWNER_PLACE: &str = "opensandbox.io/gateway-owner-home";
/// On a volume that shares a renewed expiry, which is in [`EXPIRES_AT`]: the sandbox.
pub(in crate::runtime::docker) const EXPIRY_OF: &str = "opensandbox.io/expiry-of";
/// On the same: when it was moved, in Unix milliseconds.
pub(in crate::runtime::docker) const MOVED_AT: &str = "opensandbox.io/expiry-moved-at";

/// Labels with these prefixes are not metadata.
const HIDDEN_PREFIXES: [&str; 4] = [RESERVED_PREFIX, "org.opencontainers.image.", "com.docker.", "desktop.docker."];

/// A label's value; an empty one counts as absent, since that is how an inherited label is taken back.
pub(in crate::runtime::docker) fn value<'a>(labels: &'a HashMap<String, String>, key: &str) -> Option<&'a str> {
    labels.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// A label's list. One that cannot be read counts as empty.
pub(in crate::runtime::docker) fn list(labels: &HashMap<String, String>, key: &str) -> Vec<String> {
    let Some(text) = value(labels, key) else { return Vec::new() };
    serde_json::from_str(text).unwrap_or_else(|_| {
        tracing::warn!(key, "a sandbox's label is no list");
        Vec::new()
    })
}

/// The user's part of a container's labels.
pub(in crate::runtime::docker) fn metadata(labels: &HashMap<String, String>) -> BTreeMap<String, String> {
    let from_image: Vec<String> =
        value(labels, IMAGE_LABELS).and_then(|keys| serde_json::from_str(keys).ok()).unwrap_or_default();
    let is_own = |key: &String| !is_hidden(key) && !from_image.contains(key);
    labels.iter().filter(|(key, _)| is_own(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The value of [`IMAGE_LABELS`] for a sandbox with this metadata of an image with these labels; nothing if none of them
/// could be taken for metadata.
pub(in crate::runtime::docker) fn image_labels(
    image: &HashMap<String, String>,
    metadata: &BTreeMap<String, String>,
) -> Option<String> {
    let mut keys: Vec<&String> = image.keys().filter(|key| !is_hidden(key) && !metadata.contains_key(*key)).collect();
    keys.sort_unstable();
    // A list of texts always serialises.
    serde_json::to_string(&keys).ok().filter(|_| !keys.is_empty())
}

fn is_hidden(key: &str) -> bool {
    HIDDEN_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// The extensions that are echoed.
pub(in crate::runtime::docker) fn extensions(labels: &HashMap<String, String>) -> BTreeMap<String, String> {
    let extension = |(key, value): (&String, &String)| {
        let name = key.strip_prefix(EXTENSION_PREFIX).filter(|_| !value.is_empty())?;
        Some((format!("{ECHOED_PREFIX}{name}"), value.clone()))
    };
    labels.iter().filter_map(extension).collect()
}

/// Whether the sandbox never ends by itself. An expiry beside it wins: the other label was inherited then.
pub(in crate::runtime::docker) fn is_manual(labels: &HashMap<String, String>) -> bool {
    value(labels, MANUAL_CLEANUP) == Some("true") && value(labels, EXPIRES_AT).is_none()
}

/// The seconds by which an access extends the sandbox's life; nothing for a sandbox that did not ask or asked badly.
pub(in crate::runtime::docker) fn renewal(labels: &HashMap<String, String>) -> Option<i64> {
    extensions::renewal(value(labels, RENEW_SECONDS)?).ok().map(|renewal| renewal.seconds)
}

/// The platform that was requested.
pub(in crate::runtime::docker) fn platform(labels: &HashMap<String, String>) -> Option<Platform> {
    let (os, arch) = (value(labels, PLATFORM_OS)?, value(labels, PLATFORM_ARCH)?);
    Some(Platform { os: os.to_owned(), arch: arch.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn metadata_is_what_has_no_hidden_prefix() {
        let all =
            labels(&[(ID, "x"), ("org.opencontainers.image.title", "t"), ("com.docker.a", "b"), ("owner", "alice")]);
        assert_eq!(metadata(&all), BTreeMap::from([("owner".to_owned(), "alice".to_owned())]));
    }

    #[test]
    fn what_came_with_the_image_is_no_metadata() {
        let image = labels(&[("maintainer", "m"), ("owner", "bob"), ("org.opencontainers.image.title", "t")]);
        let metadata = BTreeMap::from([("owner".to_owned(), "alice".to_owned())]);
        let keys = image_labels(&image, &metadata).unwrap();
        assert_eq!(keys, r#"["maintainer"]"#);
        let all = labels(&[("maintainer", "m"), ("owner", "alice"), (IMAGE_LABELS, &keys)]);
        assert_eq!(super::metadata(&all), metadata);
        assert_eq!(image_labels(&labels(&[(ID, "x")]), &metadata), None);
    }

    #[test]
    fn extensions_get_their_api_names() {
        let all = labels(&[("opensandbox.io/extensions.foo", "bar"), ("opensandbox.io/extensions.gone", "")]);
        assert_eq!(extensions(&all), BTreeMap::from([("opensandbox.extensions.foo".to_owned(), "bar".to_owned())]));
    }

    #[test]
    fn half_a_platform_is_none() {
        assert_eq!(platform(&labels(&[(PLATFORM_OS, "linux")])), None);
        assert!(platform(&labels(&[(PLATFORM_OS, "linux"), (PLATFORM_ARCH, "amd64")])).is_some());
    }
}
