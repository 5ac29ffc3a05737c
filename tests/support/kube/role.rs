//! What `deploy/` allows a gateway, for the gateways of tests: each runs under the rules that it has on a cluster.

use std::{collections::BTreeSet, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::access::Rule;

/// The user of a gateway under these rules begins with this.
pub(super) const ACCOUNT: &str = "system:serviceaccount:opensandbox:opensandbox-gateway";

/// A folder of `deploy/kubernetes` whose roles a gateway has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// For the BatchSandboxes of one namespace.
    BatchSandbox,
    /// For the Sandboxes of one namespace.
    AgentSandbox,
    /// For the BatchSandboxes of tenants.
    Tenants,
}

impl Role {
    /// The rules of a gateway whose sandboxes are in this namespace.
    ///
    /// # Panics
    ///
    /// If the manifest cannot be read. The same for those below.
    pub fn rules(self, namespace: &str) -> Vec<Rule> {
        let of = |role: &Value| if is_namespaced(role) { namespace } else { "*" }.to_owned();
        let rules = self.objects().into_iter().flat_map(|role| {
            let namespaces = of(&role);
            list(&role["rules"]).into_iter().map(move |rule| (rule, namespaces.clone()))
        });
        let joined = |rule: &Value, key: &str| texts(&rule[key]).join(",");
        rules
            .map(|(rule, namespaces)| {
                Rule::new(&joined(&rule, "verbs"), &joined(&rule, "resources"), &namespaces)
                    .of_groups(&joined(&rule, "apiGroups"))
            })
            .collect()
    }

    /// The rules that hold in one namespace, as the manifest has them.
    pub fn in_namespace(self) -> Vec<Value> {
        self.objects().into_iter().filter(is_namespaced).flat_map(|role| list(&role["rules"])).collect()
    }

    /// What the rules allow, as [`call`] writes it.
    pub fn allowed(self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for rule in self.objects().iter().flat_map(|role| list(&role["rules"])) {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    all.extend(texts(&rule["verbs"]).iter().map(|verb| call(verb, &resource, &group)));
                }
            }
        }
        all
    }

    /// The roles of the manifest.
    fn objects(self) -> Vec<Value> {
        let folder = match self {
            Self::BatchSandbox => "",
            Self::AgentSandbox => "agent-sandbox",
            Self::Tenants => "tenants",
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(folder).join("rbac.yaml");
        let text = fs::read_to_string(path).expect("the manifests have roles");
        let documents = serde_yaml_ng::Deserializer::from_str(&text)
            .map(|document| Value::deserialize(document).expect("the manifest is YAML"));
        documents.filter(|object| object["rules"].is_array()).collect()
    }
}

fn is_namespaced(role: &Value) -> bool {
    role["kind"] == "Role"
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().expect("a list").clone()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// A call as the tests write it: `get pods/log`, `list batchsandboxes.sandbox.opensandbox.io`.
pub(super) fn call(verb: &str, resource: &str, group: &str) -> String {
    if group.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}.{group}") }
}
