//! Where the API server is, and with what the gateway proves who it is.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cluster::{BATCH, Cluster, NAMESPACE},
    fixture::{ID, batch, get},
    support::{
        eventually,
        gateway::{Gateway, Setup},
        kube::{Credentials, Rule, tls},
    },
};

const ALL: &str = "get,list,watch,patch,delete";

fn cluster() -> Cluster {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.rules("limited-user", vec![Rule::new(ALL, "*", NAMESPACE)]);
    cluster.server.rules("gateway", vec![Rule::new(ALL, "*", NAMESPACE)]);
    cluster
}

fn gateway(config: &Path) -> Gateway {
    Setup::kubernetes(config, NAMESPACE).start()
}

async fn status(gateway: &Gateway) -> u16 {
    get(gateway, &format!("/v1/sandboxes/{ID}")).await.status()
}

/// Who asked for sandboxes.
fn users(cluster: &Cluster) -> Vec<String> {
    let mut users: Vec<_> = cluster
        .server
        .requests()
        .into_iter()
        .filter(|request| request.path.contains("/batchsandboxes"))
        .map(|request| request.user)
        .collect();
    users.dedup();
    users
}

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_client_certificate_says_who_asks() {
    let cluster = cluster();
    let of = |name: &'static str| cluster.server.kubeconfig(Credentials::Certificate(name));
    assert_eq!(status(&gateway(&of("limited-user"))).await, 200);
    assert_eq!(users(&cluster), ["limited-user"]);
    let foreign = gateway(&of("foreign-user"));
    let refused = get(&foreign, &format!("/v1/sandboxes/{ID}")).await;
    assert_eq!((refused.status(), refused.code().as_str()), (500, "KUBERNETES::API_ERROR"));
    assert_eq!(
        refused.json()["message"],
        "Failed to get sandbox: the API server does not take the gateway's credentials"
    );
    let agents: Vec<_> = cluster.server.requests().into_iter().map(|request| request.user_agent).collect();
    assert!(agents.iter().all(|agent| agent.starts_with("opensandbox-gateway/")), "{agents:?}");
}

#[tokio::test]
async fn certificates_may_be_files_of_their_own_which_are_replaced() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = tls::user("limited-user");
    for (name, text) in [("user.pem", certificate), ("user.key", key), ("ca.pem", tls::FOREIGN_CA)] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let mut config = cluster.server.config(Credentials::None);
    config["clusters"][0]["cluster"] =
        json!({"server": cluster.server.url(), "certificate-authority": dir.path().join("ca.pem")});
    config["users"][0]["user"] =
        json!({"client-certificate": dir.path().join("user.pem"), "client-key": dir.path().join("user.key")});
    let gateway = gateway(&cluster.server.write_config(&config));
    assert_eq!(status(&gateway).await, 503, "the server's certificate is another CA's");
    fs::write(dir.path().join("ca.pem"), tls::CA).unwrap();
    let begun = Instant::now();
    while status(&gateway).await != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(users(&cluster), ["limited-user"]);
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_checked_is_warned_of() {
    let cluster = cluster();
    let mut config = cluster.server.config(Credentials::Certificate("limited-user"));
    config["clusters"][0]["cluster"].as_object_mut().unwrap().remove("certificate-authority-data");
    let path = cluster.server.write_config(&config);
    let strict = gateway(&path);
    assert_eq!(status(&strict).await, 503);
    assert!(strict.output().contains("is not to be had yet"), "{}", strict.output());
    let lax = Setup::kubernetes(&path, NAMESPACE).section("insecure_skip_tls_verify = true").start();
    assert_eq!(status(&lax).await, 200);
    assert!(lax.output().contains("the API server's certificate is not checked (insecure_skip_tls_verify)"));
    assert!(!strict.output().contains("insecure_skip_tls_verify"));
}

#[tokio::test]
async fn a_plugin_gives_tokens_and_is_run_again_when_they_end() {
    let cluster = cluster();
    for token in ["t1", "t2"] {
        cluster.server.token(token, "gateway");
    }
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    // Each run gives the next token. Another one is got when a quarter of its time is left, as that is less than a minute.
    let text = format!(
        "echo run >> {runs}\nn=$(wc -l < {runs})\nend=$(date -u -d '+20 seconds' +%Y-%m-%dT%H:%M:%SZ)\n\
         echo '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"t'$n'\",\"expirationTimestamp\":\"'$end'\"}}}}'",
        runs = runs.display()
    );
    let plugin = script(dir.path(), "plugin", &text);
    let mut config = cluster.server.config(Credentials::None);
    config["users"][0]["user"] = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": plugin}});
    let gateway = gateway(&cluster.server.write_config(&config));
    assert_eq!(status(&gateway).await, 200);
    let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
    assert_eq!(count(), 1);
    // The watch asks again and again.
    eventually("another run", Duration::from_secs(40), || count() >= 2).await;
    cluster.server.revoke("t1");
    assert_eq!(status(&gateway).await, 200);
    assert!(!gateway.output().contains("t2"), "{}", gateway.output());
}

