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

#[test]
fn a_shell_takes_the_completions() {
    let home = Home::with("");
    for (shell, check) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        let ended = home.run_args(&["completions", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains("migrate-snapshots") && ended.stdout.contains("exit-code"), "{}", ended.stdout);
        let path = home.path().join(shell);
        fs::write(&path, ended.stdout).unwrap();
        match Command::new(shell).args(check).arg(&path).output() {
            Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
            Err(error) if shell != "bash" => println!("note: {shell} is not there: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
    // What a person gets who presses the tabulator.
    let typed = "f=$(complete -p opensandbox-gateway); f=${f#*-F }; COMP_WORDS=(opensandbox-gateway logs --exi) COMP_CWORD=2; \
                 ${f%% *} opensandbox-gateway --exi logs; echo \"${COMPREPLY[@]}\"";
    let script = format!(". {}; {typed}", home.path().join("bash").display());
    let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--exit-code\n", "{output:?}");
    assert_eq!(home.run_args(&["completions", "tcsh"]).code, Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let home = Home::with("");
    let dir = home.path().to_str().unwrap();
    assert_eq!(home.run_args(&["man", "--dir", dir]).code, Some(0));
    let program = fs::read_to_string(home.path().join("opensandbox-gateway.1")).unwrap();
    for command in ["serve", "dev", "migrate-snapshots", "init-config", "logs", "ps", "completions", "man"] {
        let file = home.path().join(format!("opensandbox-gateway-{command}.1"));
        let page = fs::read_to_string(&file).unwrap();
        assert_eq!(home.run_args(&["man", command]).stdout, page);
        assert!(program.contains(&format!("opensandbox\\-gateway\\-{}(1)", command.replace('-', "\\-"))), "{program}");
        match Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&file).output() {
            Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
            Err(error) => println!("note: groff is not there: {error}"),
        }
    }
    assert_eq!(home.run_args(&["man"]).stdout, program);
    let ended = home.run_args(&["man", "nonsense"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("there is no such command; there are serve, dev, "), "{}", ended.stderr);
    let ended = home.run_args(&["man", "--dir", "/no-such-folder"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("opensandbox-gateway: /no-such-folder: "), "{}", ended.stderr);
}
