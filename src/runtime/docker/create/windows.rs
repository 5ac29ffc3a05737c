//! Windows sandboxes: images that run Windows in a virtual machine inside the container (docker-runtime.md §16).

use std::{collections::BTreeMap, path::Path};

use bollard::models::{ContainerCreateBody, DeviceMapping};

use crate::error::{Error, Family, Kind};
use crate::runtime::docker::engine::names;

/// Devices of the host that the virtual machine needs.
const DEVICES: [&str; 2] = ["/dev/kvm", "/dev/net/tun"];

/// Capabilities that it needs for its network.
const CAPABILITIES: [&str; 2] = ["NET_ADMIN", "NET_RAW"];

/// Container ports that are passed on into the virtual machine.
const PORTS: [&str; 4] = ["44772", "8080", "3389", "8006"];

/// The folder in which the installation expects its files.
pub(super) const FOLDER: &str = "/oem";

/// The fewest processors.
const MIN_CORES: u64 = 2;

/// The least memory in GiB.
const MIN_MEMORY: u64 = 4;

/// The smallest disk in GiB.
const MIN_DISK: u64 = 64;

/// The names that the disk's size goes by; the first that is there counts.
const DISK_NAMES: [&str; 3] = ["disk", "storage", "ephemeral-storage"];

/// What a Windows sandbox has beyond others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Windows {
    /// The variables that tell the image how large the virtual machine is.
    size: Vec<String>,
}

impl Windows {
    /// Checks the host and the limits of a request.
    ///
    /// # Errors
    /// ([`Family::Parameter`], [`Kind::Invalid`]) for a host without the devices, and for a machine that is too small.
    pub(super) fn new(limits: &BTreeMap<String, String>) -> Result<Self, Error> {
        check_devices(&DEVICES)?;
        Self::sized(limits)
    }

    fn sized(limits: &BTreeMap<String, String>) -> Result<Self, Error> {
        let cores = at_least(limits, &["cpu"], "cpu", cores, MIN_CORES, "")?;
        let memory = at_least(limits, &["memory"], "memory", gibibytes, MIN_MEMORY, "G")?;
        let disk = at_least(limits, &DISK_NAMES, "disk (or storage/ephemeral-storage)", gibibytes, MIN_DISK, "G")?;
        let size = [
            cores.map(|cores| format!("CPU_CORES={cores}")),
            memory.map(|memory| format!("RAM_SIZE={memory}G")),
            disk.map(|disk| format!("DISK_SIZE={disk}G")),
        ];
        Ok(Self { size: size.into_iter().flatten().collect() })
    }

    /// The sandbox's variables: `env` as `NAME=value`, the size in the place of what it says of that, and all ports.
    pub(in crate::runtime::docker) fn env(&self, env: Vec<String>) -> Vec<String> {
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let is_own = |entry: &String| self.size.iter().any(|own| name(own) == name(entry));
        let (ports, others): (Vec<String>, Vec<String>) =
            env.into_iter().filter(|entry| !is_own(entry)).partition(|entry| name(entry) == "USER_PORTS");
        let asked = ports.iter().filter_map(|entry| entry.split_once('=')).flat_map(|(_, ports)| ports.split(','));
        let mut ports: Vec<&str> = asked.map(str::trim).filter(|port| !port.is_empty()).collect();
        for port in PORTS {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        let ports = format!("USER_PORTS={}", ports.join(","));
        others.into_iter().chain(self.size.iter().cloned()).chain([ports]).collect()
    }
}

/// Makes the create request of an ordinary sandbox one of a Windows sandbox.
pub(super) fn adapt(body: &mut ContainerCreateBody, id: &str) {
    body.entrypoint = None;
    let Some(host) = &mut body.host_config else { return };
    // The size is the virtual machine's; the container around it needs room of its own.
    (host.memory, host.nano_cpus, host.device_requests) = (None, None, None);
    host.binds.get_or_insert_default().push(oem_bind(id));
    host.cap_add.get_or_insert_default().extend(CAPABILITIES.map(str::to_owned));
    if let Some(dropped) = &mut host.cap_drop {
        dropped.retain(|capability| !CAPABILITIES.contains(&capability.as_str()));
    }
    host.devices = Some(DEVICES.map(device).to_vec());
}

/// The volume at its place, in the engine's form.
pub(super) fn oem_bind(id: &str) -> String {
    format!("{}:{FOLDER}:rw", names::oem_volume(id))
}

fn device(path: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(path.to_owned()),
        path_in_container: Some(path.to_owned()),
        cgroup_permissions: Some("rwm".to_owned()),
    }
}

fn check_devices(devices: &[&str]) -> Result<(), Error> {
    match devices.iter().find(|device| !Path::new(device).exists()) {
        Some(device) => Err(invalid(format!("Windows profile requires {device} on the Docker host."))),
        None => Ok(()),
    }
}

/// The first limit that is there, read; nothing when none is.
fn at_least(
    limits: &BTreeMap<String, String>,
    names: &[&str],
    shown: &str,
    read: fn(&str) -> Option<u64>,
    min: u64,
    unit: &str,
) -> Result<Option<u64>, Error> {
    let Some(text) = names.iter().find_map(|name| limits.get(*name)) else { return Ok(None) };
    match read(text.trim()) {
        Some(size) if size >= min => Ok(Some(size)),
        _ => Err(invalid(format!(
            "Windows profile requires resourceLimits.{shown} >= {min}{unit} (received: {}).",
            text.chars().take(80).collect::<String>()
        ))),
    }
}

