//! The program where it cannot mount for the engine: in a mount namespace of its own, and without root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixture::{self, Fixture, eventually};

/// The program itself, run by another one.
struct Program {
    child: Child,
    port: u16,
}

impl Program {
    /// `home` has what `allowed` may be mounted of.
    async fn start(wrapper: &[&str], home: &Path, socket: &str, allowed: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = home.join("config.toml");
        let text = format!(
            "[server]\nhost = \"127.0.0.1\"\nport = {port}\napi_key = \"k\"\n[runtime]\ntype = \"docker\"\n\
             execd_image = \"osb-test/execd:stub\"\n[docker]\nnetwork_mode = \"bridge\"\nexpiry = \"off\"\npublish_host = \"127.0.0.1\"\n\
             [storage]\nallowed_host_paths = [\"{}\"]\n",
            allowed.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_opensandbox-gateway")).arg("--config").arg(config);
        command.env("HOME", home).env("DOCKER_HOST", format!("unix://{socket}"));
        let program = Self { child: command.stdout(Stdio::null()).spawn().unwrap(), port };
        eventually("it serves", async || fixture::http_get(port, "/health").await.is_some()).await;
        program
    }

    /// The status and the body of the answer to a creation with one volume.
    async fn create(&self, volume: Value) -> (u16, Value) {
        let body = json!({
            "image": {"uri": "osb-test/busybox:1"}, "entrypoint": ["sleep", "1000"], "resourceLimits": {}, "timeout": 600,
            "volumes": [volume],
        });
        self.call("POST", "/v1/sandboxes", &body.to_string()).await
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOPEN-SANDBOX-API-KEY: k\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default())
    }

    async fn delete(&self, created: &Value) {
        let (status, _) = self.call("DELETE", &format!("/v1/sandboxes/{}", created["id"].as_str().unwrap()), "").await;
        assert_eq!(status, 204);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that others may enter.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(folder.path().join("allowed/x")).unwrap();
    folder
}

/// As in a container, or with `PrivateTmp=` in a unit: what is mounted there is not there for the engine.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_mounts_the_engine_does_not_see_says_so() {
    let folder = open_folder();
    let (allowed, fixture) = (folder.path().join("allowed"), Fixture::start().await);
    let socket = fixture::socket();
    let wrapper = ["unshare", "--mount", "--propagation", "private"];
    let program = Program::start(&wrapper, folder.path(), socket.to_str().unwrap(), &allowed).await;
    for path in [allowed.clone(), allowed.join("x")] {
        let (status, answer) =
            program.create(json!({"name": "v", "mountPath": "/x", "host": {"path": path.to_str().unwrap()}})).await;
        assert_eq!((status, &answer["code"]), (501, &"VOLUME::MOUNT_UNAVAILABLE".into()), "{answer}");
        let text = answer["message"].as_str().unwrap();
        assert!(text.contains("the engine does not see this server's mounts"), "{text}");
    }
    let name = format!("osb-test-{}", fixture.run);
    let whole = json!({
        "name": "v", "mountPath": "/x", "pvc": {"claimName": name, "deleteOnSandboxTermination": true},
    });
    let (status, created) = program.create(whole).await;
    assert_eq!(status, 202, "{created}");
    program.delete(&created).await;
    assert!(!fixture.has_volume(&name).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_root_mounts_whole_volumes_and_allowed_paths_themselves() {
    let folder = open_folder();
    let (allowed, fixture) = (folder.path().join("allowed"), Fixture::start().await);
    let socket = fixture.proxy.path();
    fs::set_permissions(socket.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(65_534), Some(65_534)).unwrap();
    let wrapper = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let program = Program::start(&wrapper, &home, socket.to_str().unwrap(), &allowed).await;
    let host = |path: &Path, part: Option<&str>| json!({"name": "v", "mountPath": "/x", "host": {"path": path.to_str().unwrap()}, "subPath": part});
    for (path, part) in [(allowed.join("x"), None), (allowed.clone(), Some("x"))] {
        let (status, answer) = program.create(host(&path, part)).await;
        assert_eq!((status, &answer["code"]), (501, &"VOLUME::MOUNT_UNAVAILABLE".into()), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("does not run as root"), "{answer}");
    }
    let name = format!("osb-test-{}", fixture.run);
    let whole = json!({
        "name": "v", "mountPath": "/x", "pvc": {"claimName": name, "deleteOnSandboxTermination": true},
    });
    // In a container, where paths may lead elsewhere than on the engine's host, nothing can be told of one.
    let is_contained = ["/.dockerenv", "/run/.containerenv"].iter().any(|marker| Path::new(marker).exists());
    for (volume, expected) in [(host(&allowed, None), if is_contained { 501 } else { 202 }), (whole, 202)] {
        let (status, created) = program.create(volume).await;
        assert_eq!(status, expected, "{created}");
        if status == 202 {
            program.delete(&created).await;
        }
    }
}
