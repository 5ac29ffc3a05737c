//! The client: the other end of the connection, or whom a trusted proxy names there.

pub mod trusted;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use self::trusted::TrustedProxies;

/// The clients that the proxies before us had, the nearest last.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The scheme by which the client asked.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Most entries of `X-Forwarded-For` that are looked at: no chain of proxies is as long.
const MAX_HOPS: usize = 64;

/// A client's address, also as text that was made once.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address; the port is 0 when a proxy told the address without one.
    pub address: SocketAddr,
    /// Its IP address, an IPv4 address in IPv6 as IPv4, as it stands in `X-Forwarded-For`.
    pub ip: HeaderValue,
    /// Whether it asked by HTTPS: by this connection, or as a trusted proxy tells.
    pub is_https: bool,
    /// Whether it is a proxy that is believed what it says of its client.
    is_trusted: bool,
}

impl Peer {
    /// The peer at `address`, where `proxies` are trusted.
    pub fn new(address: SocketAddr, proxies: &TrustedProxies) -> Self {
        Self { is_trusted: proxies.trusts(address.ip()), ..Self::at(address) }
    }

    /// The same peer on a connection with TLS, or on one without.
    #[must_use]
    pub fn over_tls(self, is_https: bool) -> Self {
        Self { is_https, ..self }
    }

    fn at(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical().to_string();
        let ip = HeaderValue::try_from(ip).expect("an address is visible ASCII");
        Self { address, ip, is_https: false, is_trusted: false }
    }

    /// The client of a request with these fields that came from here: this peer, or whom it names if it is trusted to.
    ///
    /// `X-Forwarded-For` is read from its end, where the nearest proxy has written; the first address that is no trusted
    /// proxy's is the client's, and if all are trusted it is the first of the list. What is no address ends the reading: who
    /// stood there is not known.
    pub fn client(&self, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        if !self.is_trusted {
            return self.clone();
        }
        let told = told_client(headers, proxies).map_or_else(|| self.clone(), Self::at);
        let proto = headers.get_all(FORWARDED_PROTO).iter().next_back().map(|proto| proto.as_bytes().trim_ascii());
        // A proxy that tells no scheme used that of its connection.
        let is_https = proto.map_or(self.is_https, |proto| matches!(proto, b"https" | b"wss"));
        Self { is_https, ..told }
    }
}

/// The client as the trusted proxies before us tell it.
fn told_client(headers: &HeaderMap, proxies: &TrustedProxies) -> Option<SocketAddr> {
    let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    if proxies.trusts_everyone() {
        return lines.flat_map(|line| line.split(',')).find(|hop| !hop.trim().is_empty()).and_then(hop_address);
    }
    let mut told = None;
    let hops = lines.rev().flat_map(|line| line.rsplit(',')).filter(|hop| !hop.trim().is_empty());
    for hop in hops.take(MAX_HOPS) {
        let Some(address) = hop_address(hop) else { break };
        told = Some(address);
        if !proxies.trusts(address.ip()) {
            break;
        }
    }
    told
}

