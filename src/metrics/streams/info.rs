//! Who reads what.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use crate::{keys::KeyName, metrics::labels::StreamFormat};

/// Longest `User-Agent` that is kept, in characters.
const MAX_AGENT: usize = 100;

/// Who reads what.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// The sandbox's id.
    pub sandbox: Arc<str>,
    /// Whether the stream goes on with what comes.
    pub follow: bool,
    /// What it is made of.
    pub format: StreamFormat,
    /// The client, as the access log names it.
    pub client: ClientAddress,
    /// The name of the key that it presented, if one was needed.
    pub key: Option<KeyName>,
    /// What the client says it is; see [`StreamInfo::agent`].
    pub agent: Option<Box<str>>,
    /// When the request came.
    pub begun: Instant,
}

/// A client's address. A [`SocketAddr`] has fields that no log shows, and would make each stream's entry larger.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress {
    ip: IpAddr,
    port: u16,
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip(), port: address.port() }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

impl StreamInfo {
    /// The beginning of a `User-Agent`, whatever its bytes: at most 100 characters.
    pub fn agent(header: &[u8]) -> Box<str> {
        // No more than the longest that so many characters can be need be decoded.
        let bytes = &header[..header.len().min(4 * MAX_AGENT)];
        String::from_utf8_lossy(bytes).chars().take(MAX_AGENT).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_agent_is_cut_and_decoded() {
        assert_eq!(&*StreamInfo::agent(b"curl/8\xff"), "curl/8\u{fffd}");
        assert_eq!(StreamInfo::agent("\u{e9}".repeat(9000).as_bytes()).chars().count(), MAX_AGENT);
    }
}
