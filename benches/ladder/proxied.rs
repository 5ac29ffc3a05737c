//! A port of a sandbox through the gateway's proxy, beside nginx in front of the same service.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use crate::{
    client,
    engine_call::{call, must},
    load, process, rounds,
    support::gateway::Setup,
    table::{self, Bound},
};

/// The large file's length in bytes.
pub const LARGE: usize = 512 * 1024 * 1024;

/// An nginx with this `http` block; its folder holds the files that are served.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    fn start(dir: &tempfile::TempDir, name: &str, block: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = dir.path().display();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {path}/{name}-{kind};"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {path}/{name}.pid; error_log {path}/{name}.log;\nevents {{}}\n\
             http {{ access_log off; keepalive_requests 100000000; sendfile on; tcp_nodelay on; {temp}\n{} }}\n",
            block.replace("{address}", &address.to_string()).replace("{path}", &path.to_string())
        );
        let file = dir.path().join(format!("{name}.conf"));
        fs::write(&file, config).unwrap();
        let mut command = process::in_session("nginx");
        let child = command.arg("-c").arg(&file).arg("-p").arg(dir.path()).stderr(Stdio::null()).spawn();
        let child = child.expect("nginx is installed (scripts/bench does it)");
        while TcpStream::connect(address).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }

    /// The service behind the proxies, with a file of [`LARGE`] bytes and one of 100.
    pub fn service(dir: &tempfile::TempDir) -> Self {
        fs::write(dir.path().join("large"), vec![b'x'; LARGE]).unwrap();
        fs::write(dir.path().join("small"), [b'x'; 100]).unwrap();
        Self::start(dir, "service", "server { listen {address}; root {path}; }")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sandbox on the host's network, so that the service is reached without the engine's bridge on either side.
pub struct Sandbox(String);

impl Sandbox {
    pub fn start() -> Self {
        let id = format!("bench-proxied-{}", std::process::id());
        let body = format!(
            r#"{{"Image":"osb-test/busybox:1","Cmd":["sleep","1000000"],"Labels":{{"opensandbox.io/id":"{id}","opensandbox.io/manual-cleanup":"true"}},"HostConfig":{{"NetworkMode":"host"}}}}"#
        );
        must("POST", &format!("/containers/create?name=sandbox-{id}"), "application/json", body.as_bytes());
        must("POST", &format!("/containers/sandbox-{id}/start"), "text/plain", b"");
        Self(id)
    }

    /// The path of a file of `service` through a gateway's proxy.
    pub fn path(&self, service: &Server, file: &str) -> String {
        format!("/sandboxes/{}/proxy/{}/{file}", self.0, service.address.port())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        call("DELETE", &format!("/containers/sandbox-{}?force=1", self.0), "text/plain", b"");
    }
}

/// A gateway that writes no line a request, as nginx here.
pub fn setup() -> Setup {
    Setup::docker("unix:///var/run/docker.sock")
        .in_session()
        .section("[docker]\nnetwork_mode = \"host\"\n[log]\nlevel = \"WARNING\"")
}

/// Throughput and the rate of small requests, in turn.
pub fn run() {
    let dir = tempfile::tempdir().unwrap();
    let service = Server::service(&dir);
    let front = format!(
        "upstream service {{ server {}; keepalive 64; }}\n server {{ listen {{address}}; location / {{ \
         proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffer_size 64k; \
         proxy_buffers 8 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0; }} }}",
        service.address
    );
    let nginx = Server::start(&dir, "front", &front);
    let sandbox = Sandbox::start();
    let gateway = setup().start();
    let proxied = |file: &str| sandbox.path(&service, file);
    let (mut bytes, mut small, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds() {
        let (ours, length) = client::read(gateway.address(), &proxied("large"));
        assert!(length > LARGE as u64, "the answer is whole: {length}");
        let (theirs, _) = client::read(nginx.address, "/large");
        let rate = load::rate(gateway.address(), &proxied("small"));
        let beside = load::rate(nginx.address, "/small");
        if round > 0 {
            bytes.push(theirs.as_secs_f64() / ours.as_secs_f64());
            small.push(rate / beside);
            rates.push(rate);
        }
    }
    table::ratio("proxied bytes: throughput / nginx", bytes, Bound::AtLeast(0.9));
    table::ratio("proxied small requests: rate / nginx", small, Bound::AtLeast(0.9));
    table::note("the same: requests a second", &format!("{:.0}\n", table::Spread::of(rates).median));
}
