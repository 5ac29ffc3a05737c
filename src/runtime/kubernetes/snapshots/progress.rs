//! What the operator says of a snapshot, and which image sandboxes are restored from (kubernetes-runtime.md §10).
//!
//! Its words go into the record and are shown in lists: they are bounded, and have nothing that a database refuses.

use crate::runtime::{
    SnapshotProgress,
    kubernetes::objects::{MAIN_CONTAINER, SandboxSnapshot, SnapshotContainer, bounded, condition},
};

/// The format of images that hold a machine's memory, which no sandbox here is restored from.
const QEMU: &str = "qemu-v1";

/// The most characters of a reason and of a message that are kept.
const MAX_REASON: usize = 128;
const MAX_MESSAGE: usize = 4096;

/// The longest reference of an image, in bytes; registries take no longer ones than some 500.
const MAX_IMAGE: usize = 1024;

/// How far a snapshot is.
pub(super) fn of(snapshot: &SandboxSnapshot) -> SnapshotProgress {
    match snapshot.status.phase.as_deref() {
        Some("Succeed") => succeeded(snapshot),
        Some("Failed") => {
            let failed = condition(&snapshot.status.conditions, "Failed").filter(|failed| failed.is_true());
            let words = |text: Option<&String>, most: usize, other: &str| {
                text.filter(|text| !text.is_empty()).map_or_else(|| other.to_owned(), |text| bounded(text, most))
            };
            let (reason, message) =
                (failed.and_then(|failed| failed.reason.as_ref()), failed.and_then(|failed| failed.message.as_ref()));
            SnapshotProgress::Failed {
                reason: words(reason, MAX_REASON, "snapshot_runtime_failed"),
                message: words(message, MAX_MESSAGE, "Kubernetes snapshot creation failed."),
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
    let Some(SnapshotContainer { image_uri: image, .. }) = main.filter(|main| is_image(&main.image_uri)) else {
        let text = "Kubernetes SandboxSnapshot did not identify a single restorable sandbox container image.";
        return failed("snapshot_restore_image_ambiguous", text);
    };
    let message = "Kubernetes snapshot image created successfully.".to_owned();
    SnapshotProgress::Ready { image: image.clone(), message }
}

/// Whether a text can be an image's reference; which one it is the cluster finds out.
fn is_image(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_IMAGE && !text.chars().any(|char| char.is_control() || char.is_whitespace())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn progress(status: Value) -> SnapshotProgress {
        of(&serde_json::from_value(json!({"status": status})).unwrap())
    }

    /// The reason and the message of one that failed.
    fn failed(status: Value) -> (String, String) {
        match progress(status) {
            SnapshotProgress::Failed { reason, message } => (reason, message),
            other => panic!("{other:?}"),
        }
    }

    fn image(name: &str, uri: Value) -> Value {
        json!({"containerName": name, "imageUri": uri})
    }

    #[test]
    fn words_are_bounded_and_can_be_stored() {
        let long = "ü".repeat(1_000_000);
        let condition =
            json!({"type": "Failed", "status": "True", "reason": long, "message": format!("a\u{0}b\nc\u{1b}{long}")});
        let (reason, message) = failed(json!({"phase": "Failed", "conditions": [condition]}));
        assert_eq!((reason.chars().count(), message.chars().count()), (MAX_REASON, MAX_MESSAGE));
        assert!(message.starts_with("a b\nc ü"), "{message:.20}");
    }

    #[test]
    fn an_image_that_is_none_fails() {
        for uri in [
            json!(""),
            json!(" "),
            json!("r/a b:1"),
            json!("r/a\u{0}:1"),
            json!("r/a:1\n"),
            json!("r".repeat(MAX_IMAGE + 1)),
            json!(5),
            Value::Null,
        ] {
            let (reason, _) = failed(json!({"phase": "Succeed", "containers": [image("sandbox", uri.clone())]}));
            assert_eq!(reason, "snapshot_restore_image_ambiguous", "{uri}");
        }
    }

    #[test]
    fn the_sandbox_s_image_is_never_another_container_s() {
        for own in [json!(""), json!(5), Value::Null] {
            let containers = [image("sandbox", own.clone()), image("egress", json!("r/egress:1"))];
            let (reason, _) = failed(json!({"phase": "Succeed", "containers": containers}));
            assert_eq!(reason, "snapshot_restore_image_ambiguous", "{own}");
        }
        let containers = [image("egress", json!("r/egress:1")), image("sandbox", json!("r/sandbox:1"))];
        let ready = progress(json!({"phase": "Succeed", "containers": containers}));
        assert!(matches!(ready, SnapshotProgress::Ready { image, .. } if image == "r/sandbox:1"));
    }
}
