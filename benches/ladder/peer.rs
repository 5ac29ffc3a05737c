//! The Python server that the gateway replaces, from the virtual environment that `scripts/bench` makes.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{client, process::in_session, support::gateway::free_port};

/// A server that runs until this is dropped.
pub struct Peer {
    child: Child,
    pub address: SocketAddr,
    /// From its start to its first answer.
    pub took: Duration,
    _home: tempfile::TempDir,
}

impl Peer {
    /// Starts it with the same configuration as the gateway, but for the port, on the machine's own engine.
    pub fn start(network_mode: &str) -> Self {
        Self::start_with(&format!(
            "[runtime]\ntype = \"docker\"\nexecd_image = \"osb-test/execd:stub\"\n\
             [docker]\nnetwork_mode = \"{network_mode}\"\n"
        ))
    }

    /// The same for the sandboxes of a namespace of the cluster that the kubeconfig file names.
    pub fn start_kubernetes(kubeconfig: &Path, namespace: &str) -> Self {
        Self::start_with(&format!(
            "[runtime]\ntype = \"kubernetes\"\nexecd_image = \"osb-test/execd:stub\"\n\
             [kubernetes]\nkubeconfig_path = \"{}\"\nnamespace = \"{namespace}\"\n",
            kubeconfig.display()
        ))
    }

    fn start_with(sections: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = home.path().join("config.toml");
        let port = address.port();
        let text = format!("[server]\nhost = \"127.0.0.1\"\nport = {port}\n{sections}[log]\nlevel = \"WARNING\"\n");
        fs::write(&config, text).unwrap();
        let start = Instant::now();
        let mut command = in_session(program());
        command.arg("--config").arg(&config).env("HOME", home.path()).env("OPENSANDBOX_INSECURE_SERVER", "YES");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("the Python server is installed (scripts/bench does it)");
        wait(address);
        Self { child, address, took: start.elapsed(), _home: home }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    std::env::var_os("PEER").map_or_else(|| PathBuf::from("target/peer/bin/opensandbox-server"), PathBuf::from)
}

fn wait(address: SocketAddr) {
    let start = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "the Python server does not answer");
        thread::sleep(Duration::from_millis(5));
    }
    client::read(address, "/health");
}
