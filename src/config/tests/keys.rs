//! `server.api_key`, `server.api_keys`, `server.api_key_file`.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;
use crate::{config::env, keys::MAX_KEYS};

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
    config.server.keys.names().map(ToString::to_string).collect()
}

fn name_of(config: &Config, key: &str) -> Option<String> {
    config.server.keys.find(key.as_bytes()).map(ToString::to_string)
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
