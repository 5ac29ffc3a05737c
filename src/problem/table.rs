//! The rows: status and code of each kind of failure that has a kind.

use http::StatusCode;

use crate::{
    error::{ErrorKind, VolumeFault},
    execd, snapshots,
};

/// The status and the code of each kind of runtime error.
pub(super) fn row(kind: ErrorKind) -> (StatusCode, &'static str) {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
    const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match kind {
        ErrorKind::SandboxNotFound => (StatusCode::NOT_FOUND, "DOCKER::SANDBOX_NOT_FOUND"),
        ErrorKind::InvalidParameter => (BAD, "SANDBOX::INVALID_PARAMETER"),
        ErrorKind::InvalidMetadata => (BAD, "SANDBOX::INVALID_METADATA_LABEL"),
        ErrorKind::ReservedMetadata => (BAD, "INVALID_METADATA_LABEL"),
        ErrorKind::InvalidEntrypoint => (BAD, "DOCKER::INVALID_ENTRYPOINT"),
        ErrorKind::Volume(fault) => volume_row(fault),
        ErrorKind::UnsupportedPoolRef => (BAD, "SANDBOX::UNSUPPORTED_POOL_REF"),
        ErrorKind::NotSupported => (StatusCode::NOT_IMPLEMENTED, "SANDBOX::API_NOT_SUPPORTED"),
        ErrorKind::PoolsNotSupported => (StatusCode::NOT_IMPLEMENTED, "KUBERNETES::POOL_NOT_SUPPORTED"),
        ErrorKind::TemplatesNotSupported => (StatusCode::NOT_IMPLEMENTED, "FSB::API_NOT_SUPPORTED"),
        ErrorKind::QueryFailed => (FAILED, "DOCKER::SANDBOX_QUERY_FAILED"),
        ErrorKind::QueryTimedOut => (StatusCode::GATEWAY_TIMEOUT, "DOCKER::SANDBOX_QUERY_FAILED"),
        ErrorKind::QueryOverloaded => (UNAVAILABLE, "DOCKER::SANDBOX_QUERY_FAILED"),
        ErrorKind::ImagePullFailed => (FAILED, "DOCKER::SANDBOX_IMAGE_PULL_FAILED"),
        ErrorKind::StartFailed => (FAILED, "DOCKER::SANDBOX_START_FAILED"),
        ErrorKind::DeleteFailed => (FAILED, "DOCKER::SANDBOX_DELETE_FAILED"),
        ErrorKind::NotRunning => (StatusCode::CONFLICT, "DOCKER::SANDBOX_NOT_RUNNING"),
        ErrorKind::NotPaused => (StatusCode::CONFLICT, "DOCKER::SANDBOX_NOT_PAUSED"),
        ErrorKind::PauseFailed => (FAILED, "DOCKER::SANDBOX_PAUSE_FAILED"),
        ErrorKind::ResumeFailed => (FAILED, "DOCKER::SANDBOX_RESUME_FAILED"),
        ErrorKind::StoreFailed => (FAILED, "SANDBOX::INTERNAL_ERROR"),
        ErrorKind::ExpirationInPast => (BAD, "DOCKER::INVALID_EXPIRATION"),
        ErrorKind::NoExpiration => (StatusCode::CONFLICT, "DOCKER::INVALID_EXPIRATION"),
        ErrorKind::InvalidPort => (BAD, "DOCKER::INVALID_PORT"),
        ErrorKind::UnsupportedRequest => (BAD, "SANDBOX::API_NOT_SUPPORTED"),
        ErrorKind::EndpointUnavailable => (FAILED, "DOCKER::NETWORK_MODE_ENDPOINT_UNAVAILABLE"),
        ErrorKind::ExecdStartFailed => (UNAVAILABLE, "DOCKER::SANDBOX_EXECD_START_FAILED"),
        ErrorKind::ExecdDistributionFailed => (FAILED, "DOCKER::SANDBOX_EXECD_DISTRIBUTION_FAILED"),
        ErrorKind::SnapshotFailed | ErrorKind::SnapshotTimeout => (FAILED, "SNAPSHOT::RUNTIME_CREATE_FAILED"),
        ErrorKind::SnapshotInUse => (StatusCode::CONFLICT, "SNAPSHOT::DELETE_CONFLICT"),
        ErrorKind::SnapshotRemoveFailed => (FAILED, "DOCKER::SNAPSHOT_IMAGE_REMOVE_FAILED"),
        ErrorKind::Initialization | ErrorKind::RuntimeUnavailable => (UNAVAILABLE, "DOCKER::INITIALIZATION_ERROR"),
        ErrorKind::LogDriverUnreadable => (StatusCode::NOT_IMPLEMENTED, "LOGS::DRIVER_NOT_READABLE"),
        ErrorKind::LogSandboxRemoving => (StatusCode::CONFLICT, "LOGS::SANDBOX_REMOVING"),
        ErrorKind::LogEngineUnavailable | ErrorKind::LogEngineTimedOut => (UNAVAILABLE, "LOGS::ENGINE_UNAVAILABLE"),
        ErrorKind::LogQueryFailed => (FAILED, "LOGS::QUERY_FAILED"),
    }
}

