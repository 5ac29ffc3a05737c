//! Windows sandboxes in a pod (kubernetes-runtime.md §4.9): a privileged container with the node's devices for its virtual
//! machine. The machine's disk is in a volume that goes with the pod.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::template::Template;
use crate::{
    error::{Error, Family, Kind},
    model::create::CreateRequest,
    runtime::windows::{self, CAPABILITIES, DEVICES, FOLDER, Machine, USER_PORTS, gibibytes},
};

/// Puts the files of the installation into the volume for them, from the working directory of execd's image.
pub(super) const INSTALL: &str = "cp ./install.bat /oem/install.bat && cp ./execd.exe /oem/execd.exe && \
     chmod 0644 /oem/install.bat /oem/execd.exe";

/// Where the machine's disk is.
pub(super) const STORAGE: &str = "/storage";

/// The pod's volume with the files of the installation.
const OEM_VOLUME: &str = "opensandbox-win-oem";

/// The pod's volumes for the machine, and where each is mounted in the sandbox.
const VOLUMES: [(&str, &str); 4] = [
    (OEM_VOLUME, FOLDER),
    ("opensandbox-win-kvm", DEVICES[0]),
    ("opensandbox-win-tun", DEVICES[1]),
    ("opensandbox-win-storage", STORAGE),
];

/// The command of a sandbox of which clients say nothing.
const DEFAULT_ENTRYPOINT: [&str; 3] = ["tail", "-f", "/dev/null"];

/// GiB of memory that the container has beyond the machine's, for what runs the machine.
const EXTRA_MEMORY: u64 = 2;

/// The machine of a request.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) for a machine that is too small, for a network policy, if privileged containers are
/// not `allowed`, and for a template that forbids what one needs.
pub(super) fn machine(request: &CreateRequest, allowed: bool, template: Option<&Template>) -> Result<Machine, Error> {
    let machine = Machine::new(&request.resource_limits)?;
    windows::check_filter(request)?;
    if !allowed {
        let text = "platform.os=windows needs a privileged container, which can take over its node; the operator can allow \
                    it with kubernetes.allow_windows = true.";
        return Err(Error::new(Family::Parameter, Kind::Invalid, text));
    }
    // The API server takes no such container, so the operator could make no pod.
    if template.is_some_and(Template::forbids_escalation) {
        let text = "platform.os=windows needs a privileged container, which the template of this server forbids with \
                    allowPrivilegeEscalation: false.";
        return Err(Error::new(Family::Parameter, Kind::Invalid, text));
    }
    Ok(machine)
}

/// Of a request's limits or requests those that the container has: the others are of the machine.
pub(super) fn of_container(given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let memory = |text: &String| match gibibytes(text).and_then(|memory| memory.checked_add(EXTRA_MEMORY)) {
        Some(memory) => format!("{memory}Gi"),
        // In a form that is the cluster's alone, as requests may be.
        None => text.clone(),
    };
    let cpu = given.get("cpu").map(|cpu| ("cpu".to_owned(), cpu.clone()));
    cpu.into_iter().chain(given.get("memory").map(|text| ("memory".to_owned(), memory(text)))).collect()
}

/// What the container runs: the client's command, without a script that starts execd before it, since execd runs in the machine. None
/// is what the image says: without that there is no machine, so the command that stands for no wish is left out.
pub(super) fn command(entrypoint: Vec<&str>) -> Option<Vec<&str>> {
    (entrypoint != DEFAULT_ENTRYPOINT).then_some(entrypoint)
}

/// The variables of the container: each of the machine's in the place of the client's of that name, else behind all others.
pub(super) fn env(machine: &Machine, mut env: Vec<Value>) -> Vec<Value> {
    let asked = env.iter().find(|entry| entry["name"] == USER_PORTS).and_then(|entry| entry["value"].as_str());
    let ports = (USER_PORTS, windows::ports(asked.unwrap_or_default()));
    for (name, value) in machine.size.iter().chain([&ports]) {
        match env.iter_mut().find(|entry| entry["name"] == *name) {
            Some(entry) => entry["value"] = value.as_str().into(),
            None => env.push(json!({"name": name, "value": value})),
        }
    }
    env
}

