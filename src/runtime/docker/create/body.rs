//! The engine's create request for a sandbox (docker-runtime.md §3.2).

use std::{collections::HashMap, path::Path};

use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig};
use serde_json::json;

use crate::model::{labels::RESERVED_PREFIX, quantity::Gpus};

use super::{plan::Plan, windows};
use crate::runtime::{
    docker::{
        DockerOptions,
        engine::{labels, names},
        logs::log_driver::log_config,
        ports::host_ports::{EXECD, HTTP, HostPorts},
        sidecar::Sidecar,
        volumes::{Mounts, plain},
    },
    places::{FOLDER, ISOLATION},
};

/// What the create request of a sandbox is made of.
pub(in crate::runtime::docker) struct Parts<'a> {
    pub(in crate::runtime::docker) plan: &'a Plan,
    pub(in crate::runtime::docker) id: &'a str,
    /// The labels of the image.
    pub(super) inherited: &'a HashMap<String, String>,
    /// None where the engine cannot publish.
    pub(in crate::runtime::docker) ports: Option<&'a HostPorts>,
    pub(in crate::runtime::docker) mounts: &'a Mounts,
    /// The sidecar whose network the sandbox joins.
    pub(in crate::runtime::docker) sidecar: Option<&'a Sidecar>,
    pub(in crate::runtime::docker) options: &'a DockerOptions,
    /// The value of [`labels::CREATED_BY`].
    pub(in crate::runtime::docker) created_by: &'a str,
}

/// The create request for a sandbox.
pub(in crate::runtime::docker) fn body(parts: &Parts<'_>) -> ContainerCreateBody {
    let Parts { plan, id, options, .. } = *parts;
    // With a sidecar it is the sidecar that has the network, and so the ports.
    let own_ports = parts.ports.filter(|_| parts.sidecar.is_none());
    let mut body = ContainerCreateBody {
        image: Some(plan.image.uri.clone()),
        entrypoint: Some(vec![format!("{FOLDER}/bootstrap.sh")]),
        cmd: Some(plan.command.clone()),
        env: Some(env(plan, id, options)),
        exposed_ports: own_ports.map(HostPorts::exposed),
        labels: Some(all_labels(parts)),
        host_config: Some(host_config(parts, own_ports)),
        ..Default::default()
    };
    if plan.windows.is_some() {
        windows::adapt(&mut body, id);
    }
    body
}

/// Labels of the image below `opensandbox.io/` (it may have been made from a sandbox) would become the sandbox's, with
/// another one's expiry among them: those that the sandbox does not set itself are blanked.
fn all_labels(parts: &Parts<'_>) -> HashMap<String, String> {
    let inherited = parts.inherited.keys().filter(|key| key.starts_with(RESERVED_PREFIX));
    let mut all: HashMap<String, String> = inherited.map(|key| (key.clone(), String::new())).collect();
    all.extend(parts.plan.labels(parts.id));
    let mut set = |key: &str, value: Option<String>| all.extend(value.map(|value| (key.to_owned(), value)));
    let port = |port| parts.ports.and_then(|ports| ports.of(port)).map(|port| port.to_string());
    set(labels::CREATED_BY, Some(parts.created_by.to_owned()));
    set(labels::IMAGE_LABELS, labels::image_labels(parts.inherited, &parts.plan.metadata));
    set(labels::EXECD_PORT, port(EXECD));
    set(labels::HTTP_PORT, port(HTTP));
    set(labels::EGRESS_TOKEN, parts.sidecar.map(|sidecar| sidecar.token.expose().to_owned()));
    let list = |list: Vec<String>| (!list.is_empty()).then(|| json!(list).to_string());
    let runtime_volume = has_runtime_volume(parts.plan, parts.options).then(|| names::runtime_volume(parts.id));
    set(labels::MANAGED_BY, list(parts.mounts.managed.iter().cloned().chain(runtime_volume).collect()));
    set(labels::BUCKETS, list(parts.mounts.buckets.clone()));
    set(labels::BUCKET_MARKS, list(parts.mounts.marks.clone()));
    all
}

