use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::config::{Config, RuntimeKind};

const ALL: [Example; 4] = [Example::Docker, Example::DockerZh, Example::Kubernetes, Example::KubernetesZh];

/// Writes into a home of its own; the path begins with `~`.
fn written(path: &str, example: Option<Example>, force: bool, home: &Path) -> Result<Written, String> {
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
        assert!(loaded.config.server.keys.is_empty(), "a key that everybody knows is worse than none");
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

/// What the program makes of a file, in words that two files share when they say the same.
fn meaning(text: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("c.toml");
    fs::write(&path, text).unwrap();
    let env = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
    format!("{:?}", Config::load(Some(&path), &env).unwrap().config)
}

/// The least that a file must say.
fn least(kind: &str) -> String {
    format!("[runtime]\ntype = '{kind}'\nexecd_image = 'opensandbox/execd:latest'\n")
}

#[test]
fn what_the_skeleton_calls_a_default_is_the_default() {
    assert_eq!(meaning(SKELETON), meaning(&least("docker")));
}

#[test]
fn what_the_skeleton_leaves_to_be_uncommented_has_no_default() {
    for line in SKELETON.lines().filter(|line| line.starts_with("#: ")) {
        let uncommented = SKELETON.replace(line, line.trim_start_matches("#: "));
        // The address counts only where the table says that it is used.
        let uncommented =
            if line.contains("dsn") { uncommented.replace("enabled = false", "enabled = true") } else { uncommented };
        assert_ne!(meaning(&uncommented), meaning(SKELETON), "{line}");
    }
}

/// The settings of the part of the skeleton that is for Kubernetes, as (table, line).
fn kubernetes_settings() -> Vec<(String, String)> {
    let (_, part) = SKELETON.split_once("# On Kubernetes only").unwrap();
    let mut table = String::new();
    let mut all = Vec::new();
    for line in part.lines().skip(1).map(|line| line.trim_start_matches('#').trim()) {
        match line.strip_prefix('[') {
            Some(_) => table = line.split(' ').next().unwrap().to_owned(),
            None if line.contains('=') => all.push((table.clone(), line.to_owned())),
            None => {}
        }
    }
    all
}

#[test]
fn what_the_skeleton_says_of_kubernetes_is_the_default_or_an_example_of_what_has_none() {
    /// Keys that have no default, or tables that need another.
    const EXAMPLES: [&str; 5] =
        ["namespace", "kubeconfig_path", "pod_networks", "batchsandbox_template_file", "template_file"];
    let settings = kubernetes_settings();
    assert!(settings.len() > 12, "{settings:?}");
    for (table, line) in settings {
        let key = line.split(' ').next().unwrap();
        let without = match table.as_str() {
            "[agent_sandbox]" => "[kubernetes]\nworkload_provider = 'agent-sandbox'\n[agent_sandbox]\n".to_owned(),
            "[ingress.gateway]" | "[ingress.gateway.route]" => continue,
            table => format!("{table}\n"),
        };
        let (base, with) = (least("kubernetes") + &without, format!("{}{without}{line}\n", least("kubernetes")));
        let is_default = meaning(&with) == meaning(&base);
        assert_eq!(is_default, !EXAMPLES.contains(&key), "{table} {line}");
    }
}

#[test]
fn what_an_example_sets_otherwise_than_by_default_is_meant() {
    /// Each with its reason: a first server answers this machine only, gives sandboxes addresses of their own, and
    /// bounds their lives.
    const MEANT: [&str; 5] = ["host", "max_sandbox_timeout_seconds", "network_mode", "publish_host", "namespace"];
    for example in ALL {
        let text = example.text();
        let settings = text.lines().filter(|line| !line.starts_with(['#', '[']) && line.contains('='));
        for line in settings {
            let key = line.split(' ').next().unwrap();
            if ["type", "execd_image"].contains(&key) {
                continue;
            }
            let without: String = text.lines().filter(|other| *other != line).map(|line| format!("{line}\n")).collect();
            let is_default = meaning(&without) == meaning(text);
            assert!(is_default || MEANT.contains(&key), "{example:?}: {line} differs from the default");
        }
    }
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
fn what_comes_next_is_said() {
    let home = tempfile::tempdir().unwrap();
    for (example, parts) in [
        (None, &["OPENSANDBOX_SERVER_API_KEY", "`opensandbox-gateway`"][..]),
        (Some(Example::DockerZh), &["server.api_key", "runtime.execd_image"]),
        (Some(Example::Kubernetes), &["server.api_key", "kubernetes.namespace"]),
        (Some(Example::KubernetesZh), &["kubernetes.namespace"]),
    ] {
        let next = written(DEFAULT, example, true, home.path()).unwrap().next;
        parts.iter().for_each(|part| assert!(next.contains(part), "{example:?}: {next}"));
        let loaded = Config::load(Some(&home.path().join(".sandbox.toml")), &|_| None).unwrap();
        assert!(loaded.config.fatal_gaps().is_empty() && next.starts_with("Next: "), "{example:?}");
    }
}

#[test]
fn a_file_that_is_there_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b/c.toml");
    let shown = path.display();
    let done = written("~/a/b/c.toml", None, false, home.path());
    assert_eq!(done.unwrap().done, format!("Wrote full config skeleton to {shown}"));
    let refused = written("~/a/b/c.toml", Some(Example::Docker), false, home.path());
    assert_eq!(refused, Err(format!("Config file already exists at {shown}. Use --force to overwrite.")));
    assert_eq!(fs::read_to_string(&path).unwrap(), SKELETON);
    let done = written("~/a/b/c.toml", Some(Example::Docker), true, home.path());
    let done = done.unwrap();
    assert_eq!(done.done, format!("Wrote example config (docker) to {shown}"));
    assert!(done.next.contains(&format!("`opensandbox-gateway --config {shown}`")), "{}", done.next);
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
