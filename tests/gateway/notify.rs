//! As a service of systemd's with `Type=notify`, over a real socket.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::{Duration, Instant},
};

use crate::{
    Setup,
    support::gateway::{Gateway, states},
};

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn next(&self) -> String {
        self.0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("the gateway tells something");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next that is no sign of life.
    fn news(&self) -> String {
        loop {
            match self.next() {
                state if state == "WATCHDOG=1" => {}
                state => return state,
            }
        }
    }
}

fn monotonic() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

fn walk(manager: &Manager, mut gateway: Gateway) {
    assert_eq!(manager.news(), "READY=1");
    assert!(std::net::TcpStream::connect(gateway.address()).is_ok(), "ready means that it listens");
    for _ in 0..2 {
        let before = monotonic();
        gateway.signal("HUP");
        let reloading = manager.news();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading).parse::<i64>().unwrap();
        assert!((before..=monotonic()).contains(&time), "{time}");
        assert_eq!(manager.news(), "READY=1");
    }
    gateway.terminate();
    let stopping = manager.news();
    assert!(stopping.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC="), "{stopping}");
    assert!(gateway.wait(Duration::from_secs(10)).success());
}

#[test]
fn a_service_gets_ready_reloads_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    walk(&manager, Setup::process().env("NOTIFY_SOCKET", path.to_str().unwrap()).spawn());
}

#[test]
fn an_abstract_socket_is_one_too() {
    let name = format!("osb-test-{}", uuid::Uuid::new_v4());
    let manager = Manager(UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    walk(&manager, Setup::process().env("NOTIFY_SOCKET", &format!("@{name}")).spawn());
}

#[test]
fn the_watchdog_is_told_in_half_of_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    let setup = Setup::process().env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "8000000");
    let gateway = setup.spawn();
    assert_eq!(manager.news(), "READY=1");
    let mut last = Instant::now();
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
        assert!(last.elapsed() < Duration::from_millis(7_600), "{:?}", last.elapsed());
        last = Instant::now();
    }
    // A process that does not turn says nothing.
    gateway.signal("STOP");
    while states(gateway.pid()).iter().any(|state| *state != 'T') {
        std::thread::sleep(Duration::from_millis(1));
    }
    manager.0.set_nonblocking(true).unwrap();
    while manager.0.recv(&mut [0; 64]).is_ok() {}
    // Longer than half of its time.
    std::thread::sleep(Duration::from_secs(5));
    assert!(manager.0.recv(&mut [0; 64]).is_err());
}

#[test]
fn a_manager_that_cannot_be_told_is_no_reason_not_to_serve() {
    let mut gateway = Setup::process().env("NOTIFY_SOCKET", "/nonexistent/notify").start();
    gateway.terminate();
    assert!(gateway.wait(Duration::from_secs(10)).success());
    assert!(gateway.output().contains("the service manager cannot be told"), "{}", gateway.output());
    let gateway = Setup::process().env("NOTIFY_SOCKET", "vsock:2:1").start();
    assert!(gateway.output().contains("NOTIFY_SOCKET"), "{}", gateway.output());
}
