//! `[kubernetes]` and `[agent_sandbox]`: how sandboxes are made on a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::names::{is_dns_label, quoted};
use super::quantity::{is_resource_name, parse_quantity};
use super::section::{Floor, Section};

/// Most `pod_networks`: each is compared with every address.
const MAX_NETWORKS: usize = 256;

/// `[kubernetes]`. May be absent; forbidden with the other runtimes.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// The kubeconfig file. Default: the configuration inside the cluster.
    pub kubeconfig_path: Option<PathBuf>,
    /// Do not check the API server's certificate. Default false.
    pub insecure_skip_tls_verify: bool,
    /// `informer_resync_seconds`. Default 300 s; 0 is never.
    pub informer_resync: Duration,
    /// `informer_watch_timeout_seconds`; at least 1 s. Default 60 s.
    pub informer_watch_timeout: Duration,
    /// `cache_max_age_seconds`: what is known of sandboxes is asked for again when it is older; more than 0 s. Default 10 s.
    pub cache_max_age: Duration,
    /// Whether sandboxes may be Windows machines, whose pods are privileged. Default false.
    pub allow_windows: bool,
    /// The networks in which pods are: a sandbox's address elsewhere does not count. Default none: anywhere but on this machine
    /// and its link.
    pub pod_networks: Vec<IpNet>,
    /// Read requests a second; 0 is unlimited. Default 0.
    pub read_qps: f64,
    /// Read requests allowed at once above `read_qps`. Default 0.
    pub read_burst: u32,
    /// Write requests a second; 0 is unlimited. Default 0.
    pub write_qps: f64,
    /// Write requests allowed at once above `write_qps`. Default 0.
    pub write_burst: u32,
    /// The namespace of sandboxes: a DNS label. No default; the program does not start without it.
    pub namespace: Option<String>,
    /// Settings of the fast path, `fastpath_*`.
    pub fastpath: Fastpath,
    /// The secret templates are published with. Default
    /// `sandbox-oss-credentials`.
    pub template_s3_publish_secret: String,
    /// The kind of object a sandbox is. Default `batchsandbox`.
    pub workload_provider: WorkloadProvider,
    /// The template of a BatchSandbox object. No default.
    pub batchsandbox_template_file: Option<PathBuf>,
    /// `sandbox_create_timeout_seconds`; at least 1 s. Default 60 s.
    pub sandbox_create_timeout: Duration,
    /// `pool_acquisition_timeout_seconds`; at least 1 s. Default 30 s.
    pub pool_acquisition_timeout: Duration,
    /// `sandbox_create_poll_interval_seconds`; more than 0 s. Default 1 s.
    pub sandbox_create_poll_interval: Duration,
    /// When images are pulled; not checked. Default `IfNotPresent`.
    pub image_pull_policy: String,
    /// What the init container of execd may use. Default nothing said.
    pub execd_init_resources: Resources,
}

/// The `fastpath_*` keys of `[kubernetes]`.
#[derive(Debug, Clone)]
pub struct Fastpath {
    /// `host:port`. Default `fast-sandbox-fastpath.opensandbox.svc:9090`.
    pub endpoint: String,
    /// How long one call may take; at least 1 s. Default 30 s.
    pub timeout: Duration,
    /// How long a sandbox may take to be ready; at least 1 s. Default 30 s.
    pub wait_ready: Duration,
    /// The pool sandboxes are taken from. Default `default-pool`.
    pub resource_pool: String,
}

/// Resources of a container, by name, as Kubernetes quantities.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// What is set aside. Default none.
    pub requests: BTreeMap<String, String>,
    /// What is at most given. Default none.
    pub limits: BTreeMap<String, String>,
}

/// The kind of object that a sandbox is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadProvider {
    /// `batchsandbox`.
    BatchSandbox,
    /// `agent-sandbox`.
    AgentSandbox,
}

/// `[agent_sandbox]`, only with `kubernetes.workload_provider = "agent-sandbox"`.
#[derive(Debug, Clone)]
pub struct AgentSandbox {
    /// The template of a Sandbox object. No default.
    pub template_file: Option<PathBuf>,
    /// What becomes of a sandbox whose time is over. Default `Delete`.
    pub shutdown_policy: ShutdownPolicy,
}

/// What becomes of a sandbox whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownPolicy {
    /// It is deleted.
    Delete,
    /// It is stopped and kept.
    Retain,
}