/// Processors, rounded up; nothing for less than the fewest, which rounding must not hide.
fn cores(text: &str) -> Option<u64> {
    let cores = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().ok()? / 1000.0,
        None => text.parse::<f64>().ok()?,
    };
    (cores >= MIN_CORES as f64 && cores < 1e6).then(|| cores.ceil() as u64)
}

/// GiB, rounded up. Units are those of the image: powers of 1024 from `M` on, with or without `i` and `b`.
fn gibibytes(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let amount: u64 = digits.parse().ok()?;
    match unit.to_ascii_lowercase().as_str() {
        "m" | "mi" | "mb" => Some(amount.div_ceil(1024)),
        "g" | "gi" | "gb" => Some(amount),
        "t" | "ti" | "tb" => amount.checked_mul(1024),
        _ => None,
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use bollard::models::HostConfig;

    use super::*;

    fn limits(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn size(pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        Windows::sized(&limits(pairs)).map(|windows| windows.size).map_err(|error| error.message)
    }

    /// All pairs were asked of the peer.
    #[test]
    fn sizes_are_the_peer_s() {
        for (name, given, shown) in [
            ("cpu", "2500m", "CPU_CORES=3"),
            ("cpu", "2.0", "CPU_CORES=2"),
            ("memory", "4500Mi", "RAM_SIZE=5G"),
            ("memory", "4095M", "RAM_SIZE=4G"),
            ("memory", " 4G ", "RAM_SIZE=4G"),
            ("memory", "4gb", "RAM_SIZE=4G"),
            ("disk", "1T", "DISK_SIZE=1024G"),
            ("disk", "65Gi", "DISK_SIZE=65G"),
        ] {
            assert_eq!(size(&[(name, given)]).unwrap(), [shown], "{given}");
        }
        assert_eq!(size(&[("storage", "80G"), ("ephemeral-storage", "70G")]).unwrap(), ["DISK_SIZE=80G"]);
        assert_eq!(size(&[("disk", "64G"), ("storage", "1G")]).unwrap(), ["DISK_SIZE=64G"]);
        assert!(size(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_machine_that_is_too_small_is_refused() {
        let refused = |name: &str, given: &str| size(&[(name, given)]).unwrap_err();
        assert_eq!(refused("cpu", "1"), "Windows profile requires resourceLimits.cpu >= 2 (received: 1).");
        assert_eq!(refused("cpu", "1999m"), "Windows profile requires resourceLimits.cpu >= 2 (received: 1999m).");
        assert_eq!(refused("memory", "4.5G"), "Windows profile requires resourceLimits.memory >= 4G (received: 4.5G).");
        assert_eq!(
            refused("memory", "4294967296").len(),
            "Windows profile requires resourceLimits.memory >= 4G (received: 4294967296).".len()
        );
        assert_eq!(
            refused("storage", "1G"),
            "Windows profile requires resourceLimits.disk (or storage/ephemeral-storage) >= 64G (received: 1G)."
        );
        assert!(refused("cpu", "nan").ends_with("(received: nan)."));
    }

    #[test]
    fn a_host_without_the_devices_is_refused() {
        let error = check_devices(&["/dev/null", "/dev/no-such-kvm"]).unwrap_err();
        assert_eq!(error.key(), (Family::Parameter, Kind::Invalid));
        assert_eq!(error.message, "Windows profile requires /dev/no-such-kvm on the Docker host.");
    }

    #[test]
    fn the_environment_has_size_and_ports_once() {
        let windows = Windows { size: vec!["CPU_CORES=3".to_owned()] };
        let env = ["A=1", "USER_PORTS=22,8080", "CPU_CORES=9"].map(str::to_owned).to_vec();
        assert_eq!(windows.env(env), ["A=1", "CPU_CORES=3", "USER_PORTS=22,8080,44772,3389,8006"]);
        assert_eq!(windows.env(Vec::new())[1], "USER_PORTS=44772,8080,3389,8006");
    }

    #[test]
    fn the_container_gets_devices_and_capabilities_and_no_limits() {
        let host = HostConfig {
            cap_drop: Some(["MKNOD", "NET_ADMIN", "NET_RAW"].map(str::to_owned).to_vec()),
            memory: Some(1),
            nano_cpus: Some(1),
            ..Default::default()
        };
        let entrypoint = Some(vec!["/opt/opensandbox/bootstrap.sh".to_owned()]);
        let mut body = ContainerCreateBody { entrypoint, host_config: Some(host), ..Default::default() };
        adapt(&mut body, "x");
        let host = body.host_config.unwrap();
        assert_eq!((body.entrypoint, host.memory, host.nano_cpus), (None, None, None));
        assert_eq!(host.cap_drop.unwrap(), ["MKNOD"]);
        assert_eq!(host.cap_add.unwrap(), ["NET_ADMIN", "NET_RAW"]);
        assert_eq!(host.binds.unwrap(), ["opensandbox-win-oem-x:/oem:rw"]);
        let devices = host.devices.unwrap();
        assert_eq!(devices.iter().filter_map(|d| d.path_on_host.as_deref()).collect::<Vec<_>>(), DEVICES);
    }
}
