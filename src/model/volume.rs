//! What a sandbox may mount (http-api.md §6.6).

pub mod check;
pub mod mount_path;

use crate::{
    error::{Error, Family, Kind, VolumePart},
    secret::Secret,
};

/// A volume in the right form. Whether it may be mounted is [`check::check`]'s and the runtime's to say.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The volume's name, unlike that of any other of the request.
    pub name: String,
    /// Where it is in the sandbox, an absolute path.
    pub mount_path: String,
    /// The sandbox cannot write to it.
    pub read_only: bool,
    /// The part of it that is mounted; not blank.
    pub sub_path: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

/// Where a volume comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory or a file of the host, by its absolute path.
    Host(String),
    /// A volume of the engine.
    Claim(Claim),
    /// A bucket of an object store.
    Ossfs(Box<Ossfs>),
}

/// A volume of the engine, or a claim of one in a cluster.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// The engine's or the cluster's name for it.
    pub name: String,
    /// It is created when there is none.
    pub create_if_not_exists: bool,
    /// It is removed with the sandbox that it was created for.
    pub delete_on_termination: bool,
    /// What it is created as; of no use to an engine.
    pub wanted: Wanted,
}

/// A claim of a cluster that is to be created, as far as the client says it.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The StorageClass.
    pub storage_class: Option<String>,
    /// How much it holds, as a number with or without a binary unit.
    pub storage: Option<String>,
    /// How it may be mounted, such as `ReadWriteOnce`.
    pub access_modes: Vec<String>,
}

/// A bucket of an object store, mounted on the host by ossfs's own programs.
#[derive(Debug, Clone)]
pub struct Ossfs {
    /// The bucket.
    pub bucket: String,
    /// The store's address, with or without a scheme.
    pub endpoint: String,
    /// Which program mounts it.
    pub version: OssfsVersion,
    /// Further options of that program, without dashes.
    pub options: Vec<String>,
    /// Who asks; hidden, since it is half of a credential.
    pub access_key_id: Secret,
    /// The password to that.
    pub access_key_secret: Secret,
}

/// The generations of ossfs, which take their arguments differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OssfsVersion {
    /// The program `ossfs`.
    V1,
    /// The program `ossfs2`.
    V2,
}

/// An error about a volume.
pub fn fault(part: VolumePart, kind: Kind, text: impl Into<String>) -> Error {
    Error::new(Family::Volume(part), kind, text)
}
