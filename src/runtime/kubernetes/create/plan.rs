//! From a request to what is to be created: every check that needs no cluster, in the contract's order (http-api.md §6.3,
//! kubernetes-runtime.md §4.1).

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use uuid::Uuid;

use super::{
    parts::{BIN_VOLUME, ISOLATION_VOLUME, token},
    resources,
    sidecar::Sidecar,
    template::Template,
    windows,
};
use crate::{
    config::{WorkloadProvider, is_qualified_name},
    error::{Error, Family, Kind},
    model::{
        create::{CreateRequest, ImageSource},
        env::{self, Split, Variable},
        extensions::{ECHOED_PREFIX, Extensions},
        labels as metadata,
        sandbox::Platform,
        timeout,
        timestamp::Timestamp,
        volume::{self, Source, Volume},
    },
    runtime::{
        egress::{self, TRANSPARENT},
        kubernetes::{
            KubernetesOptions,
            workload::{labels, platform},
        },
        places::{FOLDER, ISOLATION},
        windows::{FOLDER as OEM, Machine},
    },
    secret::Secret,
};

/// What a sandbox of a pool runs when its creator does not say.
const POOL_ENTRYPOINT: [&str; 3] = ["tail", "-f", "/dev/null"];

/// The most bytes of the extensions that are stored: the API server takes 256 KiB of annotations, and there are others.
const MAX_EXTENSIONS: usize = 192 * 1024;

/// What is to be created, checked. Without a `Debug` form, since variables and tokens are secrets.
pub(super) struct Plan {
    /// The sandbox's id.
    pub(super) id: String,
    /// The tenant whose it is.
    pub(super) tenant: Option<Arc<str>>,
    /// The pool whose pod it takes, or `*` for any.
    pub(super) pool: Option<String>,
    /// The image; empty for a pod of a pool.
    pub(super) image: ImageSource,
    /// The snapshot that the image belongs to.
    pub(super) snapshot_id: Option<String>,
    /// The command, as it is answered.
    pub(super) entrypoint: Vec<String>,
    /// The client's variables for the sandbox, in its order.
    pub(super) env: Vec<Variable>,
    /// The hooks for execd, in JSON.
    pub(super) lifecycle: Option<String>,
    /// The credential proxy is on.
    pub(super) credential_proxy: bool,
    /// The sidecar that enforces the network policy.
    pub(super) sidecar: Option<Sidecar>,
    /// The user's own labels.
    pub(super) metadata: BTreeMap<String, String>,
    /// Extensions that mean something.
    pub(super) extensions: Extensions,
    /// The platform that the pod must have.
    pub(super) platform: Option<Platform>,
    /// What the container may use.
    pub(super) resources: Option<Value>,
    /// The virtual machine of a Windows sandbox.
    pub(super) windows: Option<Machine>,
    /// What is mounted, in the client's order; no buckets.
    pub(super) volumes: Vec<Volume>,
    /// What callers of the sandbox's ports must present.
    pub(super) secure_access: Option<Secret>,
    /// The server's time.
    pub(super) created_at: Timestamp,
    /// When the operator ends it.
    pub(super) expires_at: Option<Timestamp>,
}

