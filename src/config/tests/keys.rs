//! `server.api_key`, `server.api_keys`, `server.api_key_file`, `[[server.keys]]`.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;
use crate::{
    config::env,
    keys::{MAX_KEYS, Role},
};

/// A key file with this text, private to its user.
struct KeyFile(tempfile::TempDir);

impl KeyFile {
    fn with(bytes: impl AsRef<[u8]>) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        fs::write(file.path(), bytes).unwrap();
        file.mode(0o600);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn config(&self) -> String {
        format!("[server]\napi_key_file = '{}'\n{DOCKER}", self.path().display())
    }
}

fn names(config: &Config) -> Vec<String> {
    config.server.keys.principals().map(ToString::to_string).collect()
}

fn name_of(config: &Config, key: &str) -> Option<String> {
    config.server.keys.find(key.as_bytes()).map(|principal| principal.name.to_string())
}

/// A table of `[[server.keys]]` with these lines.
fn named(lines: &str) -> String {
    format!("[[server.keys]]\n{lines}\n")
}

#[test]
fn all_keys_are_valid_and_have_names() {
    let file = KeyFile::with("# comment\n\n  of-file-1  \r\nci-runner\tof-file-2\nof-file-3");
    let config = docker(&format!(
        "[server]\napi_key = 'single'\napi_keys = ['first', 'second']\napi_key_file = '{}'\n",
        file.path().display()
    ));
    for (key, name) in [
        ("single", "api_key"),
        ("first", "api_keys[0]"),
        ("second", "api_keys[1]"),
        ("of-file-1", "api_key_file:3"),
        ("of-file-2", "ci-runner"),
        ("of-file-3", "api_key_file:5"),
    ] {
        assert_eq!(name_of(&config, key).as_deref(), Some(name), "{key}");
    }
    for none in ["", "# comment", "comment", "ci-runner", "ci-runner\tof-file-2", "  of-file-1  "] {
        assert_eq!(name_of(&config, none), None, "{none}");
    }
    assert_eq!(names(&config).len(), 6);
}

#[test]
fn a_line_end_is_no_part_of_a_key_wherever_it_comes_from() {
    let (config, _) = read_with(DOCKER, &[(env::API_KEY, "of-env\r\n")]).unwrap();
    assert_eq!(name_of(&config, "of-env").as_deref(), Some("api_key"));
    let config = docker("[server]\napi_key = \"\"\"\nof-toml\n\"\"\"\napi_keys = [\"listed\\n\"]");
    assert!(name_of(&config, "of-toml").is_some() && name_of(&config, "listed").is_some());
    for text in ["k\n", "k\r\n", "k", "\u{feff}k\n\n\n"] {
        let (config, _) = read(&KeyFile::with(text).config()).unwrap();
        assert!(name_of(&config, "k").is_some(), "{text:?}");
    }
    // Blank is not set, as on the Python server.
    let (config, _) = read_with(DOCKER, &[(env::API_KEY, "\n")]).unwrap();
    assert!(config.server.keys.is_empty());
}

#[test]
fn the_environment_replaces_only_the_single_key() {
    let file = format!("[server]\napi_key = 'single'\napi_keys = ['listed']\n{DOCKER}");
    let (config, _) = read_with(&file, &[(env::API_KEY, "of-env")]).unwrap();
    assert_eq!(
        (name_of(&config, "single"), names(&config)),
        (None, vec!["api_key".to_owned(), "api_keys[0]".to_owned()])
    );
    let (config, _) = read_with(&file, &[(env::API_KEY, "")]).unwrap();
    assert_eq!(names(&config), ["api_keys[0]"]);
}

#[test]
fn keys_that_cannot_be_are_faults_and_never_quoted() {
    let many = format!("[{}]", "'hunter2',".repeat(MAX_KEYS + 1));
    for (value, expected) in [
        ("'hunter2'", "server.api_keys: must be a list of strings"),
        ("['hunter2', 3]", "server.api_keys: must be a list of strings"),
        ("['hunter2', '']", "server.api_keys[1]: must not be empty"),
        ("[\"hunter2\", \"\\n\"]", "server.api_keys[1]: must not be empty"),
        ("[' hunter2']", "server.api_keys[0]: begins or ends with a blank"),
        ("[\"hun\\nter2\"]", "server.api_keys[0]: begins or ends with a blank"),
        (many.as_str(), "server.api_keys[64]: there are more than 64 keys"),
    ] {
        let found = faults(&format!("[server]\napi_keys = {value}\n{DOCKER}"));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
        assert!(!found[0].contains("unter2"), "{found:?}");
    }
    // The Python server takes it, so the file must not become wrong.
    let told = warnings(&format!("[server]\napi_key = ' hunter2'\n{DOCKER}"));
    assert!(told.len() == 1 && told[0].starts_with("server.api_key: begins or ends with a blank"), "{told:?}");
}

