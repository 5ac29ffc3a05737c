//! The pod of a sandbox (kubernetes-runtime.md §4.2, §4.3).

use serde_json::{Value, json};

use super::{
    parts::{BIN_VOLUME, ISOLATION_VOLUME, resources_of},
    plan::Plan,
    secret, windows,
};
use crate::{
    config::WorkloadProvider,
    model::{
        env,
        volume::{Source, Volume},
    },
    runtime::{
        egress::TRANSPARENT,
        kubernetes::{CreationOptions, objects::MAIN_CONTAINER, workload::platform},
        places::{FOLDER, ISOLATION},
    },
};

/// Puts execd and what it needs into the volume for it, from its image's working directory.
const INSTALL: &str = "cp ./execd /opt/opensandbox/execd && cp ./bootstrap.sh /opt/opensandbox/bootstrap.sh && \
     chmod +x /opt/opensandbox/execd && chmod +x /opt/opensandbox/bootstrap.sh && \
     (cp /usr/local/bin/bwrap /opt/opensandbox/bwrap && chmod +x /opt/opensandbox/bwrap || true) && \
     (test ! -e /usr/local/libexec/opensandbox-session-gate || \
     (cp /usr/local/libexec/opensandbox-session-gate /opt/opensandbox/opensandbox-session-gate && \
     chmod 0555 /opt/opensandbox/opensandbox-session-gate)) && \
     (test ! -e /usr/local/libexec/opensandbox-launcher || \
     (cp /usr/local/libexec/opensandbox-launcher /opt/opensandbox/opensandbox-launcher && \
     chmod 0555 /opt/opensandbox/opensandbox-launcher))";

/// Switches IPv6 off in the pod's network, where there is any.
const NO_IPV6: &str = "set -e; if [ -e /proc/sys/net/ipv6/conf/all/disable_ipv6 ]; then \
     echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; fi; ";

/// The script that starts execd and then a command.
pub(super) const BOOTSTRAP: &str = "/opt/opensandbox/bootstrap.sh";

/// Where that script finds execd.
const EXECD: &str = "/opt/opensandbox/execd";

/// The pod's specification.
pub(super) fn spec(plan: &Plan, options: &CreationOptions, provider: WorkloadProvider) -> Value {
    let mut containers = vec![main(plan, options, provider)];
    containers.extend(plan.sidecar.as_ref().map(|sidecar| sidecar.container(&plan.id)));
    if provider == WorkloadProvider::AgentSandbox {
        containers.iter_mut().for_each(leave_nulls_out);
    }
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "initContainers": [installer(plan, options)],
        "containers": containers,
        "volumes": volumes(plan),
    });
    if let Some(platform) = &plan.platform {
        spec["nodeSelector"] = match plan.windows {
            // The node of a virtual machine is not one of Windows.
            Some(_) => json!({platform::ARCH: platform.arch}),
            None => json!({platform::OS: platform.os, platform::ARCH: platform.arch}),
        };
    }
    if plan.windows.is_some() {
        spec["restartPolicy"] = "Always".into();
    }
    if plan.image.auth.is_some() {
        spec["imagePullSecrets"] = json!([{"name": secret::name(&plan.id)}]);
    }
    if let Some(class) = options.runtime_class() {
        spec["runtimeClassName"] = class.into();
    }
    spec
}

/// The container that copies execd.
fn installer(plan: &Plan, options: &CreationOptions) -> Value {
    let disables_ipv6 = plan.sidecar.as_ref().is_some_and(|sidecar| sidecar.disable_ipv6);
    let install = if plan.windows.is_some() { windows::INSTALL } else { INSTALL };
    let script = if disables_ipv6 { format!("{NO_IPV6}{install}") } else { install.to_owned() };
    let mut mounts = vec![json!({"name": BIN_VOLUME, "mountPath": FOLDER})];
    mounts.extend(plan.windows.as_ref().map(|_| windows::installer_mount()));
    let mut container = json!({
        "name": "execd-installer",
        "image": options.execd_image,
        "command": ["/bin/sh", "-c"],
        "args": [script],
        "volumeMounts": mounts,
    });
    if disables_ipv6 {
        container["securityContext"] = json!({"privileged": true});
    }
    if let Some(resources) = resources_of(&options.execd_init_resources) {
        container["resources"] = resources;
    }
    container
}

/// The container that is the sandbox.
fn main(plan: &Plan, options: &CreationOptions, provider: WorkloadProvider) -> Value {
    let mut container = json!({
        "name": MAIN_CONTAINER,
        "image": plan.image.uri,
        "env": env(plan, options),
        "volumeMounts": mounts(plan),
    });
    if let Some(command) = command(plan) {
        container["command"] = json!(command);
    }
    if provider == WorkloadProvider::BatchSandbox {
        container["imagePullPolicy"] = options.image_pull_policy.as_str().into();
    }
    if let Some(resources) = &plan.resources {
        container["resources"] = resources.clone();
    }
    if plan.extensions.isolation {
        container["securityContext"] = json!({
            "capabilities": {"add": ["SYS_ADMIN"]},
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        });
    }
    if plan.windows.is_some() {
        windows::privilege(&mut container);
    }
    if plan.sidecar.is_some() {
        container["securityContext"]["capabilities"]["drop"] = json!(["NET_ADMIN"]);
    }
    container
}