/// A request whose checks passed so far: those before the first one that asks the cluster.
pub(super) struct Draft {
    request: CreateRequest,
    extensions: Extensions,
    platform: Option<Platform>,
    env: Vec<Variable>,
    sidecar: Option<Sidecar>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Draft {
    /// Checks a request.
    ///
    /// # Errors
    /// ([`Family::Parameter`], [`Kind::Invalid`]) and those of what the request is about: the first that is wrong.
    pub(super) fn new(
        request: CreateRequest,
        options: &KubernetesOptions,
        template: Option<&Template>,
    ) -> Result<Self, Error> {
        let creation = &options.creation;
        let extensions = Extensions::from_request(&request.extensions)?;
        check_source(&request, options.provider)?;
        metadata::check(&request.metadata)?;
        let platform = request.platform.as_ref().map(Platform::normalised).transpose()?;
        let created_at = Timestamp::now();
        let expires_at = timeout::expiry(request.timeout, creation.max_sandbox_timeout_seconds, created_at)?;
        if request.secure_access && options.ingress.gateway.is_none() {
            return Err(invalid(
                "secureAccess is currently supported only for Kubernetes sandboxes exposed through \
                 ingress.mode='gateway'. Configure ingress gateway mode or disable secureAccess.",
            ));
        }
        let filter = egress::check(&request, creation.egress.as_ref(), creation.secure_kind)?;
        check_pod_texts(&request)?;
        check_annotations(&extensions)?;
        let Split { egress, .. } = env::split(&request.env)?;
        let sidecar = match filter {
            Some((settings, image)) => {
                egress::check_upstream(&request, settings)?;
                Some(Sidecar::new(&request, egress, settings, image)?)
            }
            None => {
                egress::warn_of_unused(&egress);
                None
            }
        };
        let own = Own { isolation: extensions.isolation, windows: is_windows(platform.as_ref(), options.provider) };
        check_volumes(&request, own, &creation.allowed_host_paths, template)?;
        // Whether the sidecar intercepts is the sandbox's to know as well.
        let is_main = |name: &str| name == TRANSPARENT || !env::is_for_sidecar(name);
        let env = request.env.iter().filter(|(name, _)| is_main(name)).cloned().collect();
        Ok(Self { request, extensions, platform, env, sidecar, created_at, expires_at })
    }

    /// The pool that must be there; none where any will do.
    pub(super) fn named_pool(&self) -> Option<&str> {
        self.request.pool_ref().filter(|pool| *pool != "*")
    }

    /// What is mounted.
    pub(super) fn volumes(&self) -> &[Volume] {
        &self.request.volumes
    }

    /// Checks the rest of the request.
    ///
    /// # Errors
    /// ([`Family::Parameter`], [`Kind::Invalid`]), the first that is wrong; ([`Family::Startup`], [`Kind::Failed`]) if there
    /// are no random bytes.
    pub(super) fn finish(
        self,
        options: &KubernetesOptions,
        template: Option<&Template>,
        tenant: Option<Arc<str>>,
    ) -> Result<Plan, Error> {
        let Self { request, extensions, platform, env, sidecar, created_at, expires_at } = self;
        let pool = request.pool_ref().map(str::to_owned);
        if pool.is_some() && platform.is_some() {
            return Err(invalid(
                "platform is not supported together with extensions.poolRef yet. Pool-level platform modeling is not \
                 available in this iteration.",
            ));
        }
        if options.provider == WorkloadProvider::AgentSandbox && platform.as_ref().is_some_and(|it| it.os == "windows")
        {
            return Err(invalid("agent-sandbox does not support platform.os=windows."));
        }
        let is_windows = is_windows(platform.as_ref(), options.provider);
        let windows =
            if is_windows { Some(windows::machine(&request, options.allow_windows, template)?) } else { None };
        // Those of a pool's pod are the pool's.
        let resources = match (&pool, &windows) {
            (Some(_), _) => None,
            (None, None) => resources::resources(&request.resource_limits, &request.resource_requests)?,
            (None, Some(_)) => {
                let given = [&request.resource_limits, &request.resource_requests];
                for resources in given {
                    resources::check_gpus(resources)?;
                }
                let [limits, requests] = given.map(windows::of_container);
                resources::resources(&limits, &requests)?
            }
        };
        let own = Own { isolation: extensions.isolation, windows: is_windows };
        check_volume_names(&request.volumes, own, sidecar.as_ref(), template)?;
        if let Some(platform) = &platform {
            check_platform(platform, template)?;
        }
        let lifecycle = request.lifecycle.as_ref().map(|hooks| hooks.to_json()).transpose();
        // That of a pool's pod is the pool's, whatever the client says.
        let image = request.image.filter(|_| pool.is_none());
        let image = image.unwrap_or_else(|| ImageSource { uri: String::new(), auth: None });
        let mut entrypoint = request.entrypoint;
        if entrypoint.is_empty() {
            entrypoint = POOL_ENTRYPOINT.map(str::to_owned).to_vec();
        }
        Ok(Plan {
            id: Uuid::new_v4().to_string(),
            tenant,
            pool,
            image,
            snapshot_id: request.snapshot_id,
            entrypoint,
            env,
            lifecycle: lifecycle.map_err(|error| invalid(format!("lifecycle cannot be written: {error}")))?,
            credential_proxy: request.credential_proxy,
            sidecar,
            metadata: request.metadata,
            extensions,
            platform,
            resources,
            windows,
            volumes: request.volumes,
            secure_access: if request.secure_access { Some(token()?) } else { None },
            created_at,
            expires_at,
        })
    }
}

impl Plan {
    /// The labels of the object and of its pods.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut all = self.metadata.clone();
        let mut set = |key: &str, value: &str| drop(all.insert(key.to_owned(), value.to_owned()));
        set(labels::ID, &self.id);
        if self.expires_at.is_none() {
            set(labels::MANUAL_CLEANUP, "true");
        }
        if let Some(snapshot) = &self.snapshot_id {
            set(labels::SNAPSHOT, snapshot);
        }
        if let Some(tenant) = &self.tenant {
            set(labels::TENANT, tenant);
        }
        all
    }

