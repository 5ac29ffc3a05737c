//! `init-config`: configuration files to start from (config.md §5). They are `assets/config/*.toml`, built in; all of
//! them can be loaded as they are.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::config::env::{self, Lookup};

/// Where the file is looked for when nothing says where it is.
const DEFAULT: &str = "~/.sandbox.toml";

/// Options of `init-config`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The file to write.
    #[arg(default_value = DEFAULT)]
    pub path: PathBuf,

    /// A short file for one purpose instead of one with every key.
    ///
    /// On Kubernetes this version serves the sandboxes that are there, and creates none.
    #[arg(long, value_enum)]
    pub example: Option<Example>,

    /// Write over a file that is there.
    #[arg(long)]
    pub force: bool,
}

/// The examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Example {
    /// Sandboxes as containers of a Docker Engine.
    #[value(name = "docker")]
    Docker,
    /// The same, explained in Chinese.
    #[value(name = "docker-zh")]
    DockerZh,
    /// Sandboxes on Kubernetes.
    #[value(name = "k8s")]
    Kubernetes,
    /// The same, explained in Chinese.
    #[value(name = "k8s-zh")]
    KubernetesZh,
}

impl Example {
    fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::DockerZh => "docker-zh",
            Self::Kubernetes => "k8s",
            Self::KubernetesZh => "k8s-zh",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Docker => include_str!("../assets/config/docker.toml"),
            Self::DockerZh => include_str!("../assets/config/docker-zh.toml"),
            Self::Kubernetes => include_str!("../assets/config/k8s.toml"),
            Self::KubernetesZh => include_str!("../assets/config/k8s-zh.toml"),
        }
    }
}

/// The file with every key.
const SKELETON: &str = include_str!("../assets/config/skeleton.toml");

/// What was written, and what is to be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The existing server's sentence, for the standard output, where scripts look for it.
    pub done: String,
    /// What to do next, for a person.
    pub next: String,
}

/// Writes the file, readable by its user only since it will have a key in it; answers with what was done.
///
/// # Errors
/// The file is there and may not be written over, or cannot be written. The text is for a person.
pub fn write(options: &Options, env: Lookup<'_>) -> Result<Written, String> {
    let path = expanded(&options.path, env);
    let (what, text) = match options.example {
        Some(example) => (format!("example config ({})", example.name()), example.text()),
        None => ("full config skeleton".to_owned(), SKELETON),
    };
    create(&path, text, options.force)?;
    let done = format!("Wrote {what} to {}", path.display());
    let next = next(&path, path == expanded(Path::new(DEFAULT), env), options.example);
    Ok(Written { done, next })
}

/// What to do with the file at `path`, which is where it is looked for if `is_default`.
fn next(path: &Path, is_default: bool, example: Option<Example>) -> String {
    let option = if is_default { String::new() } else { format!(" --config {}", path.display()) };
    let start = format!("opensandbox-gateway{option}");
    let check = match example {
        Some(Example::Kubernetes | Example::KubernetesZh) => "kubernetes.namespace",
        None | Some(Example::Docker | Example::DockerZh) => "runtime.execd_image",
    };
    format!(
        "Next: set server.api_key in it (or the environment variable OPENSANDBOX_SERVER_API_KEY), check {check}, and \
         start `{start}`."
    )
}

/// Shells leave a `~` behind a `=` or in quotes as it is.
fn expanded(path: &Path, env: Lookup<'_>) -> PathBuf {
    let text = path.to_str();
    text.and_then(|text| env::expand_home(text, env::home(env).as_deref())).unwrap_or_else(|| path.to_owned())
}

fn create(path: &Path, text: &str, force: bool) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    let mut file = OpenOptions::new();
    file.write(true).mode(0o600);
    if force {
        file.create(true).truncate(true)
    } else {
        file.create_new(true)
    };
    match file.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(format!("Config file already exists at {}. Use --force to overwrite.", path.display()))
        }
        opened => opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed),
    }
}

#[cfg(test)]
mod tests;
