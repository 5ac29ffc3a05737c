//! `[runtime]` and `[secure_runtime]`: what sandboxes run on.

use std::fmt;

use super::section::Section;

/// `[runtime]`, the only section that a file must have.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// `type`: what sandboxes run on. Required.
    pub kind: RuntimeKind,
    /// The image that execd is copied from into every sandbox. Required, but
    /// for the process runtime, which has no images: empty there when unset.
    pub execd_image: String,
    /// Let execd be the first process of a sandbox. Default false.
    pub execd_run_as_init: bool,
}

/// What sandboxes run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Containers of a Docker engine.
    Docker,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
    /// Child processes of this server, for development: no isolation at all.
    /// Not a value of the Python server.
    Process,
}

/// `[secure_runtime]`: a sandboxing runtime below the containers.
#[derive(Debug, Clone)]
pub struct SecureRuntime {
    /// `type`: which one; `""`, here `None`, is the ordinary one. Default `""`.
    pub kind: Option<SecureKind>,
    /// The name it has in the Docker engine, such as `runsc`. No default.
    pub docker_runtime: Option<String>,
    /// The name of its RuntimeClass. No default.
    pub k8s_runtime_class: Option<String>,
}

/// A sandboxing runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureKind {
    /// gVisor, a kernel in user space.
    Gvisor,
    /// Kata Containers, a virtual machine a sandbox.
    Kata,
    /// Firecracker, a micro virtual machine a sandbox; Kubernetes only.
    Firecracker,
}

impl Runtime {
    /// What stands in for a section that is missing, until that ends the reading.
    pub(super) fn missing() -> Self {
        Self { kind: RuntimeKind::Process, execd_image: String::new(), execd_run_as_init: false }
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let kinds =
            [RuntimeKind::Docker, RuntimeKind::Kubernetes, RuntimeKind::Process].map(|kind| (kind.as_str(), kind));
        if !section.has("type") {
            section.fail("type", "Field required");
        }
        let kind = section.choice("type", RuntimeKind::Process, &kinds);
        Self {
            kind,
            execd_image: read_execd_image(section, kind),
            execd_run_as_init: section.boolean("execd_run_as_init", false),
        }
    }
}

fn read_execd_image(section: &mut Section<'_>, kind: RuntimeKind) -> String {
    let needed = kind != RuntimeKind::Process;
    match section.text("execd_image") {
        Some(image) if image.trim().is_empty() && needed => section.fail("execd_image", "must not be empty"),
        Some(image) => return image,
        None if needed && !section.failed("execd_image") => section.fail("execd_image", "Field required"),
        None => {}
    }
    String::new()
}

impl RuntimeKind {
    /// The value of `runtime.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
            Self::Process => "process",
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SecureRuntime {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let kinds = [
            ("", None),
            ("gvisor", Some(SecureKind::Gvisor)),
            ("kata", Some(SecureKind::Kata)),
            ("firecracker", Some(SecureKind::Firecracker)),
        ];
        let this = Self {
            kind: section.choice("type", None, &kinds),
            docker_runtime: section.optional_text("docker_runtime"),
            k8s_runtime_class: section.optional_text("k8s_runtime_class"),
        };
        if !section.failed("type") {
            this.check(section);
        }
        this
    }

    fn check(&self, section: &Section<'_>) {
        let names = [
            ("docker_runtime", self.docker_runtime.is_some()),
            ("k8s_runtime_class", self.k8s_runtime_class.is_some()),
        ];
        match self.kind {
            None => {
                for (key, _) in names.into_iter().filter(|(_, set)| *set) {
                    section.fail(key, "must be omitted when secure_runtime.type is ''");
                }
            }
            Some(SecureKind::Gvisor | SecureKind::Kata) if names.iter().all(|(_, set)| !set) => {
                section.fail("type", "needs docker_runtime or k8s_runtime_class to be set");
            }
            Some(SecureKind::Firecracker) if self.k8s_runtime_class.is_none() => {
                section.fail("k8s_runtime_class", "must be set when secure_runtime.type is 'firecracker'");
            }
            Some(_) => {}
        }
    }
}
