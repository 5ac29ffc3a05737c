//! The real engine, by way of the `docker` program: containers that look like sandboxes, made without the gateway.

use std::process::{Command, Stdio};

use serde_json::Value;

/// Where the engine is that `scripts/engine` takes care of.
pub fn host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// A container with a sandbox's name and label; it is removed when this is dropped.
pub struct Container {
    id: String,
}

impl Container {
    /// Runs a shell script in a container.
    pub fn run(script: &str) -> Self {
        Self::run_with(&[], script)
    }

    /// Runs a shell script in a container made with these options of `docker run`, such as `--tty`.
    pub fn run_with(options: &[&str], script: &str) -> Self {
        Self::make(&["run", "--detach"], options, script)
    }

    /// Makes a container without starting it.
    pub fn create(script: &str) -> Self {
        Self::make(&["create"], &[], script)
    }

    fn make(verb: &[&str], options: &[&str], script: &str) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        // Owned before it is made: also a container that was created and failed to start is removed.
        let container = Self { id };
        let label = format!("opensandbox.io/id={}", container.id);
        let name = container.name();
        let mut args = verb.to_vec();
        args.extend(["--init=false", "--network", "none", "--label", &label, "--name", &name]);
        args.extend(options);
        args.extend(["osb-test/busybox:1", "/bin/sh", "-c", script]);
        docker(&args);
        container
    }

    /// The sandbox's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The container's name.
    pub fn name(&self) -> String {
        format!("sandbox-{}", self.id)
    }

    /// What `docker inspect` says of it.
    pub fn inspect(&self) -> Value {
        let all: Value = serde_json::from_str(&docker(&["inspect", &self.name()])).expect("docker inspect is JSON");
        all[0].clone()
    }

    /// Both streams of its log as the engine's own API answers them, the frames taken off.
    pub fn raw_log(&self) -> Vec<u8> {
        let target = format!("http://docker/v1.41/containers/{}/logs?stdout=1&stderr=1", self.name());
        let socket = host().strip_prefix("unix://").expect("the tests' engine is on a unix socket").to_owned();
        let output = Command::new("curl").args(["-sf", "--unix-socket", &socket, &target]).output();
        let output = output.expect("curl is installed");
        assert!(output.status.success(), "curl {target}: {}", output.status);
        if self.inspect()["Config"]["Tty"] == true {
            return output.stdout;
        }
        let (mut payload, mut rest) = (Vec::new(), &output.stdout[..]);
        while let Some((header, after)) = rest.split_first_chunk::<8>() {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            payload.extend_from_slice(&after[..length]);
            rest = &after[length..];
        }
        payload
    }

    /// Waits until it has exited.
    pub fn wait(&self) {
        docker(&["wait", &self.name()]);
    }

    /// Removes it, running or not.
    pub fn remove(&self) {
        docker(&["rm", "--force", "--volumes", &self.name()]);
    }

    /// Restarts it at once.
    pub fn restart(&self) {
        docker(&["restart", "--time", "0", &self.name()]);
    }

    /// Runs another command of docker on it, such as `pause`.
    pub fn command(&self, verb: &str) {
        docker(&[verb, &self.name()]);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may be gone already, and a panic in a drop would hide the test's own.
        let _ = Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.name()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Runs docker and returns its standard output.
///
/// # Panics
///
/// With its standard error, if it fails.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker is installed: run scripts/engine");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
