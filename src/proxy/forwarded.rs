//! What a backend is told of the client: the scheme, the name and the address by which the gateway was asked.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::peer::Peer;

const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who asked, and how.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// `http` or `https`.
    pub proto: &'static str,
    /// The name that the client used.
    pub host: Option<HeaderValue>,
    /// The client's address.
    pub client: HeaderValue,
}

impl Forwarded {
    /// What is known of the client at `peer` that sent these fields. Only a proxy on this machine is believed what it says
    /// of its own client (http-api.md §2).
    pub fn of(peer: &Peer, uri: &Uri, headers: &HeaderMap) -> Self {
        let is_trusted = peer.is_local();
        let is_https = is_trusted && headers.get(PROTO).is_some_and(|proto| proto == "https" || proto == "wss");
        let authority = || uri.authority().and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
        Self {
            proto: if is_https { "https" } else { "http" },
            host: headers.get(header::HOST).cloned().or_else(authority),
            client: told_client(headers).filter(|_| is_trusted).unwrap_or_else(|| peer.ip.clone()),
        }
    }

    /// Writes it into the head for the backend.
    pub(super) fn tell(&self, out: &mut HeaderMap) {
        out.insert(PROTO, HeaderValue::from_static(self.proto));
        if let Some(host) = &self.host {
            out.insert(HOST, host.clone());
        }
        out.insert(FOR, self.client.clone());
    }
}

/// The client as the proxies before us tell it: the last of them that is not on this machine, else the first.
fn told_client(headers: &HeaderMap) -> Option<HeaderValue> {
    let lists = headers.get_all(FOR).iter().filter_map(|value| value.to_str().ok());
    let told: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).filter(|one| !one.is_empty()).collect();
    let is_here = |one: &&str| one.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    told.iter().rev().find(|one| !is_here(one)).or(told.first()).and_then(|one| HeaderValue::from_str(one).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, lines: &[(&'static str, &'static str)]) -> (&'static str, HeaderValue) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let forwarded = Forwarded::of(&Peer::new(peer.parse().expect("an address")), &Uri::from_static("/"), &headers);
        (forwarded.proto, forwarded.client)
    }

    #[test]
    fn only_a_proxy_on_this_machine_is_believed() {
        let told = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "https")];
        assert_eq!(of("127.0.0.1:1", &told), ("https", HeaderValue::from_static("9.9.9.9")));
        assert_eq!(of("10.0.0.1:1", &told), ("http", HeaderValue::from_static("10.0.0.1")));
        assert_eq!(of("[::ffff:10.0.0.1]:1", &[]), ("http", HeaderValue::from_static("10.0.0.1")));
    }

    #[test]
    fn the_last_that_is_not_here_is_the_client() {
        let client = |list| of("127.0.0.1:1", &[("x-forwarded-for", list)]).1;
        assert_eq!(client("1.1.1.1, 2.2.2.2, 127.0.0.1"), "2.2.2.2");
        assert_eq!(client("127.0.0.1"), "127.0.0.1");
        assert_eq!(client(" , "), "127.0.0.1");
    }
}
