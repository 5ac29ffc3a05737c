//! Signs of use that an ingress writes into a queue: whose sandbox is meant is to be found out (kubernetes-runtime.md §15).

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;

use super::fixture::World;
use crate::{
    cluster::BATCH,
    fixture::{ID, OTHER},
    support::{
        eventually,
        gateway::{Gateway, free_port},
        kube::{Credentials, Rule, resource::NAMESPACES},
    },
};

const LONG: Duration = Duration::from_secs(20);
const LONG_AGO: &str = "2026-01-01T00:00:00+00:00";

/// A Redis of the test's own.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    async fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed: scripts/test");
        let redis = Self { child, port };
        eventually("Redis", LONG, || redis.ask(&["PING"]) == "PONG").await;
        redis
    }

    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(words);
        let output = command.stderr(Stdio::null()).output().expect("redis-cli is installed");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn used(&self, id: &str, namespace: Option<&str>) {
        let mut intent = json!({"sandbox_id": id, "observed_at": jiff::Timestamp::now().to_string()});
        if let Some(namespace) = namespace {
            intent["namespace"] = json!(namespace);
        }
        let length = self.ask(&["LPUSH", "opensandbox:renew:intent", &intent.to_string()]);
        assert!(length.parse::<u32>().is_ok(), "{length}");
    }

    fn section(&self) -> String {
        format!(
            "[renew_intent]\nenabled = true\nredis.enabled = true\nredis.dsn = 'redis://127.0.0.1:{}/0'\n",
            self.port
        )
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A sandbox that asks to be renewed when it is used, and whose time is long over.
fn renewable(world: &World, id: &str, namespace: &str) {
    world.sandbox(id, namespace, "x", "");
    let renewable = json!({"metadata": {"annotations": {"opensandbox.io/access-renew-extend-seconds": "600"}},
        "spec": {"expireTime": LONG_AGO}});
    world.cluster.server.patch(&BATCH, namespace, id, &renewable);
}

fn is_renewed(world: &World, id: &str, namespace: &str) -> bool {
    world.cluster.server.get(&BATCH, namespace, id).unwrap()["spec"]["expireTime"] != LONG_AGO
}

#[tokio::test]
async fn a_sandbox_is_found_in_the_namespace_of_whoever_has_it() {
    let (world, redis) = (World::start(), Redis::start().await);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}});
    world.cluster.server.create(&NAMESPACES, "", namespace);
    renewable(&world, OTHER, "b");
    for namespace in ["a", "b"] {
        renewable(&world, ID, namespace);
    }
    renewable(&world, "own", "osb");
    renewable(&world, "far", "elsewhere");
    renewable(&world, "odd", "elsewhere");
    let _gateway: Gateway = world.setup("").section(&redis.section()).start();
    for (id, hint, namespace) in [
        ("own", None, "osb"),
        (OTHER, None, "b"),
        (ID, Some("b"), "b"),
        ("far", None, "elsewhere"),
        ("odd", Some("../x"), "elsewhere"),
    ] {
        redis.used(id, hint);
        eventually(&format!("{id} in {namespace}"), LONG, || is_renewed(&world, id, namespace)).await;
    }
    assert!(!is_renewed(&world, ID, "a"), "the ingress said where it is");
}

#[tokio::test]
async fn who_may_not_look_everywhere_looks_no_more_for_a_while() {
    let (world, redis) = (World::start(), Redis::start().await);
    renewable(&world, OTHER, "b");
    let server = &world.cluster.server;
    server.token("t", "gateway");
    let all = "get,list,watch,patch,delete";
    let rules = ["a", "b", "osb"].map(|namespace| Rule::new(all, "*", namespace));
    server.rules("gateway", [rules.as_slice(), &[Rule::new("get", "namespaces", "*")]].concat());
    let kubeconfig = server.kubeconfig(Credentials::Token("t"));
    let setup =
        crate::support::gateway::Setup::kubernetes(&kubeconfig, "osb").section("[tenants]").section(&redis.section());
    let gateway = setup.env("SANDBOX_TENANTS_CONFIG_PATH", world.file().to_str().unwrap()).start();
    for _ in 0..3 {
        redis.used("nowhere", None);
    }
    gateway.says("sandboxes are looked for only where tenants are known to have them").await;
    redis.used(OTHER, None);
    eventually("the renewal", LONG, || is_renewed(&world, OTHER, "b")).await;
    redis.used("nowhere", None);
    eventually("an empty queue", LONG, || redis.ask(&["LLEN", "opensandbox:renew:intent"]) == "0").await;
    let everywhere =
        || server.requests().iter().filter(|request| request.path.ends_with("v1alpha1/batchsandboxes")).count();
    // Those that were on their way at the same time.
    assert!((1..=3).contains(&everywhere()), "{}", everywhere());
}
