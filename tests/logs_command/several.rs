//! Several sandboxes at once, by ids, names and metadata; against the gateway itself, with sandboxes that are processes.

use std::collections::HashMap;

use serde_json::Value;

use crate::{NOTE, real::Fixture, run::Running};

/// A script that prints numbered lines.
fn counting(count: usize) -> String {
    format!("i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo $i; done")
}

#[test]
fn several_logs_are_whole_and_their_lines_are_not_mixed() {
    let fixture = Fixture::start();
    let ids = [1, 2, 3].map(|_| fixture.shell(&(counting(2_000) + "; printf end")));
    let ended = fixture.logs(&["-f", &ids[0], &ids[1], &ids[2], &ids[0]]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for line in ended.stdout.lines() {
        let (label, text) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
        found.entry(label.to_owned()).or_default().push(text.to_owned());
    }
    let expected: Vec<_> = (1..=2_000).map(|number| number.to_string()).chain(["end".to_owned()]).collect();
    assert_eq!(found.len(), 3);
    for id in &ids {
        assert!(found[&id[..8]] == expected, "{id}");
    }
    assert!(ended.stdout.ends_with('\n'));
    // One that is not there keeps nobody else, and is what the command ends with.
    let ended = fixture.logs(&["-f", "--prefix", "never", "-n", "1", &ids[0], "no-such-sandbox"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "end\n"));
    assert!(ended.stderr.starts_with(&format!("{NOTE}no-such-sandbox: 404 ")), "{}", ended.stderr);
    assert!(ended.stderr.contains("nor has a sandbox the metadata name=no-such-sandbox"), "{}", ended.stderr);
}

#[test]
fn records_name_their_sandbox() {
    let fixture = Fixture::start();
    let ids = [1, 2].map(|_| fixture.shell("echo a; exit 3"));
    let ended = fixture.logs(&["-f", "-o", "ndjson", "--exit-code", &ids[0], &ids[1]]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(3), ""));
    for id in &ids {
        let records = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of: Vec<_> = records.filter(|record| record["sandbox"] == id.as_str()).collect();
        assert_eq!((of.len(), &of[0]["log"], &of[1]["reason"]), (2, &"a\n".into(), &"exited".into()), "{of:?}");
    }
}

#[test]
fn a_sandbox_is_found_by_its_name() {
    let fixture = Fixture::start();
    let web = fixture.named_shell("echo a; echo b >&2", &[("name", "web")]);
    let ended = fixture.logs(&["-f", "web"]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "a\n", "b\n"));
    let ended = fixture.logs(&["-f", "--color", "always", "--prefix", "always", "web"]);
    assert_eq!(ended.stdout, "\u{1b}[36m[web]\u{1b}[0m a\n");
    assert_eq!(ended.stderr, "\u{1b}[36m[web]\u{1b}[0m b\n");
    let other = fixture.named_shell("echo c", &[("name", "web")]);
    let ended = fixture.logs(&["-f", "web"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("2 sandboxes have the metadata name=web: "), "{}", ended.stderr);
    assert!(ended.stderr.contains(&web) && ended.stderr.contains(&other), "{}", ended.stderr);
}

#[test]
fn a_selection_is_joined_by_who_begins_to_match() {
    let fixture = Fixture::start();
    let ended = fixture.logs(&["-l", "team=a"]);
    assert_eq!((ended.code, ended.stderr), (Some(1), format!("{NOTE}no sandbox has team=a\n")));
    fixture.named_shell("echo one; sleep 1000", &[("name", "first"), ("team", "a")]);
    fixture.named_shell("echo other; sleep 1000", &[("name", "other"), ("team", "b")]);
    let mut running = Running::start(&["-f", "-l", "team=a"], &fixture.env());
    assert_eq!(running.line(), "[first] one\n");
    fixture.named_shell("echo two; exit 4", &[("name", "second"), ("team", "a")]);
    assert_eq!(running.line(), "[second] two\n");
    running.says("second: the sandbox exited with code 4\n");
    running.signal("INT");
    assert_eq!(running.end().0, Some(130));
}
