//! Where a port of a sandbox can be reached (http-api.md §11, §12).

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

use super::{read, violation::Report};
use crate::{
    error::{Error, Family, Kind},
    secret::Secret,
};

/// The address that a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// `host[:port][/path]`, without a scheme.
    pub endpoint: String,
    /// Headers that a request to it must carry. Their values may be secrets, so this is not to be logged.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// The address that this program connects to on a client's behalf.
#[derive(Clone)]
pub struct Backend {
    /// `host:port`.
    pub authority: String,
    /// What comes before the client's path, such as `/proxy/8000`; often empty.
    pub path_prefix: String,
    /// Headers that are added to the request, such as the one that routes it.
    pub headers: Vec<(String, String)>,
    /// What the client's `OpenSandbox-Secure-Access` must be, if the sandbox is secured.
    pub secure_access: Option<Secret>,
    /// The token of the sandbox's egress sidecar, if it has one: only for requests about its network policy.
    pub egress_token: Option<Secret>,
}

/// The most digits of a port.
const MAX_DIGITS: usize = 5;

/// The longest text of a port, in bytes, with its sign, blanks, underscores and fraction.
const MAX_LENGTH: usize = 16;

/// Reads a port from a path. A number that is no port becomes 0, which [`check_port`] refuses: that is no mistake of the
/// request's form (http-api.md §11). One of more than five digits or 16 bytes is none, whatever its value: what a port is
/// written with comes back in every path and cookie that is put below it.
pub fn read_port(report: &mut Report, text: &str) -> Option<u16> {
    let digits = text.bytes().take_while(|byte| *byte != b'.').filter(u8::is_ascii_digit).count();
    read::any_integer(report, &Value::from(text)).map(|port| match u16::try_from(port) {
        Ok(port) if digits <= MAX_DIGITS && text.len() <= MAX_LENGTH => port,
        _ => 0,
    })
}

/// Checks a port that was read by [`read_port`].
///
/// # Errors
/// ([`Family::Endpoint`], [`Kind::Invalid`]) for 0.
pub fn check_port(port: u16) -> Result<(), Error> {
    let refused = || Error::new(Family::Endpoint, Kind::Invalid, "Port must be between 1 and 65535.");
    if port == 0 { Err(refused()) } else { Ok(()) }
}

impl Backend {
    /// A server that is reached without a prefix, further headers or secrets.
    pub fn plain(authority: String) -> Self {
        Self { authority, path_prefix: String::new(), headers: Vec::new(), secure_access: None, egress_token: None }
    }
}

impl fmt::Debug for Backend {
    /// Without the headers' values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("authority", &self.authority)
            .field("path_prefix", &self.path_prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_no_ports_are_not_malformed() {
        let read = |text: &str| {
            let mut report = Report::new("path");
            let port = read_port(&mut report, text);
            report.finish(port).ok().flatten()
        };
        for (text, port) in [("80", 80), ("+80", 80), (" 8_0", 80), ("80.0", 80), ("65535", 65_535), ("00080", 80)] {
            assert_eq!(read(text), Some(port), "{text}");
        }
        for text in ["0", "-1", "65536", "99999999999999999999999", "000080", "0_0_0_0_8_0", "+000080.0"] {
            assert_eq!(read(text), Some(0), "{text}");
        }
        let padded = [
            format!("80.{}", "0".repeat(40_000)),
            format!("{}80", " ".repeat(10_000)),
            format!("80{}", "\u{3000}".repeat(10)),
        ];
        for text in padded {
            assert_eq!(read(&text), Some(0), "{} bytes", text.len());
        }
        assert_eq!((read("80.0000000000000"), read("80.00000000000000")), (Some(80), Some(0)));
        assert_eq!((read("abc"), read(""), read("8080.5")), (None, None, None));
        assert!(check_port(0).is_err() && check_port(1).is_ok());
    }
}