/// The status and the code of each kind of error of execd. What its clients tell apart is the status.
pub(super) fn execd_row(kind: execd::error::ErrorKind) -> (StatusCode, &'static str) {
    use execd::error::ErrorKind;
    match kind {
        ErrorKind::Unauthorized => (StatusCode::UNAUTHORIZED, "EXECD::UNAUTHORIZED"),
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "EXECD::INVALID_REQUEST"),
        ErrorKind::Denied => (StatusCode::BAD_REQUEST, "EXECD::PERMISSION_DENIED"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "EXECD::NOT_FOUND"),
        ErrorKind::TooMany => (StatusCode::TOO_MANY_REQUESTS, "EXECD::LIMIT_REACHED"),
        ErrorKind::NotRunning => (StatusCode::CONFLICT, "DOCKER::SANDBOX_NOT_RUNNING"),
        ErrorKind::OutOfRange(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "EXECD::RANGE_NOT_SATISFIABLE"),
        ErrorKind::NotSupported => (StatusCode::NOT_IMPLEMENTED, "EXECD::NOT_SUPPORTED"),
        ErrorKind::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "EXECD::FAILED"),
    }
}

/// The status and the code of each fault of a volume.
pub(super) fn volume_row(fault: VolumeFault) -> (StatusCode, &'static str) {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
    match fault {
        VolumeFault::DuplicateName => (BAD, "VOLUME::DUPLICATE_NAME"),
        VolumeFault::InvalidMountPath => (BAD, "VOLUME::INVALID_MOUNT_PATH"),
        VolumeFault::InvalidSubPath => (BAD, "VOLUME::INVALID_SUB_PATH"),
        VolumeFault::InvalidHostPath => (BAD, "VOLUME::INVALID_HOST_PATH"),
        VolumeFault::HostPathNotAllowed => (BAD, "VOLUME::HOST_PATH_NOT_ALLOWED"),
        VolumeFault::HostPathCreateFailed => (FAILED, "VOLUME::HOST_PATH_CREATE_FAILED"),
        VolumeFault::MountUnavailable => (StatusCode::NOT_IMPLEMENTED, "VOLUME::MOUNT_UNAVAILABLE"),
        VolumeFault::ClaimNotFound => (BAD, "VOLUME::PVC_NOT_FOUND"),
        VolumeFault::ClaimInspectFailed => (FAILED, "VOLUME::PVC_INSPECT_FAILED"),
        VolumeFault::SubPathUnsupportedDriver => (BAD, "VOLUME::PVC_SUBPATH_UNSUPPORTED_DRIVER"),
        VolumeFault::InvalidOssfsBucket => (BAD, "VOLUME::INVALID_OSSFS_BUCKET"),
        VolumeFault::InvalidOssfsEndpoint => (BAD, "VOLUME::INVALID_OSSFS_ENDPOINT"),
        VolumeFault::InvalidOssfsOption => (BAD, "VOLUME::INVALID_OSSFS_OPTION"),
        VolumeFault::InvalidOssfsMountRoot => (FAILED, "VOLUME::INVALID_OSSFS_MOUNT_ROOT"),
        VolumeFault::OssfsMountFailed => (FAILED, "VOLUME::OSSFS_MOUNT_FAILED"),
        VolumeFault::OssfsMountConflict => (StatusCode::CONFLICT, "VOLUME::OSSFS_MOUNT_CONFLICT"),
    }
}

/// The status and the code of each kind of refusal about snapshots.
pub(super) fn snapshot_row(kind: snapshots::ErrorKind) -> (StatusCode, &'static str) {
    use snapshots::ErrorKind as Kind;
    match kind {
        Kind::NotFound => (StatusCode::NOT_FOUND, "SNAPSHOT::NOT_FOUND"),
        Kind::InvalidSourceState => (StatusCode::CONFLICT, "SNAPSHOT::INVALID_SOURCE_STATE"),
        Kind::InvalidState => (StatusCode::CONFLICT, "SNAPSHOT::INVALID_STATE"),
        Kind::NotReady => (StatusCode::CONFLICT, "SNAPSHOT::NOT_READY"),
        Kind::InvalidRestoreConfig => (StatusCode::CONFLICT, "SNAPSHOT::INVALID_RESTORE_CONFIG"),
        Kind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "SNAPSHOT::NOT_IMPLEMENTED"),
    }
}
