//! `[storage]` and `[store]`: the volumes of sandboxes, and the server's records.

use std::path::PathBuf;
use std::time::Duration;

use super::quantity::parse_quantity;
use super::section::{Floor, Section};
use crate::secret::Secret;

/// `[storage]`: the volumes sandboxes may mount.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Host directories at and below which a sandbox may mount. Default none,
    /// which forbids host mounts.
    pub allowed_host_paths: Vec<String>,
    /// The size of a volume claim that names none, as a Kubernetes quantity.
    /// Default `1Gi`.
    pub volume_default_size: String,
    /// Where object storage is mounted on the host. Default `/mnt/ossfs`.
    pub ossfs_mount_root: PathBuf,
}

/// `[store]`: where snapshots and templates are recorded.
#[derive(Debug, Clone)]
pub struct Store {
    /// The database, by `type`. Default `sqlite`.
    pub backend: StoreBackend,
    /// `snapshot_recovery_interval_seconds`, the time between two looks for
    /// interrupted snapshots; more than 0 s. Default 15 s. Read from
    /// `[store]`, else from `[store.postgresql]`.
    pub snapshot_recovery_interval: Duration,
}

/// The database of the records.
#[derive(Debug, Clone)]
pub enum StoreBackend {
    /// A file.
    Sqlite {
        /// The file. Default `~/.opensandbox/opensandbox.db`.
        path: PathBuf,
    },
    /// A database server.
    Postgresql(Postgresql),
}

/// `[store.postgresql]`.
#[derive(Debug, Clone)]
pub struct Postgresql {
    /// The address, with its password. Required; the environment variable
    /// [`POSTGRESQL_DSN`](super::env::POSTGRESQL_DSN) replaces it.
    pub dsn: Secret,
    /// Connections kept open; at most `max_pool_size`. Default 1.
    pub min_pool_size: u32,
    /// Connections open at most; at least 1. Default 10.
    pub max_pool_size: u32,
    /// `connect_timeout_seconds`; at least 1 s. Default 5 s.
    pub connect_timeout: Duration,
    /// `pool_timeout_seconds`, how long to wait for a free connection; more
    /// than 0 s. Default 5 s.
    pub pool_timeout: Duration,
}

impl Storage {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let mount_root = section.text("ossfs_mount_root");
        let volume_default_size = section.text_or("volume_default_size", "1Gi");
        if parse_quantity(&volume_default_size).is_none_or(|size| size == 0) {
            section.fail("volume_default_size", "must be a Kubernetes quantity above zero, such as 1Gi");
        }
        Self {
            allowed_host_paths: section.texts("allowed_host_paths").unwrap_or_default(),
            volume_default_size,
            ossfs_mount_root: mount_root.map_or_else(|| "/mnt/ossfs".into(), PathBuf::from),
        }
    }
}

impl Store {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let postgresql = section.choice("type", false, &[("sqlite", false), ("postgresql", true)]);
        let path = section.path_or("path", ".opensandbox/opensandbox.db");
        let (server, nested_interval) =
            section.table("postgresql", |section| (Postgresql::read(section), read_interval(section)));
        let backend = match server {
            Some(server) if postgresql => StoreBackend::Postgresql(server),
            _ => StoreBackend::Sqlite { path },
        };
        if postgresql && matches!(backend, StoreBackend::Sqlite { .. }) && !section.failed("postgresql.dsn") {
            section.fail(
                "postgresql.dsn",
                "store.postgresql.dsn or OPENSANDBOX_STORE_POSTGRESQL_DSN must be set when store.type is 'postgresql'.",
            );
        }
        Self {
            backend,
            snapshot_recovery_interval: read_interval(section).or(nested_interval).unwrap_or(Duration::from_secs(15)),
        }
    }
}

impl Postgresql {
    /// `None` without an address, which is only wrong when the section is used.
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let dsn = section.secret("dsn");
        let min_pool_size = section.integer("min_pool_size", 1, 0..=i64::from(u32::MAX));
        let max_pool_size = section.integer("max_pool_size", 10, 1..=i64::from(u32::MAX));
        let sizes_known = !section.failed("min_pool_size") && !section.failed("max_pool_size");
        if sizes_known && min_pool_size > max_pool_size {
            section.fail(
                "min_pool_size",
                format_args!("must be at most max_pool_size ({max_pool_size}), not {min_pool_size}"),
            );
        }
        let connect_timeout = section.whole_seconds("connect_timeout_seconds", 5, 1);
        let pool_timeout = section.seconds("pool_timeout_seconds", 5.0, Floor::Above(0.0));
        Some(Self { dsn: dsn?, min_pool_size, max_pool_size, connect_timeout, pool_timeout })
    }
}

fn read_interval(section: &mut Section<'_>) -> Option<Duration> {
    let key = "snapshot_recovery_interval_seconds";
    let set = section.has(key);
    let interval = section.seconds(key, 15.0, Floor::Above(0.0));
    set.then_some(interval)
}
