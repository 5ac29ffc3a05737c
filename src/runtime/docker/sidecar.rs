//! The egress sidecar: a container that owns the sandbox's network and filters what leaves it (docker-runtime.md §7).

mod probe;
mod start;

use crate::{
    config::{Egress, EgressMode, SecureKind},
    error::{Error, Family, Kind},
    model::{create::CreateRequest, env::Variable},
    secret::Secret,
};

use crate::runtime::docker::DockerOptions;

/// The sidecar inspects TLS as a proxy that programs do not know of.
const TRANSPARENT: &str = "OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT";

/// The sidecar trusts any server.
const INSECURE: &str = "OPENSANDBOX_EGRESS_MITMPROXY_SSL_INSECURE";

/// Where the sidecar finds the certificate authority of the proxy behind it.
const UPSTREAM_CA: &str = "/etc/ssl/certs/opensandbox-upstream-extra-ca.pem";

/// The sidecar that a sandbox is to have. Without a `Debug` form, since the environment may hold secrets.
pub(super) struct Wanted {
    pub(super) image: String,
    /// `NAME=value`, before those that depend on the sandbox.
    rules: String,
    /// `NAME=value`, after those.
    env: Vec<String>,
    /// For the sandbox itself: whether TLS is inspected.
    pub(super) transparent: Option<String>,
}

/// A sidecar that was started.
pub(super) struct Sidecar {
    /// The engine's id of its container.
    pub(super) container: String,
    /// What clients must show to it.
    pub(super) token: Secret,
}

/// Whether a request's network policy can be enforced.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]), in the contract's order.
pub(super) fn check(request: &CreateRequest, options: &DockerOptions) -> Result<(), Error> {
    if request.network_policy.is_none() {
        return Ok(());
    }
    check_network(&options.network_mode)?;
    let egress = options.egress.as_ref().filter(|egress| egress.image.is_some());
    let egress = egress.ok_or_else(|| invalid("egress.image must be configured when networkPolicy is provided."))?;
    if request.credential_proxy && egress.mode != EgressMode::DnsNft {
        return Err(invalid("credentialProxy.enabled requires server [egress].mode = \"dns+nft\"."));
    }
    if options.secure_kind == Some(SecureKind::Gvisor) {
        return Err(invalid(
            "networkPolicy is not compatible with runtime 'gvisor': gVisor does not support the iptables nat table \
             required by the egress sidecar. Use a compatible runtime (e.g. kata) or remove networkPolicy.",
        ));
    }
    if egress.upstream_proxy.is_some() { check_upstream(request) } else { Ok(()) }
}

fn check_network(mode: &str) -> Result<(), Error> {
    match mode {
        "host" => Err(invalid("networkPolicy is not supported when docker network_mode=host.")),
        "bridge" | "none" | "default" => Ok(()),
        other if other.starts_with("container:") => Ok(()),
        other => Err(invalid(format!(
            "networkPolicy is not supported when docker network_mode='{other}' (user-defined network). Use \
             network_mode='bridge' to enable network policy enforcement."
        ))),
    }
}

/// A proxy behind the sidecar sees nothing unless the sidecar inspects all, and must be who it says it is.
fn check_upstream(request: &CreateRequest) -> Result<(), Error> {
    let is_on = |name: &str| value(&request.env, name).is_some_and(is_truthy);
    if !request.credential_proxy && !is_on(TRANSPARENT) {
        return Err(invalid(format!(
            "egress.upstream_proxy is configured, so sandboxes with networkPolicy must enable transparent MITM: set \
             credentialProxy.enabled=true or env {TRANSPARENT}=true"
        )));
    }
    if is_on(INSECURE) {
        return Err(invalid(format!("'{INSECURE}' cannot be set when egress.upstream_proxy is configured")));
    }
    Ok(())
}

impl Wanted {
    /// The sidecar for a request that passed [`check`]; none without a policy. `env` are the request's variables for it.
    pub(super) fn new(
        request: &CreateRequest,
        env: &[Variable],
        options: &DockerOptions,
    ) -> Result<Option<Self>, Error> {
        let Some(policy) = &request.network_policy else { return Ok(None) };
        let Some((egress, image)) = options.egress.as_ref().and_then(|egress| Some((egress, egress.image.clone()?)))
        else {
            return Err(invalid("egress.image must be configured when networkPolicy is provided."));
        };
        let rules = policy.to_json().map_err(|error| invalid(format!("networkPolicy cannot be written: {error}")))?;
        let transparent = if request.credential_proxy { Some("true") } else { value(env, TRANSPARENT) };
        let mut all = configured(egress);
        all.extend(transparent.map(|value| format!("{TRANSPARENT}={value}")));
        let rest = env.iter().filter(|(name, _)| name != TRANSPARENT);
        all.extend(rest.filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))));
        let rules = format!("OPENSANDBOX_EGRESS_RULES={rules}");
        Ok(Some(Self {
            image,
            rules,
            env: all,
            transparent: transparent.map(|value| format!("{TRANSPARENT}={value}")),
        }))
    }

    #[cfg(test)]
    pub(super) fn of(image: &str) -> Self {
        Self { image: image.to_owned(), rules: String::new(), env: Vec::new(), transparent: None }
    }

    /// The sidecar's whole environment.
    fn env(&self, id: &str, token: &Secret, mode: EgressMode) -> Vec<String> {
        let own = [
            self.rules.clone(),
            format!("OPENSANDBOX_EGRESS_MODE={}", mode.as_str()),
            format!("OPENSANDBOX_EGRESS_TOKEN={}", token.expose()),
            format!("OPENSANDBOX_EGRESS_SANDBOX_ID={id}"),
        ];
        own.into_iter().chain(self.env.iter().cloned()).collect()
    }
}

/// What the operator has to say to all sidecars.
fn configured(egress: &Egress) -> Vec<String> {
    let collector = egress.otlp_endpoint.as_ref();
    let collector = collector.map(|endpoint| format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", endpoint.expose()));
    let Some(proxy) = &egress.upstream_proxy else { return collector.into_iter().collect() };
    let url = format!("OPENSANDBOX_EGRESS_UPSTREAM_PROXY={}", proxy.url);
    let authorization = proxy.authorization.as_ref();
    let authorization =
        authorization.map(|secret| format!("OPENSANDBOX_EGRESS_UPSTREAM_PROXY_AUTH={}", secret.expose()));
    let ca = proxy.ca_cert_path.as_ref();
    let ca = ca.map(|_| format!("OPENSANDBOX_EGRESS_MITMPROXY_UPSTREAM_EXTRA_CA={UPSTREAM_CA}"));
    collector.into_iter().chain([url]).chain(authorization).chain(ca).collect()
}

fn value<'a>(env: &'a [Variable], name: &str) -> Option<&'a str> {
    env.iter().rev().find(|(known, _)| known == name)?.1.as_deref()
}

fn is_truthy(text: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&text.trim().to_ascii_lowercase().as_str())
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
mod tests;
