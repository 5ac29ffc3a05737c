//! Windows sandboxes of the engine: the devices, the volume for the installation and the variables (docker-runtime.md §16).

use std::{collections::BTreeMap, path::Path};

use bollard::models::{ContainerCreateBody, DeviceMapping};

use crate::{
    error::{Error, Family, Kind},
    runtime::{
        docker::engine::names,
        windows::{CAPABILITIES, DEVICES, FOLDER, Machine, USER_PORTS, ports},
    },
};

/// What a Windows sandbox has beyond others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Windows {
    machine: Machine,
}

impl Windows {
    /// Checks the host and the limits of a request.
    ///
    /// # Errors
    /// ([`Family::Parameter`], [`Kind::Invalid`]) for a host without the devices, and for a machine that is too small.
    pub(super) fn new(limits: &BTreeMap<String, String>) -> Result<Self, Error> {
        check_devices(&DEVICES)?;
        Ok(Self { machine: Machine::new(limits)? })
    }

    /// The sandbox's variables: `env` as `NAME=value`, the size in the place of what it says of that, and all ports.
    pub(in crate::runtime::docker) fn env(&self, env: Vec<String>) -> Vec<String> {
        let size = &self.machine.size;
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let is_own = |entry: &String| size.iter().any(|(own, _)| *own == name(entry));
        let (asked, others): (Vec<String>, Vec<String>) =
            env.into_iter().filter(|entry| !is_own(entry)).partition(|entry| name(entry) == USER_PORTS);
        let asked: Vec<&str> = asked.iter().filter_map(|entry| entry.split_once('=')).map(|(_, ports)| ports).collect();
        let own = size.iter().map(|(name, value)| format!("{name}={value}"));
        let ports = format!("{USER_PORTS}={}", ports(&asked.join(",")));
        others.into_iter().chain(own).chain([ports]).collect()
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

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use bollard::models::HostConfig;

    use super::*;

    #[test]
    fn a_host_without_the_devices_is_refused() {
        let error = check_devices(&["/dev/null", "/dev/no-such-kvm"]).unwrap_err();
        assert_eq!(error.key(), (Family::Parameter, Kind::Invalid));
        assert_eq!(error.message, "Windows profile requires /dev/no-such-kvm on the Docker host.");
    }

    #[test]
    fn the_environment_has_size_and_ports_once() {
        let windows = Windows { machine: Machine { size: vec![("CPU_CORES", "3".to_owned())] } };
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
