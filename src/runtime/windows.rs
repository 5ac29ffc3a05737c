//! What Windows sandboxes of every runtime have in common: images that run Windows in a virtual machine inside the container
//! (docker-runtime.md §16, kubernetes-runtime.md §4).

use std::collections::BTreeMap;

use crate::{
    error::{Error, Family, Kind},
    model::create::CreateRequest,
};

/// Devices of the host that the virtual machine needs.
pub(super) const DEVICES: [&str; 2] = ["/dev/kvm", "/dev/net/tun"];

/// Capabilities that it needs for its network.
pub(super) const CAPABILITIES: [&str; 2] = ["NET_ADMIN", "NET_RAW"];

/// The folder in which the installation expects its files.
pub(super) const FOLDER: &str = "/oem";

/// The variable with the ports that are passed on into the virtual machine.
pub(super) const USER_PORTS: &str = "USER_PORTS";

/// Container ports that are always passed on.
const PORTS: [&str; 4] = ["44772", "8080", "3389", "8006"];

/// The fewest processors.
const MIN_CORES: u64 = 2;

/// The least memory in GiB.
const MIN_MEMORY: u64 = 4;

/// The smallest disk in GiB.
const MIN_DISK: u64 = 64;

/// The names that the disk's size goes by; the first that is there counts.
const DISK_NAMES: [&str; 3] = ["disk", "storage", "ephemeral-storage"];

/// The size of the virtual machine, checked. What no limit says, the image chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// Variables that tell the image how large the machine is, in the order of the existing server.
    pub(super) size: Vec<(&'static str, String)>,
}

impl Machine {
    /// The machine of these `resourceLimits`.
    ///
    /// # Errors
    /// ([`Family::Parameter`], [`Kind::Invalid`]) for one that is too small, and for a limit that cannot be read.
    pub(super) fn new(limits: &BTreeMap<String, String>) -> Result<Self, Error> {
        let cores = at_least(limits, &["cpu"], "cpu", cores, MIN_CORES, "")?;
        let memory = at_least(limits, &["memory"], "memory", gibibytes, MIN_MEMORY, "G")?;
        let disk = at_least(limits, &DISK_NAMES, "disk (or storage/ephemeral-storage)", gibibytes, MIN_DISK, "G")?;
        let size = [
            cores.map(|cores| ("CPU_CORES", cores.to_string())),
            memory.map(|memory| ("RAM_SIZE", format!("{memory}G"))),
            disk.map(|disk| ("DISK_SIZE", format!("{disk}G"))),
        ];
        Ok(Self { size: size.into_iter().flatten().collect() })
    }
}

/// The value of [`USER_PORTS`]: what the client asked for, separated by commas, and all that is always passed on.
pub(super) fn ports(asked: &str) -> String {
    let mut ports: Vec<&str> = asked.split(',').map(str::trim).filter(|port| !port.is_empty()).collect();
    for port in PORTS {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports.join(",")
}

/// Refuses a network policy: a Windows sandbox may change its network, and with a sidecar that is the network whose filter must
/// hold.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) if there is one.
pub(super) fn check_filter(request: &CreateRequest) -> Result<(), Error> {
    if request.network_policy.is_none() {
        return Ok(());
    }
    Err(invalid(
        "networkPolicy is not supported when platform.os='windows': such a sandbox needs NET_ADMIN, with which it \
         could remove the policy.",
    ))
}

/// GiB, rounded up; none if it cannot be read. Units are those of the image: powers of 1024 from `M` on, with or without `i`
/// and `b`.
pub(super) fn gibibytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let amount: u64 = digits.parse().ok()?;
    match unit.to_ascii_lowercase().as_str() {
        "m" | "mi" | "mb" => Some(amount.div_ceil(1024)),
        "g" | "gi" | "gb" => Some(amount),
        "t" | "ti" | "tb" => amount.checked_mul(1024),
        _ => None,
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
    match read(text) {
        Some(size) if size >= min => Ok(Some(size)),
        _ => Err(invalid(format!(
            "Windows profile requires resourceLimits.{shown} >= {min}{unit} (received: {}).",
            text.chars().take(80).collect::<String>()
        ))),
    }
}

/// Processors, rounded up; nothing for less than the fewest, which rounding must not hide.
fn cores(text: &str) -> Option<u64> {
    let text = text.trim();
    let cores = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().ok()? / 1000.0,
        None => text.parse::<f64>().ok()?,
    };
    (cores >= MIN_CORES as f64 && cores < 1e6).then(|| cores.ceil() as u64)
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let limits = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let shown = |(name, value): (&str, String)| format!("{name}={value}");
        let machine = Machine::new(&limits).map_err(|error| error.message)?;
        Ok(machine.size.into_iter().map(shown).collect())
    }

    /// All pairs were asked of the peer.
    #[test]
    fn sizes_are_the_peer_s() {
        for (name, given, shown) in [
            ("cpu", "2500m", "CPU_CORES=3"),
            ("cpu", "2.0", "CPU_CORES=2"),
            ("cpu", "1e1", "CPU_CORES=10"),
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
    fn all_ports_are_passed_on_once() {
        assert_eq!(ports(""), "44772,8080,3389,8006");
        assert_eq!(ports("22, 8080,,x"), "22,8080,x,44772,3389,8006");
        // As the peer does.
        assert_eq!(ports("22,22"), "22,22,44772,8080,3389,8006");
    }
}
