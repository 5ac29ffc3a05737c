//! What the Python server was recorded with, asked again: the requests of transcripts 12 to 15 and 34 with their answers, and what
//! was written into the cluster for them.
//!
//! A file of `recorded/` has `steps` and `written`, each in its order. `<id 1>` is the first id that an answer told, `<hex 1>` the
//! same without dashes; times, tokens and signatures are made equal. A step with `status` is what the operator writes before the
//! next one: into the object of an id, or of one that the step `make`s. What is different on purpose is listed here.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use regex::Regex;
use serde_json::{Value, json};

use crate::{
    cluster::{AGENT, BATCH, Cluster, NAMESPACE, PODS},
    support::{
        bounded,
        client::{self, Response},
        gateway::Gateway,
        kube::{
            Action, Failure, Operator, Resource, Role, Server,
            resource::{NAMESPACES, SNAPSHOTS},
        },
    },
};

/// Steps whose answer is another one here: its status and code, and why.
const OTHERWISE: [(&str, u16, &str, &str); 2] = [
    ("12 create rich", 202, "", "a claim with a storage class can be made"),
    ("34 bad quantity", 400, "SANDBOX::INVALID_PARAMETER", "a bad quantity is refused before it blinds the operator"),
];

/// Members of answers that were not recorded, and why.
const MORE: [(&str, &str, &str); 1] =
    [("13 poolRef ok", "/entrypoint", "some clients require it; the recorded server left it out in pool mode")];

/// What a claim has here besides: it is owned by its sandbox and goes with it, which the recorded server failed to write.
const OF_CLAIMS: [&str; 3] = ["/apiVersion", "/kind", "/metadata/ownerReferences"];

/// A recording that is being asked again.
struct Replay {
    number: &'static str,
    cluster: Cluster,
    gateway: Gateway,
    kind: &'static Resource,
    namespace: &'static str,
    ids: Vec<String>,
}

impl Replay {
    fn new(number: &'static str, sections: &str) -> Self {
        Self::of(number, (&BATCH, Role::BatchSandbox), NAMESPACE, Cluster::start(), |setup| setup.section(sections))
    }

