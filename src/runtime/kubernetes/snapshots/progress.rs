//! What the operator says of a snapshot, and which image sandboxes are restored from (kubernetes-runtime.md §10).

use crate::runtime::{
    SnapshotProgress,
    kubernetes::objects::{MAIN_CONTAINER, SandboxSnapshot, SnapshotContainer, condition},
};

/// The format of images that hold a machine's memory, which no sandbox here is restored from.
const QEMU: &str = "qemu-v1";

/// How far a snapshot is.
pub(super) fn of(snapshot: &SandboxSnapshot) -> SnapshotProgress {
    match snapshot.status.phase.as_deref() {
        Some("Succeed") => succeeded(snapshot),
        Some("Failed") => {
            let failed = condition(&snapshot.status.conditions, "Failed").filter(|failed| failed.is_true());
            let words = |text: Option<&String>, other: &str| {
                text.filter(|text| !text.is_empty()).map_or_else(|| other.to_owned(), Clone::clone)
            };
            SnapshotProgress::Failed {
                reason: words(failed.and_then(|failed| failed.reason.as_ref()), "snapshot_runtime_failed"),
                message: words(
                    failed.and_then(|failed| failed.message.as_ref()),
                    "Kubernetes snapshot creation failed.",
                ),
            }
        }
        _ => SnapshotProgress::UnderWay,
    }
}

fn succeeded(snapshot: &SandboxSnapshot) -> SnapshotProgress {
    let failed = |reason: &str, message: &str| {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        SnapshotProgress::Failed { reason, message }
    };
    let status = &snapshot.status;
    if status.format.as_deref() == Some(QEMU) {
        let text = "QEMU VMState restore is currently supported only by BatchSandbox pause/resume; the public snapshot API does \
                    not yet persist the complete Pod template restore plan.";
        return failed("snapshot_restore_qemu_not_supported", text);
    }
    if status.containers.is_empty() {
        let text = "Kubernetes SandboxSnapshot succeeded without container image status.";
        return failed("snapshot_runtime_missing_image", text);
    }
    let named = status.containers.iter().find(|container| container.container_name == MAIN_CONTAINER);
    let main = match (named, status.containers.as_slice()) {
        (Some(main), _) | (None, [main]) => Some(main),
        _ => None,
    };
    let Some(SnapshotContainer { image_uri: image, .. }) = main.filter(|main| !main.image_uri.trim().is_empty()) else {
        let text = "Kubernetes SandboxSnapshot did not identify a single restorable sandbox container image.";
        return failed("snapshot_restore_image_ambiguous", text);
    };
    let message = "Kubernetes snapshot image created successfully.".to_owned();
    SnapshotProgress::Ready { image: image.clone(), message }
}
