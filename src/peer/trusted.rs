//! The proxies that are believed what they say of their clients: `FORWARDED_ALLOW_IPS`, as uvicorn reads it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Most entries that are kept of the list: each is compared with every connection's peer.
const MAX_ENTRIES: usize = 256;

/// The addresses and networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    everyone: bool,
    networks: Vec<IpNet>,
}

impl Default for TrustedProxies {
    /// This machine: `127.0.0.1` and `::1`.
    fn default() -> Self {
        Self::parse("127.0.0.1,::1").0
    }
}

impl TrustedProxies {
    /// Reads a list of addresses and networks, divided by commas: `10.0.0.1, 10.1.0.0/16, fd00::/8`. Exactly `*` is everyone, and
    /// nothing is nobody. Gives besides what was passed over, one line an entry: what is no address, such as the path of a unix
    /// socket, can be nobody's here, and a network has no bits of a host.
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        if text == "*" {
            return (Self { everyone: true, networks: Vec::new() }, warnings);
        }
        let mut networks = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match network(entry) {
                Ok(_) if networks.len() == MAX_ENTRIES => {
                    warnings.push(format!("has more than {MAX_ENTRIES} entries; those after them are ignored"));
                    break;
                }
                Ok(network) => networks.push(network),
                // Bounded, like the entries themselves.
                Err(_) if warnings.len() == MAX_ENTRIES => break,
                Err(why) => warnings.push(format!("the entry {:?} is ignored: {why}", shortened(entry))),
            }
        }
        (Self { everyone: false, networks }, warnings)
    }

    /// Whether everyone is trusted.
    pub fn trusts_everyone(&self) -> bool {
        self.everyone
    }

    /// Whether `address` is a trusted proxy's. An IPv4 address in IPv6 is the IPv4 address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.everyone || self.networks.iter().any(|network| network.contains(&address))
    }
}

/// An address or a network.
fn network(entry: &str) -> Result<IpNet, &'static str> {
    if entry == "*" {
        return Err("`*` means everyone only when it stands alone, without blanks");
    }
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network = entry.parse().ok().or_else(|| with_netmask(entry)).ok_or("it is no IP address and no network")?;
    if network.trunc() == network { Ok(network) } else { Err("the network has bits of a host set") }
}

/// `10.0.0.0/255.0.0.0`.
fn with_netmask(entry: &str) -> Option<IpNet> {
    let (address, mask) = entry.split_once('/')?;
    Ipv4Net::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok().map(IpNet::from)
}

fn shortened(entry: &str) -> String {
    entry.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(text: &str) -> TrustedProxies {
        let (proxies, warnings) = TrustedProxies::parse(text);
        assert_eq!(warnings, [""; 0], "{text}");
        proxies
    }

    #[test]
    fn addresses_and_networks_are_trusted_and_no_others() {
        for (text, yes, no) in [
            ("127.0.0.1", &["127.0.0.1", "::ffff:127.0.0.1"][..], &["127.0.0.2", "::1", "10.0.0.1"][..]),
            (" 10.0.0.0/8 ,192.168.1.7,", &["10.255.0.1", "192.168.1.7"], &["11.0.0.1", "192.168.1.8", "127.0.0.1"]),
            ("fd00::/8, ::1", &["fd12::1", "::1"], &["fe00::1", "::2", "127.0.0.1"]),
            ("10.0.0.0/255.255.0.0", &["10.0.3.4"], &["10.1.0.0"]),
            ("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]),
            ("0.0.0.0/0", &["8.8.8.8", "::ffff:8.8.8.8"], &["::1"]),
            ("*", &["8.8.8.8", "fd12::1"], &[]),
            ("", &[], &["127.0.0.1", "::1"]),
            (" , ", &[], &["127.0.0.1"]),
        ] {
            let proxies = trusted(text);
            for (addresses, expected) in [(yes, true), (no, false)] {
                for address in addresses {
                    assert_eq!(proxies.trusts(address.parse().unwrap()), expected, "{text:?} {address}");
                }
            }
        }
        let default = TrustedProxies::default();
        assert!(default.trusts("127.0.0.1".parse().unwrap()) && default.trusts("::1".parse().unwrap()));
        assert!(!default.trusts("127.0.0.2".parse().unwrap()) && !default.trusts_everyone());
    }

    #[test]
    fn what_is_no_address_trusts_nobody_and_is_told() {
        for text in [
            "unix:/run/nginx.sock",
            "/run/x",
            "localhost",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "1.2.3",
            "10.0.0.0/255.0.255.0",
        ] {
            let (proxies, warnings) = TrustedProxies::parse(text);
            assert_eq!(proxies, trusted(""), "{text}");
            assert!(warnings.len() == 1 && warnings[0].contains(text), "{warnings:?}");
        }
        let (proxies, warnings) = TrustedProxies::parse("*, 10.0.0.1, bad\n");
        assert!(!proxies.trusts_everyone() && proxies.trusts("10.0.0.1".parse().unwrap()));
        assert!(warnings.len() == 2 && warnings[0].contains("alone") && !warnings[1].contains('\n'), "{warnings:?}");
    }

    #[test]
    fn a_list_has_a_bounded_length() {
        let (proxies, warnings) = TrustedProxies::parse(&"10.0.0.1,".repeat(100_000));
        assert_eq!((proxies.networks.len(), warnings.len()), (MAX_ENTRIES, 1));
        let (proxies, warnings) = TrustedProxies::parse(&"x".repeat(1_000_000).replace("xxxx", "xxx,"));
        assert_eq!((proxies.networks.len(), warnings.len()), (0, MAX_ENTRIES));
    }
}
