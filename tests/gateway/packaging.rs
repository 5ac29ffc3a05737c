//! What a package installs of the command line, given to the programs that read it: shells complete, and groff sets pages.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::program::{self, Home};

/// Longer than a shell takes to complete a line.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn shells_complete_commands_options_and_values() {
    let home = Home::with("");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packages/complete");
    for shell in ["bash", "zsh", "fish"] {
        let ended = home.run_args(&["completions", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let path = home.path().join(shell);
        fs::write(&path, ended.stdout).unwrap();
        for (typed, expected) in [
            ("lo", &["logs"][..]),
            ("logs --f", &["--follow"]),
            ("logs --exi", &["--exit-code"]),
            ("ps -o ", &["table", "json", "ndjson"]),
            ("init-config --example dock", &["docker", "docker-zh"]),
            ("migrate-snapshots --d", &["--dry-run"]),
        ] {
            let mut command = Command::new(script);
            command.arg(shell).arg(&path).arg(format!("opensandbox-gateway {typed}"));
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let ended = program::end(command.spawn().unwrap(), PATIENCE);
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}: {typed}");
            let offered: Vec<_> = ended.stdout.lines().collect();
            assert_eq!(offered.len(), expected.len(), "{shell}: {typed}: {offered:?}");
            assert!(expected.iter().all(|word| offered.contains(word)), "{shell}: {typed}: {offered:?}");
        }
    }
    assert_eq!(home.run_args(&["completions", "tcsh"]).code, Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let home = Home::with("");
    let dir = home.path().to_str().unwrap();
    assert_eq!(home.run_args(&["man", "--dir", dir]).code, Some(0));
    let program = fs::read_to_string(home.path().join("opensandbox-gateway.1")).unwrap();
    let mut pages = vec!["opensandbox-gateway".to_owned()];
    for command in ["serve", "dev", "migrate-snapshots", "init-config", "logs", "ps", "completions", "man"] {
        let name = format!("opensandbox-gateway-{command}");
        let page = fs::read_to_string(home.path().join(format!("{name}.1"))).unwrap();
        assert_eq!(home.run_args(&["man", command]).stdout, page);
        assert!(program.contains(&format!("opensandbox\\-gateway\\-{}(1)", command.replace('-', "\\-"))), "{program}");
        pages.push(name);
    }
    for page in pages {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Tutf8", "-P-cbu", "-ww"]).arg(home.path().join(format!("{page}.1")));
        let output = groff.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{page}: {output:?}");
        let set = String::from_utf8(output.stdout).unwrap();
        assert!(set.contains(&page) && set.contains("SYNOPSIS") && set.contains("Print help"), "{set}");
    }
    assert_eq!(home.run_args(&["man"]).stdout, program);
    let ended = home.run_args(&["man", "nonsense"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("there is no such command; there are serve, dev, "), "{}", ended.stderr);
    let ended = home.run_args(&["man", "--dir", "/no-such-folder"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("opensandbox-gateway: /no-such-folder: "), "{}", ended.stderr);
}
