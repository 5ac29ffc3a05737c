//! Which sources and fields go together (http-api.md §6.2). The first broken rule is the one that is named.

use super::CreateRequest;
use crate::model::{
    env::{self, LIFECYCLE},
    read::{self, Members},
    violation::Report,
};

/// What a template fixes by itself, in the order in which a conflict is told.
const FIXED_BY_TEMPLATE: [&str; 9] = [
    "entrypoint",
    "env",
    "image",
    "lifecycle",
    "platform",
    "resourceLimits",
    "resourceRequests",
    "credentialProxy",
    "volumes",
];

/// Checks a request whose fields are all right by themselves.
pub(super) fn check(report: &mut Report, members: &Members, request: &CreateRequest) {
    if let Err(text) = first_broken(members, request) {
        report.add_rule(&text);
    }
}

fn first_broken(members: &Members, request: &CreateRequest) -> Result<(), String> {
    if request.env.iter().any(|(key, _)| key == LIFECYCLE) {
        return Err(env::reserved());
    }
    if request.template_id.is_some() {
        return check_template(members, request);
    }
    if request.pool_ref().is_some() {
        return check_pool(request);
    }
    check_image_or_snapshot(members, request)
}

fn check_template(members: &Members, request: &CreateRequest) -> Result<(), String> {
    let mut conflicts: Vec<&str> =
        FIXED_BY_TEMPLATE.into_iter().filter(|name| read::is_present(members, name)).collect();
    conflicts.extend(request.snapshot_id.is_some().then_some("snapshotId"));
    conflicts.extend(request.secure_access.then_some("secureAccess"));
    conflicts.sort_unstable();
    if !conflicts.is_empty() {
        let conflicts = conflicts.join(", ");
        return Err(format!(
            "templateId cannot be combined with: {conflicts}; the workload shape is fixed by the template's golden image."
        ));
    }
    require(request.timeout.is_some(), "timeout is required when templateId is provided.")
}

fn check_pool(request: &CreateRequest) -> Result<(), String> {
    require(request.lifecycle.is_none(), "lifecycle cannot be used together with poolRef.")?;
    require(request.snapshot_id.is_none(), "snapshotId cannot be used together with poolRef.")
}

fn check_image_or_snapshot(members: &Members, request: &CreateRequest) -> Result<(), String> {
    let has_image = request.image.is_some();
    let has_policy = request.network_policy.is_some();
    require(!request.credential_proxy || has_policy, "credentialProxy.enabled requires networkPolicy.")?;
    require(has_image != request.snapshot_id.is_some(), "Exactly one of image or snapshotId must be provided.")?;
    require(!has_image || !request.entrypoint.is_empty(), "Entrypoint is required when image is provided.")?;
    let has_limits = read::is_present(members, "resourceLimits");
    require(has_limits, "resourceLimits is required when poolRef is not provided.")
}

fn require(holds: bool, text: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text.to_owned()) }
}
