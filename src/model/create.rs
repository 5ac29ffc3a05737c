//! The request to create a sandbox (http-api.md §6), parsed, with the rules that need no runtime.

pub mod lifecycle;
mod source;
mod volume;

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use self::lifecycle::Lifecycle;
use super::{
    env, extensions,
    network::{self, NetworkPolicy},
    read::{self, Members},
    sandbox::Platform,
    violation::{Invalid, Report},
    volume::Volume,
};

/// The shortest life a client may ask for, in seconds.
const MIN_TIMEOUT: u64 = 60;

/// A request that passed the 422 rules. What a runtime does not support it refuses itself.
///
/// The `Debug` form shows only what can hold no secret: neither variables nor commands.
#[derive(Clone, Default)]
pub struct CreateRequest {
    /// The image to run; absent for the other sources.
    pub image: Option<ImageSource>,
    /// The snapshot to restore.
    pub snapshot_id: Option<String>,
    /// The template to start from.
    pub template_id: Option<String>,
    /// The platform as the client wrote it.
    pub platform: Option<Platform>,
    /// Seconds until the sandbox ends by itself; never when absent. At least 60.
    pub timeout: Option<u64>,
    /// `cpu`, `memory`, `gpu` and others, as the client wrote them.
    pub resource_limits: BTreeMap<String, String>,
    /// What is set aside of the same; Kubernetes only.
    pub resource_requests: BTreeMap<String, String>,
    /// Environment variables in the client's order; without a value: take it away.
    pub env: Vec<(String, Option<String>)>,
    /// The user's own labels, not yet checked.
    pub metadata: BTreeMap<String, String>,
    /// The command to run; not empty with `image`.
    pub entrypoint: Vec<String>,
    /// Extensions, not yet checked.
    pub extensions: BTreeMap<String, String>,
    /// The hooks that execd is to run; Kubernetes only.
    pub lifecycle: Option<Lifecycle>,
    /// The request asks for secure access.
    pub secure_access: bool,
    /// What the sandbox may reach; everything when absent.
    pub network_policy: Option<NetworkPolicy>,
    /// The request enables the credential proxy.
    pub credential_proxy: bool,
    /// What is mounted, in the client's order; not yet checked.
    pub volumes: Vec<Volume>,
}

/// An image and the credentials for pulling it.
#[derive(Debug, Clone)]
pub struct ImageSource {
    /// The reference.
    pub uri: String,
    /// Credentials for this one pull; never stored.
    pub auth: Option<RegistryAuth>,
}

/// Registry credentials. The `Debug` form hides both.
#[derive(Clone)]
pub struct RegistryAuth {
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: String,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryAuth(***)")
    }
}

impl fmt::Debug for CreateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateRequest")
            .field("image", &self.image)
            .field("snapshot_id", &self.snapshot_id)
            .field("template_id", &self.template_id)
            .field("platform", &self.platform)
            .field("timeout", &self.timeout)
            .field("resource_limits", &self.resource_limits)
            .finish_non_exhaustive()
    }
}

impl CreateRequest {
    /// Reads a request's body and applies the 422 rules (http-api.md §6.1, §6.2, §6.6, §6.7).
    ///
    /// # Errors
    /// Every field that breaks a rule. Rules about several fields are only looked at when all fields are right,
    /// and the first broken one is the only one named.
    pub fn from_json(body: &Value) -> Result<Self, Invalid> {
        let mut report = Report::new("body");
        let request = read::object(&mut report, body).map(|members| {
            let request = Self::from_members(&mut report, members);
            if report.is_clean() {
                source::check(&mut report, members, &request);
            }
            request
        });
        report.finish(request.unwrap_or_default())
    }

    /// The pool the sandbox should be taken from; a blank name is none.
    pub fn pool_ref(&self) -> Option<&str> {
        self.extensions.get(extensions::POOL_REF).map(|name| name.trim()).filter(|name| !name.is_empty())
    }

