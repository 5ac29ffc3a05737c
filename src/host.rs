//! Hosts as URLs, `Host` and settings have them: a name, an IPv4 address, or an IPv6 address, which stands in brackets wherever
//! a port may follow.

use std::net::{IpAddr, Ipv6Addr};

use http::uri::Authority;

/// A host with or without a port, and nothing else (RFC 9110 §7.2): no user stands before it.
pub fn authority(text: &str) -> Option<Authority> {
    text.parse().ok().filter(|_| !text.contains('@'))
}

/// A host without its brackets, if it has a pair of them.
pub fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// A host as it stands before a port.
pub fn with_brackets(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Whether a host, with or without brackets, is this machine by its very name.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || without_brackets(host).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for text in ["localhost", "gw.example:8080", "127.0.0.1:1", "[::1]:8080"] {
            assert!(authority(text).is_some(), "{text}");
        }
        for text in ["", "a b", "evil.example/x", "evil.example?x", "u@evil.example", "evil.example#", "a:b:c"] {
            assert!(authority(text).is_none(), "{text}");
        }
    }

    #[test]
    fn brackets_are_of_ipv6_addresses() {
        for (bare, bracketed) in [("::1", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("gw.example", "gw.example")] {
            assert_eq!((with_brackets(bare).as_str(), without_brackets(bracketed)), (bracketed, bare));
        }
        assert_eq!((without_brackets("[::1"), with_brackets("[::1]").as_str()), ("[::1", "[::1]"));
    }

    #[test]
    fn loopback_is_a_name_and_two_families() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "0.0.0.0", "::", "10.0.0.1", "localhost.evil", "127.0.0.1.evil", "[localhost]x"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
