//! Starting and removing sidecars.

use std::collections::HashMap;

use bollard::{
    errors::Error as EngineError,
    models::{ContainerCreateBody, HostConfig},
};

use crate::{
    config::Egress,
    error::{Error, Family, Kind},
    secret::Secret,
};

use super::{Sidecar, Wanted, probe};
use crate::runtime::{
    docker::{
        DockerOptions, Inner,
        engine::{is_missing, labels, names, text},
        logs::log_driver::log_config,
        ports::{
            host_address,
            host_ports::{EGRESS, HostPorts},
        },
    },
    egress::UPSTREAM_CA,
};

/// What switches IPv6 off in the network, since the filter does not cover it.
const NO_IPV6: [&str; 3] =
    ["net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.default.disable_ipv6", "net.ipv6.conf.lo.disable_ipv6"];

impl Inner {
    /// Creates the volume that is shared with the sidecar, and starts the sidecar. What was made stays after a failure.
    pub(in crate::runtime::docker) async fn start_sidecar(
        &self,
        id: &str,
        wanted: &Wanted,
        ports: &HostPorts,
    ) -> Result<Sidecar, EngineError> {
        self.create_volume(&names::runtime_volume(id)).await?;
        let token = Secret::token()?;
        let mut body = body(id, wanted, &token, ports, &self.options);
        let started = match self.run(id, body.clone()).await {
            Err(error) if is_about_sysctls(&error, &body) => {
                let error = text(&error);
                tracing::warn!(
                    sandbox = id,
                    error,
                    "the engine cannot switch IPv6 off for a sidecar; going on with it"
                );
                self.engine.remove(&names::sidecar(id)).await.or_else(unless_missing)?;
                if let Some(host) = &mut body.host_config {
                    host.sysctls = None;
                }
                self.run(id, body).await
            }
            started => started,
        };
        Ok(Sidecar { container: started?, token })
    }

    /// Waits until the sidecar answers.
    ///
    /// # Errors
    /// ([`Family::Creation`], [`Kind::Failed`]) with the last answer, after `egress.readiness_timeout_seconds`.
    pub(in crate::runtime::docker) async fn wait_for_sidecar(
        &self,
        id: &str,
        sidecar: &Sidecar,
        ports: &HostPorts,
    ) -> Result<(), Error> {
        let (Some(port), Some(egress)) = (ports.of(EGRESS), &self.options.egress) else { return Ok(()) };
        let address = format!("{}:{port}", host_address::own(&self.options, self.is_contained));
        probe::until_ready(&address, &sidecar.token, egress.readiness_timeout).await.map_err(|last| {
            let seconds = egress.readiness_timeout.as_secs_f64();
            let text = format!("Egress sidecar did not become ready within {seconds}s for sandbox {id}: {last}");
            tracing::warn!(sandbox = id, text);
            Error::new(Family::Creation, Kind::Failed, text)
        })
    }

    async fn run(&self, id: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        let container = self.engine.create(&names::sidecar(id), None, body).await?;
        self.engine.start(&container).await?;
        Ok(container.id)
    }
}

fn unless_missing(error: EngineError) -> Result<(), EngineError> {
    if is_missing(&error) { Ok(()) } else { Err(error) }
}

pub(super) fn body(
    id: &str,
    wanted: &Wanted,
    token: &Secret,
    ports: &HostPorts,
    options: &DockerOptions,
) -> ContainerCreateBody {
    let egress = options.egress.as_ref();
    let mode = egress.map_or(crate::config::EgressMode::Dns, |egress| egress.mode);
    let no_ipv6 = egress.is_some_and(|egress| egress.disable_ipv6);
    let host = HostConfig {
        network_mode: Some("bridge".to_owned()),
        cap_add: Some(vec!["NET_ADMIN".to_owned()]),
        port_bindings: Some(ports.bindings(options.publish_host)),
        binds: Some(binds(id, egress)),
        log_config: log_config(options),
        sysctls: no_ipv6.then(|| NO_IPV6.map(|key| (key.to_owned(), "1".to_owned())).into()),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(wanted.image.clone()),
        env: Some(wanted.env(id, token, mode)),
        labels: Some(HashMap::from([(labels::SIDECAR_FOR.to_owned(), id.to_owned())])),
        exposed_ports: Some(ports.exposed()),
        host_config: Some(host),
        ..Default::default()
    }
}

fn binds(id: &str, egress: Option<&Egress>) -> Vec<String> {
    let ca = egress.and_then(|egress| egress.upstream_proxy.as_ref()?.ca_cert_path.as_ref());
    let ca = ca.map(|path| format!("{}:{UPSTREAM_CA}:ro", path.display()));
    [format!("{}:/opt/opensandbox:rw", names::runtime_volume(id))].into_iter().chain(ca).collect()
}

/// Whether an engine refused a sidecar for its sysctls: kernels without IPv6 have none of these.
fn is_about_sysctls(error: &EngineError, body: &ContainerCreateBody) -> bool {
    let has_some = body.host_config.as_ref().is_some_and(|host| host.sysctls.is_some());
    let text = text(error).to_lowercase();
    has_some && ["sysctl", "ipv6"].iter().any(|word| text.contains(word))
}
