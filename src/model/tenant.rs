//! Who shares a server with others.

use std::sync::Arc;

/// A tenant: who has sandboxes that no other tenant sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// Its name, which its sandboxes bear as a label: at most 63 letters, digits, `-`, `_` and `.`.
    pub name: Arc<str>,
    /// The namespace of its sandboxes: a DNS label. Tenants may share one.
    pub namespace: Arc<str>,
}

/// What a sandbox is known by among those of all tenants. Nobody else's id reads the same: none has a slash that is a tenant's.
pub fn place(tenant: Option<&Tenant>, id: &str) -> String {
    match tenant {
        None => id.to_owned(),
        Some(Tenant { name, namespace }) => format!("{namespace}/{name}/{id}"),
    }
}
