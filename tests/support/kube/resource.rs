//! The kinds that the server has, and which of them a path names.

use super::{failure::Failure, query::Query};

/// A kind of object.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The version in the group.
    pub version: &'static str,
    /// The name in paths.
    pub plural: &'static str,
    /// The name of one object in the discovery document.
    pub singular: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
    /// Whether a CRD defines it.
    pub custom: bool,
    /// Whether its status is a subresource.
    pub status: bool,
}

const SANDBOX: &str = "sandbox.opensandbox.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const MONITORING: &str = "monitoring.coreos.com";

macro_rules! resources {
    ($($name:ident: $group:expr, $version:literal, $plural:literal, $singular:literal, $kind:literal,
        $namespaced:literal, $custom:literal, $status:literal;)*) => {
        $(
            #[doc = concat!("The kind ", $kind, ".")]
            pub static $name: Resource = Resource {
                group: $group, version: $version, plural: $plural, singular: $singular, kind: $kind,
                namespaced: $namespaced, custom: $custom, status: $status,
            };
        )*
        /// All kinds.
        pub static ALL: &[&Resource] = &[$(&$name),*];
    };
}

resources! {
    PODS: "", "v1", "pods", "pod", "Pod", true, false, true;
    EVENTS: "", "v1", "events", "event", "Event", true, false, false;
    CLAIMS: "", "v1", "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", true, false, true;
    SECRETS: "", "v1", "secrets", "secret", "Secret", true, false, false;
    NAMESPACES: "", "v1", "namespaces", "namespace", "Namespace", false, false, true;
    NODES: "", "v1", "nodes", "node", "Node", false, false, true;
    SERVICE_ACCOUNTS: "", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", true, false, false;
    CONFIG_MAPS: "", "v1", "configmaps", "configmap", "ConfigMap", true, false, false;
    SERVICES: "", "v1", "services", "service", "Service", true, false, true;
    DEPLOYMENTS: "apps", "v1", "deployments", "deployment", "Deployment", true, false, true;
    BUDGETS: "policy", "v1", "poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget", true, false, true;
    NETWORK_POLICIES: "networking.k8s.io", "v1", "networkpolicies", "networkpolicy", "NetworkPolicy", true, false, false;
    ROLES: RBAC, "v1", "roles", "role", "Role", true, false, false;
    ROLE_BINDINGS: RBAC, "v1", "rolebindings", "rolebinding", "RoleBinding", true, false, false;
    CLUSTER_ROLES: RBAC, "v1", "clusterroles", "clusterrole", "ClusterRole", false, false, false;
    CLUSTER_ROLE_BINDINGS: RBAC, "v1", "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding", false, false, false;
    SERVICE_MONITORS: MONITORING, "v1", "servicemonitors", "servicemonitor", "ServiceMonitor", true, true, false;
    PROMETHEUS_RULES: MONITORING, "v1", "prometheusrules", "prometheusrule", "PrometheusRule", true, true, false;
    RUNTIME_CLASSES: "node.k8s.io", "v1", "runtimeclasses", "runtimeclass", "RuntimeClass", false, false, false;
    BATCH_SANDBOXES: SANDBOX, "v1alpha1", "batchsandboxes", "batchsandbox", "BatchSandbox", true, true, true;
    SNAPSHOTS: SANDBOX, "v1alpha1", "sandboxsnapshots", "sandboxsnapshot", "SandboxSnapshot", true, true, true;
    POOLS: SANDBOX, "v1alpha1", "pools", "pool", "Pool", true, true, true;
    AGENT_SANDBOXES: "agents.x-k8s.io", "v1beta1", "sandboxes", "sandbox", "Sandbox", true, true, true;
}

impl Resource {
    /// The value of `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The name in most messages: `pods`, `batchsandboxes.sandbox.opensandbox.io`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The kind in messages of validation: `Pod`, `BatchSandbox.sandbox.opensandbox.io`.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// The path of the objects in a namespace, or of one of them if `name` is not empty.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let root =
            if self.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/{}", self.group, self.version) };
        let scope = if self.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        format!("{root}{scope}/{}{name}", self.plural)
    }
}

/// What a path names.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) resource: &'static Resource,
    /// Empty for all namespaces and for kinds without them.
    pub(super) namespace: String,
    /// Empty for the collection.
    pub(super) name: String,
    /// `log`, `status`; empty for the object itself.
    pub(super) subresource: String,
    /// The old `/watch/` prefix.
    pub(super) is_watch: bool,
}

impl Target {
    /// The verb as access rules have it.
    pub(super) fn verb(&self, method: &str, query: &Query) -> &'static str {
        let is_one = !self.name.is_empty();
        match method {
            "GET" if is_one => "get",
            "GET" if self.is_watch || query.flag("watch") => "watch",
            "GET" | "HEAD" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if is_one => "delete",
            "DELETE" => "deletecollection",
            _ => "get",
        }
    }

    /// `pods/log`, `pods`.
    pub(super) fn access_name(&self) -> String {
        let plural = self.resource.plural;
        if self.subresource.is_empty() { plural.to_owned() } else { format!("{plural}/{}", self.subresource) }
    }
}

/// The target of `path`, which begins with `/api/` or `/apis/`.
pub(super) fn target(path: &str, is_there: impl Fn(&'static Resource) -> bool) -> Result<Target, Failure> {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version) = match parts.as_slice() {
        ["api", version, ..] => ("", *version),
        ["apis", group, version, ..] => (*group, *version),
        _ => return Err(Failure::no_such_path()),
    };
    let in_group = |resource: &&&'static Resource| resource.group == group && resource.version == version;
    let is_custom = match ALL.iter().filter(in_group).find(|resource| is_there(resource)) {
        None => return Err(Failure::no_such_path()),
        Some(resource) => resource.custom,
    };
    parts.drain(..if group.is_empty() { 2 } else { 3 });
    let is_watch = parts.first() == Some(&"watch");
    if is_watch {
        parts.remove(0);
    }
    let (namespace, parts) = match parts.as_slice() {
        // The namespaces themselves, and what hangs on one.
        ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", parts.as_slice()),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, subresource) = match parts {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Err(Failure::no_such_path()),
    };
    let resource = ALL.iter().filter(in_group).find(|resource| resource.plural == plural && is_there(resource));
    let known = resource.filter(|resource| match subresource {
        "" => true,
        "status" => resource.status,
        "log" => resource.plural == "pods",
        _ => false,
    });
    match known {
        Some(resource) => {
            let [namespace, name, subresource] = [namespace, name, subresource].map(str::to_owned);
            Ok(Target { resource, namespace, name, subresource, is_watch })
        }
        // A CRD that is absent looks like a group that is absent, also where its group has others.
        None if is_custom => Err(Failure::no_such_path()),
        None => Err(Failure::no_such_resource()),
    }
}
