//! Who may call a gateway whose sandboxes are processes of its user: no page of another site.
//!
//! A browser lets any page send requests to this machine, and cross-origin rules that allow everyone would let it read the
//! answers. `Origin` tells the page; `Host` tells the name by which this machine was reached, which a page may have made
//! point here itself (DNS rebinding).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Request, header, uri::Authority};

/// Whether neither the page nor the name, as far as the request tells them, is another machine's.
pub fn is_local<B>(req: &Request<B>) -> bool {
    let origin = text(req.headers(), &header::ORIGIN).is_none_or(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_some_and(is_local_name)
    });
    let host = text(req.headers(), &header::HOST).or(req.uri().authority().map(Authority::as_str));
    origin && host.is_none_or(is_local_name)
}

/// A header that is not text names no place at all.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn is_local_name(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(headers: &[(&str, &str)]) -> bool {
        let mut req = Request::new(());
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            req.headers_mut().insert(name, value.parse().expect("a value"));
        }
        is_local(&req)
    }

    #[test]
    fn this_machines_names_and_pages_are_local() {
        assert!(local(&[]));
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "127.1.2.3"] {
            assert!(local(&[("host", host)]), "{host}");
            assert!(local(&[("host", host), ("origin", &format!("http://{host}"))]), "{host}");
        }
    }

    #[test]
    fn other_pages_and_names_are_not() {
        for origin in ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil", ""] {
            assert!(!local(&[("host", "127.0.0.1:8080"), ("origin", origin)]), "{origin}");
        }
        for host in ["evil.example:8080", "10.0.0.1", "a b", "\u{e9}"] {
            assert!(!local(&[("host", host)]), "{host}");
        }
    }
}
