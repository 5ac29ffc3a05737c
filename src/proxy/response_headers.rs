//! Which headers and trailers of a sandbox's response a client gets (http-api.md §12.1).
//!
//! All sandboxes respond under one origin, the gateway's, and often through a proxy that obeys headers of its own. So headers
//! about the connection or the whole origin, and headers for proxies, are dropped. Paths are put below the sandbox's own. What
//! concerns only the document or the response itself passes: content security policies, `Link`, `Refresh`, `Server-Timing`,
//! `WWW-Authenticate`.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};
use http_body::Frame;

use super::{cookie, error::Failure, request_headers::named};
use crate::http1::head::MAX_HEAD;

/// Where else a service worker may work.
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

/// Where a client finds the server that responded.
#[derive(Debug, Clone)]
pub struct Public {
    /// The path of the server's root, without a slash at its end.
    pub prefix: String,
    /// The request was for that path itself, so that what is relative to its folder would be above it.
    pub is_root: bool,
}

/// Removes the headers that a sandbox must not send, and puts the paths in the others below the server's public place. Without
/// one the response is for the gateway itself, and sets no cookie.
///
/// # Errors
///
/// The prefixes of paths make the head longer than [`MAX_HEAD`].
pub(super) fn filter(headers: &mut HeaderMap, public: Option<&Public>) -> Result<(), Failure> {
    // The names are looked at once, since most responses have nothing to be dropped or rewritten.
    let (mut dropped, mut is_rewritten) = (Vec::new(), false);
    for name in headers.keys() {
        if is_dropped(name) {
            dropped.push(name.clone());
        }
        is_rewritten |= [header::LOCATION, header::SET_COOKIE, SERVICE_WORKER_ALLOWED].contains(name);
    }
    if dropped.contains(&header::CONNECTION) {
        dropped.extend(named(headers));
    }
    if dropped.contains(&header::TRANSFER_ENCODING) {
        dropped.push(header::CONTENT_LENGTH);
    }
    for name in dropped {
        headers.remove(name);
    }
    if !is_rewritten {
        return Ok(());
    }
    let Some(Public { prefix, is_root }) = public else {
        headers.remove(SERVICE_WORKER_ALLOWED);
        headers.remove(header::SET_COOKIE);
        return Ok(());
    };
    narrow_workers(headers, prefix);
    let mut room = MAX_HEAD.checked_sub(length(headers)).ok_or(TOO_LONG)?;
    relocate(headers, prefix, &mut room)?;
    confine_cookies(headers, prefix, *is_root, &mut room)
}

/// The prefixes of paths make a head longer than [`MAX_HEAD`].
const TOO_LONG: Failure = Failure::Malformed("its head is too long");

/// The trailers of a body without those that may not be such. `None` if none is left, or if the frame is no trailers.
pub(super) fn filter_trailers(frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
    let trailers = frame.into_trailers().ok()?;
    let passed = trailers.iter().filter(|(name, _)| may_trail(name));
    let passed: HeaderMap = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
    (!passed.is_empty()).then(|| Frame::trailers(passed))
}

/// Whether a trailer may be passed on: none that is dropped in a head, and none that a client needs before the body (RFC 9110
/// §6.5.1).
fn may_trail(name: &HeaderName) -> bool {
    let name_text = name.as_str();
    let is_of_the_head = match name_text {
        "content-digest" | "content-md5" => false,
        "accept-ranges"
        | "age"
        | "allow"
        | "authentication-info"
        | "authorization"
        | "cache-control"
        | "cookie"
        | "date"
        | "expect"
        | "expires"
        | "host"
        | "link"
        | "location"
        | "max-forwards"
        | "origin"
        | "permissions-policy"
        | "pragma"
        | "range"
        | "referrer-policy"
        | "refresh"
        | "retry-after"
        | "server"
        | "service-worker-allowed"
        | "set-cookie"
        | "trailer"
        | "vary"
        | "warning"
        | "www-authenticate"
        | "x-content-type-options"
        | "x-frame-options"
        | "x-request-id" => true,
        _ => ["access-control-", "content-", "cross-origin-", "opensandbox-", "sec-", "x-accel-", "x-forwarded-"]
            .iter()
            .any(|start| name_text.starts_with(start)),
    };
    !is_of_the_head && !is_dropped(name)
}