/// What the container runs; none is what its image says.
fn command(plan: &Plan) -> Option<Vec<&str>> {
    let entrypoint = plan.entrypoint.iter().map(String::as_str);
    match plan.windows {
        Some(_) => windows::command(entrypoint.collect()),
        None => Some([BOOTSTRAP].into_iter().chain(entrypoint).collect()),
    }
}

/// The client's variables, then the gateway's. One of the client's that would stand for one of the gateway's is left out.
fn env(plan: &Plan, options: &CreationOptions) -> Vec<Value> {
    let lifecycle = || plan.lifecycle.as_ref().map(|hooks| json!({"name": env::LIFECYCLE, "value": hooks}));
    if let Some(machine) = &plan.windows {
        let mut all = of_client(plan, &[]);
        all.extend(lifecycle());
        return windows::env(machine, all);
    }
    let mut own = vec![("OPENSANDBOX_ID", plan.id.as_str())];
    if options.execd_run_as_init {
        own.push(("EXECD_INIT", "1"));
    }
    let says_itself = plan.env.iter().any(|(name, _)| name == TRANSPARENT);
    if plan.credential_proxy && !says_itself {
        own.push((TRANSPARENT, "true"));
    }
    own.push(("EXECD", EXECD));
    let mut all = of_client(plan, &own);
    for entry in all.iter_mut().filter(|entry| plan.credential_proxy && entry["name"] == TRANSPARENT) {
        entry["value"] = "true".into();
    }
    all.extend(lifecycle());
    all.extend(own.iter().map(|(name, value)| json!({"name": name, "value": value})));
    all
}

/// The variables of a pool's pod for its task.
pub(super) fn task_env(plan: &Plan, options: &CreationOptions) -> Vec<Value> {
    let mut own = Vec::new();
    if options.execd_run_as_init {
        own.push(("EXECD_INIT", "1"));
    }
    own.push(("OPENSANDBOX_ID", plan.id.as_str()));
    let mut all = of_client(plan, &own);
    all.extend(own.iter().map(|(name, value)| json!({"name": name, "value": value})));
    all
}

fn of_client(plan: &Plan, own: &[(&str, &str)]) -> Vec<Value> {
    let others = plan.env.iter().filter(|(name, _)| own.iter().all(|(own, _)| own != name));
    // One without a value is empty in a pod; the operator of a BatchSandbox reads null so.
    others.map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// Leaves out the values of variables that have none: a kind whose pods have a schema takes no null.
fn leave_nulls_out(container: &mut Value) {
    let variables =
        container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut);
    variables.for_each(|variable| variable.retain(|_, value| !value.is_null()));
}

fn mounts(plan: &Plan) -> Vec<Value> {
    let mut mounts = vec![json!({"name": BIN_VOLUME, "mountPath": FOLDER})];
    if plan.extensions.isolation {
        mounts.push(json!({"name": ISOLATION_VOLUME, "mountPath": ISOLATION}));
    }
    mounts.extend(windows::mounts().filter(|_| plan.windows.is_some()));
    mounts.extend(plan.volumes.iter().map(|volume| {
        let Volume { mount_path, read_only, sub_path, .. } = volume;
        let name = first_of_claim(plan, volume);
        let mut mount = json!({"name": name, "mountPath": mount_path, "readOnly": read_only});
        if let Some(sub_path) = sub_path {
            mount["subPath"] = sub_path.as_str().into();
        }
        mount
    }));
    mounts
}

fn volumes(plan: &Plan) -> Vec<Value> {
    let empty = |name: &str| json!({"name": name, "emptyDir": {}});
    let mut volumes = vec![empty(BIN_VOLUME)];
    if plan.extensions.isolation {
        volumes.push(empty(ISOLATION_VOLUME));
    }
    volumes.extend(windows::volumes().filter(|_| plan.windows.is_some()));
    volumes.extend(plan.volumes.iter().filter_map(|volume| {
        let name = volume.name.as_str();
        match &volume.source {
            Source::Host(path) => Some(json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}})),
            Source::Claim(claim) if first_of_claim(plan, volume) == name => {
                let read_only = mounts_of_claim(plan, &claim.name).all(|volume| volume.read_only);
                Some(json!({"name": name,
                    "persistentVolumeClaim": {"claimName": claim.name, "readOnly": read_only}}))
            }
            // Another mount of the same volume; buckets are refused before.
            Source::Claim(_) | Source::Ossfs(_) => None,
        }
    }));
    volumes.extend(plan.sidecar.as_ref().and_then(|sidecar| sidecar.volume_source()));
    volumes
}

/// The name of the pod's volume that an entry mounts: of several entries of one claim, that of the first.
fn first_of_claim<'a>(plan: &'a Plan, volume: &'a Volume) -> &'a str {
    let Source::Claim(claim) = &volume.source else { return &volume.name };
    mounts_of_claim(plan, &claim.name).next().map_or(&volume.name, |first| &first.name)
}

fn mounts_of_claim<'a>(plan: &'a Plan, name: &'a str) -> impl Iterator<Item = &'a Volume> {
    plan.volumes.iter().filter(move |volume| matches!(&volume.source, Source::Claim(claim) if claim.name == name))
}
