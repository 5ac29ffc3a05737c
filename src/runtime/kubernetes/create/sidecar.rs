//! The sidecar that enforces a sandbox's network policy (kubernetes-runtime.md §4.6).

use serde_json::{Value, json};

use super::parts::{BIN_VOLUME, resources_of, token};
use crate::{
    config::Egress,
    error::{Error, Family, Kind},
    model::{create::CreateRequest, env::Variable},
    runtime::{
        egress::{self, TRANSPARENT, UPSTREAM_CA},
        places::FOLDER,
    },
    secret::Secret,
};

/// The volume with the certificate authority of the proxy behind the sidecar.
const CA_VOLUME: &str = "opensandbox-egress-upstream-extra-ca";

/// Where the certificate authority is in its secret.
const CA_KEY: &str = "ca.crt";

/// The port of the sidecar's API.
const PORT: u16 = 18080;

/// The header that the sidecar wants its token in.
const TOKEN_HEADER: &str = "OPENSANDBOX-EGRESS-AUTH";

/// A sidecar. Without a `Debug` form, since its environment may hold secrets.
pub(super) struct Sidecar {
    /// What it wants to be presented.
    pub(super) token: Secret,
    image: String,
    /// The policy in JSON.
    rules: String,
    mode: &'static str,
    /// What the operator has to say to it.
    configured: Vec<(&'static str, String)>,
    credential_proxy: bool,
    /// The client's variables for it.
    env: Vec<Variable>,
    resources: Option<Value>,
    /// The secret with a certificate authority.
    ca_secret: Option<String>,
    /// IPv6, which it does not filter, is to be switched off.
    pub(super) disable_ipv6: bool,
}

impl Sidecar {
    /// The sidecar for a request that has a policy; `env` are its variables for it.
    ///
    /// # Errors
    /// ([`Family::KubeApi`], [`Kind::Failed`]): there are no random bytes.
    pub(super) fn new(
        request: &CreateRequest,
        env: Vec<Variable>,
        settings: &Egress,
        image: &str,
    ) -> Result<Self, Error> {
        let rules = request.network_policy.as_ref().map_or(Ok(String::new()), |policy| policy.to_json());
        let invalid = |error| {
            let text = format!("networkPolicy cannot be written: {error}");
            Error::new(Family::Parameter, Kind::Invalid, text)
        };
        let ca_secret = settings.upstream_proxy.as_ref().and_then(|proxy| proxy.ca_secret_name.clone());
        Ok(Self {
            token: token()?,
            image: image.to_owned(),
            rules: rules.map_err(invalid)?,
            mode: settings.mode.as_str(),
            configured: egress::configured(settings, ca_secret.is_some()),
            credential_proxy: request.credential_proxy,
            env,
            resources: resources_of(&settings.resources),
            ca_secret,
            disable_ipv6: settings.disable_ipv6,
        })
    }

    /// The name of the volume that it brings.
    pub(super) fn volume(&self) -> Option<&'static str> {
        self.ca_secret.as_ref().map(|_| CA_VOLUME)
    }

    /// The volume that it brings.
    pub(super) fn volume_source(&self) -> Option<Value> {
        let secret = self.ca_secret.as_ref()?;
        Some(json!({"name": CA_VOLUME, "secret": {"secretName": secret,
            "items": [{"key": CA_KEY, "path": CA_KEY}]}}))
    }

