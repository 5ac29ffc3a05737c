//! From a request to a plan: every check that needs no engine, in the contract's order (docker-runtime.md §3).
//!
//! The rules marked `merge:` are private copies of what `model` will offer; nothing outside this file knows them.

use std::collections::BTreeMap;

use crate::{
    model::{
        create::{CreateRequest, ImageSource},
        sandbox::Platform,
        timestamp::Timestamp,
    },
    runtime::{ErrorKind, RuntimeError},
};

use super::{DockerOptions, labels};

/// What is to be created, checked. Without a `Debug` form, since the environment may hold secrets.
pub(super) struct Plan {
    pub(super) image: ImageSource,
    /// The entrypoint as the client wrote it.
    pub(super) entrypoint: Vec<String>,
    /// The container's command.
    pub(super) command: Vec<String>,
    /// `NAME=value`, without what depends on the id.
    pub(super) env: Vec<String>,
    pub(super) metadata: BTreeMap<String, String>,
    /// The extensions that are echoed.
    pub(super) extensions: BTreeMap<String, String>,
    pub(super) renew_seconds: Option<String>,
    pub(super) platform: Option<Platform>,
    pub(super) limits: Limits,
    /// The sandbox gets what execd needs to isolate processes.
    pub(super) isolation: bool,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
}

/// The limits that Docker knows.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Limits {
    /// Bytes.
    pub(super) memory: Option<i64>,
    /// Billionths of a CPU.
    pub(super) nano_cpus: Option<i64>,
    /// How many GPUs; -1 for all.
    pub(super) gpus: Option<i64>,
}

impl Plan {
    /// Checks a request; what this runtime cannot do is refused here, before anything is changed.
    pub(super) fn new(request: CreateRequest, options: &DockerOptions) -> Result<Self, RuntimeError> {
        let renew_seconds = renew_seconds(&request.extensions)?;
        check_provider(&request)?;
        check_metadata(&request.metadata)?;
        let platform = request.platform.as_ref().map(normalise).transpose()?;
        let created_at = Timestamp::now();
        let expires_at = expiry(created_at, request.timeout, options.max_sandbox_timeout_seconds)?;
        check_support(&request, platform.as_ref())?;
        let limits = limits(&request.resource_limits)?;
        let env = env(&options.sandbox_env, &request.env)?;
        let invalid = || invalid("Exactly one of image or snapshotId must be provided.");
        let is_echoed = |key: &String, _: &mut String| key.starts_with(labels::EXTENSION_KEY_PREFIX);
        let mut extensions = request.extensions;
        let isolation = extensions.get("bootstrap.execd.isolation").is_some_and(|value| value == "enable");
        Ok(Self {
            image: request.image.ok_or_else(invalid)?,
            command: command(&request.entrypoint),
            entrypoint: request.entrypoint,
            env,
            metadata: request.metadata,
            extensions: extensions.extract_if(.., is_echoed).collect(),
            renew_seconds,
            platform,
            limits,
            isolation,
            created_at,
            expires_at,
        })
    }

    /// The container's labels for the sandbox `id`, but for its ports.
    pub(super) fn labels(&self, id: &str) -> BTreeMap<String, String> {
        let mut all = self.metadata.clone();
        let mut set = |key: &str, value: String| all.insert(key.to_owned(), value);
        set(labels::ID, id.to_owned());
        match self.expires_at {
            Some(time) => set(labels::EXPIRES_AT, time.to_label()),
            None => set(labels::MANUAL_CLEANUP, "true".to_owned()),
        };
        if let Some(Platform { os, arch }) = &self.platform {
            set(labels::PLATFORM_OS, os.clone());
            set(labels::PLATFORM_ARCH, arch.clone());
        }
        if let Some(seconds) = &self.renew_seconds {
            set(labels::RENEW_SECONDS, seconds.clone());
        }
        for (key, value) in &self.extensions {
            let name = key.strip_prefix(labels::EXTENSION_KEY_PREFIX).unwrap_or(key);
            set(&format!("{}{name}", labels::EXTENSION_PREFIX), value.clone());
        }
        all
    }
}

fn invalid(text: impl Into<String>) -> RuntimeError {
    RuntimeError::new(ErrorKind::InvalidParameter, text)
}

