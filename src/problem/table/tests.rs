//! The whole table as it stands on the wire, and that no pair of the sources is missing in it.

use std::{fs, path::Path};

use super::*;

/// Family, kind, status, code, `Retry-After`.
const WIRE: &str = "
    Sandbox NotFound 404 DOCKER::SANDBOX_NOT_FOUND
    Sandbox Conflict 409 DOCKER::SANDBOX_NOT_RUNNING
    Sandbox Unsupported 501 SANDBOX::API_NOT_SUPPORTED
    Parameter Invalid 400 SANDBOX::INVALID_PARAMETER
    Parameter Conflict 409 SANDBOX::INVALID_PARAMETER
    MetadataFilter Invalid 400 INVALID_METADATA_FORMAT
    DiagnosticsScope Unsupported 400 DIAGNOSTICS_SCOPE_UNSUPPORTED
    Metadata Invalid 400 SANDBOX::INVALID_METADATA_LABEL
    Metadata Denied 400 INVALID_METADATA_LABEL
    Metadata Failed 500 SANDBOX::INTERNAL_ERROR
    Entrypoint Invalid 400 DOCKER::INVALID_ENTRYPOINT
    Volume(Name) Conflict 400 VOLUME::DUPLICATE_NAME
    Volume(MountPath) Invalid 400 VOLUME::INVALID_MOUNT_PATH
    Volume(SubPath) Invalid 400 VOLUME::INVALID_SUB_PATH
    Volume(SubPath) Unsupported 400 VOLUME::PVC_SUBPATH_UNSUPPORTED_DRIVER
    Volume(HostPath) Invalid 400 VOLUME::INVALID_HOST_PATH
    Volume(HostPath) Denied 400 VOLUME::HOST_PATH_NOT_ALLOWED
    Volume(HostPath) Failed 500 VOLUME::HOST_PATH_CREATE_FAILED
    Volume(Mount) Unsupported 501 VOLUME::MOUNT_UNAVAILABLE
    Volume(Claim) NotFound 400 VOLUME::PVC_NOT_FOUND
    Volume(Claim) Failed 500 VOLUME::PVC_INSPECT_FAILED
    Volume(OssfsBucket) Invalid 400 VOLUME::INVALID_OSSFS_BUCKET
    Volume(OssfsEndpoint) Invalid 400 VOLUME::INVALID_OSSFS_ENDPOINT
    Volume(OssfsOption) Invalid 400 VOLUME::INVALID_OSSFS_OPTION
    Volume(OssfsMountRoot) Invalid 500 VOLUME::INVALID_OSSFS_MOUNT_ROOT
    Volume(OssfsMount) Failed 500 VOLUME::OSSFS_MOUNT_FAILED
    Volume(OssfsMount) Conflict 409 VOLUME::OSSFS_MOUNT_CONFLICT
    Pool Invalid 400 SANDBOX::UNSUPPORTED_POOL_REF
    Pool Unsupported 501 KUBERNETES::POOL_NOT_SUPPORTED
    Pool NotFound 404 KUBERNETES::POOL_NOT_FOUND
    Pool Conflict 409 KUBERNETES::POOL_ALREADY_EXISTS
    Pool Failed 500 KUBERNETES::POOL_API_ERROR
    Pool TimedOut 504 KUBERNETES::POOL_API_ERROR
    Pool Unavailable 503 KUBERNETES::POOL_API_ERROR 5
    Pool Overloaded 429 KUBERNETES::POOL_API_ERROR 1
    Template Unsupported 501 FSB::API_NOT_SUPPORTED
    Execd Unauthenticated 401 EXECD::UNAUTHORIZED
    Execd Invalid 400 EXECD::INVALID_REQUEST
    Execd Denied 400 EXECD::PERMISSION_DENIED
    Execd NotFound 404 EXECD::NOT_FOUND
    Execd Overloaded 429 EXECD::LIMIT_REACHED 5
    Execd OutOfRange 416 EXECD::RANGE_NOT_SATISFIABLE
    Execd Unsupported 501 EXECD::NOT_SUPPORTED
    Execd Failed 500 EXECD::FAILED
    Image Failed 500 DOCKER::SANDBOX_IMAGE_PULL_FAILED
    ExecdDelivery Unavailable 503 DOCKER::SANDBOX_EXECD_START_FAILED
    ExecdDelivery Failed 500 DOCKER::SANDBOX_EXECD_DISTRIBUTION_FAILED
    Creation Failed 500 DOCKER::SANDBOX_START_FAILED
    Query Unavailable 500 DOCKER::SANDBOX_QUERY_FAILED
    Query Failed 500 DOCKER::SANDBOX_QUERY_FAILED
    Query TimedOut 504 DOCKER::SANDBOX_QUERY_FAILED
    Query Overloaded 503 DOCKER::SANDBOX_QUERY_FAILED 5
    Pause Failed 500 DOCKER::SANDBOX_PAUSE_FAILED
    Resume Conflict 409 DOCKER::SANDBOX_NOT_PAUSED
    Resume Failed 500 DOCKER::SANDBOX_RESUME_FAILED
    Expiry Invalid 400 DOCKER::INVALID_EXPIRATION
    Expiry Conflict 409 DOCKER::INVALID_EXPIRATION
    Expiry Failed 500 SANDBOX::INTERNAL_ERROR
    Endpoint Invalid 400 DOCKER::INVALID_PORT
    Endpoint Unsupported 400 SANDBOX::API_NOT_SUPPORTED
    Endpoint Unavailable 500 DOCKER::NETWORK_MODE_ENDPOINT_UNAVAILABLE
    LogCursor Invalid 400 LOGS::INVALID_CURSOR
    Logs Unsupported 501 LOGS::DRIVER_NOT_READABLE
    Logs NotFound 404 LOGS::LOG_NOT_FOUND
    Logs Conflict 409 LOGS::SANDBOX_REMOVING
    Logs Unavailable 503 LOGS::ENGINE_UNAVAILABLE 5
    Logs Overloaded 503 LOGS::ENGINE_UNAVAILABLE 5
    Logs TimedOut 503 LOGS::ENGINE_UNAVAILABLE 5
    Logs Failed 500 LOGS::QUERY_FAILED
    Command Unauthenticated 401 LOGS::EXECD_UNAUTHORIZED
    Command Invalid 400 LOGS::COMMAND_NOT_IN_BACKGROUND
    Command NotFound 404 LOGS::COMMAND_NOT_FOUND
    Command Conflict 409 LOGS::SANDBOX_PAUSED
    Command Unavailable 502 LOGS::EXECD_UNAVAILABLE 5
    Command TimedOut 504 LOGS::EXECD_TIMEOUT 5
    Command Failed 502 LOGS::EXECD_FAILED
    Deletion Failed 500 DOCKER::SANDBOX_DELETE_FAILED
    Snapshot NotFound 404 SNAPSHOT::NOT_FOUND
    Snapshot Conflict 409 SNAPSHOT::INVALID_SOURCE_STATE
    Snapshot Unsupported 501 SNAPSHOT::NOT_IMPLEMENTED
    Snapshot TimedOut 500 SNAPSHOT::RUNTIME_CREATE_FAILED
    Snapshot Failed 500 SNAPSHOT::RUNTIME_CREATE_FAILED
    Snapshot InUse 409 SNAPSHOT::RUNTIME_CREATE_CONFLICT
    SnapshotSource Conflict 409 SNAPSHOT::RUNTIME_PREFLIGHT_FAILED
    SnapshotSource Unsupported 409 SNAPSHOT::UNSUPPORTED_RUNTIME
    Restore Conflict 409 SNAPSHOT::NOT_READY
    Restore Invalid 409 SNAPSHOT::INVALID_RESTORE_CONFIG
    SnapshotRemoval Conflict 409 SNAPSHOT::INVALID_STATE
    SnapshotRemoval InUse 409 SNAPSHOT::DELETE_CONFLICT
    SnapshotRemoval Failed 500 DOCKER::SNAPSHOT_IMAGE_REMOVE_FAILED
    SnapshotStore Unavailable 503 SNAPSHOT::STORE_UNAVAILABLE 5
    FastSandbox NotFound 404 FSB::SANDBOX_NOT_FOUND
    KubeSandbox NotFound 404 KUBERNETES::SANDBOX_NOT_FOUND
    KubeSandbox Conflict 409 KUBERNETES::INVALID_STATE
    KubeApi Invalid 400 KUBERNETES::API_ERROR
    KubeApi Failed 500 KUBERNETES::API_ERROR
    KubeApi TimedOut 504 KUBERNETES::API_ERROR
    KubeApi Unavailable 503 KUBERNETES::API_ERROR 5
    KubeApi Overloaded 429 KUBERNETES::API_ERROR 1
    KubeList Unavailable 503 SANDBOX_LIST_UNAVAILABLE 5
    KubeAccess Denied 403 KUBERNETES::FORBIDDEN
    PoolCapacity Overloaded 429 KUBERNETES::POOL_CAPACITY_EXHAUSTED 1
    KubeQuota Denied 403 KUBERNETES::QUOTA_EXCEEDED
    KubePod Failed 500 KUBERNETES::POD_FAILED
    KubePod TimedOut 504 KUBERNETES::POD_READY_TIMEOUT
    KubeClaim Failed 500 SANDBOX::INTERNAL_ERROR
    PodAddress NotFound 404 KUBERNETES::POD_IP_NOT_AVAILABLE
    LogContainer NotFound 404 LOGS::CONTAINER_NOT_FOUND
    PreviousLog NotFound 404 LOGS::PREVIOUS_NOT_FOUND
    LogStart Conflict 409 LOGS::NOT_STARTED
    LogStream Unsupported 422 LOGS::STREAMS_NOT_SEPARABLE
    Startup Unsupported 503 DOCKER::INITIALIZATION_ERROR
    Startup Failed 503 DOCKER::INITIALIZATION_ERROR
