//! From a request to a plan: every check that needs no engine, in the contract's order (http-api.md §6.3,
//! docker-runtime.md §3).

use std::collections::{BTreeMap, HashMap};

use crate::{
    error::{Error, Family, Kind},
    model::{
        create::{CreateRequest, ImageSource},
        env::{self, Split, Variable},
        extensions::{self, Extensions},
        labels as metadata,
        quantity::{self, Limits},
        sandbox::Platform,
        timeout,
        timestamp::Timestamp,
        volume::{self, Volume},
    },
};

use super::windows::Windows;
use crate::runtime::{
    docker::{DockerOptions, engine::labels, sidecar},
    egress,
    places::{FOLDER, ISOLATION},
    windows,
};

/// What is to be created, checked. Without a `Debug` form, since the environment may hold secrets.
pub(in crate::runtime::docker) struct Plan {
    pub(in crate::runtime::docker) image: ImageSource,
    /// The snapshot that the image belongs to.
    pub(in crate::runtime::docker) snapshot_id: Option<String>,
    /// The entrypoint as the client wrote it.
    pub(in crate::runtime::docker) entrypoint: Vec<String>,
    /// The container's command.
    pub(in crate::runtime::docker) command: Vec<String>,
    /// `NAME=value`, without what depends on the id.
    pub(in crate::runtime::docker) env: Vec<String>,
    pub(in crate::runtime::docker) metadata: BTreeMap<String, String>,
    pub(in crate::runtime::docker) extensions: Extensions,
    pub(in crate::runtime::docker) platform: Option<Platform>,
    pub(super) limits: Limits,
    /// What is mounted, in the client's order.
    pub(in crate::runtime::docker) volumes: Vec<Volume>,
    /// The sidecar that enforces the network policy.
    pub(in crate::runtime::docker) sidecar: Option<sidecar::Wanted>,
    /// What a Windows sandbox has beyond others.
    pub(super) windows: Option<Windows>,
    pub(in crate::runtime::docker) created_at: Timestamp,
    pub(in crate::runtime::docker) expires_at: Option<Timestamp>,
}

/// A request whose checks passed so far: those that come before the first one that needs the engine.
pub(super) struct Draft {
    request: CreateRequest,
    extensions: Extensions,
    platform: Option<Platform>,
    limits: Limits,
    windows: Option<Windows>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Draft {
    /// Checks a request; what this runtime cannot do is refused here, before anything is changed.
    pub(super) fn new(request: CreateRequest, options: &DockerOptions) -> Result<Self, Error> {
        let extensions = Extensions::from_request(&request.extensions)?;
        check_provider(&request)?;
        metadata::check(&request.metadata)?;
        let platform = request.platform.as_ref().map(Platform::normalised).transpose()?;
        let created_at = Timestamp::now();
        let expires_at = timeout::expiry(request.timeout, options.max_sandbox_timeout_seconds, created_at)?;
        let is_windows = platform.as_ref().is_some_and(|platform| platform.os == "windows");
        check_support(&request)?;
        sidecar::check(&request, options)?;
        if is_windows {
            windows::check_filter(&request)?;
        }
        check_isolation(&extensions, options)?;
        let windows = if is_windows { Some(Windows::new(&request.resource_limits)?) } else { None };
        // Those of a virtual machine are not the engine's to enforce.
        let limits = if is_windows { Limits::default() } else { quantity::limits(&request.resource_limits)? };
        Ok(Self { request, extensions, platform, limits, windows, created_at, expires_at })
    }

    /// Checks the rest of the request.
    pub(in crate::runtime::docker) fn finish(self, options: &DockerOptions) -> Result<Plan, Error> {
        let Self { request, extensions, platform, limits, windows, created_at, expires_at } = self;
        let Split { sandbox, egress } = env::split(&request.env)?;
        let sidecar = sidecar::Wanted::new(&request, &egress, options)?;
        if sidecar.is_none() {
            egress::warn_of_unused(&egress);
        }
        let reserved = reserved(windows.is_some(), extensions.isolation);
        let configured = options.sandbox_binds.iter().map(|bind| bind.split(':').nth(1).unwrap_or(bind));
        volume::check::check(&request.volumes, &options.allowed_host_paths, &reserved, configured)?;
        let env = overlay(&options.sandbox_env, &sandbox);
        let no_image = || invalid("Exactly one of image or snapshotId must be provided.");
        Ok(Plan {
            command: request.command(),
            image: request.image.ok_or_else(no_image)?,
            snapshot_id: request.snapshot_id,
            entrypoint: request.entrypoint,
            env: if let Some(windows) = &windows { windows.env(env) } else { env },
            metadata: request.metadata,
            extensions,
            platform,
            limits,
            volumes: request.volumes,
            sidecar,
            windows,
            created_at,
            expires_at,
        })
    }
}

/// The places in a sandbox that are the server's own.
fn reserved(is_windows: bool, is_isolated: bool) -> Vec<&'static str> {
    let mut reserved = vec![FOLDER];
    if is_windows {
        reserved.push(windows::FOLDER);
    }
    if is_isolated {
        reserved.push(ISOLATION);
    }
    reserved
}