#[test]
fn a_key_file_that_cannot_be_read_is_a_fault_that_names_it() {
    for (text, expected) in [
        (&b""[..], "has no key in it"),
        (b"# nothing\n\n", "has no key in it"),
        (b"a hunter2 c\n", "line 1: must be a key, or its name, a blank and the key"),
        (b"x\nb/d hunter2\n", "line 2: the name before the key"),
        (b"hun\x1bter2\n", "line 1: begins or ends"),
        (b"hunter2\xff\n", "it is not UTF-8"),
        (&[b'x'; 1_100_000], "it is larger than 1048576 bytes"),
        (&[b'x'; 5_000], "line 1: must have at most 4096 bytes"),
    ] {
        let file = KeyFile::with(text);
        let found = faults(&file.config());
        let start = format!("server.api_key_file: {}: {expected}", file.path().display());
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
        assert!(!found[0].contains("ter2"), "{found:?}");
    }
    let many = KeyFile::with("x\n".repeat(MAX_KEYS + 1));
    assert!(faults(&many.config())[0].contains("line 65: there are more than 64 keys"));
    let none = KeyFile::with("x");
    fs::remove_file(none.path()).unwrap();
    assert!(faults(&none.config())[0].contains("No such file"), "{:?}", faults(&none.config()));
    fs::create_dir(none.path()).unwrap();
    assert!(faults(&none.config())[0].contains("it is not a regular file"));
    fs::remove_dir(none.path()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, none.path(), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(faults(&none.config())[0].contains("it is not a regular file"), "a pipe holds nothing up");
}

#[test]
fn a_key_file_that_others_may_read_is_told() {
    let file = KeyFile::with("k");
    for (mode, is_told) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        file.mode(mode);
        let told = warnings(&file.config());
        assert_eq!(told.len(), usize::from(is_told), "{mode:o} {told:?}");
        assert!(told.iter().all(|line| line.contains("chmod 600")), "{told:?}");
    }
}

#[test]
fn a_named_key_has_its_role_and_its_secret_from_the_configuration_or_a_file() {
    let file = KeyFile::with("# of the dashboard\n\n  of-file  \r\n");
    let viewer = named("name = 'viewer'\nrole = 'reader'\nkey = \"of-toml\\n\"");
    let board = named(&format!("name = 'board.1'\nrole = 'reader'\nkey_file = '{}'", file.path().display()));
    let ci = named("name = 'ci_2-x'\nrole = 'admin'\nkey = 'of-ci'");
    let config = docker(&format!("[server]\napi_key = 'single'\n{viewer}{board}{ci}"));
    assert_eq!(names(&config), ["api_key", "viewer (reader)", "board.1 (reader)", "ci_2-x"]);
    for (key, role) in
        [("single", Role::Admin), ("of-toml", Role::Reader), ("of-file", Role::Reader), ("of-ci", Role::Admin)]
    {
        assert_eq!(config.server.keys.find(key.as_bytes()).map(|principal| principal.role), Some(role), "{key}");
    }
    // The environment's key is as before the one that may do everything.
    let (config, told) = read_with(&format!("{viewer}{DOCKER}"), &[(env::API_KEY, "of-env")]).unwrap();
    assert_eq!((names(&config), told.len()), (vec!["api_key".to_owned(), "viewer (reader)".to_owned()], 0));
}