    /// What to run: a single string with a space is split as a POSIX shell would (docker-runtime.md §3.2), anything
    /// else is taken as it is. Not empty unless the entrypoint is.
    pub fn command(&self) -> Vec<String> {
        let split = match self.entrypoint.as_slice() {
            [line] if line.contains(' ') => shlex::split(line),
            _ => None,
        };
        split.filter(|words| !words.is_empty()).unwrap_or_else(|| self.entrypoint.clone())
    }

    /// Reads the fields in the order in which the peer reports them.
    fn from_members(report: &mut Report, members: &Members) -> Self {
        Self {
            image: read::optional(report, members, "image", image).filter(|image| is_not_blank(&image.uri)),
            snapshot_id: read::optional(report, members, "snapshotId", read::string).filter(|id| is_not_blank(id)),
            platform: read::optional(report, members, "platform", platform),
            timeout: read::optional(report, members, "timeout", |r, v| read::integer(r, v, MIN_TIMEOUT..=u64::MAX)),
            resource_limits: strings(report, members, "resourceLimits"),
            resource_requests: strings(report, members, "resourceRequests"),
            env: read::optional(report, members, "env", variables).unwrap_or_default(),
            metadata: strings(report, members, "metadata"),
            lifecycle: read::optional(report, members, "lifecycle", lifecycle::read),
            entrypoint: read::optional(report, members, "entrypoint", |r, v| read::list(r, v, 1, word))
                .unwrap_or_default(),
            network_policy: read::optional(report, members, "networkPolicy", network::policy),
            credential_proxy: read::optional(report, members, "credentialProxy", network::credential_proxy)
                .unwrap_or_default(),
            secure_access: read::flag(report, members, "secureAccess", false).unwrap_or_default(),
            volumes: read::optional(report, members, "volumes", |r, v| read::list(r, v, 0, volume::volume))
                .unwrap_or_default(),
            extensions: strings(report, members, "extensions"),
            template_id: read::optional(report, members, "templateId", |r, v| read::string_of(r, v, 1..=usize::MAX))
                .filter(|id| is_not_blank(id)),
        }
    }
}

fn strings(report: &mut Report, members: &Members, name: &str) -> BTreeMap<String, String> {
    let entries = read::optional(report, members, name, |r, v| read::map(r, v, read::string));
    entries.unwrap_or_default().into_iter().collect()
}

/// The variables. A name that is none is not told as a location, since it may hold a value.
fn variables(report: &mut Report, value: &Value) -> Option<Vec<env::Variable>> {
    read::map_where(report, value, nullable, |report, name, value| match env::check(name, value.as_str()) {
        Ok(()) => true,
        Err(text) => {
            report.add_rule(&text);
            false
        }
    })
}

fn nullable(report: &mut Report, value: &Value) -> Option<Option<String>> {
    if value.is_null() { Some(None) } else { read::string(report, value).map(Some) }
}

/// A word of a command, which no program can be given with a NUL in it. It is not told: it may hold a secret.
fn word(report: &mut Report, value: &Value) -> Option<String> {
    let text = read::string(report, value)?;
    if text.contains('\0') {
        report.add_rule("Entrypoint must not contain NUL characters.");
        return None;
    }
    Some(text)
}

fn image(report: &mut Report, value: &Value) -> Option<ImageSource> {
    let members = read::object(report, value)?;
    let uri = read::required(report, members, "uri", read::string);
    let auth = read::optional(report, members, "auth", registry_auth);
    Some(ImageSource { uri: uri?, auth })
}

fn registry_auth(report: &mut Report, value: &Value) -> Option<RegistryAuth> {
    let members = read::object(report, value)?;
    let username = read::required(report, members, "username", read::string);
    let password = read::required(report, members, "password", read::string);
    Some(RegistryAuth { username: username?, password: password? })
}

fn platform(report: &mut Report, value: &Value) -> Option<Platform> {
    let members = read::object(report, value)?;
    let os = read::required(report, members, "os", read::string);
    let arch = read::required(report, members, "arch", read::string);
    Some(Platform { os: os?, arch: arch? })
}

fn is_not_blank(text: &str) -> bool {
    !text.trim().is_empty()
}

#[cfg(test)]
mod tests;
