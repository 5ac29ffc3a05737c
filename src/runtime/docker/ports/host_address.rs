//! The address of the engine's host, for clients and for this server's own proxy (docker-runtime.md §5).

use std::{
    env,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::Path,
};

use crate::{
    host::{is_loopback, with_brackets},
    runtime::docker::DockerOptions,
};

/// Files that container engines put into their containers.
const MARKER_FILES: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Variables by which container engines tell a container's processes what they are in.
const MARKER_VARIABLES: [&str; 2] = ["container", "CONTAINER"];

/// Their values.
const ENGINES: [&str; 6] = ["podman", "docker", "oci", "lxc", "lxc-libvirt", "systemd-nspawn"];

/// Any address beyond this machine: nothing is sent there.
const BEYOND: (Ipv4Addr, u16) = (Ipv4Addr::new(8, 8, 8, 8), 80);

/// The host of endpoints that clients are told.
pub(in crate::runtime::docker) fn public(options: &DockerOptions, is_contained: bool) -> String {
    if let Some(eip) = &options.eip {
        return eip.clone();
    }
    let host = options.host.trim();
    let is_wildcard = matches!(host, "" | "0.0.0.0" | "::" | "[::]");
    match &options.host_ip {
        Some(host_ip) if is_contained && (is_wildcard || is_loopback(host)) => host_ip.clone(),
        _ if is_wildcard => primary_address().unwrap_or(Ipv4Addr::LOCALHOST).to_string(),
        _ => with_brackets(host),
    }
}

/// What an operator should know of endpoints that no client may reach: a server in a container tells an address of the
/// container's own where it is not told the host's.
pub(in crate::runtime::docker) fn unreachable(options: &DockerOptions, is_contained: bool) -> Option<String> {
    let host = options.host.trim();
    let says_nothing = matches!(host, "" | "0.0.0.0" | "::" | "[::]") || is_loopback(host);
    if !is_contained || options.host_ip.is_some() || options.eip.is_some() || !says_nothing {
        return None;
    }
    let told = public(options, is_contained);
    Some(format!(
        "This server runs in a container, so that the host of the endpoints that it tells ({told}) is the container's own: \
         sandboxes' ports are published on the engine's host. Set docker.host_ip to the address of that host as clients see \
         it, or server.eip (not needed if the container shares the host's network)"
    ))
}

/// The host on which this server itself finds published ports: never the public one, which may lead through a gateway.
pub(in crate::runtime::docker) fn own(options: &DockerOptions, is_contained: bool) -> String {
    match &options.host_ip {
        Some(host_ip) if is_contained => host_ip.clone(),
        _ if options.publish_host.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        _ => options.publish_host.to_string(),
    }
}

/// Whether this server runs in a container itself.
pub(in crate::runtime::docker) fn is_contained() -> bool {
    let is_engine = |value: String| ENGINES.contains(&value.as_str());
    let is_told = MARKER_VARIABLES.iter().any(|name| env::var(name).is_ok_and(is_engine));
    is_told || MARKER_FILES.iter().any(|file| Path::new(file).exists())
}

/// The address from which this machine would speak to the world. Asked anew each time, since it may change.
fn primary_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(BEYOND).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(host: &str) -> DockerOptions {
        DockerOptions { host: host.to_owned(), ..DockerOptions::default() }
    }

    #[test]
    fn eip_goes_before_all_and_as_it_is() {
        let options = DockerOptions {
            eip: Some("https://gate.example/x".to_owned()),
            host_ip: Some("10.0.0.9".to_owned()),
            ..options("0.0.0.0")
        };
        assert_eq!(public(&options, true), "https://gate.example/x");
        assert_eq!(own(&options, false), "127.0.0.1");
    }

    #[test]
    fn a_host_that_says_nothing_becomes_the_machine_s() {
        for host in ["", "0.0.0.0", "::"] {
            let address: Ipv4Addr = public(&options(host), false).parse().unwrap();
            assert!(!address.is_unspecified(), "{host}");
        }
        assert_eq!(public(&options("127.0.0.1"), false), "127.0.0.1");
        assert_eq!(public(&options("box.example"), true), "box.example");
        assert_eq!(public(&options("::1"), false), "[::1]");
    }

    #[test]
    fn in_a_container_the_host_s_address_stands_in() {
        let with = |host: &str| DockerOptions { host_ip: Some("10.0.0.9".to_owned()), ..options(host) };
        for host in ["0.0.0.0", "::", "127.0.0.1", "localhost", "::1"] {
            assert_eq!(public(&with(host), true), "10.0.0.9", "{host}");
        }
        assert_eq!(public(&with("box.example"), true), "box.example");
        assert_eq!(public(&with("127.0.0.1"), false), "127.0.0.1");
        assert_eq!(public(&options("127.0.0.1"), true), "127.0.0.1", "without an address to stand in");
        assert_eq!(own(&with("x"), true), "10.0.0.9");
    }

    #[test]
    fn a_container_s_own_address_is_warned_of() {
        for host in ["0.0.0.0", "", "::", "127.0.0.1", "localhost", "[::1]"] {
            assert!(unreachable(&options(host), true).is_some_and(|text| text.contains("docker.host_ip")), "{host}");
            assert_eq!(unreachable(&options(host), false), None);
        }
        let known = Some("10.0.0.9".to_owned());
        assert_eq!(unreachable(&options("box.example"), true), None);
        assert_eq!(unreachable(&DockerOptions { host_ip: known.clone(), ..options("0.0.0.0") }, true), None);
        assert_eq!(unreachable(&DockerOptions { eip: known, ..options("0.0.0.0") }, true), None);
    }

    #[test]
    fn own_ports_are_where_they_are_published() {
        let published = DockerOptions { publish_host: Ipv4Addr::new(10, 1, 2, 3), ..options("0.0.0.0") };
        assert_eq!(own(&published, false), "10.1.2.3");
    }
}
