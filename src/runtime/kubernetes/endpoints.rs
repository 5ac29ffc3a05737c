//! Where a sandbox's ports are: for clients, directly or by way of the ingress gateway, and for this server's own proxy
//! (kubernetes-runtime.md §7).

mod signature;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use tokio::{net::lookup_host, sync::Semaphore, time::timeout};

use self::signature::signed;
use crate::{
    config::{Gateway, RouteMode},
    error::{Error, Family, Kind},
    model::endpoint::{Backend, Endpoint, check_port},
    runtime::kubernetes::{
        Inner, Scope,
        objects::Pod,
        workload::{Host, Workload, failed, is_pods},
    },
    telemetry::rate_limit::{Due, RateLimit},
};

/// How long a service's name may take to be looked up.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many names are looked up at once: each takes a thread, and who asks for it needs no key.
static LOOKUPS: Semaphore = Semaphore::const_new(16);

/// The port of the egress sidecar.
const EGRESS_PORT: u16 = 18080;

/// The header that carries the egress sidecar's token.
const EGRESS_HEADER: &str = "OPENSANDBOX-EGRESS-AUTH";

/// The header that carries a secured sandbox's token.
const SECURE_HEADER: &str = "OpenSandbox-Secure-Access";

/// The header by which the gateway knows the sandbox.
const ROUTING_HEADER: &str = "OpenSandbox-Ingress-To";

impl Inner {
    /// The endpoint of a port for a client. Behind a gateway it is told without a look at the pod.
    pub(super) async fn endpoint(
        &self,
        scope: &Scope,
        id: &str,
        port: u16,
        expires: Option<i128>,
    ) -> Result<Endpoint, Error> {
        check_port(port)?;
        let expires = expires.map(|expires| check_expiry(expires, Timestamp::now())).transpose()?;
        let workload = self.find(scope, id).await?;
        let mut endpoint = match (&self.options.ingress.gateway, expires) {
            (None, Some(_)) => {
                let text = "Signed routes require ingress.mode = 'gateway'. \
                            Configure ingress gateway or omit the expires parameter.";
                return Err(invalid(text));
            }
            (None, None) => Endpoint {
                endpoint: format!("{}:{port}", self.host(scope, &workload).await?),
                headers: BTreeMap::new(),
            },
            (Some(gateway), expires) => routed(gateway, id, port, expires)?,
        };
        let mut add = |name: &str, token: Option<crate::secret::Secret>| {
            endpoint.headers.extend(token.map(|token| (name.to_owned(), token.expose().to_owned())));
        };
        // A signature stands for the token.
        if expires.is_none() {
            add(SECURE_HEADER, workload.secure_access());
        }
        if port == EGRESS_PORT {
            add(EGRESS_HEADER, workload.egress_token());
        }
        Ok(endpoint)
    }

    /// Where this program connects to for a port: always the pod.
    pub(super) async fn backend(&self, scope: &Scope, id: &str, port: u16) -> Result<Backend, Error> {
        check_port(port)?;
        let (workload, pods) = self.find_to_reach(scope, id).await?;
        let networks = &self.options.pod_networks;
        let authority = match host(&workload, &pods, networks)? {
            Host::Service(name) => resolved(&name, port, networks).await?.to_string(),
            pod @ Host::Pod(_) => format!("{pod}:{port}"),
        };
        Ok(Backend {
            authority,
            path_prefix: String::new(),
            headers: Vec::new(),
            secure_access: workload.secure_access(),
            egress_token: workload.egress_token(),
        })
    }

    async fn host(&self, scope: &Scope, workload: &Workload) -> Result<Host, Error> {
        let pods = if workload.has_host(&self.options.pod_networks) {
            Vec::new()
        } else {
            let pods = self.pods_of(scope, workload).await;
            pods.map_err(|failure| failed(failure, "Failed to find the sandbox's pod"))?
        };
        host(workload, &pods, &self.options.pod_networks)
    }
}

fn host(workload: &Workload, pods: &[Arc<Pod>], networks: &[IpNet]) -> Result<Host, Error> {
    workload.host(pods, networks).ok_or_else(|| {
        let text = "Pod IP is not yet available. The Pod may still be starting.";
        Error::new(Family::PodAddress, Kind::NotFound, text)
    })
}

/// The address of a service, if a pod can have it: whoever may make services can give one any other name's address.
async fn resolved(name: &str, port: u16, networks: &[IpNet]) -> Result<SocketAddr, Error> {
    let wanted = (name.to_owned(), port);
    let lookup = async {
        let Ok(turn) = LOOKUPS.acquire().await else { return Err(io::ErrorKind::TimedOut.into()) };
        // The thread that looks goes on when nobody waits for it any more, and so does its turn.
        let found = tokio::spawn(async move {
            let _turn = turn;
            lookup_host(wanted).await.map(Vec::from_iter)
        });
        found.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    };
    let found = timeout(RESOLVE_TIMEOUT, lookup).await;
    let found = found
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map(|found| found.into_iter().find(|address| is_pods(address.ip(), networks)));
    found
        .unwrap_or_else(|error| {
            static TOLD: RateLimit = RateLimit::new();
            if let Some(Due { left_out }) = TOLD.due("service") {
                tracing::warn!(name, %error, left_out, "the service of a sandbox cannot be looked up");
            }
            None
        })
        .ok_or_else(|| Error::new(Family::PodAddress, Kind::NotFound, "The sandbox's service has no address of a pod."))
}