/// What no Docker provider does (http-api.md §6.3).
fn check_provider(request: &CreateRequest) -> Result<(), RuntimeError> {
    if request.lifecycle {
        return Err(invalid("lifecycle hooks are not supported by the Docker provider."));
    }
    if request.extensions.get("poolRef").is_some_and(|name| !name.trim().is_empty()) {
        let text = "poolRef is not supported by the Docker provider. Use Kubernetes BatchSandbox provider instead.";
        return Err(RuntimeError::new(ErrorKind::UnsupportedPoolRef, text));
    }
    if request.entrypoint.is_empty() && request.snapshot_id.is_none() {
        return Err(RuntimeError::new(ErrorKind::InvalidEntrypoint, "Entrypoint must contain at least one command."));
    }
    Ok(())
}

/// What the Docker provider does and this runtime does not.
fn check_support(request: &CreateRequest, platform: Option<&Platform>) -> Result<(), RuntimeError> {
    let unsupported = |what: &str| {
        Err(RuntimeError::new(ErrorKind::NotSupported, format!("{what} not supported by this server on Docker.")))
    };
    if request.secure_access {
        let text = "secureAccess is not supported when runtime.type='docker'. \
                    Use the Kubernetes runtime to create secured sandboxes.";
        return Err(invalid(text));
    }
    match request {
        _ if platform.is_some_and(|platform| platform.os == "windows") => unsupported("Windows sandboxes are"),
        CreateRequest { network_policy: true, .. } => unsupported("networkPolicy is"),
        CreateRequest { credential_proxy: true, .. } => unsupported("credentialProxy is"),
        CreateRequest { snapshot_id: Some(_), .. } => unsupported("Restoring from a snapshot is"),
        CreateRequest { volumes: 1.., .. } => unsupported("Volumes are"),
        _ => Ok(()),
    }
}

/// A single string with a space is what a shell would split; anything else is taken as it is.
fn command(entrypoint: &[String]) -> Vec<String> {
    match entrypoint {
        [line] if line.contains(' ') => {
            shlex::split(line).filter(|words| !words.is_empty()).unwrap_or_else(|| entrypoint.to_vec())
        }
        _ => entrypoint.to_vec(),
    }
}

// merge: model::timeout
fn expiry(created: Timestamp, timeout: Option<u64>, maximum: Option<u64>) -> Result<Option<Timestamp>, RuntimeError> {
    let Some(seconds) = timeout else { return Ok(None) };
    if let Some(maximum) = maximum.filter(|maximum| seconds > *maximum) {
        return Err(invalid(format!("Sandbox timeout {seconds}s exceeds configured maximum of {maximum}s.")));
    }
    let end = i64::try_from(seconds).ok().map(jiff::SignedDuration::from_secs);
    let end = end.and_then(|duration| created.to_jiff().checked_add(duration).ok());
    let too_large = || invalid(format!("Sandbox timeout {seconds}s is too large to represent safely."));
    end.map(|time| Some(Timestamp::from(time))).ok_or_else(too_large)
}

// merge: model::platform
fn normalise(platform: &Platform) -> Result<Platform, RuntimeError> {
    let checked = |name: &str, value: &str, supported: [&str; 2]| {
        let value = value.trim().to_lowercase();
        let [first, second] = supported;
        let text =
            || invalid(format!("Unsupported platform.{name} '{value}'. Supported values: ['{first}', '{second}']."));
        if supported.contains(&value.as_str()) { Ok(value.clone()) } else { Err(text()) }
    };
    Ok(Platform {
        os: checked("os", &platform.os, ["linux", "windows"])?,
        arch: checked("arch", &platform.arch, ["amd64", "arm64"])?,
    })
}

// merge: model::labels
fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), RuntimeError> {
    let wrong = |text| Err(RuntimeError::new(ErrorKind::InvalidMetadata, text));
    for (key, value) in metadata {
        if key.starts_with(labels::OWN_PREFIX) {
            return wrong(format!(
                "Metadata key '{key}' uses the reserved prefix 'opensandbox.io/'. \
                 Keys under this prefix are managed by the system and cannot be set via metadata."
            ));
        }
        let (prefix, name) = key.split_once('/').map_or((None, key.as_str()), |(prefix, name)| (Some(prefix), name));
        if !is_name(name) || prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
            return wrong(format!("Metadata key '{key}' is invalid: it must be a label key, '[prefix/]name'."));
        }
        if !value.is_empty() && !is_name(value) {
            return wrong(format!(
                "Metadata value '{value}' is invalid: must be 63 characters or less, start/end with an alphanumeric \
                 character, and contain only alphanumeric, '-', '_', or '.' characters."
            ));
        }
    }
    Ok(())
}

// merge: model::labels
fn is_name(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= 63 && ends(text.bytes().next()) && ends(text.bytes().last()) && text.bytes().all(is_inner)
}

// merge: model::labels
fn is_subdomain(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label =
        |part: &str| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-') && part.bytes().all(is_inner);
    text.len() <= 253 && text.split('.').all(is_label)
}

