//! What every runtime's egress sidecar has in common: which requests it can serve, and what the operator has to say to it
//! (docker-runtime.md §7, kubernetes-runtime.md §4).

use crate::{
    config::{Egress, EgressMode, SecureKind},
    error::{Error, Family, Kind},
    model::{create::CreateRequest, env::Variable},
};

/// The sidecar inspects TLS as a proxy that programs do not know of.
pub(super) const TRANSPARENT: &str = "OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT";

/// The sidecar trusts any server.
const INSECURE: &str = "OPENSANDBOX_EGRESS_MITMPROXY_SSL_INSECURE";

/// Where the sidecar finds the certificate authority of the proxy behind it.
pub(super) const UPSTREAM_CA: &str = "/etc/ssl/certs/opensandbox-upstream-extra-ca.pem";

/// The sidecar's settings and its image, if a request's network policy can be enforced; nothing for a request without one.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]), in the contract's order.
pub(super) fn check<'a>(
    request: &CreateRequest,
    egress: Option<&'a Egress>,
    secure_kind: Option<SecureKind>,
) -> Result<Option<(&'a Egress, &'a str)>, Error> {
    if request.network_policy.is_none() {
        return Ok(None);
    }
    let configured = egress.and_then(|egress| Some((egress, egress.image.as_deref()?)));
    let (egress, image) =
        configured.ok_or_else(|| invalid("egress.image must be configured when networkPolicy is provided."))?;
    if request.credential_proxy && egress.mode != EgressMode::DnsNft {
        return Err(invalid("credentialProxy.enabled requires server [egress].mode = \"dns+nft\"."));
    }
    if secure_kind == Some(SecureKind::Gvisor) {
        return Err(invalid(
            "networkPolicy is not compatible with runtime 'gvisor': gVisor does not support the iptables nat table \
             required by the egress sidecar. Use a compatible runtime (e.g. kata) or remove networkPolicy.",
        ));
    }
    Ok(Some((egress, image)))
}

/// Checks the variables of a request with a network policy: a proxy behind the sidecar sees nothing unless the sidecar inspects
/// all, and must be who it says it is.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]).
pub(super) fn check_upstream(request: &CreateRequest, egress: &Egress) -> Result<(), Error> {
    if egress.upstream_proxy.is_none() {
        return Ok(());
    }
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

/// What the operator has to say to all sidecars: names and values. `has_ca` if the proxy behind it has a certificate authority
/// of its own, which is at [`UPSTREAM_CA`].
pub(super) fn configured(egress: &Egress, has_ca: bool) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    if let Some(endpoint) = &egress.otlp_endpoint {
        all.push(("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.expose().to_owned()));
    }
    let Some(proxy) = &egress.upstream_proxy else { return all };
    all.push(("OPENSANDBOX_EGRESS_UPSTREAM_PROXY", proxy.url.clone()));
    if let Some(authorization) = &proxy.authorization {
        all.push(("OPENSANDBOX_EGRESS_UPSTREAM_PROXY_AUTH", authorization.expose().to_owned()));
    }
    if has_ca {
        all.push(("OPENSANDBOX_EGRESS_MITMPROXY_UPSTREAM_EXTRA_CA", UPSTREAM_CA.to_owned()));
    }
    all
}

/// The value of a variable; the last of one name counts.
pub(super) fn value<'a>(env: &'a [Variable], name: &str) -> Option<&'a str> {
    env.iter().rev().find(|(known, _)| known == name)?.1.as_deref()
}

/// Tells of variables for a sidecar that a sandbox does not have.
pub(super) fn warn_of_unused(env: &[Variable]) {
    for (name, _) in env {
        tracing::warn!(name, "left out: there is no egress sidecar without a network policy");
    }
}

fn is_truthy(text: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&text.trim().to_ascii_lowercase().as_str())
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::{Resources, UpstreamProxy},
        model::network::NetworkPolicy,
        secret::Secret,
    };

    /// Settings with an image and `dns+nft`.
    pub(in crate::runtime) fn egress() -> Egress {
        Egress {
            image: Some("egress:1".to_owned()),
            mode: EgressMode::DnsNft,
            disable_ipv6: true,
            otlp_endpoint: None,
            readiness_timeout: Duration::from_secs(30),
            resources: Resources::default(),
            upstream_proxy: None,
        }
    }

    /// The same with a proxy behind the sidecar.
    pub(in crate::runtime) fn with_upstream() -> Egress {
        let proxy = UpstreamProxy {
            url: "http://proxy:3128".to_owned(),
            authorization: Some(Secret::new("Basic x")),
            ca_cert_path: Some("/etc/ca.pem".into()),
            ca_secret_name: Some("ca".to_owned()),
        };
        Egress { upstream_proxy: Some(proxy), ..egress() }
    }

    fn request(env: &[(&str, &str)]) -> CreateRequest {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
        CreateRequest { network_policy: Some(NetworkPolicy::default()), env: env.collect(), ..Default::default() }
    }

    #[test]
    fn what_no_sidecar_can_enforce_is_refused_with_the_peer_s_texts() {
        let plain = request(&[]);
        let refused = |request: &CreateRequest, egress: Option<&Egress>, kind| {
            check(request, egress, kind).map(drop).unwrap_err().message
        };
        let no_image = "egress.image must be configured when networkPolicy is provided.";
        assert_eq!(refused(&plain, Some(&Egress { image: None, ..egress() }), None), no_image);
        assert_eq!(refused(&plain, None, None), no_image);
        let proxied = CreateRequest { credential_proxy: true, ..request(&[]) };
        assert_eq!(
            refused(&proxied, Some(&Egress { mode: EgressMode::Dns, ..egress() }), None),
            "credentialProxy.enabled requires server [egress].mode = \"dns+nft\"."
        );
        assert!(refused(&plain, Some(&egress()), Some(SecureKind::Gvisor)).starts_with(
            "networkPolicy is not compatible with runtime 'gvisor': gVisor does not support the iptables"
        ));
        let settings = egress();
        assert_eq!(check(&plain, Some(&settings), Some(SecureKind::Kata)).unwrap().unwrap().1, "egress:1");
        assert!(check(&CreateRequest::default(), None, None).unwrap().is_none());
    }

    #[test]
    fn a_proxy_behind_the_sidecar_needs_what_it_inspects_and_trusts() {
        let refused = |env| check_upstream(&request(env), &with_upstream()).unwrap_err().message;
        assert!(refused(&[]).starts_with("egress.upstream_proxy is configured, so sandboxes with network"));
        assert_eq!(
            refused(&[(TRANSPARENT, "on"), (INSECURE, "true")]),
            "'OPENSANDBOX_EGRESS_MITMPROXY_SSL_INSECURE' cannot be set when egress.upstream_proxy is configured"
        );
        check_upstream(&request(&[(TRANSPARENT, "1"), (INSECURE, "0")]), &with_upstream()).unwrap();
        check_upstream(&CreateRequest { credential_proxy: true, ..request(&[]) }, &with_upstream()).unwrap();
        check_upstream(&request(&[]), &egress()).unwrap();
    }
}
