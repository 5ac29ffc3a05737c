//! What systemd is told of a service of `Type=notify` (sd_notify(3)): datagrams to the socket that `NOTIFY_SOCKET` names.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{config::env::Lookup, server::threads::Pulse};

/// Tells the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET` (a path, or `@` and an abstract name), `WATCHDOG_USEC` and `WATCHDOG_PID`.
    ///
    /// # Errors
    ///
    /// The variable names no socket of these kinds, or the system gives none. The service would wait in vain, so it is told.
    pub fn from_env(env: Lookup<'_>) -> Result<Self, String> {
        let Some(name) = env("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let failed = |error: io::Error| format!("NOTIFY_SOCKET: {name:?} cannot be used: {error}");
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None if name.starts_with('/') => SocketAddr::from_pathname(&name),
            None => Err(io::Error::other("is neither an absolute path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound().and_then(|socket| {
            // Whoever does not read must not stop the gateway.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Ok(Self { manager: Some((socket.map_err(failed)?, address.map_err(failed)?)), watchdog: watchdog(env) })
    }

    /// Tells the manager that the program lives, as often as it wants to hear it and for as long as all threads have a
    /// `pulse`. Ends at once where it does not.
    pub async fn feed_watchdog(self: Arc<Self>, pulse: Pulse) {
        let Some(period) = self.watchdog else { return };
        loop {
            let began = Instant::now();
            if pulse.beats_within(period).await {
                self.tell("WATCHDOG=1");
            } else {
                tracing::error!("a thread of connections hangs: the service manager's watchdog is not told");
            }
            tokio::time::sleep(period.saturating_sub(began.elapsed())).await;
        }
    }

    /// The service is ready, or again after [`Self::reloading`].
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The service reads its configuration again.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// The service is ending, which may take for `at_most`.
    pub fn stopping(&self, at_most: Duration) {
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", at_most.as_micros()));
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.manager
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            tracing::warn!(%error, state, "the service manager cannot be told");
        }
    }
}

/// Half of the time within which the manager waits for a sign, if it is this process that it waits for.
fn watchdog(env: Lookup<'_>) -> Option<Duration> {
    if env("WATCHDOG_PID").is_some_and(|pid| pid.parse() != Ok(process::id())) {
        return None;
    }
    let microseconds: u64 = env("WATCHDOG_USEC")?.parse().ok().filter(|time| *time > 1)?;
    Some(Duration::from_micros(microseconds / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Notifier, String> {
        Notifier::from_env(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        for variables in [&[][..], &[("NOTIFY_SOCKET", "")], &[("WATCHDOG_USEC", "1000000")]] {
            let notifier = with(variables).unwrap();
            assert!(notifier.manager.is_none() && notifier.watchdog.is_none());
            notifier.ready();
        }
    }

    #[test]
    fn a_name_that_is_no_socket_is_told() {
        for name in ["relative", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            assert!(with(&[("NOTIFY_SOCKET", name)]).unwrap_err().contains("NOTIFY_SOCKET"), "{name}");
        }
        // Nobody listens: not worth more than a line.
        with(&[("NOTIFY_SOCKET", "/nonexistent/socket")]).unwrap().ready();
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_must() {
        let pid = process::id().to_string();
        for (usec, of, expected) in [
            ("30000000", None, Some(15)),
            ("30000000", Some(pid.as_str()), Some(15)),
            ("30000000", Some("1"), None),
            ("0", None, None),
            ("soon", None, None),
        ] {
            let mut variables = vec![("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", usec)];
            variables.extend(of.map(|pid| ("WATCHDOG_PID", pid)));
            assert_eq!(with(&variables).unwrap().watchdog, expected.map(Duration::from_secs), "{usec} {of:?}");
        }
    }
}
