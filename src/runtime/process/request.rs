//! What this runtime can do with a request; no IO.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::super::{ErrorKind, RuntimeError};
use crate::model::{create::CreateRequest, sandbox::Platform};

/// The prefix of the extensions that are shown (http-api.md §6.8).
const ECHOED: &str = "opensandbox.extensions.";

/// A request that can be run. Without a `Debug` form: its environment may hold secrets.
pub(super) struct Plan {
    /// The reference of the image, which is only shown.
    pub(super) image: Option<String>,
    /// The command as the client wrote it; not empty.
    pub(super) entrypoint: Vec<String>,
    /// The program and its arguments; not empty.
    pub(super) command: Vec<String>,
    /// The request's environment; without a value: take it away.
    pub(super) env: Vec<(String, Option<String>)>,
    /// The user's own labels.
    pub(super) metadata: BTreeMap<String, String>,
    /// The extensions that are shown.
    pub(super) extensions: BTreeMap<String, String>,
    /// The platform, which is only shown.
    pub(super) platform: Option<Platform>,
    /// The present time.
    pub(super) created: Timestamp,
    /// When the sandbox ends by itself.
    pub(super) expires: Option<Timestamp>,
}

impl Plan {
    /// Checks a request.
    pub(super) fn new(request: CreateRequest) -> Result<Self, RuntimeError> {
        refuse_unsupported(&request)?;
        let command = command(&request.entrypoint)?;
        // merge: model::labels
        check_limits(&request.resource_limits)?;
        let created = Timestamp::now();
        let CreateRequest { image, entrypoint, env, metadata, mut extensions, platform, timeout, .. } = request;
        extensions.retain(|key, _| key.starts_with(ECHOED));
        let expires = timeout.map(|seconds| expiry(created, seconds)).transpose()?;
        let image = image.map(|image| image.uri);
        Ok(Self { image, entrypoint, command, env, metadata, extensions, platform, created, expires })
    }
}

/// The checks in the order of the other runtimes (docker-runtime.md §3).
fn refuse_unsupported(request: &CreateRequest) -> Result<(), RuntimeError> {
    if request.lifecycle {
        return Err(unsupported("lifecycle hooks"));
    }
    if request.extensions.get("poolRef").is_some_and(|pool| !pool.trim().is_empty()) {
        let message = "poolRef is not supported by the process provider. Use Kubernetes BatchSandbox provider instead.";
        return Err(RuntimeError::new(ErrorKind::UnsupportedPoolRef, message));
    }
    let windows = request.platform.as_ref().is_some_and(|platform| platform.os == "windows");
    let refused = [
        (request.template_id.is_some(), "templateId"),
        (request.snapshot_id.is_some(), "snapshotId"),
        (windows, "platform.os='windows'"),
        (request.secure_access, "secureAccess"),
        (request.network_policy, "networkPolicy"),
        (request.credential_proxy, "credentialProxy"),
        (request.volumes > 0, "volumes"),
    ];
    refused.into_iter().find(|(asked, _)| *asked).map_or(Ok(()), |(_, what)| Err(unsupported(what)))
}

fn unsupported(what: &str) -> RuntimeError {
    let verb = if what.ends_with('s') && !what.contains("Access") { "are" } else { "is" };
    RuntimeError::new(ErrorKind::NotSupported, format!("{what} {verb} not supported by the process provider."))
}

/// A single string with a space is split as a shell would (docker-runtime.md §3.2).
fn command(entrypoint: &[String]) -> Result<Vec<String>, RuntimeError> {
    let command = match entrypoint {
        [line] if line.contains(' ') => shlex::split(line).unwrap_or_default(),
        words => words.to_vec(),
    };
    if command.is_empty() {
        let message = "The entrypoint must name a program, with its quotes closed.";
        return Err(RuntimeError::new(ErrorKind::InvalidEntrypoint, message));
    }
    Ok(command)
}

/// Limits are not enforced, but their names are looked at.
fn check_limits(limits: &BTreeMap<String, String>) -> Result<(), RuntimeError> {
    if limits.keys().any(|key| key.trim().is_empty()) {
        return Err(RuntimeError::new(ErrorKind::InvalidParameter, "resourceLimits keys must not be empty."));
    }
    Ok(())
}

fn expiry(created: Timestamp, seconds: u64) -> Result<Timestamp, RuntimeError> {
    let time =
        i64::try_from(seconds).ok().and_then(|seconds| created.checked_add(SignedDuration::from_secs(seconds)).ok());
    time.ok_or_else(|| RuntimeError::new(ErrorKind::InvalidParameter, "timeout is beyond the year 9999."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(entrypoint: &[&str]) -> CreateRequest {
        CreateRequest { entrypoint: entrypoint.iter().map(ToString::to_string).collect(), ..CreateRequest::default() }
    }

    fn kind(request: CreateRequest) -> ErrorKind {
        Plan::new(request).err().unwrap().kind
    }

    #[test]
    fn a_single_string_with_a_space_is_split() {
        let command = |words: &[&str]| Plan::new(request(words)).ok().unwrap().command;
        assert_eq!(command(&["sh -c 'echo a b'"]), ["sh", "-c", "echo a b"]);
        assert_eq!(command(&["a b", "c d"]), ["a b", "c d"]);
        assert_eq!(command(&["tru'e"]), ["tru'e"]);
        assert_eq!(Plan::new(request(&["sleep 9"])).ok().unwrap().entrypoint, ["sleep 9"]);
        for bad in [&[][..], &["a 'b"], &[" "]] {
            assert_eq!(kind(request(bad)), ErrorKind::InvalidEntrypoint);
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let base = || request(&["true"]);
        let extensions = BTreeMap::from([("poolRef".to_owned(), "p".to_owned())]);
        assert_eq!(kind(CreateRequest { extensions, ..base() }), ErrorKind::UnsupportedPoolRef);
        let platform = Some(Platform { os: "windows".to_owned(), arch: "amd64".to_owned() });
        assert_eq!(kind(CreateRequest { platform, ..base() }), ErrorKind::NotSupported);
        let error = Plan::new(CreateRequest { volumes: 1, ..base() }).err().unwrap();
        assert_eq!(error.message, "volumes are not supported by the process provider.");
        let resource_limits = BTreeMap::from([(String::new(), "1".to_owned())]);
        assert_eq!(kind(CreateRequest { resource_limits, ..base() }), ErrorKind::InvalidParameter);
        assert_eq!(kind(CreateRequest { timeout: Some(u64::MAX), ..base() }), ErrorKind::InvalidParameter);
    }

    #[test]
    fn only_some_extensions_are_shown() {
        let pair = |key: &str| (key.to_owned(), "v".to_owned());
        let extensions = BTreeMap::from([pair("opensandbox.extensions.a"), pair("other")]);
        let plan = Plan::new(CreateRequest { extensions, ..request(&["true"]) }).ok().unwrap();
        assert_eq!(plan.extensions, BTreeMap::from([pair("opensandbox.extensions.a")]));
    }
}
