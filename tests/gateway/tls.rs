//! TLS on the gateway's own port (`server.tls_cert`): who leaves and who takes nothing is noticed as without it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    Pair, Setup,
    proxy::Proxied,
    proxy_tunnel::{echo, echoed_head, echoes_and_ends, handshake},
    release::released_by,
    support::{
        backend::Backend,
        client::{Client, get, get_once},
        engine::Script,
        eventually, program,
    },
};

const LONG: Duration = Duration::from_secs(20);

/// An authority, and a certificate of it for this machine.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        files.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test");
        files.run("printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > names");
        files.issue("first", "ec -pkeyopt ec_paramgen_curve:P-256", 2);
        files.take("first");
        files
    }

    /// Issues a certificate with a key of this kind.
    pub(crate) fn issue(&self, name: &str, kind: &str, days: i32) {
        self.run(&format!("openssl req -newkey {kind} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let by = "-CA ca.crt -CAkey ca.key -CAcreateserial -extfile names";
        self.run(&format!("openssl x509 -req -in {name}.csr {by} -out {name}.crt -days {days}"));
    }

    /// Has the gateway's files be those of this certificate, each swapped at once.
    pub(crate) fn take(&self, name: &str) {
        self.run(&format!("cp {name}.crt next && mv next server.crt && cp {name}.key next && mv next server.key && chmod 600 server.key"));
    }

    pub(crate) fn run(&self, script: &str) -> String {
        let done = Command::new("sh").args(["-c", script]).current_dir(self.dir.path()).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The lines of `[server]`.
    pub(crate) fn server(&self) -> String {
        let [cert, key] = ["server.crt", "server.key"].map(|name| self.path(name).display().to_string());
        format!("tls_cert = \"{cert}\"\ntls_key = \"{key}\"")
    }

    pub(crate) fn of(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    /// What a client trusts and speaks.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.of("ca.crt")).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> Client {
        let config = self.client(&[&TLS13], &["http/1.1"]);
        Client::connect(address).await.over_tls(&config).await.unwrap()
    }
}

fn pair(files: &Files, sections: &str) -> Pair {
    Pair::with(|setup| setup.server(&files.server()).section(sections))
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken() {
    let files = Files::new();
    let gateway = Setup::process().server(&files.server()).start();
    gateway.says("listens on https://127.0.0.1:").await;
    for version in [&TLS12, &TLS13] {
        let config = files.client(&[version], &["http/1.1"]);
        let mut client = Client::connect(gateway.address()).await.over_tls(&config).await.unwrap();
        assert_eq!(client.request("GET", "/health", &[], "").await.status(), 200);
        assert_eq!(client.tls().protocol_version(), Some(version.version));
        assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
        // The session is taken up again, by a ticket.
        let mut again = Client::connect(gateway.address()).await.over_tls(&config).await.unwrap();
        assert_eq!(again.request("GET", "/health", &[], "").await.status(), 200);
        assert_eq!(again.tls().handshake_kind(), Some(rustls::HandshakeKind::Resumed), "{version:?}");
        let both = files.client(&[version], &["http/1.1", "h2"]);
        let client = Client::connect(gateway.address()).await.over_tls(&both).await.unwrap();
        assert_eq!(client.tls().alpn_protocol(), Some(&b"h2"[..]));
    }
    for (option, spoken) in [("--http2", "2"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        for version in ["--tls-max 1.2", "--tlsv1.3"] {
            let url = format!("https://{}/health", gateway.address());
            let curl = format!(
                "curl -sS --cacert ca.crt {option} {version} -o /dev/null -w '%{{http_version}} %{{http_code}}' {url}"
            );
            assert_eq!(files.run(&curl), format!("{spoken} 200"), "{option} {version}");
        }
    }
    // HTTP/2 with prior knowledge, though nobody spoke of it.
    let silent = files.client(&[&TLS13], &[]);
    let mut client = Client::connect(gateway.address()).await.over_tls(&silent).await.unwrap();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert_eq!(client.raw(4).await[3], 4, "SETTINGS");
    // An older version is refused, and no one is held up by it.
    let old = format!(
        "openssl s_client -connect {} -tls1_1 -cipher ALL:@SECLEVEL=0 </dev/null 2>&1 || true",
        gateway.address()
    );
    assert!(files.run(&old).contains("no peer certificate available"), "{}", files.run(&old));
}

/// As [`crate::release`] has it, over TLS.
async fn released(request: impl Fn(&str) -> Vec<u8>, leave: impl AsyncFn(Client)) {
    let files = Files::new();
    let pair = pair(&files, "");
    for script in [Script::silent(), Script::line_then_open("hello\n")] {
        released_by(&pair, script, async || files.connect(pair.address()).await, &request, &leave).await;
    }
    assert_eq!(pair.engine.open_logs(), 0);
    eventually("an access line", LONG, || pair.gateway.output().contains("end=client_gone")).await;
}

mod leaving {
    use super::released;
    use crate::support::leaving::ways_of_leaving;

    ways_of_leaving!(released);

    /// Only inside TLS can this be seen: the connection stays open.
    #[tokio::test]
    async fn close_notify_and_no_more() {
        let leave = async |mut client: Client| {
            client.close_notify().await;
            client.body().await.expect_err("an end by which the client can tell");
        };
        released(plain, leave).await;
        let leave = async |mut client: Client| {
            client.send("x").await;
            client.close_notify().await;
            client.body().await.expect_err("an end by which the client can tell");
        };
        released(plain, leave).await;
    }
}

#[tokio::test]
async fn bytes_are_whole_whatever_their_size() {
    let files = Files::new();
    let pair = pair(&files, "");
    let target = pair.log(Script::lines(20_000, 997, true), "");
    let plain = {
        let config = files.client(&[&TLS12], &["http/1.1"]);
        let mut client = Client::connect(pair.address()).await.over_tls(&config).await.unwrap();
        client.get(&target).await;
        client.body().await.unwrap_or_else(|_| panic!("a proper end"))
    };
    assert!(plain.len() > 19_000_000, "{}", plain.len());
    let mut client = files.connect(pair.address()).await;
    client.get(&target).await;
    assert!(client.body().await.is_ok_and(|body| body == plain));
    let url = format!("https://{}{target}", pair.address());
    let whole = files.run(&format!("curl -sS --cacert ca.crt --http2 {url} | wc -c"));
    assert_eq!(whole.trim(), plain.len().to_string());
}

#[tokio::test]
async fn a_follower_that_takes_nothing_is_cut() {
    const PERIOD: Duration = Duration::from_secs(5);
    let files = Files::new();
    let pair = pair(&files, "[logs]\nwrite_stall_timeout_seconds = 5");
    let target = pair.log(Script::endless(), "follow=true");
    let config = files.client(&[&TLS13], &[]);
    let client = Client::connect_with_window(pair.address(), 4_096).await;
    let mut client = client.over_tls(&config).await.unwrap();
    let start = Instant::now();
    client.send(get(&target, &[])).await;
    eventually("the cut", LONG, || pair.gateway.output().contains("end=slow_client")).await;
    assert!(start.elapsed() > PERIOD.mul_f64(0.95), "{:?}", start.elapsed());
    eventually("the engine's end", LONG, || pair.engine.open_logs() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_never_end_shut_nobody_out() {
    let files = Files::new();
    let pair = Pair::with(|setup| {
        setup.server(&files.server()).server("max_connections = 400\nmax_connections_per_address = 0")
    });
    let target = pair.log(Script::silent(), "follow=true");
    let mut follower = files.connect(pair.address()).await;
    assert_eq!(follower.get(&target).await.status, 200);
    let mut silent = Vec::new();
    for number in 0..1_000 {
        let mut io = TcpStream::connect(pair.address()).await.unwrap();
        // Nothing, or the beginning of a handshake that promises more.
        if number % 2 == 0 {
            let _ = io.write_all(&[22, 3, 1, 2, 0, 1]).await;
        }
        silent.push(io);
    }
    for _ in 0..5 {
        let mut client = files.connect(pair.address()).await;
        assert_eq!(client.request("GET", "/health", &[], "").await.status(), 200);
    }
    assert_eq!(pair.engine.open_logs(), 1, "who has a request never gives way");
    drop(silent);
    // The handshake has a time of its own too.
    let mut late = Client::connect(pair.address()).await;
    late.send([22, 3, 1, 2, 0, 1]).await;
    assert!(late.is_closed().await);
}

#[tokio::test]
async fn plain_http_is_told_what_the_port_speaks() {
    let files = Files::new();
    let gateway = Setup::process().server(&files.server()).start();
    let answer = get_once(gateway.address(), "/health").await;
    assert_eq!(answer.status(), 400);
    assert!(answer.body.starts_with(b"This port speaks TLS"), "{answer}");
    let mut large = Client::connect(gateway.address()).await;
    let answer = large.request("POST", "/v1/sandboxes", &[], &"x".repeat(300_000)).await;
    assert_eq!(answer.status(), 400);
    assert!(large.is_closed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_server_is_told_the_scheme_and_a_tunnel_passes() {
    let (files, backend) = (Files::new(), Backend::start(echo).await);
    let gateway = Setup::process().server(&files.server()).start();
    let mut client = files.connect(gateway.address()).await;
    let proxied = Proxied::through(gateway, &mut client).await;
    client.send(handshake(&proxied.target(backend.port, "/ws?x=1"))).await;
    assert_eq!(client.head().await.status, 101);
    let asked = echoed_head(&mut client).await;
    assert!(asked.contains("\r\nx-forwarded-proto: https\r\n"), "{asked}");
    echoes_and_ends(&mut client, 500_000).await;
}

/// A proper end of TLS says that the text is whole; its absence, that it is not.
#[tokio::test]
async fn a_drain_breaks_a_followed_text_off_and_a_whole_answer_ends_properly() {
    let files = Files::new();
    let mut pair = pair(&files, "");
    let mut whole = files.connect(pair.address()).await;
    whole.send("GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(whole.raw_to_end().await.ends_with(b"}"));
    let target = pair.log(Script::line_then_open("one\n"), "follow=true");
    let mut followers = Vec::new();
    for version in ["1.0", "1.1"] {
        let mut client = files.connect(pair.address()).await;
        client.send(format!("GET {target} HTTP/{version}\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(client.head().await.status, 200);
        client.body_of(4).await;
        followers.push(client);
    }
    pair.gateway.terminate();
    for mut client in followers {
        let broken = client.body().await.expect_err("no proper end");
        assert!(broken.error.is_some(), "no close_notify came before the end: {broken:?}");
    }
    assert_eq!(pair.gateway.wait(LONG).code(), Some(0));
}

#[tokio::test]
async fn the_logs_command_follows_over_https_with_an_authority_of_its_own() {
    let files = Files::new();
    let pair = pair(&files, "");
    let id = pair.engine.log(Script::texts(["one\n", "two\n"]));
    let home = program::Home::with("");
    let url = format!("https://{}", pair.address());
    let trusted = files.path("ca.crt");
    let run = |env: &[(&str, &str)]| {
        let mut command = home.command(&["logs", "--url", &url, &id], env);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let env = [("SSL_CERT_FILE", path(&trusted))];
    assert_eq!(run(&env), (true, "one\ntwo\n".to_owned()));
    assert!(!run(&[]).0, "an authority that nobody knows");
}

fn path(path: &Path) -> &str {
    assert!(fs::exists(path).unwrap());
    path.to_str().unwrap()
}