/// The endpoint of a port behind the gateway; `expires` is when its signature ends.
fn routed(gateway: &Gateway, id: &str, port: u16, expires: Option<u64>) -> Result<Endpoint, Error> {
    let (route, path) = match expires {
        None => (format!("{id}-{port}"), format!("{id}/{port}")),
        Some(expires) => {
            let Some(access) = &gateway.secure_access else {
                let text = "Signed routes require ingress.secure_access to be configured with signing keys. \
                            Configure secure_access or omit the expires parameter.";
                return Err(invalid(text));
            };
            let [time, signature] = signed(access, id, port, expires);
            (format!("{id}-{port}-{time}-{signature}"), format!("{id}/{port}/{time}/{signature}"))
        }
    };
    let address = &gateway.address;
    let mut headers = BTreeMap::new();
    let endpoint = match gateway.route {
        // The configuration has checked that it begins so.
        RouteMode::Wildcard => format!("{route}.{}", address.strip_prefix("*.").unwrap_or(address)),
        RouteMode::Uri => format!("{}/{path}", address.trim_end_matches('/')),
        RouteMode::Header => {
            headers.insert(ROUTING_HEADER.to_owned(), route);
            address.clone()
        }
    };
    Ok(Endpoint { endpoint, headers })
}

/// When a signature is to end, in Unix seconds. What a request had beyond the bounds of the type has become one of them.
fn check_expiry(expires: i128, now: Timestamp) -> Result<u64, Error> {
    if expires < 0 {
        return Err(invalid("expires must be a non-negative Unix timestamp (uint64)."));
    }
    let now = now.as_second();
    if expires <= i128::from(now) {
        return Err(invalid(&format!("expires ({expires}) must be greater than current time ({now}).")));
    }
    u64::try_from(expires).map_err(|_| invalid("expires exceeds uint64 maximum value."))
}

fn invalid(text: &str) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{SecureAccess, SigningKey},
        secret::SecretBytes,
    };

    fn gateway(address: &str, route: RouteMode, is_signing: bool) -> Gateway {
        let keys = vec![SigningKey { id: 'k', key: SecretBytes::new(b"secret".to_vec()) }];
        let secure_access = is_signing.then_some(SecureAccess { active_key: 'k', keys });
        Gateway { address: address.to_owned(), route, secure_access }
    }

    #[test]
    fn routes_have_three_forms_signed_and_unsigned() {
        const TENANT: &str = "2ac503a7-652a-42be-a827-aa31fab376d3";
        const AGENT: &str = "30e73bae-8e72-4ff1-b3f1-62e2f26675be";
        let told = |gateway: &Gateway, id: &str, expires: Option<u64>| {
            let Endpoint { endpoint, headers } = routed(gateway, id, 8080, expires).unwrap();
            (endpoint, headers.into_iter().next())
        };
        // Transcript 14.
        let header = gateway("gw.example.com:8443", RouteMode::Header, true);
        let routing = |value: String| Some((ROUTING_HEADER.to_owned(), value));
        let expected = ("gw.example.com:8443".to_owned(), routing(format!("{TENANT}-8080")));
        assert_eq!(told(&header, TENANT, None), expected);
        let (_, signed) = told(&header, TENANT, Some(1_900_000_000));
        assert_eq!(signed, routing(format!("{TENANT}-8080-vf7lds-70ec432bk")));
        // Transcript 15.
        let wildcard = gateway("*.sb.example.com", RouteMode::Wildcard, true);
        assert_eq!(told(&wildcard, AGENT, None), (format!("{AGENT}-8080.sb.example.com"), None));
        let expected = (format!("{AGENT}-8080-vf7lds-89ccf97ek.sb.example.com"), None);
        assert_eq!(told(&wildcard, AGENT, Some(1_900_000_000)), expected);
        let uri = gateway("gw.example.com/base", RouteMode::Uri, true);
        assert_eq!(told(&uri, TENANT, None), (format!("gw.example.com/base/{TENANT}/8080"), None));
        let expected = (format!("gw.example.com/base/{TENANT}/8080/vf7lds/70ec432bk"), None);
        assert_eq!(told(&uri, TENANT, Some(1_900_000_000)), expected);
        let error = routed(&gateway("gw.example.com", RouteMode::Uri, false), "x", 1, Some(5)).unwrap_err();
        assert!(error.message.starts_with("Signed routes require ingress.secure_access to be configured"), "{error}");
    }

    #[test]
    fn an_expiry_lies_in_the_future() {
        let now = Timestamp::from_second(1_795_399_808).unwrap();
        let checked = |expires| check_expiry(expires, now).map_err(|error| error.message);
        assert_eq!(checked(1_795_399_809), Ok(1_795_399_809));
        assert_eq!(checked(1).unwrap_err(), "expires (1) must be greater than current time (1795399808).");
        assert!(checked(1_795_399_808).is_err());
        assert_eq!(checked(-1).unwrap_err(), "expires must be a non-negative Unix timestamp (uint64).");
        assert_eq!(checked(u64::MAX.into()), Ok(u64::MAX));
        for beyond in [i128::from(u64::MAX) + 1, i128::MAX] {
            assert_eq!(checked(beyond).unwrap_err(), "expires exceeds uint64 maximum value.");
        }
    }
}