    /// The annotations of the object.
    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut set = |key: &str, value: &str| drop(all.insert(key.to_owned(), value.to_owned()));
        if let Some(token) = &self.secure_access {
            set(labels::SECURE_ACCESS, token.expose());
        }
        if let Some(sidecar) = &self.sidecar {
            set(labels::EGRESS_TOKEN, sidecar.token.expose());
        }
        if let Some(renewal) = &self.extensions.renewal {
            set(labels::RENEWAL, &renewal.text);
        }
        for (key, value) in &self.extensions.echoed {
            set(&labels::of_extension(key), value);
        }
        all
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

/// Checks what a sandbox is made from.
fn check_source(request: &CreateRequest, provider: WorkloadProvider) -> Result<(), Error> {
    if request.template_id.is_some() {
        let text = "templateId needs the fast-sandbox backend, which this server does not have.";
        return Err(Error::new(Family::Template, Kind::Unsupported, text));
    }
    if request.pool_ref().is_some() {
        // The existing server passes over it here, and fails for want of an image.
        if provider == WorkloadProvider::AgentSandbox {
            let text = "poolRef is not supported by the agent-sandbox provider. Use the BatchSandbox provider instead.";
            return Err(Error::new(Family::Pool, Kind::Invalid, text));
        }
        let refused = |what: &str, advice: &str| {
            Err(invalid(format!(
                "{what} cannot be used together with extensions.poolRef because pooled pods are pre-created. {advice} \
                 or use template mode."
            )))
        };
        return match request {
            CreateRequest { network_policy: Some(_), .. } => {
                refused("networkPolicy", "Remove 'networkPolicy' from the request")
            }
            CreateRequest { credential_proxy: true, .. } => {
                refused("credentialProxy.enabled", "Disable credential proxy")
            }
            _ => Ok(()),
        };
    }
    if request.image.is_none() {
        return Err(invalid("Exactly one of image or snapshotId must be provided."));
    }
    if request.entrypoint.is_empty() {
        return Err(Error::new(Family::Entrypoint, Kind::Invalid, "Entrypoint must contain at least one command."));
    }
    Ok(())
}

/// Refuses names that the API server refuses in a pod: the object of a sandbox is taken with them, and waits in vain for its pod.
fn check_pod_texts(request: &CreateRequest) -> Result<(), Error> {
    if let Some(image) = &request.image
        && image.uri.trim() != image.uri
    {
        return Err(invalid("image.uri must not begin or end with blanks."));
    }
    let is_printable = |name: &str| name.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    match request.env.iter().find(|(name, _)| !is_printable(name)) {
        Some((name, _)) => Err(invalid(format!(
            "Environment variable '{}': on Kubernetes names are made of printable ASCII characters.",
            env::shown(name)
        ))),
        None => Ok(()),
    }
}

/// Checks what the API server checks of annotations.
fn check_annotations(extensions: &Extensions) -> Result<(), Error> {
    for key in extensions.echoed.keys() {
        let annotation = labels::of_extension(key);
        let is_key = annotation.split_once('/').is_some_and(|(_, name)| is_qualified_name(name));
        if !is_key {
            return Err(invalid(format!(
                "Invalid extension '{}': what follows '{ECHOED_PREFIX}' must be at most 52 letters, digits, '-', '_' and \
                 '.', the last a letter or a digit.",
                env::shown(key)
            )));
        }
    }
    let bytes: usize = extensions.echoed.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_EXTENSIONS {
        return Err(invalid(format!("Extensions that are stored have {bytes} bytes; the most is {MAX_EXTENSIONS}.")));
    }
    Ok(())
}

/// Which volumes of the gateway's own a pod has besides execd's.
#[derive(Clone, Copy)]
struct Own {
    isolation: bool,
    windows: bool,
}

/// A Windows sandbox of a provider that has them.
fn is_windows(platform: Option<&Platform>, provider: WorkloadProvider) -> bool {
    provider == WorkloadProvider::BatchSandbox && platform.is_some_and(|platform| platform.os == "windows")
}

fn check_volumes(
    request: &CreateRequest,
    own: Own,
    allowed: &[String],
    template: Option<&Template>,
) -> Result<(), Error> {
    let mut reserved = vec![FOLDER];
    reserved.extend(own.isolation.then_some(ISOLATION));
    reserved.extend(own.windows.then_some(OEM));
    // Nothing can be mounted at devices, whoever asks.
    let of_machine = own.windows.then_some(windows::STORAGE);
    let taken = template.into_iter().flat_map(Template::mount_paths).chain(of_machine);
    volume::check::check(&request.volumes, allowed, &reserved, taken)?;
    if let Some(bucket) = request.volumes.iter().find(|volume| matches!(volume.source, Source::Ossfs(_))) {
        return Err(invalid(format!(
            "Volume '{}' has no supported backend specified. Supported backends: pvc, host",
            bucket.name
        )));
    }
    if request.pool_ref().is_some() && !request.volumes.is_empty() {
        return Err(invalid(
            "Pool mode (extensions.poolRef) does not support volumes. Remove 'volumes' from the request or use \
             template mode.",
        ));
    }
    Ok(())
}

/// Refuses the names of volumes that the pod has already: those of the gateway, and those of the operator's template, which a
/// client's volume would stand in for.
fn check_volume_names(
    volumes: &[Volume],
    own: Own,
    sidecar: Option<&Sidecar>,
    template: Option<&Template>,
) -> Result<(), Error> {
    let mut names = vec![BIN_VOLUME];
    names.extend(own.isolation.then_some(ISOLATION_VOLUME));
    names.extend(windows::volume_names().filter(|_| own.windows));
    let of_file = template.map(Template::volumes).unwrap_or_default();
    let of_sidecar = sidecar.and_then(Sidecar::volume);
    let is_taken = |name: &str| names.contains(&name) || of_file.contains(name) || of_sidecar == Some(name);
    match volumes.iter().find(|volume| is_taken(&volume.name)) {
        Some(volume) => Err(invalid(format!(
            "Volume name '{}' conflicts with an internal volume. Please use a different volume name.",
            volume.name
        ))),
        None => Ok(()),
    }
}

fn check_platform(platform: &Platform, template: Option<&Template>) -> Result<(), Error> {
    if let Some(template) = template {
        let pods = template.workload();
        // The node of a virtual machine is not one of Windows.
        let os = (platform.os != "windows").then_some((platform::OS, &platform.os));
        for (key, wanted) in os.into_iter().chain([(platform::ARCH, &platform.arch)]) {
            if let Some(required) = platform::required(&pods, key).filter(|required| required != wanted) {
                return Err(invalid(format!(
                    "platform conflict with template nodeSelector: '{key}' is '{required}', request expects '{wanted}'."
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
