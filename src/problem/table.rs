//! The rows: status and code of each pair of a family and a kind that there is.

use http::StatusCode;

use super::UNKNOWN;
use crate::error::{
    Family::{self, *},
    Kind::{self, *},
    VolumePart,
};

/// What is answered to one pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    family: Family,
    kind: Kind,
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    /// `Retry-After` in seconds, where asking again may help soon.
    pub(super) retry_after: Option<u32>,
}

impl Row {
    const fn again_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

const fn row(family: Family, kind: Kind, status: StatusCode, code: &'static str) -> Row {
    Row { family, kind, status, code, retry_after: None }
}

const fn volume(part: VolumePart, kind: Kind, status: StatusCode, code: &'static str) -> Row {
    row(Volume(part), kind, status, code)
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;
const MISSING: StatusCode = StatusCode::NOT_FOUND;
const CONFLICT: StatusCode = StatusCode::CONFLICT;
const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
const NOT_IMPLEMENTED: StatusCode = StatusCode::NOT_IMPLEMENTED;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const LATE: StatusCode = StatusCode::GATEWAY_TIMEOUT;

/// The codes are those of the existing server, also where another name would fit better.
pub(super) const ROWS: &[Row] = &[
    row(Sandbox, NotFound, MISSING, "DOCKER::SANDBOX_NOT_FOUND"),
    row(Sandbox, Conflict, CONFLICT, "DOCKER::SANDBOX_NOT_RUNNING"),
    row(Sandbox, Unsupported, NOT_IMPLEMENTED, "SANDBOX::API_NOT_SUPPORTED"),
    row(Parameter, Invalid, BAD, "SANDBOX::INVALID_PARAMETER"),
    row(Parameter, Conflict, CONFLICT, "SANDBOX::INVALID_PARAMETER"),
    row(MetadataFilter, Invalid, BAD, "INVALID_METADATA_FORMAT"),
    row(DiagnosticsScope, Unsupported, BAD, "DIAGNOSTICS_SCOPE_UNSUPPORTED"),
    row(Metadata, Invalid, BAD, "SANDBOX::INVALID_METADATA_LABEL"),
    row(Metadata, Denied, BAD, "INVALID_METADATA_LABEL"),
    row(Metadata, Failed, FAILED, "SANDBOX::INTERNAL_ERROR"),
    row(Entrypoint, Invalid, BAD, "DOCKER::INVALID_ENTRYPOINT"),
    volume(VolumePart::Name, Conflict, BAD, "VOLUME::DUPLICATE_NAME"),
    volume(VolumePart::MountPath, Invalid, BAD, "VOLUME::INVALID_MOUNT_PATH"),
    volume(VolumePart::SubPath, Invalid, BAD, "VOLUME::INVALID_SUB_PATH"),
    volume(VolumePart::SubPath, Unsupported, BAD, "VOLUME::PVC_SUBPATH_UNSUPPORTED_DRIVER"),
    volume(VolumePart::HostPath, Invalid, BAD, "VOLUME::INVALID_HOST_PATH"),
    volume(VolumePart::HostPath, Denied, BAD, "VOLUME::HOST_PATH_NOT_ALLOWED"),
    volume(VolumePart::HostPath, Failed, FAILED, "VOLUME::HOST_PATH_CREATE_FAILED"),
    volume(VolumePart::Mount, Unsupported, NOT_IMPLEMENTED, "VOLUME::MOUNT_UNAVAILABLE"),
    volume(VolumePart::Claim, NotFound, BAD, "VOLUME::PVC_NOT_FOUND"),
    volume(VolumePart::Claim, Failed, FAILED, "VOLUME::PVC_INSPECT_FAILED"),
    volume(VolumePart::OssfsBucket, Invalid, BAD, "VOLUME::INVALID_OSSFS_BUCKET"),
    volume(VolumePart::OssfsEndpoint, Invalid, BAD, "VOLUME::INVALID_OSSFS_ENDPOINT"),
    volume(VolumePart::OssfsOption, Invalid, BAD, "VOLUME::INVALID_OSSFS_OPTION"),
    volume(VolumePart::OssfsMountRoot, Invalid, FAILED, "VOLUME::INVALID_OSSFS_MOUNT_ROOT"),
    volume(VolumePart::OssfsMount, Failed, FAILED, "VOLUME::OSSFS_MOUNT_FAILED"),
    volume(VolumePart::OssfsMount, Conflict, CONFLICT, "VOLUME::OSSFS_MOUNT_CONFLICT"),
    row(Pool, Invalid, BAD, "SANDBOX::UNSUPPORTED_POOL_REF"),
    row(Pool, Unsupported, NOT_IMPLEMENTED, "KUBERNETES::POOL_NOT_SUPPORTED"),
    row(Pool, NotFound, MISSING, "KUBERNETES::POOL_NOT_FOUND"),
    row(Pool, Conflict, CONFLICT, "KUBERNETES::POOL_ALREADY_EXISTS"),
    row(Pool, Failed, FAILED, "KUBERNETES::POOL_API_ERROR"),
    row(Pool, TimedOut, LATE, "KUBERNETES::POOL_API_ERROR"),
    row(Pool, Unavailable, UNAVAILABLE, "KUBERNETES::POOL_API_ERROR").again_after(5),
    row(Pool, Overloaded, StatusCode::TOO_MANY_REQUESTS, "KUBERNETES::POOL_API_ERROR").again_after(1),
    row(Template, Unsupported, NOT_IMPLEMENTED, "FSB::API_NOT_SUPPORTED"),
    row(Execd, Unauthenticated, StatusCode::UNAUTHORIZED, "EXECD::UNAUTHORIZED"),
    row(Execd, Invalid, BAD, "EXECD::INVALID_REQUEST"),
    row(Execd, Denied, BAD, "EXECD::PERMISSION_DENIED"),
    row(Execd, NotFound, MISSING, "EXECD::NOT_FOUND"),
    row(Execd, Overloaded, StatusCode::TOO_MANY_REQUESTS, "EXECD::LIMIT_REACHED").again_after(5),
    row(Execd, OutOfRange, StatusCode::RANGE_NOT_SATISFIABLE, "EXECD::RANGE_NOT_SATISFIABLE"),
    row(Execd, Unsupported, NOT_IMPLEMENTED, "EXECD::NOT_SUPPORTED"),
    row(Execd, Failed, FAILED, "EXECD::FAILED"),
    row(Image, Failed, FAILED, "DOCKER::SANDBOX_IMAGE_PULL_FAILED"),
    row(ExecdDelivery, Unavailable, UNAVAILABLE, "DOCKER::SANDBOX_EXECD_START_FAILED"),
    row(ExecdDelivery, Failed, FAILED, "DOCKER::SANDBOX_EXECD_DISTRIBUTION_FAILED"),
    row(Creation, Failed, FAILED, "DOCKER::SANDBOX_START_FAILED"),
    row(Query, Unavailable, FAILED, "DOCKER::SANDBOX_QUERY_FAILED"),
    row(Query, Failed, FAILED, "DOCKER::SANDBOX_QUERY_FAILED"),
    row(Query, TimedOut, LATE, "DOCKER::SANDBOX_QUERY_FAILED"),
    row(Query, Overloaded, UNAVAILABLE, "DOCKER::SANDBOX_QUERY_FAILED").again_after(5),
    row(Pause, Failed, FAILED, "DOCKER::SANDBOX_PAUSE_FAILED"),
    row(Resume, Conflict, CONFLICT, "DOCKER::SANDBOX_NOT_PAUSED"),
    row(Resume, Failed, FAILED, "DOCKER::SANDBOX_RESUME_FAILED"),
    row(Expiry, Invalid, BAD, "DOCKER::INVALID_EXPIRATION"),
    row(Expiry, Conflict, CONFLICT, "DOCKER::INVALID_EXPIRATION"),
    row(Expiry, Failed, FAILED, "SANDBOX::INTERNAL_ERROR"),
    row(Endpoint, Invalid, BAD, "DOCKER::INVALID_PORT"),
    row(Endpoint, Unsupported, BAD, "SANDBOX::API_NOT_SUPPORTED"),
    row(Endpoint, Unavailable, FAILED, "DOCKER::NETWORK_MODE_ENDPOINT_UNAVAILABLE"),
    row(LogCursor, Invalid, BAD, "LOGS::INVALID_CURSOR"),
    row(Logs, Unsupported, NOT_IMPLEMENTED, "LOGS::DRIVER_NOT_READABLE"),
    row(Logs, NotFound, MISSING, "LOGS::LOG_NOT_FOUND"),
    row(Logs, Conflict, CONFLICT, "LOGS::SANDBOX_REMOVING"),
    row(Logs, Unavailable, UNAVAILABLE, "LOGS::ENGINE_UNAVAILABLE").again_after(5),
    row(Logs, Overloaded, UNAVAILABLE, "LOGS::ENGINE_UNAVAILABLE").again_after(5),
    row(Logs, TimedOut, UNAVAILABLE, "LOGS::ENGINE_UNAVAILABLE").again_after(5),
    row(Logs, Failed, FAILED, "LOGS::QUERY_FAILED"),
    row(Command, Unauthenticated, StatusCode::UNAUTHORIZED, "LOGS::EXECD_UNAUTHORIZED"),
    row(Command, Invalid, BAD, "LOGS::COMMAND_NOT_IN_BACKGROUND"),
    row(Command, NotFound, MISSING, "LOGS::COMMAND_NOT_FOUND"),
    row(Command, Conflict, CONFLICT, "LOGS::SANDBOX_PAUSED"),
    row(Command, Unavailable, StatusCode::BAD_GATEWAY, "LOGS::EXECD_UNAVAILABLE").again_after(5),
    row(Command, TimedOut, LATE, "LOGS::EXECD_TIMEOUT").again_after(5),
    row(Command, Failed, StatusCode::BAD_GATEWAY, "LOGS::EXECD_FAILED"),
    row(Deletion, Failed, FAILED, "DOCKER::SANDBOX_DELETE_FAILED"),
    row(Snapshot, NotFound, MISSING, "SNAPSHOT::NOT_FOUND"),
    row(Snapshot, Conflict, CONFLICT, "SNAPSHOT::INVALID_SOURCE_STATE"),
    row(Snapshot, Unsupported, NOT_IMPLEMENTED, "SNAPSHOT::NOT_IMPLEMENTED"),
    row(Snapshot, TimedOut, FAILED, "SNAPSHOT::RUNTIME_CREATE_FAILED"),
    row(Snapshot, Failed, FAILED, "SNAPSHOT::RUNTIME_CREATE_FAILED"),
    row(Snapshot, InUse, CONFLICT, "SNAPSHOT::RUNTIME_CREATE_CONFLICT"),
    row(SnapshotSource, Conflict, CONFLICT, "SNAPSHOT::RUNTIME_PREFLIGHT_FAILED"),
    row(SnapshotSource, Unsupported, CONFLICT, "SNAPSHOT::UNSUPPORTED_RUNTIME"),
    row(Restore, Conflict, CONFLICT, "SNAPSHOT::NOT_READY"),
    row(Restore, Invalid, CONFLICT, "SNAPSHOT::INVALID_RESTORE_CONFIG"),
    row(SnapshotRemoval, Conflict, CONFLICT, "SNAPSHOT::INVALID_STATE"),
    row(SnapshotRemoval, InUse, CONFLICT, "SNAPSHOT::DELETE_CONFLICT"),
    row(SnapshotRemoval, Failed, FAILED, "DOCKER::SNAPSHOT_IMAGE_REMOVE_FAILED"),
    row(SnapshotStore, Unavailable, UNAVAILABLE, "SNAPSHOT::STORE_UNAVAILABLE").again_after(5),
    row(FastSandbox, NotFound, MISSING, "FSB::SANDBOX_NOT_FOUND"),
    row(KubeSandbox, NotFound, MISSING, "KUBERNETES::SANDBOX_NOT_FOUND"),
    row(KubeSandbox, Conflict, CONFLICT, "KUBERNETES::INVALID_STATE"),
    row(KubeApi, Invalid, BAD, "KUBERNETES::API_ERROR"),
    row(KubeApi, Failed, FAILED, "KUBERNETES::API_ERROR"),
    row(KubeApi, TimedOut, LATE, "KUBERNETES::API_ERROR"),
    row(KubeApi, Unavailable, UNAVAILABLE, "KUBERNETES::API_ERROR").again_after(5),
    row(KubeApi, Overloaded, StatusCode::TOO_MANY_REQUESTS, "KUBERNETES::API_ERROR").again_after(1),
    row(KubeList, Unavailable, UNAVAILABLE, "SANDBOX_LIST_UNAVAILABLE").again_after(5),
    row(KubeAccess, Denied, StatusCode::FORBIDDEN, "KUBERNETES::FORBIDDEN"),
    row(PoolCapacity, Overloaded, StatusCode::TOO_MANY_REQUESTS, "KUBERNETES::POOL_CAPACITY_EXHAUSTED").again_after(1),
    row(KubeQuota, Denied, StatusCode::FORBIDDEN, "KUBERNETES::QUOTA_EXCEEDED"),
    row(KubePod, Failed, FAILED, "KUBERNETES::POD_FAILED"),
    row(KubePod, TimedOut, LATE, "KUBERNETES::POD_READY_TIMEOUT"),
    row(KubeClaim, Failed, FAILED, "SANDBOX::INTERNAL_ERROR"),
    row(PodAddress, NotFound, MISSING, "KUBERNETES::POD_IP_NOT_AVAILABLE"),
    row(LogContainer, NotFound, MISSING, "LOGS::CONTAINER_NOT_FOUND"),
    row(PreviousLog, NotFound, MISSING, "LOGS::PREVIOUS_NOT_FOUND"),
    row(LogStart, Conflict, CONFLICT, "LOGS::NOT_STARTED"),
    row(LogStream, Unsupported, StatusCode::UNPROCESSABLE_ENTITY, "LOGS::STREAMS_NOT_SEPARABLE"),
    row(Startup, Unsupported, UNAVAILABLE, "DOCKER::INITIALIZATION_ERROR"),
    row(Startup, Failed, UNAVAILABLE, "DOCKER::INITIALIZATION_ERROR"),
];

/// The row of a pair. A pair without one is a fault of the program, which its tests look for in the sources.
pub(super) fn of(family: Family, kind: Kind) -> Row {
    let found = ROWS.iter().find(|row| (row.family, row.kind) == (family, kind));
    found.copied().unwrap_or(row(family, kind, FAILED, UNKNOWN))
}

#[cfg(test)]
mod tests;
