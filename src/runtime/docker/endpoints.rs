//! Where a sandbox's ports are: for clients, and for this server's own proxy (docker-runtime.md §5).

use crate::{
    error::{Error, Family, Kind},
    model::endpoint::{Backend, Endpoint, check_port},
};

use crate::runtime::docker::{Inner, ports::host_address};

/// The port of the egress sidecar.
const EGRESS_PORT: u16 = 18080;

/// The header that carries the egress sidecar's token.
const EGRESS_HEADER: &str = "OPENSANDBOX-EGRESS-AUTH";

impl Inner {
    /// The endpoint of a port for a client, in any state of the container: the labels are enough.
    pub(super) async fn endpoint(&self, id: &str, port: u16, expires: Option<i128>) -> Result<Endpoint, Error> {
        if expires.is_some() {
            let text = "Signed routes (expires parameter) are not supported when runtime.type='docker'. \
                        Use the Kubernetes runtime for signed routes.";
            return Err(Error::new(Family::Endpoint, Kind::Unsupported, text));
        }
        check_port(port)?;
        let view = self.inspect_cached(id).await?;
        let place = view.addresses.on_host(port)?;
        let host = host_address::public(&self.options, self.is_contained);
        let token = view.addresses.egress_token.as_ref().filter(|_| port == EGRESS_PORT);
        Ok(Endpoint {
            endpoint: format!("{host}:{}{}", place.port, place.path),
            headers: token.map(|token| (EGRESS_HEADER.to_owned(), token.expose().to_owned())).into_iter().collect(),
        })
    }

    /// Where this program connects to for a port.
    pub(super) async fn backend(&self, id: &str, port: u16) -> Result<Backend, Error> {
        check_port(port)?;
        let view = self.inspect_running(id).await?;
        let addresses = &view.addresses;
        let internal = addresses.internal(&self.options.network_mode).filter(|_| self.options.resolve_internal);
        let (authority, path_prefix) = match internal {
            Some(address) => ([address, ":", &port.to_string()].concat(), String::new()),
            None => {
                let place = addresses.on_host(port)?;
                (format!("{}:{}", host_address::own(&self.options, self.is_contained), place.port), place.path)
            }
        };
        let egress_token = addresses.egress_token.clone();
        Ok(Backend { authority, path_prefix, headers: Vec::new(), secure_access: None, egress_token })
    }
}