";

#[test]
fn the_wire_is_as_it_was() {
    let told = |row: &Row| {
        let Row { family, kind, status, code, retry_after } = row;
        let wait = retry_after.map_or_else(String::new, |seconds| format!(" {seconds}"));
        format!("{family:?} {kind:?} {} {code}{wait}", status.as_u16())
    };
    let expected: Vec<&str> = WIRE.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(ROWS.iter().map(told).collect::<Vec<_>>(), expected);
}

#[test]
fn each_pair_has_one_row() {
    for row in ROWS {
        let same = ROWS.iter().filter(|other| (other.family, other.kind) == (row.family, row.kind));
        assert_eq!(same.count(), 1, "{row:?}");
        assert_eq!(of(row.family, row.kind), *row);
    }
    assert_eq!((of(Template, InUse).status, of(Template, InUse).code), (FAILED, UNKNOWN));
}

/// What follows each `start` in the text up to what is no letter, and the text from there on.
fn after<'t>(text: &'t str, start: &str) -> Vec<(&'t str, &'t str)> {
    let rests = text.match_indices(start).map(|(at, _)| &text[at + start.len()..]);
    rests.map(|rest| rest.split_at(rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()))).collect()
}

/// The pairs that a source names side by side: `Family::A, Kind::B` and `VolumePart::A, Kind::B`.
fn pairs(text: &str) -> Vec<String> {
    let plain: String =
        text.split_whitespace().collect::<String>().replace("Family::Volume(VolumePart::", "VolumePart::");
    let families = after(&plain, "Family::").into_iter().map(|(name, rest)| (name.to_owned(), rest));
    let parts = after(&plain, "VolumePart::").into_iter().map(|(name, rest)| (format!("Volume({name})"), rest));
    let kinds = families.chain(parts).filter_map(|(family, rest)| {
        let rest = rest.trim_start_matches(')').strip_prefix(",Kind::")?;
        let kind = rest.split(|c: char| !c.is_alphanumeric()).next()?;
        Some(format!("{family} {kind}"))
    });
    kinds.collect()
}

fn read(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(pairs(&text).into_iter().map(|pair| (path.display().to_string(), pair)));
        }
    }
}

#[test]
fn what_the_sources_name_has_a_row() {
    assert_eq!(pairs("(Family::A, Kind::B) new(\n Family::Volume(VolumePart::C),\n Kind::D)"), ["A B", "Volume(C) D"]);
    let mut named = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut named);
    assert!(named.len() > 50, "{named:?}");
    for (file, pair) in named {
        if !file.ends_with("problem/table/tests.rs") {
            assert!(WIRE.contains(&format!(" {pair} ")), "{file}: {pair} has no row");
        }
    }
}
