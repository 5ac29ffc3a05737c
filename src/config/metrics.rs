//! `[metrics]`: the listener that Prometheus scrapes. The Python server has no such section.

use std::fmt;

use super::section::Section;

/// `[metrics]`: what the server tells of itself, on a listener of its own.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where to listen, as `host:port`; an IPv6 address stands in brackets.
    /// Default none: nothing is measured, nothing listens.
    pub listen: Option<Listen>,
}

/// A host and a port to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// An address, without brackets, or a name.
    pub host: String,
    /// The TCP port, 1 to 65535.
    pub port: u16,
}

impl Metrics {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { listen: Listen::read(section, "127.0.0.1:9090", "[::1]:9090") }
    }
}

impl Listen {
    /// The key `listen` of a section, for which two examples are shown to whoever got it wrong.
    pub(super) fn read(section: &mut Section<'_>, example: &str, ipv6: &str) -> Option<Self> {
        let text = section.optional_text("listen")?;
        let listen = Self::parse(text.trim());
        if listen.is_none() {
            let rule = format_args!("must be a host and a port of 1 to 65535, such as '{example}' or '{ipv6}'");
            section.fail("listen", rule);
        }
        listen
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = inner.unwrap_or(host);
        // Colons outside of brackets may be an address without a port.
        let is_bare = inner.is_none() && host.contains(':');
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        if host.is_empty() || is_bare || !is_port || host.chars().any(|c| c.is_whitespace() || "[]/@".contains(c)) {
            return None;
        }
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Some(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_told_apart() {
        for (text, host, port) in [
            ("127.0.0.1:9090", "127.0.0.1", 9090),
            ("[::1]:1", "::1", 1),
            ("localhost:65535", "localhost", 65_535),
            ("0.0.0.0:9100", "0.0.0.0", 9100),
        ] {
            let listen = Listen::parse(text).expect(text);
            assert_eq!((listen.host.as_str(), listen.port, listen.to_string()), (host, port, text.to_owned()));
        }
        let long = format!("127.0.0.1:{}", "0".repeat(40_000));
        for text in [
            "9090",
            ":9090",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "::1:9090",
            "[::1]",
            "a b:1",
            "http://a:1",
            "a:+1",
            "[]:1",
            &long,
        ] {
            assert_eq!(Listen::parse(text), None, "{text}");
        }
    }
}
