//! Where the API server is, and as whom it is asked: a kubeconfig, or what a pod finds in its cluster.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, header};
use hyper_util::client::proxy::matcher::Matcher;
use kube::{
    Config,
    client::{ConfigExt, middleware::AuthLayer},
    config::{ExecInteractiveMode, Kubeconfig, KubeconfigError},
};
use rustls::{ClientConfig, crypto::ring};

use super::failure;
use crate::runtime::kubernetes::KubernetesOptions;

/// How long the files and a credential plugin may take, which may be a program that asks a server of its own.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// Puts the credentials on a request; a token in a file, or of a plugin, is got anew when its time comes.
    pub(super) auth: Option<AuthLayer>,
    pub(super) tls: Arc<ClientConfig>,
}

impl Source {
    pub(super) fn new(options: &KubernetesOptions) -> Self {
        Self { kubeconfig: options.kubeconfig.clone(), insecure: options.insecure_skip_tls_verify }
    }

    /// Reads the files and runs a credential plugin if there is one, beside the program's threads: both may hang.
    ///
    /// # Errors
    ///
    /// What is missing or wrong, in words without secrets.
    pub(super) async fn load(&self) -> Result<Access, String> {
        let source = self.clone();
        self.beside(move || source.read()).await
    }

    /// The TLS configuration anew, since certificates on disk are replaced and those of a plugin expire. A plugin that gives
    /// tokens is not run for it.
    pub(super) async fn reload_tls(&self, has_token: bool) -> Result<Arc<ClientConfig>, String> {
        let source = self.clone();
        self.beside(move || tls(&mut source.config()?, has_token)).await
    }

    async fn beside<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        match tokio::time::timeout(LOAD_TIMEOUT, tokio::task::spawn_blocking(read)).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err("reading the cluster's configuration failed unexpectedly".to_owned()),
            Err(_) => {
                let place = self.kubeconfig.as_ref().map_or_else(String::new, |path| format!(" of {}", path.display()));
                let seconds = LOAD_TIMEOUT.as_secs();
                Err(format!("the files or the credential plugin{place} hang: nothing came within {seconds} s"))
            }
        }
    }

    fn read(&self) -> Result<Access, String> {
        let mut config = self.config()?;
        let auth = config.auth_layer().map_err(|error| words(&error))?;
        let tls = tls(&mut config, auth.is_some())?;
        Ok(Access { config, auth, tls })
    }

    fn config(&self) -> Result<Config, String> {
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unreadable(path, &error))?;
                let names_proxy = names_proxy(&kubeconfig);
                let mut config = Config::try_from(kubeconfig)
                    .map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
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

/// Whether the kubeconfig itself says that its cluster is behind a proxy.
fn names_proxy(kubeconfig: &Kubeconfig) -> bool {
    let name = kubeconfig.current_context.as_deref().unwrap_or_default();
    let context = kubeconfig.contexts.iter().find(|context| context.name == name);
    let cluster = context.and_then(|context| Some(context.context.as_ref()?.cluster.as_str())).unwrap_or_default();
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == cluster);
    let proxy = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref());
    proxy.is_some_and(|proxy| !proxy.is_empty())
}

fn tls(config: &mut Config, has_token: bool) -> Result<Arc<ClientConfig>, String> {
    // An error says that there is a default already.
    let _ = ring::default_provider().install_default();
    let exec = has_token.then(|| config.auth_info.exec.take()).flatten();
    let tls = config.rustls_client_config().map(Arc::new).map_err(|error| words(&error));
    config.auth_info.exec = exec;
    tls
}

/// Why a kubeconfig cannot be read. What the parser says quotes the line, and there are tokens in such files.
fn unreadable(path: &Path, error: &KubeconfigError) -> String {
    let path = path.display();
    match error {
        KubeconfigError::ReadConfig(error, _) => format!("{path} cannot be read: {error}"),
        KubeconfigError::Parse(error) => match place(&error.to_string()) {
            Some(place) => format!("{path} is no kubeconfig: {place}"),
            None => format!("{path} is no kubeconfig"),
        },
        error => format!("{path} cannot be used: {error}"),
    }
}

/// `line 1 column 11` out of a text.
fn place(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |word: &str| word.trim_end_matches([',', ':']).parse::<u32>().ok();
    words.windows(4).find_map(|four| match four {
        ["line", line, "column", column] => Some(format!("line {} column {}", number(line)?, number(column)?)),
        _ => None,
    })
}

fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(error) => failure::credentials(error),
        error => crate::error_chain::text(error),
    }
}