/// Whether a header is dropped.
fn is_dropped(name: &HeaderName) -> bool {
    match name.as_str() {
        // This connection (RFC 9110 §7.6.1).
        "connection"
        | "http2-settings"
        | "keep-alive"
        | "proxy-authenticate"
        | "proxy-authentication-info"
        | "proxy-authorization"
        | "proxy-connection"
        | "te"
        | "transfer-encoding"
        | "upgrade" => true,
        // The whole origin: what browsers keep of it, how they reach it, whom they tell of it.
        "accept-ch"
        | "accept-ch-lifetime"
        | "alt-svc"
        | "clear-site-data"
        | "critical-ch"
        | "expect-ct"
        | "nel"
        | "origin-agent-cluster"
        | "public-key-pins"
        | "public-key-pins-report-only"
        | "report-to"
        | "reporting-endpoints"
        | "sec-session-challenge"
        | "sec-session-registration"
        | "secure-session-challenge"
        | "secure-session-registration"
        | "set-cookie2"
        | "set-login"
        | "strict-transport-security"
        | "use-as-dictionary" => true,
        // The gateway's own header.
        "open-sandbox-origin" => true,
        // Proxies in between: to send another file, to ask another server, to cache responses or drop cached ones. Buffering
        // concerns only the response itself.
        "x-accel-buffering" => false,
        "edge-control" | "surrogate-control" | "x-reproxy-url" => true,
        text => ["x-accel-", "x-envoy-", "x-litespeed-", "x-lighttpd-", "x-sendfile"]
            .iter()
            .any(|start| text.starts_with(start)),
    }
}

/// Lets a service worker reach no further than the server's public place.
fn narrow_workers(headers: &mut HeaderMap, prefix: &str) {
    if headers.remove(SERVICE_WORKER_ALLOWED).is_some()
        && let Ok(narrowed) = HeaderValue::try_from([prefix, "/"].concat())
    {
        headers.insert(SERVICE_WORKER_ALLOWED, narrowed);
    }
}

/// Puts the server's public place before the path of each redirect. There should be one; of several, clients follow different
/// ones. `room` is how many bytes are left in the head.
fn relocate(headers: &mut HeaderMap, prefix: &str, room: &mut usize) -> Result<(), Failure> {
    let Entry::Occupied(mut locations) = headers.entry(header::LOCATION) else { return Ok(()) };
    for location in locations.iter_mut() {
        let path = location.as_bytes();
        if path.starts_with(b"/") && !path.starts_with(b"//") {
            *room = room.checked_sub(prefix.len()).ok_or(TOO_LONG)?;
            // Both parts come from valid headers, so that the result is valid.
            if let Ok(moved) = HeaderValue::from_bytes(&[prefix.as_bytes(), path].concat()) {
                *location = moved;
            }
        }
    }
    Ok(())
}

/// Confines the cookies to the server's public place. `room` is how many bytes are left in the head beside the cookies.
fn confine_cookies(headers: &mut HeaderMap, prefix: &str, is_root: bool, room: &mut usize) -> Result<(), Failure> {
    let Entry::Occupied(cookies) = headers.entry(header::SET_COOKIE) else { return Ok(()) };
    let (_, cookies) = cookies.remove_entry_mult();
    let cookies: Vec<HeaderValue> = cookies.collect();
    for cookie in cookies {
        *room += cookie.len();
        if let Some(confined) = cookie::confined(&cookie, prefix, is_root) {
            *room = room.checked_sub(confined.len()).ok_or(TOO_LONG)?;
            headers.append(header::SET_COOKIE, confined);
        }
    }
    Ok(())
}

