//! Cookies that a sandbox's server sets: kept below that sandbox's proxy (RFC 6265 §5.2).

use http::HeaderValue;

/// The longest value of an attribute that clients heed, in bytes (RFC 6265bis §5.6).
const MAX_ATTRIBUTE: usize = 1024;

/// A cookie as the client gets it: for `prefix` and what is below it, and for no other host. `None` for one that could not be
/// kept there.
///
/// - Of several `Path` attributes the last counts (§5.2.4), and it alone stays, behind `prefix`. One that is no absolute path
///   means the request's own, which is below `prefix` anyway, but for a request of `prefix` itself (`is_at_root`). One that
///   becomes so long that clients do not heed it is `prefix` alone; where that is too long, there is no cookie.
/// - `Domain` goes: the cookie is for the gateway's own name, which is the only one that the sandbox is reached by.
/// - One named `__Host-…` must have the path `/`, by which every sandbox would get it: it is dropped.
///
/// What comes out is at most longer than what went in by `prefix` and a few bytes.
pub(super) fn confined(cookie: &HeaderValue, prefix: &str, is_at_root: bool) -> Option<HeaderValue> {
    let bytes = cookie.as_bytes();
    let mut attributes = bytes.split(|byte| *byte == b';');
    let pair = attributes.next().unwrap_or_default();
    if is_host_cookie(pair) {
        return None;
    }
    let last = attributes.clone().rfind(|attribute| is_named(attribute, b"path"));
    let wished = last.and_then(absolute_path).map(|path| if path == b"/" { b"" } else { path });
    let path = wished.filter(|path| prefix.len() + path.len() <= MAX_ATTRIBUTE);
    let is_told = path.is_none() && (is_at_root || wished.is_some());
    if is_told && prefix.len() > MAX_ATTRIBUTE {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() + prefix.len() + "; Path=".len());
    out.extend_from_slice(pair);
    for attribute in attributes.filter(|attribute| !is_named(attribute, b"domain")) {
        if !is_named(attribute, b"path") {
            out.push(b';');
            out.extend_from_slice(attribute);
        } else if let Some(path) = path.filter(|_| last.is_some_and(|last| std::ptr::eq(last, attribute))) {
            out.push(b';');
            out.extend(attribute.split_inclusive(|byte| *byte == b'=').next().unwrap_or_default());
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(path);
        }
    }
    if is_told {
        out.extend_from_slice(b"; Path=");
        out.extend_from_slice(prefix.as_bytes());
    }
    // A prefix that is no value would be one that the client could not have asked for.
    HeaderValue::from_bytes(&out).ok()
}

/// Whether a cookie's name begins like that of one for a whole host. Browsers compare without case, and some take what has
/// no name for a name.
fn is_host_cookie(pair: &[u8]) -> bool {
    const HOST: &[u8] = b"__Host-";
    let name = pair.trim_ascii_start();
    let name = name.strip_prefix(b"=").unwrap_or(name).trim_ascii_start();
    name.get(..HOST.len()).is_some_and(|start| start.eq_ignore_ascii_case(HOST))
}

/// Whether an attribute, with or without a value, is the one of this name.
fn is_named(attribute: &[u8], name: &[u8]) -> bool {
    let found = attribute.split(|byte| *byte == b'=').next().unwrap_or_default();
    found.trim_ascii().eq_ignore_ascii_case(name)
}

