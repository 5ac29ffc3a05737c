//! The files of a certificate: what is wrong with them is told at the start, and what takes their place is served.

use std::{fs, time::Duration};

use rustls::version::TLS13;

use crate::{
    Setup,
    prometheus::{scraped, series, wait_series},
    signals::{Hanging, says},
    support::{
        client::{Client, get_once},
        eventually,
        gateway::Gateway,
        program::Home,
    },
    tls::Files,
};

const LONG: Duration = Duration::from_secs(30);

const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

/// Whether a new connection is served with this certificate.
async fn is_served(files: &Files, gateway: &Gateway, name: &str) -> bool {
    let config = files.client(&[&TLS13], &[]);
    let client = Client::connect(gateway.address()).await.over_tls(&config).await.unwrap();
    client.tls().peer_certificates().unwrap()[0] == files.of(name)
}

async fn comes(files: &Files, gateway: &Gateway, name: &str) {
    for _ in 0..LONG.as_millis() / 100 {
        if is_served(files, gateway, name).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} is not served: {}", gateway.output());
}

#[tokio::test]
async fn another_certificate_is_served_at_sighup_and_without_and_a_broken_pair_is_not() {
    let files = Files::new();
    for name in ["second", "third", "fourth"] {
        files.issue(name, P256, 2);
    }
    let gateway = Setup::process().server(&files.server()).start();
    let mut early = files.connect(gateway.address()).await;
    assert_eq!(early.request("GET", "/health", &[], "").await.status(), 200);
    assert!(is_served(&files, &gateway, "first.crt").await);
    files.take("second");
    gateway.signal("HUP");
    // Its own look, every 5 s, may come first.
    let said = || {
        let output = gateway.output();
        output.contains("SIGHUP: new connections get the new certificate")
            || output.contains("SIGHUP: the certificate is the same")
    };
    eventually("what SIGHUP did", LONG, said).await;
    comes(&files, &gateway, "second.crt").await;
    assert_eq!(early.request("GET", "/health", &[], "").await.status(), 200, "old connections go on");
    files.take("third");
    comes(&files, &gateway, "third.crt").await;
    // Only one of the two files is another's.
    fs::copy(files.path("fourth.crt"), files.path("server.crt")).unwrap();
    gateway.signal("HUP");
    gateway.says("SIGHUP: the certificate stays as it was: server.tls_cert, server.tls_key: the key in").await;
    assert!(is_served(&files, &gateway, "third.crt").await);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(gateway.output().matches("the certificate stays as it was").count(), 1, "{}", gateway.output());
    files.take("fourth");
    comes(&files, &gateway, "fourth.crt").await;
    fs::remove_file(files.path("server.key")).unwrap();
    eventually("a word on it", LONG, || gateway.output().contains("server.key: No such file")).await;
    assert!(is_served(&files, &gateway, "fourth.crt").await);
    assert!(!gateway.output().contains("PRIVATE"), "{}", gateway.output());
}

/// As on a file server that stays away: each reading hangs for ever, and is given up after ten seconds.
#[tokio::test]
async fn a_certificate_that_hangs_keeps_no_key_from_being_revoked() {
    let files = Files::new();
    let gateway = Setup::process().server(&files.server()).server("api_keys = ['k-old']").start();
    let _hangs = Hanging::over(&files.path("server.crt"));
    for turn in 1..=4 {
        gateway.signal("HUP");
        says(&gateway, turn, "SIGHUP: the certificate stays as it was: their files hang; they could not be read").await;
    }
    let config = gateway.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap().replace("k-old", "k-new");
    fs::write(gateway.home().join("next"), text).unwrap();
    fs::rename(gateway.home().join("next"), &config).unwrap();
    gateway.signal("HUP");
    says(&gateway, 1, "SIGHUP: the certificate stays as it was: their files still hang, at 4 readings").await;
    let mut client = files.connect(gateway.address()).await;
    for (key, status) in [("k-old", 401), ("k-new", 200)] {
        let line = format!("OPEN-SANDBOX-API-KEY: {key}");
        assert_eq!(client.request("GET", "/v1/sandboxes", &[&line], "").await.status(), status, "{key}");
    }
    gateway.says("the certificate stays as it was: its files hang").await;
}

#[tokio::test]
async fn operators_are_told_when_the_certificate_expires() {
    const NOT_AFTER: &str = "opensandbox_gateway_tls_certificate_not_after_timestamp_seconds";
    let files = Files::new();
    files.issue("second", P256, 20);
    let until = |name: &str| {
        let end = format!("date +%s -d \"$(openssl x509 -noout -enddate -in {name}.crt | cut -d= -f2)\"");
        files.run(&end).trim().parse::<f64>().unwrap()
    };
    let (setup, metrics) = scraped(Setup::process().server(&files.server()));
    let gateway = setup.start();
    assert_eq!(series(metrics, NOT_AFTER).await, Some(until("first")));
    files.take("second");
    gateway.signal("HUP");
    wait_series(metrics, NOT_AFTER, until("second")).await;
    // A pair that is not taken changes nothing.
    fs::copy(files.path("first.crt"), files.path("server.crt")).unwrap();
    gateway.signal("HUP");
    gateway.says("SIGHUP: the certificate stays as it was").await;
    assert_eq!(series(metrics, NOT_AFTER).await, Some(until("second")));
    let (plain, metrics) = scraped(Setup::process());
    let _plain = plain.start();
    let told = get_once(metrics, "/metrics").await;
    assert!(!String::from_utf8_lossy(&told.body).contains(NOT_AFTER), "{told}");
}