// merge: model::quantity
fn limits(limits: &BTreeMap<String, String>) -> Result<Limits, RuntimeError> {
    let read = |key: &str, parse: fn(&str) -> Option<i64>, rule: &str| match limits.get(key) {
        None => Ok(None),
        Some(text) => {
            parse(text.trim()).filter(|value| *value > 0 || *value == -1 && key == "gpu").map(Some).ok_or_else(|| {
                let shown: String = text.chars().take(80).collect();
                invalid(format!("Invalid resourceLimits.{key}: '{shown}'; must resolve to a positive {rule}."))
            })
        }
    };
    Ok(Limits {
        memory: read("memory", memory, "resource limit")?,
        nano_cpus: read("cpu", nano_cpus, "resource limit")?,
        gpus: read("gpu", gpus, "device count or 'all'")?,
    })
}

// merge: model::quantity
fn memory(text: &str) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: i64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "ki" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

// merge: model::quantity
#[expect(clippy::cast_possible_truncation, reason = "the bound is checked and the fraction is to go")]
fn nano_cpus(text: &str) -> Option<i64> {
    let (number, unit) = text.strip_suffix('m').map_or((text, 1e9), |number| (number, 1e6));
    let nanos = number.trim().parse::<f64>().ok()? * unit;
    (nanos.is_finite() && nanos < 9e18).then_some(nanos as i64)
}

// merge: model::quantity
fn gpus(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("all") { Some(-1) } else { text.parse().ok().filter(|count| *count > 0) }
}

// merge: model::extensions
fn renew_seconds(extensions: &BTreeMap<String, String>) -> Result<Option<String>, RuntimeError> {
    let Some(text) = extensions.get("access.renew.extend.seconds").map(|text| text.trim()) else { return Ok(None) };
    let wrong = |what: String| Err(invalid(format!("Invalid extensions[\"access.renew.extend.seconds\"]: {what}")));
    if text.is_empty() {
        let what =
            "empty value; omit the key to disable renew-on-access, or use an integer between 300 and 86400 seconds.";
        return wrong(what.to_owned());
    }
    match text.replace('_', "").parse::<i64>() {
        Err(_) => wrong(format!("must be a base-10 integer string between 300 and 86400, got '{text}'.")),
        Ok(300..=86_400) => Ok(Some(text.to_owned())),
        Ok(other) => {
            wrong(format!("must be between 300 and 86400 seconds (5 minutes to 24 hours inclusive), got {other}."))
        }
    }
}

/// Names for the egress sidecar, each after [`EGRESS_PREFIX`], sorted.
const EGRESS_NAMES: [&str; 11] = [
    "CREDENTIAL_VAULT_REQUIRE_SCOPED_MATCH",
    "CREDENTIAL_VAULT_REQUIRE_TLS",
    "CREDENTIAL_VAULT_TRUSTED_PROXY_CIDRS",
    "DENY_WEBHOOK",
    "DNS_UPSTREAM_TIMEOUT",
    "LOG_LEVEL",
    "METRICS_EXTRA_ATTRS",
    "MITMPROXY_EXTRA_PORTS",
    "MITMPROXY_SSL_INSECURE",
    "MITMPROXY_TRANSPARENT",
    "POLICY_FILE",
];

const EGRESS_PREFIX: &str = "OPENSANDBOX_EGRESS_";

// merge: model::env
fn env(defaults: &[(String, String)], request: &[(String, Option<String>)]) -> Result<Vec<String>, RuntimeError> {
    let mut all: Vec<(&str, Option<&str>)> = Vec::new();
    let defaults = defaults.iter().map(|(name, value)| (name.as_str(), Some(value.as_str())));
    for (name, value) in defaults.chain(request.iter().map(|(name, value)| (name.as_str(), value.as_deref()))) {
        if is_for_sidecar(name)? {
            tracing::warn!(name, "left out: there is no egress sidecar without a network policy");
            continue;
        }
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => all.push((name, value)),
        }
    }
    Ok(all.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect())
}

// merge: model::env
fn is_for_sidecar(name: &str) -> Result<bool, RuntimeError> {
    match name.strip_prefix(EGRESS_PREFIX) {
        None => Ok(false),
        Some(rest) if EGRESS_NAMES.contains(&rest) => Ok(true),
        Some(_) => {
            let permitted = EGRESS_NAMES.map(|name| format!("'{EGRESS_PREFIX}{name}'")).join(", ");
            Err(invalid(format!(
                "Environment variable '{name}' is not allowed; permitted OPENSANDBOX_EGRESS_ keys: [{permitted}]"
            )))
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
