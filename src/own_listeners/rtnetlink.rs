//! The kernel's own answer to where an address leads: `RTM_GETROUTE` of rtnetlink(7).
//!
//! Neither a socket that can be bound (`net.ipv4.ip_nonlocal_bind`) nor a list of the interfaces' addresses tells it: whole
//! ranges can be the machine's own (`ip route add local 10.8.0.0/16 dev lo`), and the list grows with every sandbox. One
//! message each way, which the kernel answers while it is being sent.

use std::{io, net::IpAddr};

use rustix::{io::Errno, net::AddressFamily};

use crate::netlink::{Answer, Netlink};

/// `RTM_NEWROUTE`, the type of the answer.
const NEWROUTE: u16 = 24;

/// `RTM_GETROUTE`, the type of the question.
const GETROUTE: u16 = 26;

/// `RTA_DST` and `RTA_OIF`, the attributes of the question: the address, and the interface of one that needs it.
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;

/// `RTN_LOCAL`, the type of a route to this machine.
const LOCAL: u8 = 2;

/// Where `rtm_type` is in an answer.
const TYPE_AT: usize = 7;

/// Whether packets to `ip` are delivered on this machine. `scope` is the interface of a link-local address, or 0.
///
/// # Errors
///
/// The kernel cannot be asked (a sandbox without `AF_NETLINK`), or its answer is none.
pub(super) fn is_local(ip: IpAddr, scope: u32) -> io::Result<bool> {
    read(&Netlink::open(None)?.ask(GETROUTE, &question(ip, scope))?)
}

/// Asks for the route to `ip`.
fn question(ip: IpAddr, scope: u32) -> Vec<u8> {
    let (family, bytes) = match ip {
        IpAddr::V4(ip) => (AddressFamily::INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AddressFamily::INET6, ip.octets().to_vec()),
    };
    // `rtmsg`: the family, how many bits of the address count, and ten bytes that are for the kernel to fill in.
    let mut body = vec![family.as_raw() as u8, bytes.len() as u8 * 8];
    body.extend([0; 10]);
    attribute(&mut body, DESTINATION, &bytes);
    if scope > 0 {
        attribute(&mut body, INTERFACE, &scope.to_ne_bytes());
    }
    body
}

/// Appends an attribute whose value is a multiple of four bytes long, so that none has to be filled up.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend((value.len() as u16 + 4).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
}

/// Reads the answer. An address that there is no route to is not this machine's.
fn read(answer: &Answer<'_>) -> io::Result<bool> {
    let unreachable = [Errno::NETUNREACH, Errno::HOSTUNREACH].map(Errno::raw_os_error);
    match answer {
        Answer::Message(NEWROUTE, body) if body.len() > TYPE_AT => Ok(body[TYPE_AT] == LOCAL),
        Answer::Refusal(code) if unreachable.contains(code) => Ok(false),
        answer => Err(answer.error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        net::{TcpListener, UdpSocket},
        process::Command,
    };

    use super::*;

    /// Set for the test when it runs in a network of its own, to the number of its interface.
    const IN_NAMESPACE: &str = "OWN_LISTENERS_TEST_INTERFACE";

    /// A network whose addresses can all be bound, with a link to `10.9.0.2` as to a sandbox.
    const NETWORK: &str = "set -e
        echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind
        echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
        ip link set lo up
        ip link add v0 type veth peer name v1
        ip link set v0 up
        ip link set v1 up
        ip addr add 10.9.0.1/24 dev v0
        ip addr add fe80::5/64 dev v0 nodad
        ip route add local 10.8.0.0/24 dev lo
        exec env $VARIABLE=$(ip -o link show v0 | cut -d: -f1) \"$@\"";

    #[test]
    fn where_every_address_can_be_bound_only_the_machine_s_are_local() {
        let Ok(interface) = env::var(IN_NAMESPACE) else {
            assert!(rustix::process::geteuid().is_root(), "this test makes a network: run the tests as root");
            let name = concat!(module_path!(), "::where_every_address_can_be_bound_only_the_machine_s_are_local");
            let (_, name) = name.split_once("::").unwrap();
            let mut command = Command::new("unshare");
            command.args(["--net", "sh", "-c", NETWORK, "sh"]).arg(env::current_exe().unwrap());
            command.args([name, "--exact", "--nocapture"]).env("VARIABLE", IN_NAMESPACE);
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        };
        let interface: u32 = interface.parse().unwrap();
        let at = |ip: &str, scope| is_local(ip.parse().unwrap(), scope).unwrap();
        for (ip, scope, expected) in [
            ("10.9.0.1", 0, true),
            ("10.8.0.7", 0, true),
            ("127.9.9.9", 0, true),
            ("::1", 0, true),
            ("fe80::5", interface, true),
            ("10.9.0.2", 0, false),
            ("192.0.2.1", 0, false),
            ("fe80::6", interface, false),
            ("fe80::6", 0, false),
            ("2001:db8::1", 0, false),
        ] {
            assert_eq!(at(ip, scope), expected, "{ip} {scope}");
        }
        assert!(UdpSocket::bind("10.9.0.2:0").is_ok(), "else the test shows nothing");
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let own = listener.local_addr().unwrap();
        super::super::add(own);
        let reaches = |ip: &str| super::super::contains((ip.parse::<IpAddr>().unwrap(), own.port()).into()).unwrap();
        assert!(reaches("10.9.0.1") && reaches("127.0.0.1") && !reaches("10.9.0.2") && !reaches("fe80::6"));
    }

    #[test]
    fn what_is_no_route_is_a_failure() {
        for answer in [Answer::Message(0, &[0; 12]), Answer::Message(NEWROUTE, &[0; 7]), Answer::Refusal(0)] {
            assert!(read(&answer).is_err(), "{answer:?}");
        }
        assert!(!read(&Answer::Refusal(Errno::NETUNREACH.raw_os_error())).unwrap());
        let error = read(&Answer::Refusal(Errno::PERM.raw_os_error())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
