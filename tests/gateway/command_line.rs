//! The existing server's command line (config.md §5).

use std::{fs, os::unix::fs::symlink, process::Command};

use crate::support::program::Home;

#[test]
fn a_configuration_is_written_once() {
    let home = Home::with("");
    let path = home.path().join(".sandbox.toml");
    let shown = path.display();
    let ended = home.run_args(&["init-config", "--example", "docker"]);
    assert_eq!((ended.code, ended.stdout), (Some(0), format!("Wrote example config (docker) to {shown}\n\n")));
    let example = fs::read_to_string(&path).unwrap();
    let ended = home.run_args(&["init-config"]);
    let refusal = format!(
        "Failed to write config template: Config file already exists at {shown}. Use --force to overwrite.\n\n"
    );
    assert_eq!((ended.code, ended.stdout, ended.stderr.as_str()), (Some(1), refusal, ""));
    assert_eq!(fs::read_to_string(&path).unwrap(), example);
    let ended = home.run_args(&["--config", "passed-over", "init-config", "--force", "~/.sandbox.toml"]);
    assert_eq!((ended.code, ended.stdout), (Some(0), format!("Wrote full config skeleton to {shown}\n\n")));
    assert_ne!(fs::read_to_string(&path).unwrap(), example);
}

#[test]
fn an_unknown_example_is_a_usage_error() {
    let ended = Home::with("").run_args(&["init-config", "--example", "x"]);
    assert_eq!(ended.code, Some(2));
    for example in ["docker", "docker-zh", "k8s", "k8s-zh"] {
        assert!(ended.stderr.contains(example), "{}", ended.stderr);
    }
}

#[test]
fn called_by_the_existing_servers_name_it_shows_that_name() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().join("opensandbox-server");
    symlink(env!("CARGO_BIN_EXE_opensandbox-gateway"), &name).unwrap();
    let output = Command::new(&name).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Usage: opensandbox-server "), "{help}");
    let output = Command::new(&name).arg("--nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("Usage: opensandbox-server"));
}

#[test]
fn what_the_skeleton_says_can_be_started_with() {
    let home = Home::with("");
    assert_eq!(home.run_args(&["init-config"]).code, Some(0));
    // Without a key and without a person to ask, a start goes no further than the guard; the file was read before.
    let ended = home.run_args(&["--reload"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("API key startup confirmation failed"), "{}", ended.stderr);
}

#[test]
fn a_version_says_which_is_which() {
    let home = Home::with("");
    let short = home.run_args(&["-V"]).stdout;
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(short, format!("opensandbox-gateway {own} (API of opensandbox-server 1.1.1)\n"));
    let long = home.run_args(&["--version"]).stdout;
    assert!(long.starts_with(&short) && long.contains("\nrevision ") && long.contains("\nrustc "), "{long}");
}