/// The address of an entry: `10.0.0.1`, `10.0.0.1:80`, `fd00::1`, `[fd00::1]` or `[fd00::1]:80`.
fn hop_address(hop: &str) -> Option<SocketAddr> {
    let hop = hop.trim();
    let bare = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let alone = || hop.parse().ok().or_else(bare).map(|ip| SocketAddr::new(ip, 0));
    let address: SocketAddr = alone().or_else(|| hop.parse().ok())?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, trusted: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
        let (proxies, _) = TrustedProxies::parse(trusted);
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let client = Peer::new(peer.parse().unwrap(), &proxies).client(&headers, &proxies);
        assert_eq!(client.ip, client.address.ip().to_canonical().to_string());
        (client.address.to_string(), client.is_https)
    }

    fn told(trusted: &str, list: &str) -> String {
        client("127.0.0.1:5", trusted, &[("x-forwarded-for", list)]).0
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let lines = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "https")];
        for (peer, trusted, expected) in [
            ("127.0.0.1:5", "127.0.0.1", ("9.9.9.9:0", true)),
            ("[::ffff:127.0.0.1]:5", "127.0.0.1", ("9.9.9.9:0", true)),
            ("10.0.0.1:5", "127.0.0.1", ("10.0.0.1:5", false)),
            ("10.0.0.1:5", "10.0.0.0/8", ("9.9.9.9:0", true)),
            ("10.0.0.1:5", "*", ("9.9.9.9:0", true)),
            ("127.0.0.1:5", "10.0.0.0/8", ("127.0.0.1:5", false)),
            ("127.0.0.1:5", "", ("127.0.0.1:5", false)),
        ] {
            let (address, is_https) = client(peer, trusted, &lines);
            assert_eq!((address.as_str(), is_https), expected, "{peer} {trusted}");
        }
    }

    #[test]
    fn the_last_that_is_not_trusted_is_the_client() {
        let here = "127.0.0.1, 10.0.0.0/8";
        for (list, expected) in [
            ("1.1.1.1, 2.2.2.2, 127.0.0.1", "2.2.2.2:0"),
            ("1.1.1.1,10.0.0.2 , 10.0.0.3", "1.1.1.1:0"),
            ("10.0.0.2, 127.0.0.1", "10.0.0.2:0"),
            ("127.0.0.1", "127.0.0.1:0"),
            ("3.3.3.3:443", "3.3.3.3:443"),
            ("[fd00::1]:443", "[fd00::1]:443"),
            ("[fd00::1]", "[fd00::1]:0"),
            ("FD00::1", "[fd00::1]:0"),
            ("::ffff:1.2.3.4", "1.2.3.4:0"),
            // What stands before it may be anyone's.
            ("1.1.1.1, unknown, 10.0.0.2", "10.0.0.2:0"),
            ("1.1.1.1, unknown", "127.0.0.1:5"),
            ("\"] forged\"", "127.0.0.1:5"),
            (" , ", "127.0.0.1:5"),
            ("", "127.0.0.1:5"),
        ] {
            assert_eq!(told(here, list), expected, "{list}");
        }
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2, 10.0.0.2")];
        assert_eq!(client("127.0.0.1:5", here, &lines).0, "2.2.2.2:0");
        assert_eq!(told("*", "1.1.1.1, 2.2.2.2"), "1.1.1.1:0");
        assert_eq!(told("*", "junk, 2.2.2.2"), "127.0.0.1:5");
    }

    #[test]
    fn a_long_list_is_read_from_its_end_and_not_to_its_beginning() {
        assert_eq!(told("127.0.0.1", &format!("9.9.9.9{}", ",127.0.0.1".repeat(5_000))), "127.0.0.1:0");
        assert_eq!(told("127.0.0.1", &format!("{}9.9.9.9", "8.8.8.8,".repeat(5_000))), "9.9.9.9:0");
    }

    #[test]
    fn the_scheme_is_one_of_four_words_and_the_last_told() {
        let https = |lines: &[(&'static str, &str)]| client("127.0.0.1:5", "127.0.0.1", lines).1;
        for (value, expected) in [
            ("https", true),
            (" wss ", true),
            ("http", false),
            ("ws", false),
            ("HTTPS", false),
            ("https, http", false),
            ("", false),
        ] {
            assert_eq!(https(&[("x-forwarded-proto", value)]), expected, "{value}");
        }
        assert!(https(&[("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")]));
        assert!(!https(&[]));
    }

    #[test]
    fn the_scheme_is_the_connection_s_unless_a_trusted_proxy_tells_another() {
        let (proxies, _) = TrustedProxies::parse("127.0.0.1");
        let https = |peer: &str, told: Option<&'static str>| {
            let told = told.map(|told| (FORWARDED_PROTO, HeaderValue::from_static(told)));
            Peer::new(peer.parse().unwrap(), &proxies)
                .over_tls(true)
                .client(&HeaderMap::from_iter(told), &proxies)
                .is_https
        };
        assert!(https("127.0.0.1:5", None) && https("10.0.0.1:5", Some("http")));
        assert!(!https("127.0.0.1:5", Some("http")));
    }
}