#[test]
fn what_cannot_be_used_is_told_without_secrets_and_is_no_start() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let of = |user: Value| {
        let mut config = cluster.server.config(Credentials::None);
        config["users"][0]["user"] = user;
        cluster.server.write_config(&config)
    };
    let plugin = |name: &str, text: &str| {
        let plugin = script(dir.path(), name, text);
        of(json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": plugin}}))
    };
    let broken = dir.path().join("broken");
    fs::write(&broken, "users: [{name: x, user: {token: s3cret}}").unwrap();
    let odd = dir.path().join("odd");
    fs::write(&odd, "users: [{name: x, user: {token: [s3cret]}}]").unwrap();
    for (config, says) in [
        (dir.path().join("nothing"), "nothing"),
        (broken, "broken is no kubeconfig: line "),
        (odd, "odd is no kubeconfig"),
        (plugin("fails", "echo s3cret; echo you must log in >&2; exit 3"), "you must log in"),
        (plugin("chats", "echo s3cret"), "printed no ExecCredential"),
        (
            of(json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/plugin"}})),
            "credential plugin /nowhere/plugin cannot be started",
        ),
        (of(json!({"client-certificate-data": "s3cret!", "client-key-data": "s3cret!"})), "cannot be used"),
    ] {
        let mut gateway = Setup::kubernetes(&config, NAMESPACE).spawn();
        let status = gateway.wait(Duration::from_secs(20));
        let output = gateway.output();
        assert!(status.code() == Some(1) && output.contains(says), "{says}: {status}: {output}");
        assert!(output.contains("The Kubernetes cluster cannot be used: ") && !output.contains("s3cret"), "{output}");
    }
}

/// The service account's files, which are where a pod has them.
struct Account(tempfile::TempDir);

impl Account {
    fn new(token: &str, ca: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("token", token), ("ca.crt", ca), ("namespace", "default")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    /// A program that is the gateway with these files in its place; none where mounts are not allowed.
    fn program(&self) -> Option<PathBuf> {
        let can = Command::new("unshare")
            .args(["-rm", "mount", "-t", "tmpfs", "none", "/run"])
            .stderr(Stdio::null())
            .status();
        if !can.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mounts for this user (unshare -rm)");
            return None;
        }
        let place = "/run/secrets/kubernetes.io/serviceaccount";
        let inner = script(
            self.0.path(),
            "inner",
            &format!(
                "set -e\nmount -t tmpfs none /run\nmkdir -p {place}\nmount --bind {} {place}\nexec {} \"$@\"",
                self.0.path().display(),
                env!("CARGO_BIN_EXE_opensandbox-gateway")
            ),
        );
        Some(script(self.0.path(), "outer", &format!("exec unshare -rm {} \"$@\"", inner.display())))
    }
}

#[tokio::test]
async fn in_a_cluster_the_service_account_is_used_and_its_files_are_read_again() {
    let cluster = cluster();
    cluster.server.token("first", "gateway");
    let account = Account::new("first", tls::CA);
    let Some(program) = account.program() else { return };
    let config = format!("[kubernetes]\nnamespace = \"{NAMESPACE}\"\ncache_max_age_seconds = 2\n");
    let setup = Setup::in_cluster(&config).program(&program);
    let address = cluster.server.address();
    let setup =
        setup.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", &address.port().to_string());
    let gateway = setup.start();
    assert_eq!(status(&gateway).await, 200);
    assert_eq!(users(&cluster), ["gateway"]);
    // The kubelet replaces the token long before the old one ends.
    cluster.server.token("second", "gateway");
    fs::write(account.0.path().join("token"), "second").unwrap();
    tokio::time::sleep(Duration::from_secs(62)).await;
    assert_eq!(status(&gateway).await, 200);
    cluster.server.revoke("first");
    let begun = Instant::now();
    let is_anew = || {
        let requests = cluster.server.requests();
        requests
            .iter()
            .rev()
            .find(|request| request.path.contains("/batchsandboxes"))
            .is_some_and(|last| last.status == 200)
    };
    eventually("a call with the new token", Duration::from_secs(10), is_anew).await;
    assert_eq!(status(&gateway).await, 200, "{:?}: {}", begun.elapsed(), gateway.output());
}

#[test]
fn outside_of_a_cluster_a_kubeconfig_is_needed() {
    let mut gateway = Setup::in_cluster("[kubernetes]\nnamespace = \"osb\"\n").spawn();
    let status = gateway.wait(Duration::from_secs(20));
    let output = gateway.output();
    assert!(status.code() == Some(1) && output.contains("set kubernetes.kubeconfig_path"), "{status}: {output}");
}