    /// Its container in the pod of the sandbox `id`.
    pub(super) fn container(&self, id: &str) -> Value {
        let token = self.token.expose();
        let mut env = vec![entry("OPENSANDBOX_EGRESS_RULES", &self.rules), entry("OPENSANDBOX_EGRESS_MODE", self.mode)];
        env.extend(self.configured.iter().map(|(name, value)| entry(name, value)));
        env.push(entry("OPENSANDBOX_EGRESS_SANDBOX_ID", id));
        if self.credential_proxy {
            env.push(entry(TRANSPARENT, "true"));
        }
        env.push(entry("OPENSANDBOX_EGRESS_TOKEN", token));
        // What the credential proxy needs is not the client's to take back.
        let others = self.env.iter().filter(|(name, _)| !(self.credential_proxy && name == TRANSPARENT));
        // One without a value is empty here; in the sandbox it is null.
        env.extend(others.map(|(name, value)| entry(name, value.as_deref().unwrap_or_default())));
        let mut mounts = vec![json!({"name": BIN_VOLUME, "mountPath": FOLDER})];
        if self.ca_secret.is_some() {
            mounts.push(json!({"name": CA_VOLUME, "mountPath": UPSTREAM_CA, "subPath": CA_KEY, "readOnly": true}));
        }
        let mut container = json!({
            "name": "egress",
            "image": self.image,
            "env": env,
            "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
            "ports": [{"name": "egress-api", "containerPort": PORT}],
            "readinessProbe": {
                "httpGet": {
                    "path": "/healthz",
                    "port": PORT,
                    "httpHeaders": [{"name": TOKEN_HEADER, "value": token}],
                },
                "periodSeconds": 1,
                "failureThreshold": 30,
            },
            "volumeMounts": mounts,
        });
        if let Some(resources) = &self.resources {
            container["resources"] = resources.clone();
        }
        container
    }
}

fn entry(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::network::NetworkPolicy, runtime::egress::tests::with_upstream};

    fn made(credential_proxy: bool, env: &[(&str, Option<&str>)], settings: &Egress) -> Value {
        let request =
            CreateRequest { network_policy: Some(NetworkPolicy::default()), credential_proxy, ..Default::default() };
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        let sidecar = Sidecar::new(&request, env, settings, "egress:1").unwrap();
        sidecar.container("x")
    }

    fn names(container: &Value) -> Vec<&str> {
        container["env"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn the_authority_is_one_file_of_its_secret() {
        let request = CreateRequest { network_policy: Some(NetworkPolicy::default()), ..Default::default() };
        let sidecar = Sidecar::new(&request, Vec::new(), &with_upstream(), "egress:1").unwrap();
        let secret = &sidecar.volume_source().unwrap()["secret"];
        assert_eq!(secret["items"], json!([{"key": "ca.crt", "path": "ca.crt"}]));
    }

    #[test]
    fn the_environment_has_an_order() {
        let mut settings = with_upstream();
        settings.otlp_endpoint = Some(Secret::new("http://otel:4318"));
        let env = [(TRANSPARENT, Some("false")), ("OPENSANDBOX_EGRESS_LOG_LEVEL", None)];
        let container = made(true, &env, &settings);
        let expected = [
            "OPENSANDBOX_EGRESS_RULES",
            "OPENSANDBOX_EGRESS_MODE",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OPENSANDBOX_EGRESS_UPSTREAM_PROXY",
            "OPENSANDBOX_EGRESS_UPSTREAM_PROXY_AUTH",
            "OPENSANDBOX_EGRESS_MITMPROXY_UPSTREAM_EXTRA_CA",
            "OPENSANDBOX_EGRESS_SANDBOX_ID",
            TRANSPARENT,
            "OPENSANDBOX_EGRESS_TOKEN",
            "OPENSANDBOX_EGRESS_LOG_LEVEL",
        ];
        assert_eq!(names(&container), expected);
        assert_eq!(container["env"][7]["value"], "true");
        assert_eq!(container["env"][9], json!({"name": "OPENSANDBOX_EGRESS_LOG_LEVEL", "value": ""}));
        let mount = json!({"name": "opensandbox-egress-upstream-extra-ca", "subPath": "ca.crt", "readOnly": true,
            "mountPath": "/etc/ssl/certs/opensandbox-upstream-extra-ca.pem"});
        assert_eq!(container["volumeMounts"][1], mount);
        // Without the credential proxy the client's word counts.
        assert_eq!(made(false, &env, &settings)["env"][8], json!({"name": TRANSPARENT, "value": "false"}));
    }
}
