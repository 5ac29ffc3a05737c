//! The listeners whose connections the server serves: the API's, and the viewer's.

use std::sync::Arc;

use crate::{
    config::{self, Config, RuntimeKind},
    host, open,
    server::{Door, listen::Listeners},
    service::{Front, viewer::Viewer},
};

/// Connections to the viewer's listener that the system queues.
const VIEWER_BACKLOG: u32 = 128;

/// Most connections to the viewer's listener, and of one address that is no trusted proxy's. They are apart from the API's, so that
/// nobody at one listener keeps others out of the other. A browser has six over HTTP/1.1, one a log that it follows.
pub(super) const VIEWER_CONNECTIONS: usize = 1024;
const VIEWER_CONNECTIONS_PER_ADDRESS: usize = 256;

/// Checks that only this machine reaches the process runtime.
///
/// # Errors
///
/// A text for a person: others do.
pub fn check_reach(config: &Config, listeners: &Listeners, viewer: Option<&Listeners>) -> Result<(), String> {
    if config.runtime.kind != RuntimeKind::Process {
        return Ok(());
    }
    let viewer_host = config.ui.listen.as_ref().map_or("", |listen| &listen.host);
    let of_viewer = viewer.map(|listeners| ("ui.listen", viewer_host, listeners));
    for (key, host, listeners) in [("server.host", config.server.host.as_str(), listeners)].into_iter().chain(of_viewer)
    {
        if let Some(public) = listeners.addresses().find(|address| !address.ip().is_loopback()) {
            return Err(format!(
                "{key}: '{host}' stands for {public}: the process runtime gives no isolation and refuses a non-loopback bind"
            ));
        }
    }
    Ok(())
}

/// Listens where the viewer is to be (`ui.listen`). What is taken is no failure of `dev`, which many may run.
///
/// # Errors
///
/// A text for a person: the address cannot be had.
pub fn viewer_listeners(config: &Config, is_dev: bool) -> Result<Option<Listeners>, String> {
    let Some(listen) = &config.ui.listen else { return Ok(None) };
    match Listeners::bind(&listen.host, listen.port, VIEWER_BACKLOG) {
        Ok(listeners) => Ok(Some(listeners)),
        Err(error) if is_dev => {
            tracing::warn!("no viewer: cannot listen on {listen}: {error}");
            Ok(None)
        }
        Err(error) => Err(format!("Cannot listen on {listen} (ui.listen): {error}")),
    }
}

/// Where the connections of the API come in, and those of the viewer.
pub fn all(config: &Config, listeners: Listeners, viewer: Option<Listeners>) -> Vec<Door> {
    let mut doors = vec![Door { listeners, front: Front::Api, limits: connection_limits(&config.server) }];
    doors.extend(viewer.map(|listeners| {
        let own = config.ui.listen.as_ref().and_then(|listen| host::authority(&host::with_brackets(&listen.host)));
        let names = own.into_iter().chain(config.ui.hosts.iter().cloned()).collect();
        Door { listeners, front: Front::Viewer(Arc::new(Viewer::new(names))), limits: viewer_limits(&config.server) }
    }));
    doors
}

fn connection_limits(server: &config::Server) -> open::Limits {
    let proxies = server.trusted_proxies.clone();
    open::Limits {
        total: server.max_connections as usize,
        per_address: server.max_connections_per_address.map_or(0, |limit| limit.get() as usize),
        is_trusted: Box::new(move |ip| proxies.trusts(ip)),
        names: ["server.max_connections", "server.max_connections_per_address"],
    }
}

fn viewer_limits(server: &config::Server) -> open::Limits {
    open::Limits {
        total: VIEWER_CONNECTIONS,
        per_address: VIEWER_CONNECTIONS_PER_ADDRESS,
        names: ["the viewer's", "the viewer's of one address"],
        ..connection_limits(server)
    }
}