impl Kubernetes {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        section.removed(&["informer_enabled", "service_account", "snapshot_create_timeout_seconds"]);
        Self {
            kubeconfig_path: section.path("kubeconfig_path"),
            insecure_skip_tls_verify: section.boolean("insecure_skip_tls_verify", false),
            informer_resync: section.whole_seconds("informer_resync_seconds", 300, 0),
            informer_watch_timeout: section.whole_seconds("informer_watch_timeout_seconds", 60, 1),
            cache_max_age: section.seconds("cache_max_age_seconds", 10.0, Floor::Above(0.0)),
            allow_windows: section.boolean("allow_windows", false),
            pod_networks: read_networks(section),
            read_qps: section.float("read_qps", 0.0, Floor::AtLeast(0.0)),
            read_burst: section.integer("read_burst", 0, 0..=i64::from(u32::MAX)),
            write_qps: section.float("write_qps", 0.0, Floor::AtLeast(0.0)),
            write_burst: section.integer("write_burst", 0, 0..=i64::from(u32::MAX)),
            namespace: read_namespace(section),
            fastpath: Fastpath::read(section),
            template_s3_publish_secret: section
                .text("template_s3_publish_secret")
                .unwrap_or_else(|| "sandbox-oss-credentials".to_owned()),
            workload_provider: read_provider(section),
            batchsandbox_template_file: section.path("batchsandbox_template_file"),
            sandbox_create_timeout: section.whole_seconds("sandbox_create_timeout_seconds", 60, 1),
            pool_acquisition_timeout: section.whole_seconds("pool_acquisition_timeout_seconds", 30, 1),
            sandbox_create_poll_interval: section.seconds(
                "sandbox_create_poll_interval_seconds",
                1.0,
                Floor::Above(0.0),
            ),
            image_pull_policy: section.text("image_pull_policy").unwrap_or_else(|| "IfNotPresent".to_owned()),
            execd_init_resources: section.table("execd_init_resources", Resources::read),
        }
    }
}

impl Fastpath {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            endpoint: section
                .text("fastpath_endpoint")
                .unwrap_or_else(|| "fast-sandbox-fastpath.opensandbox.svc:9090".to_owned()),
            timeout: section.seconds("fastpath_timeout_seconds", 30.0, Floor::AtLeast(1.0)),
            wait_ready: section.seconds("fastpath_wait_ready_seconds", 30.0, Floor::AtLeast(1.0)),
            resource_pool: section.text("fastpath_resource_pool").unwrap_or_else(|| "default-pool".to_owned()),
        }
    }
}

impl Resources {
    /// Reads `requests` and `limits`, and checks them: of an object with a quantity that is none, a cluster's operator can read
    /// no other any more (kubernetes-api.md §12).
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let this = Self { requests: section.text_map("requests"), limits: section.text_map("limits") };
        this.check(section);
        this
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }

    fn check(&self, section: &Section<'_>) {
        let Self { requests, limits } = self;
        for (table, entries) in [("requests", requests), ("limits", limits)] {
            for (name, quantity) in entries {
                let key = format!("{table}.{}", quoted(name));
                if !is_resource_name(name) {
                    section.fail(&key, "is not the name of a container resource");
                } else if parse_quantity(quantity).is_none() {
                    section.fail(&key, "must be a Kubernetes quantity such as 500m or 1Gi");
                }
            }
        }
        for (name, request) in requests {
            let both = parse_quantity(request).zip(limits.get(name).and_then(|limit| parse_quantity(limit)));
            if both.is_some_and(|(request, limit)| request > limit) {
                section.fail(&format!("requests.{}", quoted(name)), "must not be above its limit");
            }
        }
    }
}

/// It stands in the path of every request.
fn read_namespace(section: &mut Section<'_>) -> Option<String> {
    let namespace = section.optional_text("namespace")?;
    if !is_dns_label(&namespace) {
        let rule =
            "must be a namespace: at most 63 lower-case letters, digits and '-', which is neither first nor last";
        section.fail("namespace", rule);
    }
    Some(namespace)
}

fn read_networks(section: &mut Section<'_>) -> Vec<IpNet> {
    const KEY: &str = "pod_networks";
    let mut networks = Vec::new();
    for text in section.texts(KEY).unwrap_or_default() {
        match text.parse::<IpNet>() {
            Ok(network) if network.trunc() == network => networks.push(network),
            _ => section.fail(KEY, format_args!("must be networks such as \"10.0.0.0/8\", not {text:?}")),
        }
    }
    if networks.len() > MAX_NETWORKS {
        section.fail(KEY, format_args!("must be at most {MAX_NETWORKS} networks"));
    }
    networks
}

fn read_provider(section: &mut Section<'_>) -> WorkloadProvider {
    let name = section.optional_text("workload_provider");
    match name.as_deref() {
        None | Some("batchsandbox") => WorkloadProvider::BatchSandbox,
        Some("agent-sandbox") => WorkloadProvider::AgentSandbox,
        Some(other) => {
            section.fail(
                "workload_provider",
                format_args!(
                    "Invalid workload provider configuration: Unsupported workload provider type '{}'. \
                     Available providers: batchsandbox, agent-sandbox",
                    quoted(other).trim_matches('"')
                ),
            );
            WorkloadProvider::BatchSandbox
        }
    }
}

impl AgentSandbox {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        if section.has("ingress_enabled") {
            section.warn("ingress_enabled", "this key has no effect in this server");
        }
        section.boolean("ingress_enabled", true);
        let policies = [("Delete", ShutdownPolicy::Delete), ("Retain", ShutdownPolicy::Retain)];
        Self {
            template_file: section.path("template_file"),
            shutdown_policy: section.choice("shutdown_policy", ShutdownPolicy::Delete, &policies),
        }
    }
}
