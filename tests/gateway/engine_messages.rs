//! What is said at the start about the engine and what the configuration names on it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use crate::support::executable::executable;
use crate::{
    Setup,
    support::{engine::Engine, eventually},
};

/// Runs the program until it gives up, as a user without any right where this test is root's.
fn refused(folder: &Path, docker_host: &str) -> Output {
    let config = folder.join("config.toml");
    let port = crate::support::gateway::free_port();
    let text =
        format!("[server]\nhost = \"127.0.0.1\"\nport = {port}\n[runtime]\ntype = \"docker\"\nexecd_image = \"x\"\n");
    fs::write(&config, text).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let program = folder.join("gateway");
    // Where it was built, others may not look.
    executable(&program, fs::read(env!("CARGO_BIN_EXE_opensandbox-gateway")).unwrap());
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    let command = command.arg("--config").arg(&config).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let command = command.env("HOME", folder).env("DOCKER_HOST", docker_host).env("OPENSANDBOX_INSECURE_SERVER", "YES");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    output
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_socket_without_permission_is_named_with_its_group_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        // A group that every Debian has.
        chown(&socket, Some(0), Some(1)).unwrap();
    } else {
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let output = refused(folder.path(), &format!("unix://{}", socket.display()));
    let said = errors(&output);
    assert!(said.contains(&format!("socket {}", socket.display())) && said.contains("usermod -aG"), "{said}");
    assert!(said.contains("DOCKER_HOST"), "{said}");
    if is_root {
        assert!(said.contains("group daemon") && said.contains("--group-add 1"), "{said}");
    }
    // The folder may be what is closed.
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let said = errors(&refused(folder.path(), &format!("unix://{}/docker.sock", closed.display())));
    assert!(said.contains(&format!("may not enter {}", closed.display())), "{said}");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_missing_socket_and_one_that_nobody_listens_on_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("docker.sock");
    let host = format!("unix://{}", socket.display());
    let said = errors(&refused(folder.path(), &host));
    assert!(said.contains("There is no socket") && said.contains("mounted"), "{said}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let said = errors(&refused(folder.path(), &host));
    assert!(said.contains("Nobody listens"), "{said}");
}

#[tokio::test]
async fn a_network_that_does_not_exist_is_told_at_the_start() {
    let engine = Engine::start();
    // Not refused: the sandboxes that are there go on, and end at their time.
    let gateway = Setup::docker(engine.docker_host()).section("[docker]\nnetwork_mode = \"No-Such-Net\"").start();
    let said = "docker.network_mode: Docker network 'No-Such-Net' does not exist. Create it first with 'docker network \
                create No-Such-Net'.";
    eventually("the message", Duration::from_secs(2), || gateway.output().contains(said)).await;
    let gateway = Setup::docker(engine.docker_host()).section("[docker]\nnetwork_mode = \"container:gone\"").start();
    assert!(gateway.output().contains("container that does not exist"), "{}", gateway.output());
    for mode in ["host", "bridge", "none", "Made-Net"] {
        let gateway =
            Setup::docker(engine.docker_host()).section(&format!("[docker]\nnetwork_mode = \"{mode}\"")).start();
        assert!(!gateway.output().contains("does not exist"), "{mode}");
    }
}

#[tokio::test]
async fn a_gateway_in_a_container_says_that_clients_cannot_reach_what_it_tells() {
    let engine = Engine::start();
    let contained = || Setup::docker(engine.docker_host()).env("container", "docker");
    let gateway = contained().start();
    assert!(gateway.output().contains("Set docker.host_ip"), "{}", gateway.output());
    for set in ["[docker]\nhost_ip = \"10.0.0.9\"", "[server]\neip = \"gate.example\""] {
        let setup = match set.strip_prefix("[server]\n") {
            Some(line) => contained().server(line),
            None => contained().section(set),
        };
        let gateway = setup.start();
        assert!(!gateway.output().contains("docker.host_ip"), "{set}: {}", gateway.output());
    }
}
