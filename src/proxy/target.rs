//! The target of a forwarded request: the client's path and query, byte for byte, behind the backend's prefix.

use std::borrow::Cow;

use http::{Uri, uri::PathAndQuery};
use percent_encoding::percent_decode;

use super::error::ProxyError;

/// Most layers of percent-encoding of a path behind a prefix. Each is checked; a server removes one or two of them. Without a
/// bound a path of `%25` repeated has as many layers as it has bytes.
const MAX_LAYERS: usize = 8;

/// Why a path must not go on behind a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It leads out of the prefix.
    Climbs,
    /// It is encoded more than [`MAX_LAYERS`] times over.
    TooManyLayers,
}

/// Puts a target together. `path` is empty or begins with a slash.
///
/// Without a prefix the sandbox's own server sees whatever the client wrote, `..` included: that is its business. With
/// one, a server on the way (execd's own proxy) would take `..` for a way out of the prefix, so it is refused.
///
/// # Errors
///
/// Behind a prefix: the path leads out of it, or is percent-encoded more often than can be told.
pub fn target(prefix: &str, path: &str, query: Option<&str>) -> Result<Uri, ProxyError> {
    if !prefix.is_empty() {
        check(path.as_bytes()).map_err(|refusal| match refusal {
            Refusal::Climbs => ProxyError::PathEscapes,
            Refusal::TooManyLayers => ProxyError::PathEncodedTooOften,
        })?;
    }
    let path = if path.is_empty() { "/" } else { path };
    let (mark, query) = query.map_or(("", ""), |query| ("?", query));
    let text = [prefix.trim_end_matches('/'), path, mark, query].concat();
    // Of bytes that hyper has accepted once already. As the path alone: `//a` would otherwise be a host.
    PathAndQuery::try_from(text).map(Uri::from).map_err(|_| ProxyError::PathEscapes)
}

/// Refuses a path of which a segment is `..` for anyone who removes percent-encoding, up to [`MAX_LAYERS`] times, takes a
/// backslash for a slash, or strips parameters. Reads the path at most once a layer.
fn check(path: &[u8]) -> Result<(), Refusal> {
    let mut text = Cow::Borrowed(path);
    for _ in 0..=MAX_LAYERS {
        let mut segments = text.split(|byte| matches!(byte, b'/' | b'\\'));
        if segments.any(|segment| segment.split(|byte| *byte == b';').next() == Some(b"..")) {
            return Err(Refusal::Climbs);
        }
        let decoded: Cow<'_, [u8]> = percent_decode(&text).into();
        if decoded.len() == text.len() {
            return Ok(());
        }
        text = Cow::Owned(decoded.into_owned());
    }
    Err(Refusal::TooManyLayers)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn written(prefix: &str, path: &str, query: Option<&str>) -> Option<String> {
        target(prefix, path, query).ok().map(|uri| uri.to_string())
    }

    #[test]
    fn what_the_client_sent_is_kept() {
        for path in ["/a/b", "//a//b/", "/a%2Fb%20c%3Fd%23e%25f%41/+x;y=1", "/../x", "/%2e%2e/x", "/%E4%BD%A0", "///"] {
            assert_eq!(written("", path, None).as_deref(), Some(path));
        }
        assert_eq!(written("", "", None).as_deref(), Some("/"));
        assert_eq!(written("", "/q", Some("a=%FF&b&c=+&d=%20&e=")).as_deref(), Some("/q?a=%FF&b&c=+&d=%20&e="));
        assert_eq!(written("", "", Some("")).as_deref(), Some("/?"));
        assert_eq!(written("/proxy/8000", "//a", Some("x")).as_deref(), Some("/proxy/8000//a?x"));
        assert_eq!(written("/proxy/8000/", "", None).as_deref(), Some("/proxy/8000/"));
    }

    #[test]
    fn no_spelling_of_two_dots_leads_out_of_a_prefix() {
        for path in [
            "/..",
            "/../9000/",
            "/a/../../x",
            "/%2e%2e/x",
            "/.%2E/x",
            "/a%2f..%2fx",
            "/%252e%252e/x",
            "/..%5cx",
            "/..;a/x",
            "/%25252e./x",
            "/a\\..\\b",
            "/%2e%2e%3bx/y",
        ] {
            assert_eq!(written("/proxy/8000", path, None), None, "{path}");
        }
        for path in ["/a..b", "/...", "/..a/", "/a/.", "/%2e%2ea", "/a%", "/%zz..x"] {
            assert!(written("/proxy/8000", path, None).is_some(), "{path}");
        }
    }

    /// The longest path that a head may hold, for each way to make it expensive.
    #[test]
    fn no_path_costs_more_than_a_few_readings() {
        let long = |unit: &str| format!("/{}", unit.repeat(60_000 / unit.len()));
        let nested = format!("/%{}", "25".repeat(30_000));
        let start = Instant::now();
        assert!(matches!(target("/proxy/80", &nested, None), Err(ProxyError::PathEncodedTooOften)));
        for unit in ["%25", "%2525", "%", "/", "\\", ";", ".", "%2e", "%2f", "..;", "/.%252", "%25252525252525252525"] {
            let _ = target("/proxy/80", &long(unit), None);
        }
        // 13 paths, without optimisation: before, the first alone took minutes.
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn layers_are_counted_before_they_are_refused() {
        let encoded = |layers: usize| format!("/%{}2e%2e", "25".repeat(layers));
        for layers in 0..MAX_LAYERS {
            assert_eq!(check(encoded(layers).as_bytes()), Err(Refusal::Climbs), "{layers}");
        }
        let plain = |layers: usize| format!("/%{}41", "25".repeat(layers));
        assert_eq!(check(plain(MAX_LAYERS - 1).as_bytes()), Ok(()));
        assert_eq!(check(plain(MAX_LAYERS).as_bytes()), Err(Refusal::TooManyLayers));
        assert!(written("", &plain(30_000), None).is_some(), "without a prefix it is the sandbox's business");
    }

    proptest! {
        #[test]
        fn a_target_begins_with_its_prefix(path in "/[a-z./%25eEfF;\\\\-]{0,24}", query in prop::option::of("[!-~&&[^#]]{0,12}")) {
            if let Some(text) = written("/proxy/80", &path, query.as_deref()) {
                prop_assert!(text.starts_with("/proxy/80/"));
                prop_assert!(!text.split(['/', '?']).any(|segment| segment == "..") || query.is_some());
            }
        }
    }
}
