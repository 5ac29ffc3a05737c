//! The request to create a sandbox (http-api.md §6), parsed, with the rules that need no runtime.

use std::{collections::BTreeMap, fmt};

use super::sandbox::Platform;

/// A request that passed the 422 rules. What a runtime does not support it refuses itself.
#[derive(Debug, Clone, Default)]
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
    /// Environment variables in the client's order; without a value: take it away.
    pub env: Vec<(String, Option<String>)>,
    /// The user's own labels, not yet checked.
    pub metadata: BTreeMap<String, String>,
    /// The command to run; not empty with `image`.
    pub entrypoint: Vec<String>,
    /// Extensions, not yet checked.
    pub extensions: BTreeMap<String, String>,
    /// The request has `lifecycle` hooks.
    pub lifecycle: bool,
    /// The request asks for secure access.
    pub secure_access: bool,
    /// The request has a network policy.
    pub network_policy: bool,
    /// The request enables the credential proxy.
    pub credential_proxy: bool,
    /// How many volumes the request has.
    pub volumes: usize,
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
