//! What this runtime can do with a request; no IO.

use std::collections::BTreeMap;

use crate::{
    error::{Error, Family, Kind},
    model::{
        create::CreateRequest,
        env::{self, Split, Variable},
        extensions::Extensions,
        labels, quantity,
        sandbox::Platform,
        timeout,
        timestamp::Timestamp,
    },
};

/// A request that can be run. Without a `Debug` form: its environment may hold secrets.
pub(super) struct Plan {
    /// The reference of the image, which is only shown.
    pub(super) image: Option<String>,
    /// The command as the client wrote it; not empty.
    pub(super) entrypoint: Vec<String>,
    /// The program and its arguments; not empty.
    pub(super) command: Vec<String>,
    /// The request's environment; without a value: take it away.
    pub(super) env: Vec<Variable>,
    /// The user's own labels.
    pub(super) metadata: BTreeMap<String, String>,
    /// The extensions that are shown.
    pub(super) extensions: BTreeMap<String, String>,
    /// The seconds by which an access extends the sandbox's life, if it asks for that.
    pub(super) renewal: Option<i64>,
    /// The platform, which is only shown.
    pub(super) platform: Option<Platform>,
    /// The present time.
    pub(super) created: Timestamp,
    /// When the sandbox ends by itself.
    pub(super) expires: Option<Timestamp>,
}

impl Plan {
    /// Checks a request, in the order of the other runtimes (http-api.md §6.3, docker-runtime.md §3). `max_timeout` is
    /// in seconds. What is not enforced here is checked too, so that a request works alike on other runtimes.
    pub(super) fn new(request: CreateRequest, max_timeout: Option<u64>) -> Result<Self, Error> {
        let extensions = Extensions::from_request(&request.extensions)?;
        check_provider(&request)?;
        labels::check(&request.metadata)?;
        let platform = request.platform.as_ref().map(Platform::normalised).transpose()?;
        let created = Timestamp::now();
        let expires = timeout::expiry(request.timeout, max_timeout, created)?;
        check_support(&request, platform.as_ref(), &extensions)?;
        quantity::limits(&request.resource_limits)?;
        let Split { sandbox: env, egress } = env::split(&request.env)?;
        for (name, _) in &egress {
            tracing::warn!(name, "left out: there is no egress sidecar without a network policy");
        }
        Ok(Self {
            command: request.command(),
            image: request.image.map(|image| image.uri),
            entrypoint: request.entrypoint,
            env,
            metadata: request.metadata,
            renewal: extensions.renewal.map(|renewal| renewal.seconds),
            extensions: extensions.echoed,
            platform,
            created,
            expires,
        })
    }
}

fn check_provider(request: &CreateRequest) -> Result<(), Error> {
    if request.lifecycle.is_some() {
        return Err(unsupported("lifecycle hooks are"));
    }
    if request.pool_ref().is_some() {
        let message = "poolRef is not supported by the process provider. Use Kubernetes BatchSandbox provider instead.";
        return Err(Error::new(Family::Pool, Kind::Invalid, message));
    }
    if request.entrypoint.is_empty() && request.snapshot_id.is_none() {
        return Err(Error::new(Family::Entrypoint, Kind::Invalid, "Entrypoint must contain at least one command."));
    }
    Ok(())
}

fn check_support(request: &CreateRequest, platform: Option<&Platform>, extensions: &Extensions) -> Result<(), Error> {
    let refused = [
        (request.snapshot_id.is_some(), "snapshotId is"),
        (platform.is_some_and(|platform| platform.os == "windows"), "platform.os='windows' is"),
        (request.secure_access, "secureAccess is"),
        (request.network_policy.is_some(), "networkPolicy is"),
        (request.credential_proxy, "credentialProxy is"),
        (!request.volumes.is_empty(), "volumes are"),
        (extensions.isolation, "extensions[\"bootstrap.execd.isolation\"] is"),
    ];
    refused.into_iter().find(|(asked, _)| *asked).map_or(Ok(()), |(_, what)| Err(unsupported(what)))
}

fn unsupported(what: &str) -> Error {
    Error::new(Family::Sandbox, Kind::Unsupported, format!("{what} not supported by the process provider."))
}

#[cfg(test)]
mod tests {
    use crate::model::{
        network::NetworkPolicy,
        volume::{Source, Volume},
    };

    use super::*;

    fn request(entrypoint: &[&str]) -> CreateRequest {
        CreateRequest { entrypoint: entrypoint.iter().map(ToString::to_string).collect(), ..CreateRequest::default() }
    }

    fn error(request: CreateRequest) -> Error {
        Plan::new(request, Some(86_400)).err().unwrap()
    }

    fn key(request: CreateRequest) -> (Family, Kind) {
        error(request).key()
    }

    #[test]
    fn the_command_is_shown_as_it_was_written() {
        let plan = Plan::new(request(&["sleep 9"]), None).ok().unwrap();
        assert_eq!(
            (plan.command, plan.entrypoint),
            (vec!["sleep".to_owned(), "9".to_owned()], vec!["sleep 9".to_owned()])
        );
        assert_eq!(key(request(&[])), (Family::Entrypoint, Kind::Invalid));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let base = || request(&["true"]);
        let extensions = |key: &str| BTreeMap::from([(key.to_owned(), "enable".to_owned())]);
        assert_eq!(key(CreateRequest { extensions: extensions("poolRef"), ..base() }), (Family::Pool, Kind::Invalid));
        let isolation = extensions("bootstrap.execd.isolation");
        assert_eq!(key(CreateRequest { extensions: isolation, ..base() }), (Family::Sandbox, Kind::Unsupported));
        let platform = Some(Platform { os: " Windows".to_owned(), arch: "amd64".to_owned() });
        assert_eq!(key(CreateRequest { platform, ..base() }), (Family::Sandbox, Kind::Unsupported));
        let policy = Some(NetworkPolicy::default());
        assert_eq!(key(CreateRequest { network_policy: policy, ..base() }), (Family::Sandbox, Kind::Unsupported));
        let volume = Volume {
            name: "v".to_owned(),
            mount_path: "/x".to_owned(),
            read_only: false,
            sub_path: None,
            source: Source::Host("/".to_owned()),
        };
        let volumes = error(CreateRequest { volumes: vec![volume], ..base() });
        assert_eq!(volumes.message, "volumes are not supported by the process provider.");
    }

    #[test]
    fn the_rules_of_all_runtimes_hold() {
        let base = || request(&["true"]);
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let extensions = pair("access.renew.extend.seconds", "1");
        assert_eq!(key(CreateRequest { extensions, ..base() }), (Family::Parameter, Kind::Invalid));
        let metadata = pair("opensandbox.io/x", "y");
        assert_eq!(key(CreateRequest { metadata, ..base() }), (Family::Metadata, Kind::Invalid));
        let resource_limits = pair("memory", "1.5Gi");
        assert_eq!(key(CreateRequest { resource_limits, ..base() }), (Family::Parameter, Kind::Invalid));
        let late = error(CreateRequest { timeout: Some(86_401), ..base() });
        assert_eq!(late.message, "Sandbox timeout 86401s exceeds configured maximum of 86400s.");
    }

    #[test]
    fn only_some_extensions_are_shown() {
        let pair = |key: &str| (key.to_owned(), "v".to_owned());
        let extensions = BTreeMap::from([pair("opensandbox.extensions.a"), pair("other")]);
        let plan = Plan::new(CreateRequest { extensions, ..request(&["true"]) }, None).ok().unwrap();
        assert_eq!(plan.extensions, BTreeMap::from([pair("opensandbox.extensions.a")]));
    }
}
