//! Where a port of a sandbox can be reached (http-api.md §11, §12).

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::config::secret::Secret;

/// The address that a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// `host[:port][/path]`, without a scheme.
    pub endpoint: String,
    /// Headers that a request to it must carry. Their values may be secrets, so this is not to be logged.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// The address that this program connects to on a client's behalf.
#[derive(Clone)]
pub struct Backend {
    /// `host:port`.
    pub authority: String,
    /// What comes before the client's path, such as `/proxy/8000`; often empty.
    pub path_prefix: String,
    /// Headers that are added to the request, such as the one that routes it.
    pub headers: Vec<(String, String)>,
    /// What the client's `OpenSandbox-Secure-Access` must be, if the sandbox is secured.
    pub secure_access: Option<Secret>,
    /// The token of the sandbox's egress sidecar, if it has one: only for requests about its network policy.
    pub egress_token: Option<Secret>,
}

impl Backend {
    /// A server that is reached without a prefix, further headers or secrets.
    pub fn plain(authority: String) -> Self {
        Self { authority, path_prefix: String::new(), headers: Vec::new(), secure_access: None, egress_token: None }
    }
}

impl fmt::Debug for Backend {
    /// Without the headers' values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("authority", &self.authority)
            .field("path_prefix", &self.path_prefix)
            .finish_non_exhaustive()
    }
}
