//! The other end of a connection.

use std::net::SocketAddr;

use http::HeaderValue;

/// A client's address, also as text that was made once.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address.
    pub address: SocketAddr,
    /// Its IP address, an IPv4 address in IPv6 as IPv4, as it stands in `X-Forwarded-For`.
    pub ip: HeaderValue,
}

impl Peer {
    /// The peer at `address`.
    pub fn new(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical().to_string();
        Self { address, ip: HeaderValue::try_from(ip).expect("an address is visible ASCII") }
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}
