//! The engine's create request for a sandbox (docker-runtime.md §3.2).

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig, PortBinding};

use crate::model::{labels::RESERVED_PREFIX, quantity::Gpus};

use super::{DockerOptions, labels, plan::Plan, ports::Reservation};

/// execd's port in the container.
const EXECD_PORT: u16 = 44_772;

/// The port in the container that has a host port of its own.
const HTTP_PORT: u16 = 8_080;

/// Host ports for the container ports 44772 and 8080; none where the engine cannot publish.
#[derive(Debug)]
pub(super) struct HostPorts {
    pub(super) execd: Reservation,
    pub(super) http: Reservation,
}

/// The create request for the sandbox `id`.
///
/// Labels of the image below `opensandbox.io/` (it may have been made from a sandbox) would become the sandbox's, with
/// another one's expiry among them: those that the sandbox does not set itself are blanked.
pub(super) fn body(
    plan: &Plan,
    id: &str,
    image_labels: &HashMap<String, String>,
    ports: Option<&HostPorts>,
    options: &DockerOptions,
) -> ContainerCreateBody {
    let inherited = image_labels.keys().filter(|key| key.starts_with(RESERVED_PREFIX));
    let mut labels: HashMap<String, String> = inherited.map(|key| (key.clone(), String::new())).collect();
    labels.extend(plan.labels(id));
    labels
        .extend(labels::image_labels(image_labels, &plan.metadata).map(|keys| (labels::IMAGE_LABELS.to_owned(), keys)));
    if let Some(HostPorts { execd, http }) = ports {
        labels.insert(labels::EXECD_PORT.to_owned(), execd.port().to_string());
        labels.insert(labels::HTTP_PORT.to_owned(), http.port().to_string());
    }
    ContainerCreateBody {
        image: Some(plan.image.uri.clone()),
        entrypoint: Some(vec!["/opt/opensandbox/bootstrap.sh".to_owned()]),
        cmd: Some(plan.command.clone()),
        env: Some(env(plan, id, options)),
        exposed_ports: ports.map(|_| [EXECD_PORT, HTTP_PORT].map(tcp).to_vec()),
        labels: Some(labels),
        host_config: Some(host_config(plan, ports, options)),
        ..Default::default()
    }
}

fn tcp(port: u16) -> String {
    format!("{port}/tcp")
}

/// The plan's variables, then ours. A client's variable that would stand for one of ours is left out, since many a
/// program takes the first of two.
fn env(plan: &Plan, id: &str, options: &DockerOptions) -> Vec<String> {
    let mut ours = Vec::new();
    if options.execd_run_as_init {
        ours.push("EXECD_INIT=1".to_owned());
    }
    ours.push(format!("OPENSANDBOX_ID={id}"));
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let is_ours = |entry: &&String| ours.iter().any(|own| name(own) == name(entry));
    let mut all: Vec<String> = plan.env.iter().filter(|entry| !is_ours(entry)).cloned().collect();
    all.append(&mut ours);
    all
}

fn host_config(plan: &Plan, ports: Option<&HostPorts>, options: &DockerOptions) -> HostConfig {
    let binding = |reservation: &Reservation| {
        Some(vec![PortBinding {
            host_ip: Some(options.publish_host.to_string()),
            host_port: Some(reservation.port().to_string()),
        }])
    };
    let mut config = HostConfig {
        network_mode: Some(options.network_mode.clone()),
        port_bindings: ports.map(|HostPorts { execd, http }| {
            HashMap::from([(tcp(EXECD_PORT), binding(execd)), (tcp(HTTP_PORT), binding(http))])
        }),
        binds: Some(options.sandbox_binds.clone()).filter(|binds| !binds.is_empty()),
        cap_drop: Some(options.drop_capabilities.clone()),
        security_opt: Some(security(plan, options)),
        pids_limit: options.pids_limit,
        memory: plan.limits.memory,
        nano_cpus: plan.limits.nano_cpus,
        device_requests: plan.limits.gpus.map(device_request),
        runtime: options.secure_runtime.clone(),
        ..Default::default()
    };
    if plan.extensions.isolation {
        isolate(&mut config);
    }
    config
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
    config.tmpfs = Some([("/var/lib/execd/isolation".to_owned(), String::new())].into());
    config.masked_paths = Some(Vec::new());
    config.readonly_paths = Some(Vec::new());
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use crate::model::create::{CreateRequest, ImageSource};

    use super::{super::ports::Ports, *};

    fn plan(change: impl FnOnce(&mut CreateRequest)) -> Plan {
        let mut request = CreateRequest {
            image: Some(ImageSource { uri: "busybox".to_owned(), auth: None }),
            entrypoint: vec!["true".to_owned()],
            ..Default::default()
        };
        change(&mut request);
        let options = DockerOptions { allow_isolation_extension: true, ..Default::default() };
        Plan::new(request, &options).unwrap()
    }

    #[test]
    fn publishes_both_ports_and_says_so_in_labels() {
        let ports = Ports::new(43_000..=43_100, Ipv4Addr::LOCALHOST);
        let ports = HostPorts { execd: ports.reserve().unwrap(), http: ports.reserve().unwrap() };
        let body = body(&plan(|_| ()), "x", &HashMap::new(), Some(&ports), &DockerOptions::default());
        let port = ports.execd.port().to_string();
        assert_eq!(body.labels.unwrap()[labels::EXECD_PORT], port);
        let bindings = body.host_config.unwrap().port_bindings.unwrap();
        assert_eq!(bindings["44772/tcp"].as_ref().unwrap()[0].host_port.as_ref().unwrap(), &port);
        assert_eq!(body.exposed_ports.unwrap(), ["44772/tcp", "8080/tcp"]);
    }

    #[test]
    fn an_image_s_own_labels_of_ours_are_blanked() {
        let inherited =
            [labels::EXPIRES_AT, labels::MANUAL_CLEANUP, "maintainer"].map(|key| (key.to_owned(), "y".to_owned()));
        let body = body(&plan(|_| ()), "x", &inherited.into(), None, &DockerOptions::default());
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
        let config = host_config(&plan, None, &options);
        assert_eq!((config.runtime.as_deref(), config.memory), (Some("runsc"), Some(64 << 20)));
        assert_eq!(config.device_requests.unwrap()[0].count, Some(-1));
    }

    #[test]
    fn isolation_loosens_the_profiles() {
        let plan = plan(|request| {
            request.extensions.insert("bootstrap.execd.isolation".to_owned(), "enable".to_owned());
        });
        let config = host_config(&plan, None, &DockerOptions::default());
        assert_eq!(
            config.security_opt.unwrap(),
            ["no-new-privileges=true", "apparmor=unconfined", "seccomp=unconfined"]
        );
        assert_eq!(config.cap_add.unwrap(), ["SYS_ADMIN"]);
        assert!(config.masked_paths.unwrap().is_empty());
    }
}