/// The value of an attribute, if it is an absolute path. Some clients take quotes off.
fn absolute_path(attribute: &[u8]) -> Option<&[u8]> {
    let at = attribute.iter().position(|byte| *byte == b'=')?;
    let value = attribute[at + 1..].trim_ascii();
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    unquoted.starts_with(b"/").then_some(unquoted)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const PREFIX: &str = "/sandboxes/x/proxy/80";

    fn at(cookie: &str, is_at_root: bool) -> Option<String> {
        let confined = confined(&HeaderValue::from_str(cookie).unwrap(), PREFIX, is_at_root)?;
        Some(confined.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_s_path_stays_within_its_sandbox() {
        for (cookie, expected) in [
            ("a=1; Path=/; HttpOnly", "a=1; Path=/sandboxes/x/proxy/80; HttpOnly"),
            ("a=1;path= /app ;Secure", "a=1;path=/sandboxes/x/proxy/80/app;Secure"),
            ("a=1; PATH =\"/q\"", "a=1; PATH =/sandboxes/x/proxy/80/q"),
            ("a=1; Path=/x=y", "a=1; Path=/sandboxes/x/proxy/80/x=y"),
            // Of several the last counts.
            ("a=1; Path=/x; Path=/y; Secure", "a=1; Path=/sandboxes/x/proxy/80/y; Secure"),
            ("a=1; Path=/x; Path=rel", "a=1"),
            ("a=1; Path=/x; Path", "a=1"),
            ("a=1; Path=rel", "a=1"),
            ("a=1; Path=/; Path=/; Path=/", "a=1; Path=/sandboxes/x/proxy/80"),
            // Of no other host.
            ("a=1; Domain=x.example; Max-Age=1", "a=1; Max-Age=1"),
            ("a=1; domain; DOMAIN = y", "a=1"),
        ] {
            assert_eq!(at(cookie, false).as_deref(), Some(expected), "{cookie}");
        }
        for kept in
            ["a=1", "path=/x", "domain=x", "", "=", ";", "__Secure-a=1; Secure", "a=1; Partitioned; SameSite=None"]
        {
            assert_eq!(at(kept, false).as_deref(), Some(kept));
        }
    }

    #[test]
    fn a_cookie_of_the_whole_host_is_dropped() {
        for cookie in
            ["__Host-a=1; Path=/; Secure", "__HOST-a=1", " __Host-a=1", "=__Host-a=1", "= __host-", "__Host-Http-a"]
        {
            assert_eq!(at(cookie, false), None, "{cookie}");
        }
    }

    #[test]
    fn at_the_root_a_path_is_told() {
        assert_eq!(at("a=1; Secure", true).unwrap(), "a=1; Secure; Path=/sandboxes/x/proxy/80");
        assert_eq!(at("a=1; Path=rel", true).unwrap(), "a=1; Path=/sandboxes/x/proxy/80");
        assert_eq!(at("a=1; Path=/y", true).unwrap(), "a=1; Path=/sandboxes/x/proxy/80/y");
    }

    /// Who does not heed a path takes the request's folder, which may be above the sandbox's proxy.
    #[test]
    fn a_path_that_no_client_heeds_becomes_the_sandbox_s() {
        let path = |length: usize| format!("/{}", "p".repeat(length - 1));
        let room = MAX_ATTRIBUTE - PREFIX.len();
        for is_at_root in [false, true] {
            let kept = format!("a=1; Path={PREFIX}{}; Secure", path(room));
            assert_eq!(at(&format!("a=1; Path={}; Secure", path(room)), is_at_root), Some(kept));
            for length in [room + 1, MAX_ATTRIBUTE, 5_000] {
                let cookie = format!("a=1; Path=/x; Path={}; Secure", path(length));
                assert_eq!(at(&cookie, is_at_root), Some(format!("a=1; Secure; Path={PREFIX}")), "{length}");
            }
        }
        let confined = |cookie: &'static str, is_at_root| {
            confined(&HeaderValue::from_static(cookie), &path(MAX_ATTRIBUTE + 1), is_at_root)
        };
        assert!(confined("a=1; Path=/", false).is_none() && confined("a=1", true).is_none());
        assert!(confined("a=1; Secure", false).is_some(), "its folder is below");
    }

    #[test]
    fn no_cookie_grows_by_more_than_one_prefix() {
        let start = Instant::now();
        for unit in [";path=/", ";path", ";", "=", ";domain=x", ";path=/\"", " "] {
            let cookie = format!("a=1{}", unit.repeat(120_000 / unit.len()));
            let confined = at(&cookie, true).unwrap();
            assert!(confined.len() <= cookie.len() + PREFIX.len() + 7, "{unit}");
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
