//! Parts of containers that several are made of.

use serde_json::{Map, Value, json};

use crate::{
    config::Resources,
    error::{Error, Family, Kind},
    secret::Secret,
};

/// The pod's volume that execd is in.
pub(super) const BIN_VOLUME: &str = "opensandbox-bin";

/// The pod's volume that execd's isolation writes to.
pub(super) const ISOLATION_VOLUME: &str = "isolation-upper";

/// A new token.
///
/// # Errors
/// ([`Family::KubeApi`], [`Kind::Failed`]): there are no random bytes.
pub(super) fn token() -> Result<Secret, Error> {
    Secret::token().map_err(|error| {
        Error::new(Family::KubeApi, Kind::Failed, "Failed to create sandbox: no token can be made.").caused_by(error)
    })
}

/// Resources of the configuration; none if it says nothing.
pub(super) fn resources_of(resources: &Resources) -> Option<Value> {
    let Resources { requests, limits } = resources;
    let parts = [("requests", requests), ("limits", limits)].into_iter().filter(|(_, part)| !part.is_empty());
    let parts: Map<_, _> = parts.map(|(name, part)| (name.to_owned(), json!(part))).collect();
    if parts.is_empty() { None } else { Some(parts.into()) }
}
