//! Who may call a gateway whose sandboxes are processes of its user: no page of another site.
//!
//! A browser lets any page send requests to this machine, and cross-origin rules that allow everyone would let it read the
//! answers. `Origin` tells the page, `Sec-Fetch-Site` how far away it is where `Origin` is not sent (images, links, scripts);
//! `Host` tells the name by which this machine was reached, which a page may have made point here itself (DNS rebinding).
//! No page can choose any of the three. A program that is no browser sends `Host` alone.

use http::{HeaderMap, HeaderName, Request, Version, header, uri::Authority};

use crate::host;

pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether neither the page nor the name, as far as the request tells them, is another machine's.
pub fn is_local<B>(req: &Request<B>) -> bool {
    let headers = req.headers();
    // Of two values a proxy before this program may take the other one.
    let (Ok(origin), Ok(host)) = (single(headers, &header::ORIGIN), single(headers, &header::HOST)) else {
        return false;
    };
    let names = [host, req.uri().authority().map(Authority::as_str)];
    names.into_iter().flatten().all(is_local_name)
        && match origin {
            // `Sec-Fetch-Site` is not asked here: localhost and 127.0.0.1 are two sites, and both are this machine.
            Some(origin) => is_local_origin(origin),
            None => headers.get_all(FETCH_SITE).iter().all(|site| is_near(site.as_bytes())),
        }
}

/// Whether the request names no more than one host. Of several, a proxy before this program may take another than a server
/// behind it. Over HTTP/2 `Host` may repeat `:authority`.
pub fn names_one_host<B>(req: &Request<B>) -> bool {
    let mut hosts = req.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next(), req.uri().authority()) {
        (_, Some(_), _) => false,
        (Some(host), None, Some(authority)) if req.version() == Version::HTTP_2 => {
            let host = without_port(host.as_bytes());
            host.eq_ignore_ascii_case(without_port(authority.as_str().as_bytes()))
        }
        _ => true,
    }
}

/// A name and its port, the latter only if it is not its scheme's own.
fn without_port(host: &[u8]) -> &[u8] {
    host.strip_suffix(b":80").or_else(|| host.strip_suffix(b":443")).unwrap_or(host)
}

/// The value of a header that may be there once. One that is not text names no place at all.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Several> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Several),
        (value, None) => Ok(value.map(|value| value.to_str().unwrap_or_default())),
    }
}

/// A header is there more than once.
pub(super) struct Several;

/// Whether a value of `Sec-Fetch-Site` excludes a page of another machine. `none` is an address that was typed, or a bookmark.
/// `same-site` is the very same name at any port here, since the names of this machine have no names below them.
fn is_near(site: &[u8]) -> bool {
    matches!(site, b"same-origin" | b"same-site" | b"none")
}

/// Whether a page is shown by a server of this machine. Pages of other schemes, such as those of extensions, choose their names.
fn is_local_origin(origin: &str) -> bool {
    let parts = origin.split_once("://");
    parts.is_some_and(|(scheme, authority)| matches!(scheme, "http" | "https") && is_local_name(authority))
}

fn is_local_name(name: &str) -> bool {
    host::authority(name).is_some_and(|authority| host::is_loopback(authority.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(headers: &[(&str, &str)]) -> bool {
        local_at("/", headers)
    }

    fn local_at(uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut req = Request::new(());
        *req.uri_mut() = uri.parse().expect("an address");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            req.headers_mut().append(name, value.parse().expect("a value"));
        }
        is_local(&req)
    }

    #[test]
    fn this_machines_names_and_pages_are_local() {
        assert!(local(&[]));
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "127.1.2.3"] {
            assert!(local(&[("host", host)]), "{host}");
            assert!(local(&[("host", host), ("origin", &format!("http://{host}"))]), "{host}");
            assert!(local_at(&format!("http://{host}/"), &[]), "{host}");
        }
    }

    #[test]
    fn other_pages_and_names_are_not() {
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil",
            "",
            "localhost",
            "http://evil.example@localhost",
            "http://localhost@evil.example",
            "http://localhost/x",
            "http://localhost http://evil.example",
            "tauri://localhost",
            "chrome-extension://localhost",
            "file://localhost",
            "file://",
        ] {
            assert!(!local(&[("host", "127.0.0.1:8080"), ("origin", origin)]), "{origin}");
        }
        for host in ["evil.example:8080", "10.0.0.1", "a b", "\u{e9}", "", "evil@localhost", "localhost@evil.example"] {
            assert!(!local(&[("host", host)]), "{host}");
        }
        assert!(!local_at("http://evil.example/", &[("host", "localhost")]));
        assert!(!local_at("http://evil@localhost/", &[("host", "localhost")]));
    }

    #[test]
    fn one_of_several_is_nobodys_word() {
        for (name, value) in [("host", "localhost"), ("origin", "http://localhost")] {
            assert!(local(&[(name, value)]) && !local(&[(name, value), (name, value)]), "{name}");
        }
    }

    /// As browsers send it with what needs no `Origin`: images, scripts, links, forms that only ask.
    #[test]
    fn a_foreign_page_without_its_name_is_none_of_this_machine() {
        let from = |site: &str| local(&[("host", "localhost:8080"), ("sec-fetch-site", site)]);
        assert!(from("same-origin") && from("same-site") && from("none"));
        assert!(!from("cross-site") && !from("") && !from("none, cross-site"));
        assert!(!local(&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]));
        // A page of localhost that calls 127.0.0.1; and one that only says so.
        let page = |origin| local(&[("host", "127.0.0.1"), ("sec-fetch-site", "cross-site"), ("origin", origin)]);
        assert!(page("http://localhost:3000") && !page("https://evil.example") && !page("null"));
        // Node's fetch.
        assert!(local(&[("host", "127.0.0.1"), ("sec-fetch-mode", "cors")]));
    }
}