/// The plan's variables, then ours. A client's variable that would stand for one of ours is left out, since many a
/// program takes the first of two.
fn env(plan: &Plan, id: &str, options: &DockerOptions) -> Vec<String> {
    let mut ours = Vec::new();
    if options.execd_run_as_init {
        ours.push("EXECD_INIT=1".to_owned());
    }
    ours.extend(plan.sidecar.as_ref().and_then(|sidecar| sidecar.transparent.clone()));
    ours.push(format!("OPENSANDBOX_ID={id}"));
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let is_ours = |entry: &&String| ours.iter().any(|own| name(own) == name(entry));
    let mut all: Vec<String> = plan.env.iter().filter(|entry| !is_ours(entry)).cloned().collect();
    all.append(&mut ours);
    all
}

fn host_config(parts: &Parts<'_>, own_ports: Option<&HostPorts>) -> HostConfig {
    let Parts { plan, options, .. } = *parts;
    let joined = parts.sidecar.map(|sidecar| format!("container:{}", sidecar.container));
    let mut config = HostConfig {
        network_mode: Some(joined.unwrap_or_else(|| options.network_mode.clone())),
        port_bindings: own_ports.map(|ports| ports.bindings(options.publish_host)),
        binds: Some(binds(parts)).filter(|binds| !binds.is_empty()),
        mounts: Some(parts.mounts.mounts.clone()).filter(|mounts| !mounts.is_empty()),
        cap_drop: Some(dropped(parts)),
        security_opt: Some(security(plan, options)),
        pids_limit: options.pids_limit,
        memory: plan.limits.memory,
        nano_cpus: plan.limits.nano_cpus,
        device_requests: plan.limits.gpus.map(device_request),
        runtime: options.secure_runtime.clone(),
        log_config: log_config(options),
        ..Default::default()
    };
    if plan.extensions.isolation {
        isolate(&mut config);
    }
    config
}

/// The configured binds, the client's volumes, and execd's volume.
fn binds(parts: &Parts<'_>) -> Vec<String> {
    let Parts { plan, options, mounts, .. } = *parts;
    let configured = options.sandbox_binds.iter().map(|bind| mounts.replaced.get(bind).unwrap_or(bind));
    let mut binds: Vec<String> = configured.chain(&mounts.binds).cloned().collect();
    if has_runtime_volume(plan, options) && !options.sandbox_binds.iter().any(|bind| is_at_folder(bind)) {
        binds.push(runtime_bind(parts.id));
    }
    binds
}

/// Whether a sandbox has a volume of its own for execd: with a sidecar, which shares it, and with mounts that execd must be
/// kept away from while it is put in.
pub(super) fn has_runtime_volume(plan: &Plan, options: &DockerOptions) -> bool {
    plan.sidecar.is_some() || plan.windows.is_none() && has_foreign_mounts(plan, options)
}

/// Whether a sandbox mounts anything but what the server itself makes for it.
pub(super) fn has_foreign_mounts(plan: &Plan, options: &DockerOptions) -> bool {
    !plan.volumes.is_empty() || options.sandbox_binds.iter().any(|bind| !is_at_folder(bind))
}

/// What is at execd's place in a sandbox with other mounts, in the engine's form: what the operator has put there, or the
/// volume for it.
pub(super) fn execd_bind(plan: &Plan, options: &DockerOptions, id: &str) -> String {
    if plan.windows.is_some() {
        return windows::oem_bind(id);
    }
    options.sandbox_binds.iter().find(|bind| is_at_folder(bind)).cloned().unwrap_or_else(|| runtime_bind(id))
}

fn runtime_bind(id: &str) -> String {
    format!("{}:{FOLDER}:rw", names::runtime_volume(id))
}

fn is_at_folder(bind: &str) -> bool {
    let target = bind.split(':').nth(1).unwrap_or(bind);
    plain(Path::new(target)) == Path::new(FOLDER)
}

/// The capabilities that a sandbox loses; with a sidecar always the one that could change its filter.
fn dropped(parts: &Parts<'_>) -> Vec<String> {
    let mut dropped = parts.options.drop_capabilities.clone();
    if parts.sidecar.is_some() && !dropped.iter().any(|capability| capability == "NET_ADMIN") {
        dropped.push("NET_ADMIN".to_owned());
    }
    dropped
}

fn device_request(gpus: Gpus) -> Vec<DeviceRequest> {
    let count = match gpus {
        Gpus::All => -1,
        Gpus::Count(count) => count,
    };
    let capabilities = Some(vec![vec!["gpu".to_owned()]]);
    vec![DeviceRequest { count: Some(count), capabilities, ..Default::default() }]
}