#[test]
fn a_named_key_that_cannot_be_is_a_fault_and_never_quoted() {
    let start = "name = 'viewer'\nrole = 'reader'\n";
    for (lines, expected) in [
        ("role = 'reader'\nkey = 'hunter2'", "name: Field required"),
        ("name = ''\nrole = 'reader'\nkey = 'hunter2'", "name: must not be empty"),
        ("name = 'a b'\nrole = 'reader'\nkey = 'hunter2'", "name: must be 1 to 64 letters"),
        ("name = 'ä'\nrole = 'reader'\nkey = 'hunter2'", "name: must be 1 to 64 letters"),
        ("name = 'api_keys[0]'\nrole = 'reader'\nkey = 'hunter2'", "name: must be 1 to 64 letters"),
        ("name = 'api_key'\nrole = 'reader'\nkey = 'hunter2'", "name: must not begin with 'api_key'"),
        ("name = 'viewer'\nkey = 'hunter2'", "role: Field required"),
        ("name = 'viewer'\nrole = 'Reader'\nkey = 'hunter2'", "role: must be one of 'reader', 'admin'"),
        ("name = 'viewer'\nrole = 1\nkey = 'hunter2'", "role: must be a string"),
        (start, "key: the secret is missing: set key, or key_file"),
        (&format!("{start}key = ''"), "key: must not be empty"),
        (&format!("{start}key = \" \\n\""), "key: begins or ends with a blank"),
        (&format!("{start}key = 2"), "key: must be a string"),
        (&format!("{start}key = ' hunter2'"), "key: begins or ends with a blank"),
        (&format!("{start}key = '{}'", "x".repeat(5_000)), "key: must have at most 4096 bytes"),
        (&format!("{start}key = 'hunter2'\nkey_file = '/x'"), "key_file: there is a key already"),
        (&format!("{start}key_file = ''"), "key_file: must not be empty"),
        (&format!("{start}key_file = 7"), "key_file: must be a string"),
        (&format!("{start}key_file = '/nowhere/at/all'"), "key_file: /nowhere/at/all: No such file"),
    ] {
        let found = faults(&format!("{}{DOCKER}", named(lines)));
        assert!(found.len() == 1 && found[0].starts_with(&format!("server.keys[0].{expected}")), "{lines}: {found:?}");
        assert!(!found[0].contains("unter2"), "{found:?}");
    }
    for value in ["'hunter2'", "{ name = 'hunter2' }"] {
        let found = faults(&format!("[server]\nkeys = {value}\n{DOCKER}"));
        assert_eq!(found, ["server.keys: must be a list of tables"]);
    }
    let many: String =
        (0..=MAX_KEYS).map(|n| named(&format!("name = 'n{n}'\nrole = 'reader'\nkey = 'hunter2-{n}'"))).collect();
    assert_eq!(faults(&format!("{many}{DOCKER}")), ["server.keys[64].key: there are more than 64 keys"]);
}

#[test]
fn the_file_of_a_named_key_has_that_key_alone() {
    for (text, expected) in [
        ("", "has no key in it"),
        ("# hunter2\n", "has no key in it"),
        ("viewer hunter2\n", "line 1: must be the key alone"),
        ("\nhunter2\nhunter3\n", "line 3: the file must have one key"),
        ("hun\u{1b}ter2", "begins or ends with a blank or holds a control character"),
    ] {
        let file = KeyFile::with(text);
        let path = file.path();
        let table = named(&format!("name = 'viewer'\nrole = 'reader'\nkey_file = '{}'", path.display()));
        let found = faults(&format!("{table}{DOCKER}"));
        assert!(found.len() == 1 && found[0].starts_with("server.keys[0].key_file: "), "{found:?}");
        assert!(found[0].contains(expected) && !found[0].contains("ter2"), "{found:?}");
    }
    let file = KeyFile::with("k");
    file.mode(0o644);
    let table = named(&format!("name = 'ci'\nrole = 'admin'\nkey_file = '{}'", file.path().display()));
    let told = warnings(&format!("{table}{DOCKER}"));
    assert!(told.len() == 1 && told[0].starts_with("server.keys[0].key_file: ") && told[0].contains("chmod 600"));
}

#[test]
fn two_keys_never_share_a_name_or_a_secret_when_one_has_a_role() {
    let file = KeyFile::with("board of-file\n");
    let others =
        format!("[server]\napi_key = 'single'\napi_keys = ['listed']\napi_key_file = '{}'\n", file.path().display());
    for (secret, other) in
        [("single", "api_key"), ("listed", "api_keys[0]"), ("of-file", "board"), ("of-first", "first")]
    {
        let first = named("name = 'first'\nrole = 'admin'\nkey = 'of-first'");
        let second = named(&format!("name = 'viewer'\nrole = 'reader'\nkey = '{secret}'"));
        let found = faults(&format!("{others}{first}{second}{DOCKER}"));
        let expected = format!("the keys 'viewer' and '{other}' have the same secret; each needs one of its own");
        assert_eq!(found, [format!("server.keys[1].key: {expected}")]);
    }
    for name in ["board", "first"] {
        let first = named("name = 'first'\nrole = 'admin'\nkey = 'of-first'");
        let second = named(&format!("name = '{name}'\nrole = 'reader'\nkey = 'another'"));
        let found = faults(&format!("{others}{first}{second}{DOCKER}"));
        assert_eq!(found, [format!("server.keys[1].name: another key is called '{name}'")]);
    }
    // Those that may do everything were never kept from it.
    docker("[server]\napi_key = 'k'\napi_keys = ['k']");
}

#[test]
fn a_server_that_nobody_may_change_is_told() {
    let viewer = named("name = 'viewer'\nrole = 'reader'\nkey = 'k'");
    let told = warnings(&format!("{viewer}{DOCKER}"));
    assert_eq!(told, ["server.keys: no key has the role 'admin', so nobody can create, change or remove sandboxes"]);
    docker(&format!("{viewer}{}", named("name = 'ci'\nrole = 'admin'\nkey = 'l'")));
}