/// Gives the container the rights that the machine needs.
pub(super) fn privilege(container: &mut Value) {
    let security = &mut container["securityContext"];
    security["privileged"] = true.into();
    match security["capabilities"]["add"].as_array_mut() {
        Some(added) => added.extend(CAPABILITIES.map(Value::from)),
        None => security["capabilities"]["add"] = json!(CAPABILITIES),
    }
}

/// The names of the pod's volumes for the machine.
pub(super) fn volume_names() -> impl Iterator<Item = &'static str> {
    VOLUMES.into_iter().map(|(name, _)| name)
}

/// The pod's volumes for the machine.
pub(super) fn volumes() -> impl Iterator<Item = Value> {
    VOLUMES.into_iter().map(|(name, place)| {
        if DEVICES.contains(&place) {
            json!({"name": name, "hostPath": {"path": place, "type": "CharDevice"}})
        } else {
            json!({"name": name, "emptyDir": {}})
        }
    })
}

/// What the sandbox mounts of them.
pub(super) fn mounts() -> impl Iterator<Item = Value> {
    VOLUMES.into_iter().map(|(name, place)| json!({"name": name, "mountPath": place}))
}

/// What the container that copies execd mounts of them.
pub(super) fn installer_mount() -> Value {
    json!({"name": OEM_VOLUME, "mountPath": FOLDER})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// All were asked of the peer.
    #[test]
    fn the_container_has_room_for_what_runs_the_machine() {
        for (given, expected) in [("4Gi", "6Gi"), ("4500Mi", "7Gi"), ("1T", "1026Gi"), (" 4G ", "6Gi"), ("4e9", "4e9")]
        {
            assert_eq!(of_container(&pairs(&[("memory", given)])), pairs(&[("memory", expected)]));
        }
        let given = [("cpu", "2500m"), ("disk", "64Gi"), ("gpu", "2"), ("ephemeral-storage", "70G"), ("a.b/c", "1")];
        assert_eq!(of_container(&pairs(&given)), pairs(&[("cpu", "2500m")]));
        let most = format!("{}G", u64::MAX);
        assert_eq!(of_container(&pairs(&[("memory", &most)])), pairs(&[("memory", &most)]), "no number of ours");
    }

    /// The same.
    #[test]
    fn variables_keep_their_places() {
        let machine = Machine { size: vec![("CPU_CORES", "2".to_owned()), ("RAM_SIZE", "4G".to_owned())] };
        let entry = |name: &str, value: Value| json!({"name": name, "value": value});
        let given = vec![
            entry("A", Value::Null),
            entry("USER_PORTS", "22, 8080".into()),
            entry("CPU_CORES", "9".into()),
            entry("Z", "z".into()),
        ];
        let expected = [
            entry("A", Value::Null),
            entry("USER_PORTS", "22,8080,44772,3389,8006".into()),
            entry("CPU_CORES", "2".into()),
            entry("Z", "z".into()),
            entry("RAM_SIZE", "4G".into()),
        ];
        assert_eq!(env(&machine, given), expected);
        let unset = env(&machine, vec![entry("USER_PORTS", Value::Null)]);
        assert_eq!(unset[0], entry("USER_PORTS", "44772,8080,3389,8006".into()));
    }

    /// The same.
    #[test]
    fn the_image_starts_the_machine_unless_there_is_a_command() {
        assert_eq!(command(vec!["tail", "-f", "/dev/null"]), None);
        for given in [vec!["/run/entry.sh"], vec!["tail -f /dev/null"], vec!["tail", "-f", "/dev/null", "x"]] {
            assert_eq!(command(given.clone()), Some(given));
        }
    }

    #[test]
    fn rights_are_added() {
        let mut container = json!({});
        privilege(&mut container);
        assert_eq!(
            container["securityContext"],
            json!({"privileged": true, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}})
        );
        container["securityContext"] = json!({"capabilities": {"add": ["SYS_ADMIN"]}});
        privilege(&mut container);
        assert_eq!(container["securityContext"]["capabilities"]["add"], json!(["SYS_ADMIN", "NET_ADMIN", "NET_RAW"]));
    }
}