fn security(plan: &Plan, options: &DockerOptions) -> Vec<String> {
    let profile = |name: &str, configured: &Option<String>| {
        let profile = if plan.extensions.isolation { Some("unconfined") } else { configured.as_deref() };
        profile.map(|profile| format!("{name}={profile}"))
    };
    let no_new_privileges = options.no_new_privileges.then(|| "no-new-privileges=true".to_owned());
    let profiles = [profile("apparmor", &options.apparmor_profile), profile("seccomp", &options.seccomp_profile)];
    no_new_privileges.into_iter().chain(profiles.into_iter().flatten()).collect()
}

/// What execd needs to isolate processes inside the sandbox (§3.5).
fn isolate(config: &mut HostConfig) {
    config.cap_add = Some(vec!["SYS_ADMIN".to_owned()]);
    config.tmpfs = Some([(ISOLATION.to_owned(), String::new())].into());
    config.masked_paths = Some(Vec::new());
    config.readonly_paths = Some(Vec::new());
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use crate::{
        model::create::{CreateRequest, ImageSource},
        secret::Secret,
    };

    use super::super::plan::Draft;
    use super::*;
    use crate::runtime::docker::{ports::Ports, sidecar};

    fn plan(change: impl FnOnce(&mut CreateRequest)) -> Plan {
        let mut request = CreateRequest {
            image: Some(ImageSource { uri: "busybox".to_owned(), auth: None }),
            entrypoint: vec!["true".to_owned()],
            ..Default::default()
        };
        change(&mut request);
        let options = DockerOptions { allow_isolation_extension: true, ..Default::default() };
        Draft::new(request, &options).and_then(|draft| draft.finish(&options)).unwrap()
    }

    fn made<'a>(
        plan: &'a Plan,
        options: &'a DockerOptions,
        change: impl FnOnce(&mut Parts<'a>),
    ) -> ContainerCreateBody {
        let (inherited, mounts) = (Box::leak(Box::default()), Box::leak(Box::default()));
        let mut parts =
            Parts { plan, id: "x", inherited, ports: None, mounts, sidecar: None, options, created_by: "home/x" };
        change(&mut parts);
        body(&parts)
    }

    fn ports() -> HostPorts {
        HostPorts::reserve(&Ports::new(23_100..=23_199, Ipv4Addr::LOCALHOST), [EXECD, HTTP]).unwrap()
    }

    #[test]
    fn publishes_both_ports_and_says_so_in_labels() {
        let (plan, options, ports) = (plan(|_| ()), DockerOptions::default(), ports());
        let body = made(&plan, &options, |parts| parts.ports = Some(&ports));
        let port = ports.of(EXECD).unwrap().to_string();
        assert_eq!(body.labels.unwrap()[labels::EXECD_PORT], port);
        let bindings = body.host_config.unwrap().port_bindings.unwrap();
        assert_eq!(bindings["44772/tcp"].as_ref().unwrap()[0].host_port.as_ref().unwrap(), &port);
        assert_eq!(body.exposed_ports.unwrap(), ["44772/tcp", "8080/tcp"]);
    }

    #[test]
    fn an_image_s_own_labels_of_ours_are_blanked() {
        let inherited: HashMap<_, _> = [labels::EXPIRES_AT, labels::MANUAL_CLEANUP, "maintainer"]
            .map(|key| (key.to_owned(), "y".to_owned()))
            .into();
        let (plan, options) = (plan(|_| ()), DockerOptions::default());
        let body = made(&plan, &options, |parts| parts.inherited = &inherited);
        let labels = body.labels.unwrap();
        assert_eq!((labels[labels::EXPIRES_AT].as_str(), labels[labels::MANUAL_CLEANUP].as_str()), ("", "true"));
        assert!(!labels.contains_key("maintainer"));
    }

    #[test]
    fn our_variables_come_last_and_alone() {
        let plan = plan(|request| {
            request.env = vec![
                ("OPENSANDBOX_ID".to_owned(), Some("forged".to_owned())),
                ("OPENSANDBOX_ID=x".to_owned(), Some("forged".to_owned())),
                ("A".to_owned(), Some("1".to_owned())),
            ];
        });
        let options = DockerOptions { execd_run_as_init: true, ..Default::default() };
        assert_eq!(env(&plan, "x", &options), ["A=1", "EXECD_INIT=1", "OPENSANDBOX_ID=x"]);
    }

    #[test]
    fn limits_and_the_secure_runtime_are_the_engine_s() {
        let plan = plan(|request| {
            request.resource_limits =
                [("memory", "64Mi"), ("gpu", "all")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        });
        let options = DockerOptions { secure_runtime: Some("runsc".to_owned()), ..Default::default() };
        let config = made(&plan, &options, |_| ()).host_config.unwrap();
        assert_eq!((config.runtime.as_deref(), config.memory), (Some("runsc"), Some(64 << 20)));
        assert_eq!(config.device_requests.unwrap()[0].count, Some(-1));
    }

    #[test]
    fn isolation_loosens_the_profiles() {
        let plan = plan(|request| {
            request.extensions.insert("bootstrap.execd.isolation".to_owned(), "enable".to_owned());
        });
        let config = made(&plan, &DockerOptions::default(), |_| ()).host_config.unwrap();
        assert_eq!(
            config.security_opt.unwrap(),
            ["no-new-privileges=true", "apparmor=unconfined", "seccomp=unconfined"]
        );
        assert_eq!(config.cap_add.unwrap(), ["SYS_ADMIN"]);
        assert!(config.masked_paths.unwrap().is_empty());
    }

    #[test]
    fn with_a_sidecar_the_network_and_the_ports_are_the_sidecar_s() {
        let sidecar = Sidecar { container: "c0".to_owned(), token: Secret::new("t0k") };
        let mounts = Mounts {
            managed: vec!["v".to_owned()],
            buckets: vec!["/mnt/ossfs/b".to_owned()],
            marks: vec!["m".to_owned()],
            ..Default::default()
        };
        let (mut plan, ports) = (plan(|_| ()), ports());
        plan.sidecar = Some(sidecar::Wanted::of("egress"));
        let options = DockerOptions { drop_capabilities: vec!["MKNOD".to_owned()], ..Default::default() };
        let body = made(&plan, &options, |parts| {
            (parts.sidecar, parts.ports, parts.mounts) = (Some(&sidecar), Some(&ports), &mounts);
        });
        let (config, labels) = (body.host_config.unwrap(), body.labels.unwrap());
        assert_eq!(config.network_mode.as_deref(), Some("container:c0"));
        assert_eq!(config.binds.unwrap(), ["opensandbox-runtime-x:/opt/opensandbox:rw"]);
        assert_eq!(config.cap_drop.unwrap(), ["MKNOD", "NET_ADMIN"]);
        assert!(config.port_bindings.is_none() && body.exposed_ports.is_none());
        assert_eq!(labels[labels::HTTP_PORT], ports.of(HTTP).unwrap().to_string());
        assert_eq!(labels[labels::EGRESS_TOKEN], "t0k");
        assert_eq!(labels[labels::MANAGED_BY], r#"["v","opensandbox-runtime-x"]"#);
        assert_eq!(labels[labels::BUCKETS], r#"["/mnt/ossfs/b"]"#);
        assert_eq!(labels[labels::BUCKET_MARKS], r#"["m"]"#);
    }

    #[test]
    fn a_configured_bind_at_execd_s_place_takes_the_shared_one_s() {
        for target in ["/opt/opensandbox", "/opt//x/../opensandbox/"] {
            let mut plan = plan(|_| ());
            plan.sidecar = Some(sidecar::Wanted::of("egress"));
            let options = DockerOptions { sandbox_binds: vec![format!("v:{target}:rw")], ..Default::default() };
            let body = made(&plan, &options, |_| ());
            assert_eq!(body.host_config.unwrap().binds.unwrap(), options.sandbox_binds);
            assert_eq!(execd_bind(&plan, &options, "x"), options.sandbox_binds[0]);
            assert!(!has_foreign_mounts(&plan, &options));
        }
    }

    #[test]
    fn execd_has_a_volume_of_its_own_beside_other_mounts() {
        let plan = plan(|_| ());
        let options = DockerOptions { sandbox_binds: vec!["/a:/b:ro".to_owned()], ..Default::default() };
        let staged = "/run/x/0:/b:ro".to_owned();
        let mounts = Mounts { replaced: [("/a:/b:ro".to_owned(), staged.clone())].into(), ..Default::default() };
        let body = made(&plan, &options, |parts| parts.mounts = &mounts);
        assert_eq!(body.host_config.unwrap().binds.unwrap(), [&staged, "opensandbox-runtime-x:/opt/opensandbox:rw"]);
        assert_eq!(body.labels.unwrap()[labels::MANAGED_BY], r#"["opensandbox-runtime-x"]"#);
        assert!(!has_runtime_volume(&plan, &DockerOptions::default()));
    }
}
