//! `[ui]`: the listener of the browser viewer. The Python server has no such section.

use http::uri::Authority;

use super::{metrics::Listen, section::Section};
use crate::host;

/// Most names in `ui.hosts`: every request is compared with each.
const MAX_HOSTS: usize = 64;

/// `[ui]`: the page on which people watch sandboxes print, on a listener of its own.
#[derive(Debug, Clone)]
pub struct Ui {
    /// Where to listen, as `host:port`; an IPv6 address stands in brackets. Default none: there is no viewer.
    pub listen: Option<Listen>,
    /// Names besides the listener's own by which browsers reach it, such as that of a proxy in front: at most 64. One
    /// without a port is meant with any. Default none.
    pub hosts: Vec<Authority>,
}

impl Ui {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let listen = Listen::read(section, "127.0.0.1:8081", "[::1]:8081");
        let mut hosts = Vec::new();
        for (number, text) in section.texts("hosts").unwrap_or_default().iter().enumerate() {
            if number == MAX_HOSTS {
                section.fail("hosts", format_args!("there are more than {MAX_HOSTS}"));
                break;
            }
            match host::authority(text.trim()).filter(is_plain) {
                Some(host) if matches!(host.port_u16(), Some(80 | 443)) => section.fail(
                    &format!("hosts[{number}]"),
                    format_args!(
                        "must be '{}', without the port: browsers leave out 80 and 443, and a name without a port is meant with any",
                        host.host()
                    ),
                ),
                Some(host) => hosts.push(host),
                None => section.fail(
                    &format!("hosts[{number}]"),
                    "must be a name or an address as browsers show it, with or without a port, such as \
                     'logs.example.com'; there are no wildcards",
                ),
            }
        }
        if listen.is_none() && !hosts.is_empty() {
            section.warn("hosts", "has no effect without ui.listen");
        }
        Self { listen, hosts }
    }
}

/// Whether a host has nothing in it that only looks like a pattern or a port.
fn is_plain(authority: &Authority) -> bool {
    let host = authority.host();
    let has_port = authority.as_str().len() > host.len();
    !host.is_empty() && !host.contains('*') && (!has_port || authority.port_u16().is_some_and(|port| port != 0))
}
