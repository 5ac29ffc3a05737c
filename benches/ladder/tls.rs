//! Logs over TLS: the gateway's own, beside nginx with TLS in front of the plain gateway, by the same certificate and cipher.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    followers::{self, FOLLOWERS, RELEASES, block_on},
    nginx::Nginx,
    process::{Role, cpu},
    rounds,
    source::{LOADS, Load, Writes},
    support::{
        engine::{Engine, script::Script},
        gateway::{Gateway, Setup},
    },
    table::{self, Bound},
    throughput::Stage,
};

/// The one cipher that the reader speaks: nginx and the gateway prefer different ones.
const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

/// A certificate that is its own authority.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 \
                     -subj /CN=bench -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
        let made = Command::new("openssl").args(words.split_whitespace()).current_dir(dir.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        Self { dir }
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("cert")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// A gateway with this certificate.
    fn gateway(&self, engine: &str) -> Gateway {
        let lines = format!("tls_cert = \"{}\"\ntls_key = \"{}\"", self.cert().display(), self.key().display());
        Setup::docker(engine).server(&lines).in_session().start()
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.cert()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }
}

/// Throughput, the memory of silent followers, and how fast one is let go.
pub fn run() {
    let files = Files::new();
    throughput(&files);
    silent(&files);
    release(&files);
}

/// Logs of short and of long lines, and one whose lines come one by one, as a live engine's do.
fn throughput(files: &Files) {
    let source = Role::start(&["source"]);
    let engine = format!("unix://{}", source.says);
    let plain = Setup::docker(&engine).in_session().start();
    let gateway = files.gateway(&engine);
    let nginx = Nginx::with_tls(&plain.address().to_string(), &files.cert(), &files.key());
    for protocol in ["--http1.1", "--http2"] {
        for load in [LOADS[0], LOADS[3], LOADS[4]] {
            measure(protocol, load, files, &gateway, &nginx);
        }
    }
    println!();
}

fn measure(protocol: &str, load: Load, files: &Files, gateway: &Gateway, nginx: &Nginx) {
    let path = Stage::log_path(load);
    let read = |address| read(protocol, &files.cert(), address, &path, load.bytes());
    let (mut ratios, mut rates, mut cpus, mut nginx_cpus) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds() {
        let before = gateway.cpu();
        let ours = read(gateway.address());
        let our_cpu = gateway.cpu() - before;
        let before = cpu(nginx.pid());
        let theirs = read(nginx.address);
        let nginx_cpu = cpu(nginx.pid()) - before;
        if round > 0 {
            ratios.push(theirs / ours);
            rates.push(load.bytes() as f64 / ours / 1e6);
            cpus.push(our_cpu.as_secs_f64());
            nginx_cpus.push(nginx_cpu.as_secs_f64());
        }
    }
    let how = if load.writes == Writes::Lines { ", one write a line" } else { "" };
    let name = format!("TLS, {}, {}-byte lines{how}", &protocol[2..], load.length);
    table::ratio(&format!("{name}: throughput / nginx"), ratios, Bound::AtLeast(0.9));
    let (ours, theirs) = (table::Spread::of(cpus).median, table::Spread::of(nginx_cpus).median);
    table::note(&format!("{name}: CPU in the gateway (in nginx alone)"), &format!("{ours:.2} s ({theirs:.2} s)"));
    table::note(&format!("{name}: payload"), &format!("{:.0} MB/s", table::Spread::of(rates).median));
}

/// How many seconds curl takes for the whole answer, which has more than so many bytes.
fn read(protocol: &str, cert: &Path, address: SocketAddr, path: &str, bytes: u64) -> f64 {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-N", protocol, "--tls13-ciphers", CIPHER, "-o", "/dev/null", "--max-time", "120", "--cacert"]);
    curl.arg(cert).args(["-w", "%{time_total} %{size_download} %{http_code} %{http_version}"]);
    let done =
        curl.arg(format!("https://{address}{path}")).output().expect("curl is installed (scripts/bench does it)");
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    let [time, size, code, version] = *told.split(' ').collect::<Vec<_>>() else {
        panic!("curl: {told} {}", String::from_utf8_lossy(&done.stderr))
    };
    assert!(done.status.success() && code == "200" && protocol.ends_with(version), "{path}: {told}");
    assert!(size.parse::<u64>().unwrap() >= bytes, "the answer is whole: {told}");
    time.parse().unwrap()
}

/// Memory of 5,000 silent followers.
fn silent(files: &Files) {
    let source = Role::start(&["source"]);
    let gateway = files.gateway(&format!("unix://{}", source.says));
    let connector = files.connector();
    let each = block_on(async {
        drop(follow(&connector, gateway.address(), "silent").await);
        let before = gateway.resident();
        let (_followers, each) =
            followers::crowd(&gateway, before, async || follow(&connector, gateway.address(), "silent").await).await;
        each
    });
    table::note(&format!("TLS, {FOLLOWERS} silent followers: resident memory each"), &format!("{each:.1} KiB"));
}

/// From the client's close to the engine's, one after the other.
fn release(files: &Files) {
    let engine = Engine::start();
    let id = engine.log(Script::quiet());
    let gateway = files.gateway(engine.docker_host());
    let connector = files.connector();
    let times = followers::releases(&engine, RELEASES, async || follow(&connector, gateway.address(), &id).await);
    followers::release_row("TLS, ", &times);
    println!();
}

async fn follow(connector: &TlsConnector, address: SocketAddr, id: &str) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(address).await.unwrap();
    let mut io = connector.connect(ServerName::from(address.ip()), socket).await.unwrap();
    let request = format!("GET /sandboxes/{id}/logs?follow=true HTTP/1.1\r\nHost: bench\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    io.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    io
}
