//! The egress sidecar: a container that owns the sandbox's network and filters what leaves it (docker-runtime.md §7).

mod probe;
mod start;

use crate::{
    config::EgressMode,
    error::{Error, Family, Kind},
    model::{create::CreateRequest, env::Variable},
    runtime::{
        docker::DockerOptions,
        egress::{self, TRANSPARENT},
    },
    secret::Secret,
};

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
    match egress::check(request, options.egress.as_ref(), options.secure_kind)? {
        Some((egress, _)) => egress::check_upstream(request, egress),
        None => Ok(()),
    }
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

impl Wanted {
    /// The sidecar for a request that passed [`check`]; none without a policy. `env` are the request's variables for it.
    pub(super) fn new(
        request: &CreateRequest,
        env: &[Variable],
        options: &DockerOptions,
    ) -> Result<Option<Self>, Error> {
        let Some(policy) = &request.network_policy else { return Ok(None) };
        let Some((egress, image)) = egress::check(request, options.egress.as_ref(), options.secure_kind)? else {
            return Ok(None);
        };
        let rules = policy.to_json().map_err(|error| invalid(format!("networkPolicy cannot be written: {error}")))?;
        let transparent = if request.credential_proxy { Some("true") } else { egress::value(env, TRANSPARENT) };
        let has_ca = egress.upstream_proxy.as_ref().is_some_and(|proxy| proxy.ca_cert_path.is_some());
        let configured = egress::configured(egress, has_ca);
        let mut all: Vec<_> = configured.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        all.extend(transparent.map(|value| format!("{TRANSPARENT}={value}")));
        let rest = env.iter().filter(|(name, _)| name != TRANSPARENT);
        all.extend(rest.filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))));
        let rules = format!("OPENSANDBOX_EGRESS_RULES={rules}");
        Ok(Some(Self {
            image: image.to_owned(),
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

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
mod tests;