impl Plan {
    /// The places in the sandbox that are the server's own.
    pub(in crate::runtime::docker) fn reserved(&self) -> Vec<&'static str> {
        reserved(self.windows.is_some(), self.extensions.isolation)
    }

    /// The platform that image and container are pinned to. Images that run Windows are of the engine's own.
    pub(super) fn pinned(&self) -> Option<&Platform> {
        self.platform.as_ref().filter(|_| self.windows.is_none())
    }

    /// The container's labels for the sandbox `id`, but for its ports.
    pub(in crate::runtime::docker) fn labels(&self, id: &str) -> BTreeMap<String, String> {
        let mut all = self.metadata.clone();
        let mut set = |key: &str, value: String| all.insert(key.to_owned(), value);
        set(labels::ID, id.to_owned());
        match self.expires_at {
            Some(time) => set(labels::EXPIRES_AT, time.to_label()),
            None => set(labels::MANUAL_CLEANUP, "true".to_owned()),
        };
        if let Some(snapshot) = &self.snapshot_id {
            set(labels::SNAPSHOT_ID, snapshot.clone());
        }
        if let Some(Platform { os, arch }) = &self.platform {
            set(labels::PLATFORM_OS, os.clone());
            set(labels::PLATFORM_ARCH, arch.clone());
        }
        if let Some(renewal) = &self.extensions.renewal {
            set(labels::RENEW_SECONDS, renewal.text.clone());
        }
        for (key, value) in &self.extensions.echoed {
            let name = key.strip_prefix(extensions::ECHOED_PREFIX).unwrap_or(key);
            set(&format!("{}{name}", labels::EXTENSION_PREFIX), value.clone());
        }
        all
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

/// What no Docker provider does (http-api.md §6.3).
fn check_provider(request: &CreateRequest) -> Result<(), Error> {
    if request.lifecycle.is_some() {
        return Err(invalid("lifecycle hooks are not supported by the Docker provider."));
    }
    if request.pool_ref().is_some() {
        let text = "poolRef is not supported by the Docker provider. Use Kubernetes BatchSandbox provider instead.";
        return Err(Error::new(Family::Pool, Kind::Invalid, text));
    }
    if request.entrypoint.is_empty() && request.snapshot_id.is_none() {
        return Err(Error::new(Family::Entrypoint, Kind::Invalid, "Entrypoint must contain at least one command."));
    }
    Ok(())
}

/// What the Docker provider does not do, or this runtime does not.
fn check_support(request: &CreateRequest) -> Result<(), Error> {
    if request.secure_access {
        let text = "secureAccess is not supported when runtime.type='docker'. \
                    Use the Kubernetes runtime to create secured sandboxes.";
        return Err(invalid(text));
    }
    Ok(())
}

/// The isolation extension gives a sandbox nearly the engine's own rights, so the operator has to allow it.
fn check_isolation(extensions: &Extensions, options: &DockerOptions) -> Result<(), Error> {
    if !extensions.isolation || options.allow_isolation_extension {
        return Ok(());
    }
    Err(invalid(format!(
        "extensions[\"{}\"] is not allowed by this server. It gives the sandbox SYS_ADMIN and lifts its AppArmor and \
         seccomp profiles; the operator can allow it with docker.allow_isolation_extension = true.",
        extensions::ISOLATION
    )))
}

/// The configured variables with the request's over them, as `NAME=value`. One without a value takes the name away.
fn overlay(configured: &[(String, String)], request: &[Variable]) -> Vec<String> {
    let mut all: Vec<(&str, Option<&str>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let configured = configured.iter().map(|(name, value)| (name.as_str(), Some(value.as_str())));
    for (name, value) in configured.chain(request.iter().map(|(name, value)| (name.as_str(), value.as_deref()))) {
        let place = *places.entry(name).or_insert(all.len());
        match all.get_mut(place) {
            Some(entry) => entry.1 = value,
            None => all.push((name, value)),
        }
    }
    all.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect()
}

#[cfg(test)]
mod tests;
