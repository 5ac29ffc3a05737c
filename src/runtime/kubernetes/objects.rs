//! The objects of the cluster, as far as the gateway reads them.
//!
//! Everything else in them is skipped while it is read, so that a cache of thousands costs little. A value of another type than
//! is meant counts as absent (`lenient`): the cluster does not check most of what is in a custom object, whoever wrote it, and
//! one odd object must not hide all the others of its list. Their `Debug` form is the name alone, since annotations hold tokens.

mod agent_sandbox;
mod batch_sandbox;
mod claim;
mod condition;
mod event;
mod lenient;
mod meta;
mod pod;
mod pool;
mod snapshot;
mod template;

pub(super) use self::{
    agent_sandbox::AgentSandbox,
    batch_sandbox::{BatchSandbox, BatchStatus},
    claim::Claim,
    condition::{Condition, condition},
    event::Event,
    pod::{Container, ContainerState, ContainerStatus, Pod, Terminated, Waiting},
    pool::Pool,
    snapshot::{SandboxSnapshot, SnapshotContainer},
    template::{MAIN_CONTAINER, Term, WorkloadSpec},
};

/// Somebody's text as it may be kept and shown: cut behind `most` characters, and without control characters but those of
/// lines, since no database takes a NUL.
pub(super) fn bounded(text: &str, most: usize) -> String {
    let shown = |char: char| if char.is_control() && !matches!(char, '\n' | '\t') { ' ' } else { char };
    text.chars().take(most).map(shown).collect()
}

/// The most characters that are kept of what the cluster says of an object for people to read.
const MAX_WORDS: usize = 4096;

/// Makes a type an object of the API, by its kind and its place there, and gives it a `Debug` form of its name.
macro_rules! resource {
    ($type:ty, $kind:literal, $group:literal, $version:literal, $plural:literal) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = kube::core::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::core::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
                &mut self.metadata
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple($kind).field(&self.metadata.name.as_deref().unwrap_or_default()).finish()
            }
        }
    };
}

use resource;
