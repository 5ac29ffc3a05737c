//! `server.host`: every address of a name, as on the Python server.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    gateway::free_port,
    program::{self, Home},
};

/// The program in a mount namespace where /etc/hosts has these lines. It needs root, as the engine does.
fn spawn(home: &Home, hosts: &str, host: &str, port: u16) -> Child {
    assert!(rustix::process::geteuid().is_root(), "this test mounts: run the tests as root");
    fs::write(home.path().join("hosts"), hosts).unwrap();
    fs::write(
        home.config(),
        format!("[server]\nhost = '{host}'\nport = {port}\n[runtime]\ntype = 'process'\nexecd_image = 'x'\n"),
    )
    .unwrap();
    let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(home.path().join("hosts"));
    command.arg(env!("CARGO_BIN_EXE_opensandbox-gateway")).arg("--config").arg(home.config());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home.path());
    command.env("TMPDIR", home.path()).env("OPENSANDBOX_INSECURE_SERVER", "YES");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn answers(address: SocketAddr, within: Duration) -> bool {
    let due = Instant::now() + within;
    loop {
        if let Ok(mut io) = TcpStream::connect(address) {
            io.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            io.read_to_string(&mut answer).unwrap();
            return answer.starts_with("HTTP/1.1 200");
        }
        if Instant::now() > due {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn end(mut child: Child) -> String {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success());
    output
}

#[test]
fn localhost_is_every_address_of_the_name() {
    let (home, port) = (Home::with(""), free_port());
    let child = spawn(&home, "127.0.0.1 localhost\n::1 localhost\n127.0.0.9 localhost\n", "localhost", port);
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 9).into(), Ipv6Addr::LOCALHOST.into()] {
        assert!(answers(SocketAddr::new(ip, port), Duration::from_secs(10)), "{ip}");
    }
    let output = end(child);
    assert!(output.contains(&format!("http://127.0.0.1:{port}")), "{output}");
    assert!(output.contains(&format!("http://[::1]:{port}")), "{output}");
}

#[test]
fn an_address_that_the_machine_lacks_is_no_failure() {
    let (home, port) = (Home::with(""), free_port());
    // `2001:db8::/32` is documentation's (RFC 3849), and 127.0.0.1 is here.
    let child = spawn(&home, "2001:db8::1 localhost\n127.0.0.1 localhost\n", "localhost", port);
    assert!(answers(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(10)));
    let output = end(child);
    assert!(output.contains("not listening on [2001:db8::1]"), "{output}");
}

#[test]
fn a_port_that_is_taken_on_one_address_is_3() {
    let taken = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let home = Home::with("");
    let child = spawn(&home, "127.0.0.1 localhost\n::1 localhost\n", "localhost", port);
    let ended = program::end(child, Duration::from_secs(20));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains(&format!("[::1]:{port}")) && ended.stderr.contains("in use"), "{ended:?}");
}

#[test]
fn the_process_runtime_refuses_a_localhost_that_is_not_here() {
    let home = Home::with("");
    let public = Command::new("hostname").arg("-I").output().unwrap();
    let public = String::from_utf8(public.stdout).unwrap();
    let public =
        public.split_whitespace().find(|ip| !ip.starts_with("127.")).expect("the machine has an address").to_owned();
    let child = spawn(&home, &format!("{public} localhost\n"), "localhost", free_port());
    let ended = program::end(child, Duration::from_secs(20));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("server.host") && ended.stderr.contains(&public), "{ended:?}");
}