/// The length of a head in a message, in bytes, without its first line.
fn length(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/v1/sandboxes/x/proxy/80";

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn all<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    fn public() -> Public {
        Public { prefix: PREFIX.to_owned(), is_root: false }
    }

    #[test]
    fn an_answer_loses_what_speaks_of_its_connection() {
        let mut answer = headers(&[
            ("connection", "close, X-Hop, Set-Cookie, X-Frame-Options"),
            ("x-hop", "1"),
            ("x-frame-options", "DENY"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("upgrade", "h2c"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("trailer", "x-sum"),
            ("date", "Mon, 01 Jan 2001 00:00:00 GMT"),
        ]);
        filter(&mut answer, Some(&public())).unwrap();
        assert_eq!(all(&answer, "set-cookie"), ["a=1", "b=2"]);
        let mut left: Vec<_> = answer.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["date", "set-cookie", "trailer", "x-frame-options"]);
    }

    #[test]
    fn only_a_path_from_the_root_is_relocated() {
        let relocated = |location: &str| {
            let mut answer = headers(&[("location", location)]);
            filter(&mut answer, Some(&public())).unwrap();
            all(&answer, "location")[0].to_owned()
        };
        assert_eq!(relocated("/target?x=1"), format!("{PREFIX}/target?x=1"));
        for kept in ["http://other.example/x", "//other.example/x", "rel", "?q", ""] {
            assert_eq!(relocated(kept), kept);
        }
    }

    #[test]
    fn each_of_several_redirects_is_relocated() {
        let mut answer =
            headers(&[("location", "/a"), ("location", "//x/b"), ("location", "/c"), ("location", "/v1/d")]);
        filter(&mut answer, Some(&public())).unwrap();
        let below = |path: &str| format!("{PREFIX}{path}");
        assert_eq!(all(&answer, "location"), [&below("/a"), "//x/b", &below("/c"), &below("/v1/d")]);
    }

    #[test]
    fn what_is_rewritten_is_given_up_as_soon_as_it_is_too_long() {
        for name in ["set-cookie", "location"] {
            let mut answer = headers(&[(name, "/; Path=/")].repeat(256));
            let long = Public { prefix: format!("/{}", "x".repeat(1_000)), is_root: true };
            assert!(matches!(filter(&mut answer, Some(&long)), Err(Failure::Malformed(_))), "{name}");
            assert!(length(&answer) <= MAX_HEAD, "{name}: {} bytes were made", length(&answer));
        }
    }

    #[test]
    fn a_service_worker_gets_no_further_than_its_sandbox() {
        for value in ["/", "/app/", "../../../../..", "/v1/sandboxes/y/proxy/80/", "", "https://x/"] {
            let mut answer = headers(&[("service-worker-allowed", value), ("service-worker-allowed", "/")]);
            filter(&mut answer, Some(&public())).unwrap();
            assert_eq!(all(&answer, "service-worker-allowed"), [format!("{PREFIX}/")], "{value}");
        }
    }

    #[test]
    fn without_a_public_place_nothing_is_set_in_a_browser() {
        let mut answer = headers(&[("set-cookie", "a=1"), ("service-worker-allowed", "/"), ("location", "/x")]);
        filter(&mut answer, None).unwrap();
        assert_eq!(answer, headers(&[("location", "/x")]));
    }

    #[test]
    fn what_is_rewritten_is_bounded() {
        let cookies: Vec<_> = (0..256).map(|_| ("set-cookie", "a=1; Path=/")).collect();
        let mut answer = headers(&cookies);
        filter(&mut answer, Some(&public())).unwrap();
        assert!(length(&answer) < 256 * 100);
        let long = Public { prefix: format!("/{}", "x".repeat(1_000)), is_root: false };
        assert!(matches!(filter(&mut headers(&cookies), Some(&long)), Err(Failure::Malformed(_))));
        let one = Public { prefix: format!("/{}", "x".repeat(MAX_HEAD)), is_root: false };
        for line in [("location", "/"), ("service-worker-allowed", "/")] {
            assert!(filter(&mut headers(&[line]), Some(&one)).is_err(), "{line:?}");
        }
        let mut answer = headers(&[("set-cookie", "a=1; Path=/")]);
        filter(&mut answer, Some(&one)).unwrap();
        assert!(answer.is_empty(), "no client would heed its path");
    }

    #[test]
    fn what_ends_in_the_head_does_not_come_behind_the_body() {
        let may = |name: &str| may_trail(&HeaderName::from_bytes(name.as_bytes()).unwrap());
        for name in ["grpc-status", "grpc-message", "x-sum", "etag", "server-timing", "digest", "content-digest"] {
            assert!(may(name), "{name}");
        }
        for name in [
            "set-cookie",
            "content-length",
            "content-type",
            "transfer-encoding",
            "connection",
            "access-control-allow-origin",
            "access-control-max-age",
            "clear-site-data",
            "alt-svc",
            "nel",
            "location",
            "x-accel-redirect",
            "x-accel-buffering",
            "x-request-id",
            "server",
            "content-security-policy",
            "sec-websocket-accept",
            "open-sandbox-origin",
        ] {
            assert!(!may(name), "{name}");
        }
    }

    #[test]
    fn trailers_that_may_not_trail_are_taken_out() {
        let passed = |lines: &[(&str, &str)]| {
            filter_trailers(Frame::trailers(headers(lines))).map(|frame| frame.into_trailers().unwrap())
        };
        assert_eq!(passed(&[("x-sum", "1"), ("set-cookie", "a=1")]), Some(headers(&[("x-sum", "1")])));
        assert_eq!(passed(&[("set-cookie", "a=1")]), None);
    }

    #[test]
    fn a_head_of_many_names_in_connection_costs_little() {
        let names: String = (0..40_000).map(|number| format!("{number:x},")).collect();
        let mut answer = headers(&[("connection", &names)]);
        for number in 0..250 {
            answer.append(HeaderName::try_from(format!("x-accel-{number}")).unwrap(), HeaderValue::from_static("1"));
        }
        let start = std::time::Instant::now();
        filter(&mut answer, Some(&public())).unwrap();
        assert!(answer.is_empty() && start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
    }
}