#[tokio::test]
async fn keys_of_every_kind_and_form_are_taken() {
    let files = Files::new();
    for (name, kind) in [("rsa", "rsa:2048"), ("p384", "ec -pkeyopt ec_paramgen_curve:P-384"), ("ed", "ed25519")] {
        files.issue(name, kind, 2);
    }
    files.run("openssl rsa -in rsa.key -traditional -out pkcs1.key && cp rsa.crt pkcs1.crt");
    files.run("openssl ec -in first.key -out bare.key && cp first.crt sec1.crt");
    files.run("(openssl ecparam -name prime256v1; cat bare.key) > sec1.key");
    files.run("cp first.key chain.key && cat first.crt ca.crt > chain.crt");
    for name in ["rsa", "p384", "ed", "pkcs1", "sec1", "chain"] {
        files.take(name);
        let gateway = Setup::process().server(&files.server()).start();
        assert!(is_served(&files, &gateway, &format!("{name}.crt")).await, "{name}");
    }
}

#[test]
fn a_start_without_a_pair_is_refused_with_the_reason() {
    let files = Files::new();
    files.issue("other", P256, 2);
    files.issue("weak", "rsa:1024", 2);
    files.run("openssl pkcs8 -topk8 -in first.key -passout pass:hunter2 -out locked.key");
    files.run("openssl rsa -in weak.key -traditional -aes128 -passout pass:hunter2 -out locked1.key");
    files.run("head -c 150 first.key > half.key; head -c 150 first.crt > half.crt; : > empty; mkfifo pipe");
    files.run("printf -- '-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n' > wrong.crt");
    for (cert, key, name, why) in [
        ("none.crt", "first.key", "server.tls_cert", "none.crt: No such file"),
        ("first.crt", "none.key", "server.tls_key", "none.key: No such file"),
        ("pipe", "first.key", "server.tls_cert", "pipe: it is not a regular file"),
        ("empty", "first.key", "server.tls_cert", "there is no certificate in it; it must be PEM"),
        ("first.key", "first.key", "server.tls_cert", "there is no certificate in it"),
        ("half.crt", "first.key", "server.tls_cert", "only a part of it"),
        ("wrong.crt", "first.key", "server.tls_cert", "its first certificate cannot be used"),
        ("first.crt", "empty", "server.tls_key", "there is no private key in it; it must be PEM"),
        ("first.crt", "first.crt", "server.tls_key", "there is no private key in it"),
        ("first.crt", "half.key", "server.tls_key", "only a part of it"),
        ("first.crt", "locked.key", "server.tls_key", "the key is encrypted"),
        ("first.crt", "locked1.key", "server.tls_key", "the key is encrypted"),
        ("weak.crt", "weak.key", "server.tls_key", "this key cannot be used; it must be RSA of 2048"),
        ("first.crt", "other.key", "server.tls_cert, server.tls_key", "is not that of the first certificate"),
    ] {
        let ended = started(&files, Some(cert), Some(key));
        assert_eq!(ended.code, Some(1), "{cert} {key}: {ended:?}");
        let line = ended.stderr.lines().last().unwrap_or_default();
        assert!(line.contains(&format!("{name}: ")) && line.contains(why), "{cert} {key}: {ended:?}");
    }
    for (cert, key, missing) in
        [(Some("first.crt"), None, "server.tls_key"), (None, Some("first.key"), "server.tls_cert")]
    {
        let ended = started(&files, cert, key);
        assert!(ended.code != Some(0) && ended.stderr.contains(&format!("{missing}: must be set too")), "{ended:?}");
    }
}

fn started(files: &Files, cert: Option<&str>, key: Option<&str>) -> crate::support::program::Ended {
    let line = |name: &str, file: Option<&str>| {
        file.map(|file| format!("{name} = \"{}\"\n", files.path(file).display())).unwrap_or_default()
    };
    let config = format!(
        "[server]\nhost = \"127.0.0.1\"\nport = {}\n{}{}[runtime]\ntype = \"process\"\nexecd_image = \"unused\"\n",
        crate::support::gateway::free_port(),
        line("tls_cert", cert),
        line("tls_key", key)
    );
    Home::with(&config).run(&[("OPENSANDBOX_INSECURE_SERVER", "YES")])
}

#[tokio::test]
async fn a_certificate_of_yesterday_and_a_key_that_others_read_are_warned_of() {
    let files = Files::new();
    files.issue("old", P256, -1);
    files.take("old");
    files.run("chmod 644 server.key");
    let gateway = Setup::process().server(&files.server()).start();
    gateway.says("the certificate has expired at ").await;
    gateway.says("other users of this machine may read it; chmod 600").await;
}
