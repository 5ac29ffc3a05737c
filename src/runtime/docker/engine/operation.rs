//! What a request asks of the engine, without whom it is asked of: the name under which it is counted.

/// The operation of a request for `path`, without the version in front; `other` for what this program does not ask.
pub(in crate::runtime::docker) fn of(method: &str, path: &str) -> &'static str {
    let mut segments = path.trim_start_matches('/').split('/');
    let first = segments.next().unwrap_or_default();
    // Images have slashes in their names.
    let (second, last) = (segments.next(), segments.next_back());
    match (method, first, second, last) {
        ("GET" | "HEAD", "_ping", None, _) => "ping",
        ("GET", "version", None, _) => "version",
        ("GET", "info", None, _) => "info",
        ("GET", "events", None, _) => "events",
        ("POST", "commit", None, _) => "container_commit",
        ("GET", "containers", Some("json"), None) => "container_list",
        ("POST", "containers", Some("create"), None) => "container_create",
        ("DELETE", "containers", Some(_), None) => "container_remove",
        ("GET", "containers", Some(_), Some("json")) => "container_inspect",
        ("GET" | "HEAD", "containers", Some(_), Some("archive")) => "container_archive_get",
        ("PUT", "containers", Some(_), Some("archive")) => "container_archive_put",
        ("POST", "containers", Some(_), Some("start")) => "container_start",
        ("POST", "containers", Some(_), Some("pause")) => "container_pause",
        ("POST", "containers", Some(_), Some("unpause")) => "container_unpause",
        ("POST", "images", Some("create"), None) => "image_pull",
        ("GET", "images", Some(_), Some("json")) => "image_inspect",
        ("DELETE", "images", Some(_), _) => "image_remove",
        ("GET", "volumes", None, _) => "volume_list",
        ("POST", "volumes", Some("create"), None) => "volume_create",
        ("GET", "volumes", Some(_), None) => "volume_inspect",
        ("DELETE", "volumes", Some(_), None) => "volume_remove",
        ("GET", "networks", None, _) => "network_list",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_few_names() {
        for (method, path, name) in [
            ("GET", "/version", "version"),
            ("GET", "/containers/json", "container_list"),
            ("POST", "/containers/create", "container_create"),
            ("GET", "/containers/abc/json", "container_inspect"),
            ("DELETE", "/containers/abc", "container_remove"),
            ("GET", "/images/registry.example:5000/a/b:1/json", "image_inspect"),
            ("GET", "/images/busybox/json", "image_inspect"),
            ("DELETE", "/images/a/b", "image_remove"),
            ("POST", "/images/create", "image_pull"),
            ("GET", "/events", "events"),
            ("BREW", "/coffee", "other"),
            ("GET", "", "other"),
        ] {
            assert_eq!(of(method, path), name, "{method} {path}");
        }
    }
}
