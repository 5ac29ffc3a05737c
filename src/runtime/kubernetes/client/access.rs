//! Where the API server is, and as whom it is asked: a kubeconfig, or what a pod finds in its cluster.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderValue, header};
use hyper_util::client::proxy::matcher::Matcher;
use jiff::Timestamp;
use kube::{
    Config,
    client::{ConfigExt, middleware::AuthLayer},
    config::{AuthInfo, ExecInteractiveMode, Kubeconfig, KubeconfigError},
};
use rustls::{ClientConfig, crypto::ring};

use super::{failure, plugin};
use crate::runtime::kubernetes::KubernetesOptions;

/// What every request is sent with.
const USER_AGENT: &str = concat!("opensandbox-gateway/", env!("CARGO_PKG_VERSION"));

/// Where the settings are.
#[derive(Debug, Clone)]
pub(super) struct Source {
    kubeconfig: Option<PathBuf>,
    insecure: bool,
}

/// What was read.
pub(super) struct Access {
    pub(super) config: Config,
    /// Puts the credentials on a request. A token in a file is read again every minute.
    pub(super) auth: Option<AuthLayer>,
    pub(super) tls: Arc<ClientConfig>,
    /// For a proxy: trusts the same authorities, but the certificate that proves who this is is for the API server alone.
    pub(super) proxy_tls: Arc<ClientConfig>,
    /// When what a credential plugin gave expires, if it said so.
    pub(super) expires: Option<Timestamp>,
}

impl Source {
    pub(super) fn new(options: &KubernetesOptions) -> Self {
        Self { kubeconfig: options.kubeconfig.clone(), insecure: options.insecure_skip_tls_verify }
    }

    /// Reads the files, beside the program's threads since that may hang, and runs a credential plugin if there is one.
    ///
    /// # Errors
    ///
    /// What is missing or wrong, in words without secrets.
    pub(super) async fn load(&self) -> Result<Access, String> {
        let source = self.clone();
        let mut config = beside(move || source.config()).await?;
        let expires = plugin::run(&mut config.auth_info).await?;
        beside(move || Access::new(config, expires)).await
    }

    /// Where that is read from, for messages.
    pub(super) fn place(&self) -> String {
        let path = self.kubeconfig.as_ref();
        path.map_or_else(|| "the service account's files".to_owned(), |path| path.display().to_string())
    }

    fn config(&self) -> Result<Config, String> {
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let unusable = |error| unreadable(path, &error);
                let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
                let names_proxy = names_proxy(&kubeconfig);
                let mut config = Config::try_from(kubeconfig).map_err(unusable)?;
                // kube takes a proxy of the environment without regard to NO_PROXY for the API server.
                if !names_proxy && Matcher::from_env().intercept(&config.cluster_url).is_none() {
                    config.proxy_url = None;
                }
                config
            }
            None => Config::incluster().map_err(|error| {
                format!("this program runs in no cluster ({error}); set kubernetes.kubeconfig_path")
            })?,
        };
        config.default_retry = false;
        config.accept_invalid_certs |= self.insecure;
        config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
        if let Some(exec) = &mut config.auth_info.exec
            && exec.interactive_mode != Some(ExecInteractiveMode::Always)
        {
            // Nobody is there to be asked.
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
        Ok(config)
    }
}

impl Access {
    fn new(mut config: Config, expires: Option<Timestamp>) -> Result<Self, String> {
        let auth = config.auth_layer().map_err(|error| words(&error))?;
        // An error says that there is a default already.
        let _ = ring::default_provider().install_default();
        // It gives no certificate, and kube would run its command again.
        let provider = config.auth_info.auth_provider.take();
        let tls = config.rustls_client_config().map(Arc::new).map_err(|error| words(&error))?;
        config.auth_info.auth_provider = provider;
        let mut unproven = config.clone();
        unproven.auth_info = AuthInfo::default();
        let proxy_tls = unproven.rustls_client_config().map(Arc::new).map_err(|error| words(&error))?;
        Ok(Self { config, auth, tls, proxy_tls, expires })
    }

    /// Whether nothing proves to the API server who asks.
    pub(super) fn is_anonymous(&self) -> bool {
        self.auth.is_none() && !self.tls.client_auth_cert_resolver.has_certs()
    }
}

async fn beside<T: Send + 'static>(read: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|_| Err("reading the cluster's configuration failed unexpectedly".to_owned()))
}

/// Why a kubeconfig cannot be read. What the parser says shows lines of it, and the value that it found wrong: tokens and keys.
fn unreadable(path: &Path, error: &KubeconfigError) -> String {
    let path = path.display();
    match error {
        KubeconfigError::ReadConfig(error, _) => format!("{path} cannot be read: {error}"),
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("{path} is no kubeconfig: line {} column {}", at.line(), at.column()),
            None => format!("{path} is no kubeconfig"),
        },
        error => format!("{path} cannot be used: {error}"),
    }
}

/// Whether the kubeconfig itself says that its cluster is behind a proxy.
fn names_proxy(kubeconfig: &Kubeconfig) -> bool {
    let name = kubeconfig.current_context.as_deref().unwrap_or_default();
    let context = kubeconfig.contexts.iter().find(|context| context.name == name);
    let cluster = context.and_then(|context| Some(context.context.as_ref()?.cluster.as_str())).unwrap_or_default();
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == cluster);
    let proxy = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref());
    proxy.is_some_and(|proxy| !proxy.is_empty())
}

fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(error) => failure::credentials(error),
        error => crate::error_chain::text(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, text).unwrap();
        Source { kubeconfig: Some(path), insecure: false }.config().err().unwrap()
    }

    #[test]
    fn what_is_wrong_in_a_kubeconfig_is_told_without_its_secrets() {
        let error = read("users:\n- name: a\n  user:\n    token: SECRET\n   client-key-data: SECRET\n");
        assert!(error.contains("config is no kubeconfig: line "), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
        let error = read("apiVersion: v1\nusers: SECRET\n");
        assert!(error.contains("line 2") && !error.contains("SECRET"), "{error}");
        let error = read("apiVersion: v1\nclusters: []\nusers: []\ncontexts: []\ncurrent-context: there\n");
        assert!(error.contains("there"), "{error}");
    }

    #[test]
    fn a_proxy_does_not_get_the_certificate_that_is_for_the_api_server() {
        let mut config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        config.auth_info.client_certificate =
            Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/kube/tls/admin.pem").to_owned());
        config.auth_info.client_key =
            Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/kube/tls/admin-key.pem").to_owned());
        let access = Access::new(config, None).unwrap();
        assert!(access.tls.client_auth_cert_resolver.has_certs() && !access.is_anonymous());
        assert!(!access.proxy_tls.client_auth_cert_resolver.has_certs());
    }
}
