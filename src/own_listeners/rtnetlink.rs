//! The kernel's own answer to where an address leads: `RTM_GETROUTE` of rtnetlink(7).
//!
//! Neither a socket that can be bound (`net.ipv4.ip_nonlocal_bind`) nor a list of the interfaces' addresses tells it: whole
//! ranges can be the machine's own (`ip route add local 10.8.0.0/16 dev lo`), and the list grows with every sandbox. One
//! message each way, which the kernel answers while it is being sent.

use std::{io, net::IpAddr};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};

/// `RTM_NEWROUTE`, the type of the answer.
const NEWROUTE: u16 = 24;

/// `RTM_GETROUTE`, the type of the question.
const GETROUTE: u16 = 26;

/// `NLMSG_ERROR`, the type of an answer that is an error number.
const ERROR: u16 = 2;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// `RTA_DST` and `RTA_OIF`, the attributes of the question: the address, and the interface of one that needs it.
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;

/// `RTN_LOCAL`, the type of a route to this machine.
const LOCAL: u8 = 2;

/// Length of `nlmsghdr`, in bytes.
const HEADER: usize = 16;

/// Where `rtm_type` is in a message.
const TYPE_AT: usize = HEADER + 7;

/// Whether packets to `ip` are delivered on this machine. `scope` is the interface of a link-local address, or 0.
///
/// # Errors
///
/// The kernel cannot be asked (a sandbox without `AF_NETLINK`), or its answer is none.
pub(super) fn is_local(ip: IpAddr, scope: u32) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol: `NETLINK_ROUTE` is 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    send(&socket, &question(ip, scope), SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    read(&answer[..length])
}

/// Asks for the route to `ip`.
fn question(ip: IpAddr, scope: u32) -> Vec<u8> {
    let (family, bytes) = match ip {
        IpAddr::V4(ip) => (AddressFamily::INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AddressFamily::INET6, ip.octets().to_vec()),
    };
    let mut message = vec![0; HEADER];
    // `rtmsg`: the family, how many bits of the address count, and ten bytes that are for the kernel to fill in.
    message.extend([family.as_raw() as u8, bytes.len() as u8 * 8]);
    message.extend([0; 10]);
    attribute(&mut message, DESTINATION, &bytes);
    if scope > 0 {
        attribute(&mut message, INTERFACE, &scope.to_ne_bytes());
    }
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&GETROUTE.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    message
}

/// Appends an attribute whose value is a multiple of four bytes long, so that none has to be filled up.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend((value.len() as u16 + 4).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
}

/// Reads the answer. An address that there is no route to is not this machine's.
fn read(answer: &[u8]) -> io::Result<bool> {
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    match (kind, answer.get(HEADER..HEADER + 4)) {
        (Some(NEWROUTE), Some(_)) if answer.len() > TYPE_AT => Ok(answer[TYPE_AT] == LOCAL),
        (Some(ERROR), Some(&[a, b, c, d])) => {
            let error = io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]).saturating_neg());
            let is_unreachable = [Errno::NETUNREACH, Errno::HOSTUNREACH]
                .map(io::Error::from)
                .iter()
                .any(|unreachable| unreachable.raw_os_error() == error.raw_os_error());
            if is_unreachable { Ok(false) } else { Err(error) }
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is no route")),
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
        for answer in [&[][..], &[0; 15], &[0; 64]] {
            assert!(read(answer).is_err());
        }
        let error = |number: i32| {
            let mut answer = [0; 36];
            answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
            answer[16..20].copy_from_slice(&(-number).to_ne_bytes());
            read(&answer)
        };
        assert!(!error(Errno::NETUNREACH.raw_os_error()).unwrap());
        assert_eq!(error(Errno::PERM.raw_os_error()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(error(0).is_err() && error(i32::MIN.wrapping_add(1)).is_err());
    }
}
