//! Credentials that change, expire or fail while the gateway runs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    cluster::{BATCH, Cluster, NAMESPACE},
    fixture::{ID, OTHER, batch, get},
    support::{
        client::Response,
        gateway::{Gateway, Setup},
        kube::{Credentials, Rule, tls},
    },
};

/// Generous: what is waited for comes by itself.
const LONG: Duration = Duration::from_secs(60);

fn cluster() -> Cluster {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    for user in ["limited-user", "gateway"] {
        cluster.server.rules(user, vec![Rule::new("get,list,watch", "*", NAMESPACE)]);
    }
    cluster
}

/// A gateway whose credential plugin is this shell script.
fn with_plugin(cluster: &Cluster, dir: &Path, script: &str) -> Gateway {
    let path = dir.join("plugin");
    fs::write(&path, format!("#!/bin/sh\ncd {}\necho run >> runs\n{script}\n", dir.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = cluster.server.config(Credentials::None);
    config["users"][0]["user"] = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": path}});
    Setup::kubernetes(&cluster.server.write_config(&config), NAMESPACE).start()
}

fn runs(dir: &Path) -> usize {
    fs::read_to_string(dir.join("runs")).unwrap_or_default().lines().count()
}

/// What the plugin is to print: the file takes the other's place as a whole.
fn put(dir: &Path, name: &str, status: &serde_json::Value) -> PathBuf {
    let path = dir.join(name);
    let object = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status});
    fs::write(dir.join("new"), object.to_string()).unwrap();
    fs::rename(dir.join("new"), &path).unwrap();
    path
}

fn certificate(user: &str, expires: jiff::Timestamp) -> serde_json::Value {
    let (certificate, key) = tls::user(user);
    json!({"clientCertificateData": certificate, "clientKeyData": key, "expirationTimestamp": expires.to_string()})
}

/// Asks for a sandbox until there is an answer of this status. What is known is believed for a while; [`OTHER`], of which nothing is
/// known, is asked for each time.
async fn until(gateway: &Gateway, id: &str, status: u16) -> Response {
    let begun = Instant::now();
    loop {
        let answer = get(gateway, &format!("/v1/sandboxes/{id}")).await;
        if answer.status() == status {
            return answer;
        }
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(begun.elapsed() < LONG, "{} {body}: {}", answer.status(), gateway.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whoever asked, each once in a row.
fn users(cluster: &Cluster) -> Vec<String> {
    let mut users: Vec<_> = cluster.server.requests().into_iter().map(|request| request.user).collect();
    users.dedup();
    users
}

#[tokio::test]
async fn a_plugin_s_certificate_is_replaced_before_it_expires_and_never_by_none() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let within = |seconds| jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    // It is replaced when a quarter of its time is left: not before the first requests are answered, on a slow machine either.
    put(dir.path(), "given", &certificate("limited-user", within(16)));
    let gateway = with_plugin(&cluster, dir.path(), "cat given || { echo the login ended >&2; exit 1; }");
    until(&gateway, ID, 200).await;
    assert_eq!((runs(dir.path()), users(&cluster)), (1, vec!["limited-user".to_owned()]));

    // Connections that were made with the old one are not used any more. This one is read within 12 s, and used then.
    put(dir.path(), "given", &certificate("admin", within(20)));
    let begun = Instant::now();
    while users(&cluster).last().is_none_or(|user| user != "admin") {
        assert!(begun.elapsed() < LONG, "{}", gateway.output());
        until(&gateway, ID, 200).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.server.forget_requests();
    until(&gateway, ID, 200).await;
    cluster.server.end_watches();

    fs::remove_file(dir.path().join("given")).unwrap();
    gateway.says("the login ended").await;
    let answer = until(&gateway, OTHER, 500).await;
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.ends_with("the gateway has no valid credentials for the API server"), "{message}");
    put(dir.path(), "given", &certificate("limited-user", jiff::Timestamp::MAX));
    until(&gateway, OTHER, 404).await;
    let asked = users(&cluster);
    assert!(asked.iter().all(|user| ["admin", "limited-user"].contains(&user.as_str())), "{asked:?}");
}

#[tokio::test]
async fn a_token_that_the_api_server_no_longer_takes_is_read_again() {
    let cluster = cluster();
    cluster.server.token("old", "gateway");
    let path = cluster.server.kubeconfig(Credentials::Token("old"));
    let gateway = Setup::kubernetes(&path, NAMESPACE).start();
    until(&gateway, ID, 200).await;
    cluster.server.revoke("old");
    until(&gateway, OTHER, 500).await;
    cluster.server.token("new", "gateway");
    fs::write(&path, cluster.server.config(Credentials::Token("new")).to_string()).unwrap();
    until(&gateway, OTHER, 404).await;
    assert!(!gateway.output().contains("cannot be loaded again"), "{}", gateway.output());
}

#[tokio::test]
async fn a_plugin_that_hangs_holds_up_nobody_and_runs_once_at_a_time() {
    let cluster = cluster();
    cluster.server.token("old", "gateway");
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "given", &json!({"token": "old"}));
    let script = "[ $(wc -l < runs) = 1 ] || until [ -e go ]; do sleep 0.05; done; cat given";
    let gateway = with_plugin(&cluster, dir.path(), script);
    until(&gateway, ID, 200).await;
    cluster.server.revoke("old");
    let unknown = format!("/v1/sandboxes/{OTHER}");
    let begun = Instant::now();
    while runs(dir.path()) < 2 {
        assert_eq!(get(&gateway, &unknown).await.status(), 500);
        assert!(begun.elapsed() < LONG, "{}", gateway.output());
    }
    // It hangs now, and requests are answered as before.
    for _ in 0..100 {
        assert_eq!(get(&gateway, &unknown).await.status(), 500);
    }
    assert_eq!(runs(dir.path()), 2);
    cluster.server.token("new", "gateway");
    put(dir.path(), "given", &json!({"token": "new"}));
    fs::write(dir.path().join("go"), "").unwrap();
    until(&gateway, OTHER, 404).await;
    assert_eq!(runs(dir.path()), 2);
}

#[tokio::test]
async fn a_configuration_that_lost_its_credentials_is_not_used() {
    let cluster = cluster();
    cluster.server.token("old", "gateway");
    let path = cluster.server.kubeconfig(Credentials::Token("old"));
    let gateway = Setup::kubernetes(&path, NAMESPACE).start();
    until(&gateway, ID, 200).await;
    fs::write(&path, cluster.server.config(Credentials::None).to_string()).unwrap();
    cluster.server.revoke("old");
    let unknown = format!("/v1/sandboxes/{OTHER}");
    let begun = Instant::now();
    while !gateway.output().contains("has no credentials any more") {
        assert_eq!(get(&gateway, &unknown).await.status(), 500);
        assert!(begun.elapsed() < LONG, "{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    get(&gateway, &unknown).await;
    assert!(!users(&cluster).contains(&"system:anonymous".to_owned()));
    assert!(!gateway.output().contains("Bearer"), "{}", gateway.output());
}
