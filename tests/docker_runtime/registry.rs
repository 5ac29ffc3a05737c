//! Logins and proxies of Docker's client configuration, against a real registry that asks for a password.
//!
//! The registry is Debian's `docker-registry`, which `scripts/test` installs. Engines take registries on the loopback
//! addresses over plain HTTP.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use opensandbox_gateway::{
    error::{Family, Kind},
    model::create::{CreateRequest, ImageSource, RegistryAuth},
    runtime::{
        Runtime,
        docker::{DockerOptions, client_config::ClientConfig},
    },
};
use serde_json::json;
use tempfile::TempDir;

use crate::executable::executable;
use crate::fixture::{Fixture, options, request};

/// A user of the registry: `joe` with the password `s3cret-of-joe`, as bcrypt.
const USERS: &str = "joe:$2y$05$zNFF65wYH.LfZUpLvXXSG.AJRhWibivWwVL.a17M6gDVHJDp/ERMK\n";

/// A registry of this test's own.
struct Registry {
    process: Child,
    address: String,
    folder: TempDir,
}

impl Registry {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let users = folder.path().join("htpasswd");
        fs::write(&users, USERS).unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n\
             http: {{addr: '{address}'}}\nauth: {{htpasswd: {{realm: test, path: {users}}}}}\n",
            root = folder.path().join("data").display(),
            users = users.display(),
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let process =
            Command::new("docker-registry").arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("these tests need docker-registry: scripts/test installs it");
        let registry = Self { process, address, folder };
        registry.login("joe:s3cret-of-joe");
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(&registry.address).await.is_ok() {
                return registry;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the registry does not answer");
    }

    /// Writes `config.json` as `docker login` does.
    fn login(&self, pair: &str) {
        self.write(&json!({"auths": {&self.address: {"auth": BASE64_STANDARD.encode(pair)}}}));
    }

    fn write(&self, config: &serde_json::Value) {
        fs::write(self.folder.path().join("config.json"), config.to_string()).unwrap();
    }

    fn config(&self) -> ClientConfig {
        ClientConfig::at(self.folder.path(), None).with_helpers(self.folder.path())
    }

    /// Pushes an image of the engine under a name of the registry's, and takes that name from the engine.
    fn push(&self, image: &str, name: &str) -> String {
        let reference = format!("{}/private/{name}:1", self.address);
        self.docker(&["tag", image, &reference]);
        self.docker(&["push", "-q", &reference]);
        self.docker(&["rmi", &reference]);
        reference
    }

    fn docker(&self, words: &[&str]) {
        let done = Command::new("docker").arg("--config").arg(self.folder.path()).args(words).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn of(image: &str) -> CreateRequest {
    let image = Some(ImageSource { uri: image.to_owned(), auth: None });
    CreateRequest { image, ..request(&["sleep", "1000"]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_counts_for_pulls_without_auth_and_execd_s_image_too() {
    let registry = Registry::start().await;
    let (image, execd) = (registry.push("osb-test/busybox:1", "box"), registry.push("osb-test/execd:stub", "execd"));
    let with_config = DockerOptions { client_config: registry.config(), execd_image: execd.clone(), ..options() };
    let fixture = Fixture::start_with(with_config).await;

    // Without a login, and with a wrong one, which is told to nobody.
    for wrong in ["nobody:no-such-password", "joe:wrong-password-of-joe"] {
        registry.login(wrong);
        let refused = fixture.docker.create(of(&image)).await.unwrap_err();
        assert_eq!(refused.key(), (Family::Image, Kind::Failed), "{refused}");
        assert!(!refused.message.contains("password"), "{refused}");
    }
    fs::write(registry.folder.path().join("config.json"), "{damaged").unwrap();
    assert_eq!(fixture.docker.create(of(&image)).await.unwrap_err().key(), (Family::Image, Kind::Failed));

    // A login counts at once.
    registry.login("joe:s3cret-of-joe");
    let id = fixture.docker.create(of(&image)).await.unwrap().id;
    fixture.docker.delete(&id).await.unwrap();
    registry.docker(&["rmi", &image]);

    // So does one that a helper keeps.
    registry.write(&json!({"auths": {&registry.address: {}}, "credsStore": "test"}));
    let helper = registry.folder.path().join("docker-credential-test");
    let script = "#!/bin/sh\nread -r _\necho '{\"Username\":\"joe\",\"Secret\":\"s3cret-of-joe\"}'\n";
    executable(&helper, script);
    let id = fixture.docker.create(of(&image)).await.unwrap().id;
    fixture.docker.delete(&id).await.unwrap();
    registry.docker(&["rmi", &image]);

    // The request's own credentials go before those.
    let auth = RegistryAuth { username: "joe".to_owned(), password: "wrong-password-of-joe".to_owned() };
    let own = ImageSource { uri: image.clone(), auth: Some(auth) };
    let refused = fixture.docker.create(CreateRequest { image: Some(own), ..of(&image) }).await.unwrap_err();
    assert!(refused.key() == (Family::Image, Kind::Failed) && !refused.message.contains("wrong-password"), "{refused}");
    registry.docker(&["rmi", &execd]);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_docker_s_client_are_in_the_sandbox_s_environment() {
    let folder = tempfile::tempdir().unwrap();
    let proxies = json!({"default": {"httpProxy": "http://user:pass@proxy:1", "noProxy": "localhost,.example"}});
    fs::write(folder.path().join("config.json"), json!({ "proxies": proxies }).to_string()).unwrap();
    let with_config = DockerOptions { client_config: ClientConfig::at(folder.path(), None), ..options() };
    let fixture = Fixture::start_with(with_config).await;
    let mut wanted = request(&["sleep", "1000"]);
    wanted.env = vec![("HTTP_PROXY".to_owned(), Some("http://mine:2".to_owned()))];
    let id = fixture.docker.create(wanted).await.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    let env = container.config.unwrap().env.unwrap();
    let of = |name: &str| {
        let entries: Vec<_> = env.iter().filter_map(|entry| entry.strip_prefix(&format!("{name}="))).collect();
        entries.join("|")
    };
    assert_eq!((of("HTTP_PROXY").as_str(), of("http_proxy").as_str()), ("http://mine:2", "http://user:pass@proxy:1"));
    assert_eq!((of("NO_PROXY").as_str(), of("no_proxy").as_str()), ("localhost,.example", "localhost,.example"));
    assert_eq!((of("HTTPS_PROXY").as_str(), of("OPENSANDBOX_ID").as_str()), ("", id.as_str()));
    assert!(!fixture.docker.inspect(&id).await.unwrap().contains("user:pass"), "diagnostics mask the password");
    fixture.docker.delete(&id).await.unwrap();
}