    fn of(
        number: &'static str,
        (kind, role): (&'static Resource, Role),
        namespace: &'static str,
        cluster: Cluster,
        change: impl FnOnce(crate::support::gateway::Setup) -> crate::support::gateway::Setup,
    ) -> Self {
        let gateway = change(cluster.gateway_as(role, "")).start();
        Self { number, cluster, gateway, kind, namespace, ids: Vec::new() }
    }

    /// All steps, and then the writes. Every sandbox comes to run at once if `runs`.
    async fn run(mut self, text: &str, runs: bool) {
        let recording: Value = serde_json::from_str(text).unwrap();
        let mut is_told = false;
        for step in recording["steps"].as_array().unwrap() {
            if !step["status"].is_object() {
                self.step(step, runs, is_told).await;
                is_told = false;
                continue;
            }
            is_told = true;
            if step["make"].is_string() {
                let made = self.ask("POST", "/v1/sandboxes", step, Some(&step["status"])).await;
                self.ids.push(made.json()["id"].as_str().unwrap().to_owned());
            } else {
                self.tell(step["of"].as_str().unwrap(), &step["status"]);
            }
        }
        self.check_writes(&recording["written"]);
    }

    /// Writes a status as the operator does.
    fn tell(&self, of: &str, status: &Value) {
        let (of, status) = (self.placed(of), json!({"status": status}));
        let (kind, name) = if of.contains('-') { (self.kind, of) } else { (&SNAPSHOTS, format!("osb-snap-{of}")) };
        let objects = self.cluster.server.list(kind, self.namespace);
        let own = |object: &&Arc<Value>| {
            object["metadata"]["name"] == name || object["metadata"]["labels"]["opensandbox.io/id"] == name
        };
        let object = objects.iter().find(own).unwrap_or_else(|| panic!("there is no {} {name}", kind.kind));
        self.cluster.server.patch(kind, self.namespace, object["metadata"]["name"].as_str().unwrap(), &status);
    }

    /// Asks a step's request. Behind what the operator wrote, it is asked until that has come to the gateway.
    async fn step(&mut self, step: &Value, runs: bool, is_told: bool) {
        let name = format!("{} {}", self.number, step["name"].as_str().unwrap());
        if name == "13 quota" {
            let why = "batchsandboxes \"00000000-0000-0000-0000-000000000000\" is forbidden: exceeded quota: q1, requested: cpu=1";
            self.cluster.server.fault("POST", "/batchsandboxes", Action::Fail(Failure::new(403, "Forbidden", why)), 1);
        }
        let (method, path) = (step["method"].as_str().unwrap(), self.placed(step["path"].as_str().unwrap()));
        // What is read may come a moment later: an operator's write is told by a watch, a snapshot's state too.
        let may_be_late = is_told || method == "GET" && step["status"] == 200;
        let start = std::time::Instant::now();
        loop {
            let answer = self.ask(method, &path, step, runs.then_some(&Value::Null)).await;
            match self.difference(&name, step, &answer) {
                None => break,
                Some(_) if may_be_late && start.elapsed() < Duration::from_secs(60) => {}
                Some(difference) => panic!("{name}: {difference}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a step's request. Meanwhile sandboxes come to run if there is a status for them, the usual one if it is null.
    async fn ask(&self, method: &str, path: &str, step: &Value, status: Option<&Value>) -> Response {
        let mut lines = Vec::new();
        let key = step["key"].as_str().map(|key| format!("open-sandbox-api-key: {key}"));
        lines.extend(key.as_deref());
        let body = if step["body"].is_null() { String::new() } else { self.placed(&step["body"].to_string()) };
        if !body.is_empty() {
            lines.push("content-type: application/json");
        }
        let answered = client::request(self.gateway.address(), method, path, &lines, &body);
        let attended = attend(&self.cluster.server, self.kind, self.namespace, status);
        let both = async {
            tokio::select! { answer = answered => answer, () = attended => unreachable!() }
        };
        bounded(path, both).await
    }

    /// What differs from a recorded answer. Learns the id of what was made.
    fn difference(&mut self, name: &str, step: &Value, answer: &Response) -> Option<String> {
        if let Some((_, status, code, _)) = OTHERWISE.iter().find(|(own, ..)| *own == name) {
            let code_here = if *status < 300 { String::new() } else { answer.code() };
            return ((answer.status(), code_here.as_str()) != (*status, *code)).then(|| answer.to_string());
        }
        let mut here = if answer.body.is_empty() { Value::Null } else { answer.json() };
        if step["answer"]["id"] == format!("<id {}>", self.ids.len() + 1) {
            self.ids.push(here["id"].as_str().unwrap_or_else(|| panic!("{name}: {answer}")).to_owned());
        }
        for (_, pointer, _) in MORE.iter().filter(|(own, ..)| *own == name) {
            assert!(remove(&mut here, pointer), "{name}: {pointer} is not there: {answer}");
        }
        let (here, recorded) = (self.masked(&here), &step["answer"]);
        (answer.status() != step["status"] || here != *recorded)
            .then(|| format!("answered {} {here}\n  instead of {} {recorded}", answer.status(), step["status"]))
    }

    /// Every recorded write must have been made, with the same object, and none besides.
    fn check_writes(&self, recorded: &Value) {
        let mut made: Vec<_> = self.cluster.server.requests();
        let goes_with_its_owner =
            |method: &str, path: &str| method == "DELETE" && path.contains("/persistentvolumeclaims/");
        made.retain(|call| call.method != "GET" && !goes_with_its_owner(&call.method, &call.path));
        for wanted in recorded.as_array().into_iter().flatten() {
            let (method, path) = (wanted["method"].as_str().unwrap(), wanted["path"].as_str().unwrap());
            if goes_with_its_owner(method, path) {
                continue;
            }
            let is_it =
                |call: &crate::support::kube::Recorded| call.method == method && self.masked_text(&call.path) == path;
            let at = made.iter().position(is_it).unwrap_or_else(|| panic!("{}: no {method} {path}", self.number));
            let call = made.remove(at);
            let mut body = call.body;
            let secret = body.get_mut("data").and_then(Value::as_object_mut);
            for data in secret.into_iter().flat_map(|data| data.values_mut()) {
                *data = String::from_utf8(STANDARD.decode(data.as_str().unwrap()).unwrap()).unwrap().into();
            }
            if method == "POST" && path.ends_with("/persistentvolumeclaims") {
                OF_CLAIMS
                    .iter()
                    .for_each(|pointer| assert!(remove(&mut body, pointer), "{pointer} is not there: {body}"));
            }
            as_recorded(method, &mut body, &wanted["body"]);
            assert_eq!(self.masked(&body), wanted["body"], "{}: {method} {path}", self.number);
        }
        if !recorded.is_null() {
            let left: Vec<_> = made.iter().map(|call| format!("{} {} {}", call.method, call.path, call.body)).collect();
            assert!(left.is_empty(), "{}: writes that were not recorded: {left:#?}", self.number);
        }
    }

    /// A recorded text with the ids of this run.
    fn placed(&self, text: &str) -> String {
        self.ids.iter().enumerate().fold(text.to_owned(), |text, (at, id)| {
            text.replace(&format!("<id {}>", at + 1), id).replace(&format!("<hex {}>", at + 1), &id.replace('-', ""))
        })
    }

    /// A value of this run as a recording has it.
    fn masked(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.masked_text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.masked(item)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (self.masked_text(key), self.masked(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }

    fn masked_text(&self, text: &str) -> String {
        static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
            let rules = [
                ("^[A-Za-z0-9_-]{32}$", "<token>"),
                ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
                ("-vf7lds-[0-9a-f]{8}k", "-vf7lds-<signature>k"),
                ("Elapsed: [0-9.]+s", "Elapsed: <seconds>s"),
                (r"\(\d{10}\)", "(<now>)"),
                (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|\+00:00)", "<time.us$1>"),
                (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)", "<time$1>"),
            ];
            rules.into_iter().map(|(rule, with)| (Regex::new(rule).unwrap(), with)).collect()
        });
        let named = self.ids.iter().enumerate().fold(text.to_owned(), |text, (at, id)| {
            text.replace(id, &format!("<id {}>", at + 1)).replace(&id.replace('-', ""), &format!("<hex {}>", at + 1))
        });
        RULES.iter().fold(named, |text, (rule, with)| rule.replace_all(&text, *with).into_owned())
    }
}

/// Takes away what a write of the gateway has besides: it names the object that it means, and only labels that change.
fn as_recorded(method: &str, body: &mut Value, recorded: &Value) {
    match method {
        "PATCH" => {
            for key in ["uid", "resourceVersion"] {
                body["metadata"].as_object_mut().map(|metadata| metadata.remove(key));
            }
            for (key, value) in recorded["metadata"]["labels"].as_object().into_iter().flatten() {
                if key.starts_with("opensandbox.io/") {
                    body["metadata"]["labels"][key] = value.clone();
                }
            }
            if body["metadata"].as_object().is_some_and(serde_json::Map::is_empty) || body["metadata"].is_null() {
                body.as_object_mut().unwrap().remove("metadata");
            }
        }
        "DELETE" => *body = recorded.clone(),
        _ => {}
    }
}

/// Removes what a JSON pointer names; whether it was there.
fn remove(value: &mut Value, pointer: &str) -> bool {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    value.pointer_mut(parent).and_then(Value::as_object_mut).is_some_and(|map| map.remove(key).is_some())
}

/// Lets every new sandbox come to run, as the operator and a kubelet do; for ever.
async fn attend(server: &Server, kind: &'static Resource, namespace: &str, status: Option<&Value>) {
    let Some(status) = status else { return std::future::pending().await };
    loop {
        for sandbox in server.list(kind, namespace).iter().filter(|sandbox| sandbox["status"].is_null()) {
            let name = sandbox["metadata"]["name"].as_str().unwrap();
            if let Some(pod) = Operator::pod_of(kind, sandbox) {
                let pod_name = pod["metadata"]["name"].as_str().unwrap().to_owned();
                server.create(&PODS, namespace, pod);
                server.run_pod(namespace, &pod_name, "127.0.0.1", "node1");
            }
            let usual = Operator::ready(kind, sandbox, "127.0.0.1");
            let change = if status.is_null() { usual } else { json!({"status": status}) };
            server.patch(kind, namespace, name, &change);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const EGRESS: &str = "[egress]\nimage = \"reg.example/egress:v1\"\nmode = \"dns+nft\"\notlp_endpoint = \"http://otel:4318\"\n\
    [egress.requests]\ncpu = \"50m\"\n[egress.limits]\nmemory = \"128Mi\"\n\
    [storage]\nallowed_host_paths = [\"/data/opensandbox\"]\n";

#[tokio::test]
async fn transcript_12_a_life() {
    Replay::new("12", EGRESS).run(include_str!("recorded/12.json"), true).await;
}

#[tokio::test]
async fn transcript_13_requests_with_everything_and_pools() {
    Replay::new("13", EGRESS).run(include_str!("recorded/13.json"), true).await;
}

#[tokio::test]
async fn transcript_14_tenants_over_a_template_behind_an_ingress_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let tenants = "[[tenants]]\nname = 'team-a'\nnamespace = 'ns-a'\napi_keys = ['key-a1', 'key-a2']\n\
        [[tenants]]\nname = 'shadow'\nnamespace = 'ns-a'\napi_keys = ['key-as']\n\
        [[tenants]]\nname = 'team-b'\nnamespace = 'ns-b'\napi_keys = ['key-b']\n";
    let sections = format!(
        "batchsandbox_template_file = \"{}\"\n[tenants]\n[ingress]\nmode = \"gateway\"\n[ingress.gateway]\naddress = \"gw.example.com:8443\"\n\
         [ingress.gateway.route]\nmode = \"header\"\n[ingress.secure_access]\nactive_key = \"k\"\n[[ingress.secure_access.keys]]\n\
         key_id = \"k\"\nkey = \"c2VjcmV0\"\n",
        file("template.yaml", include_str!("recorded/14.template.yaml"))
    );
    let cluster = Cluster::start();
    for name in ["ns-a", "ns-b"] {
        cluster.server.create(&NAMESPACES, "", json!({"metadata": {"name": name}}));
    }
    let tenants = file("tenants.toml", tenants);
    let replay = Replay::of("14", (&BATCH, Role::Tenants), "ns-a", cluster, |setup| {
        setup.section(&sections).env("SANDBOX_TENANTS_CONFIG_PATH", &tenants).env("OPENSANDBOX_INSECURE_SERVER", "NO")
    });
    replay.run(include_str!("recorded/14.json"), true).await;
}

#[tokio::test]
async fn transcript_15_agent_sandboxes() {
    let sections = "workload_provider = \"agent-sandbox\"\nsandbox_create_timeout_seconds = 1\n[ingress]\nmode = \"gateway\"\n\
        [ingress.gateway]\naddress = \"*.sb.example.com\"\n[ingress.gateway.route]\nmode = \"wildcard\"\n[ingress.secure_access]\n\
        active_key = \"k\"\n[[ingress.secure_access.keys]]\nkey_id = \"k\"\nkey = \"c2VjcmV0\"\n";
    let replay =
        Replay::of("15", (&AGENT, Role::AgentSandbox), NAMESPACE, Cluster::start(), |setup| setup.section(sections));
    replay.run(include_str!("recorded/15.json"), false).await;
}

#[tokio::test]
async fn transcript_34_a_real_cluster() {
    Replay::new("34", "").run(include_str!("recorded/34.json"), true).await;
}
