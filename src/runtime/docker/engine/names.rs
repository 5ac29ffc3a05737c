//! The names that servers give to what they make on the engine (docker-runtime.md §2). They are shared with the existing
//! server. Unlike labels, a name cannot come from an image.

/// The volume that says which home owns the engine.
pub(in crate::runtime::docker) const OWNER_MARK: &str = "opensandbox-gateway-owner";

/// The beginning of the names of volumes that tell of a moved expiry.
pub(in crate::runtime::docker) const EXPIRY_PREFIX: &str = "opensandbox-expiry-";

/// The name of a container that execd is read from or brought by, before a random UUID.
pub(in crate::runtime::docker) const EXECD_PREFIX: &str = "sandbox-execd-";

/// Before a sandbox's id: its container.
const SANDBOX_PREFIX: &str = "sandbox-";

/// Before a sandbox's id: its egress sidecar.
const SIDECAR_PREFIX: &str = "sandbox-egress-";

/// A sandbox's container.
pub(in crate::runtime::docker) fn sandbox(id: &str) -> String {
    format!("{SANDBOX_PREFIX}{id}")
}

/// A sandbox's egress sidecar.
pub(in crate::runtime::docker) fn sidecar(id: &str) -> String {
    format!("{SIDECAR_PREFIX}{id}")
}

/// The sandbox that a container with this name would belong to.
pub(in crate::runtime::docker) fn sandbox_of(container: &str) -> Option<&str> {
    container.strip_prefix(SIDECAR_PREFIX).or_else(|| container.strip_prefix(SANDBOX_PREFIX))
}

/// The volume that a sandbox shares with its sidecar.
pub(in crate::runtime::docker) fn runtime_volume(id: &str) -> String {
    format!("opensandbox-runtime-{id}")
}

/// The volume that the installation of a Windows sandbox finds execd in.
pub(in crate::runtime::docker) fn oem_volume(id: &str) -> String {
    format!("opensandbox-win-oem-{id}")
}

/// Whether a container may carry this id: such ids are safe in a path, a filter and a file's name.
pub(in crate::runtime::docker) fn is_plausible_id(id: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    id.len() <= 128 && id.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && id.bytes().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_are_plausible() {
        for id in ["a", "c06b280d-c896-4ce5-8bc5-69f52e8b885e", "A_b.c-9", &"x".repeat(128)] {
            assert!(is_plausible_id(id), "{id}");
        }
        for id in ["", ".", "..", "../x", "a/b", "-a", "a\"", "a b", "a\n", "a%2f", "é", "a?b", "a#", &"x".repeat(129)]
        {
            assert!(!is_plausible_id(id), "{id}");
        }
    }
}
