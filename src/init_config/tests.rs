use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::config::{Config, RuntimeKind};

const ALL: [Example; 4] = [Example::Docker, Example::DockerZh, Example::Kubernetes, Example::KubernetesZh];

/// Writes into a home of its own; the path begins with `~`.
fn written(path: &str, example: Option<Example>, force: bool, home: &Path) -> Result<String, String> {
    let options = Options { path: path.into(), example, force };
    write(&options, &|name| (name == "HOME").then(|| home.to_str().unwrap().to_owned()))
}

#[test]
fn everything_that_is_written_can_be_loaded_without_a_warning() {
    for example in [None].into_iter().chain(ALL.map(Some)) {
        let home = tempfile::tempdir().unwrap();
        written("~/c.toml", example, false, home.path()).unwrap();
        let env = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap().to_owned());
        let loaded = Config::load(Some(&home.path().join("c.toml")), &env).unwrap();
        assert_eq!(loaded.warnings, [""; 0], "{example:?}");
        let is_kubernetes = loaded.config.runtime.kind == RuntimeKind::Kubernetes;
        assert_eq!(is_kubernetes, matches!(example, Some(Example::Kubernetes | Example::KubernetesZh)));
        assert!(loaded.config.server.api_key.is_none(), "a key that everybody knows is worse than none");
    }
}

#[test]
fn what_the_skeleton_leaves_to_be_uncommented_is_right_too() {
    let uncommented =
        SKELETON.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("c.toml");
    fs::write(&path, uncommented).unwrap();
    let loaded = Config::load(Some(&path), &|_| None).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
}

#[test]
fn twins_differ_in_their_words_alone() {
    let settings = |example: Example| -> Vec<&str> {
        example.text().lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
    };
    assert_eq!(settings(Example::Docker), settings(Example::DockerZh));
    assert_eq!(settings(Example::Kubernetes), settings(Example::KubernetesZh));
}

#[test]
fn a_file_that_is_there_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b/c.toml");
    let shown = path.display();
    let done = written("~/a/b/c.toml", None, false, home.path());
    assert_eq!(done, Ok(format!("Wrote full config skeleton to {shown}")));
    let refused = written("~/a/b/c.toml", Some(Example::Docker), false, home.path());
    assert_eq!(refused, Err(format!("Config file already exists at {shown}. Use --force to overwrite.")));
    assert_eq!(fs::read_to_string(&path).unwrap(), SKELETON);
    let done = written("~/a/b/c.toml", Some(Example::Docker), true, home.path());
    assert_eq!(done, Ok(format!("Wrote example config (docker) to {shown}")));
    assert_eq!(fs::read_to_string(&path).unwrap(), Example::Docker.text());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let refused = written("~/file/c.toml", None, true, home.path()).unwrap_err();
    assert!(refused.contains("c.toml: "), "{refused}");
}
