use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::config::{Loaded, env};

fn home_with(files: &[(&str, &str)]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, port) in files {
        let text = format!("{DOCKER}[server]\nport = {port}\n");
        fs::write(home.path().join(name), text).unwrap();
    }
    home
}

fn load(home: &TempDir, path: Option<&str>, variable: Option<&str>) -> Result<Loaded, ConfigError> {
    let lookup = |name: &str| match name {
        "HOME" => home.path().to_str().map(str::to_owned),
        env::CONFIG_PATH => variable.map(str::to_owned),
        _ => None,
    };
    Config::load(path.map(Path::new), &lookup)
}

#[test]
fn the_command_line_comes_before_the_environment_and_that_before_home() {
    let home = home_with(&[(".sandbox.toml", "1001"), ("env.toml", "1002"), ("cli.toml", "1003")]);
    for (path, variable, port) in [
        (None, None, 1001),
        (None, Some(""), 1001),
        (None, Some("~/env.toml"), 1002),
        (Some("~/cli.toml"), Some("~/env.toml"), 1003),
    ] {
        let loaded = load(&home, path, variable).unwrap();
        assert_eq!(loaded.config.server.port, port, "{path:?} {variable:?}");
        assert!(loaded.source.starts_with(home.path()));
    }
}

#[test]
fn a_missing_file_is_one_line_that_names_it() {
    let home = home_with(&[]);
    let file = home.path().join(".sandbox.toml");
    let error = load(&home, None, None).unwrap_err();
    let text = error.to_string();
    let begin = format!("The configuration file {} does not exist. ", file.display());
    assert!(text.starts_with(&begin) && !text.contains('\n'), "{text}");
    assert!(!text.contains("no key"), "`dev` asks for one: {text}");
    for way_out in ["`init-config`", "--config", "SANDBOX_CONFIG_PATH", "`dev`"] {
        assert!(text.contains(way_out), "{text}");
    }
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn what_cannot_be_read_is_one_line() {
    let home = home_with(&[]);
    let error = load(&home, Some("~"), None).unwrap_err().to_string();
    assert!(error.contains(": cannot be read: "), "{error}");
    assert!(!error.contains('\n'), "{error}");
    fs::write(home.path().join(".sandbox.toml"), b"a = 1\nb = '\xff'\n").unwrap();
    let error = load(&home, None, None).unwrap_err().to_string();
    assert!(error.ends_with(".sandbox.toml: line 2, column 6: the text is not UTF-8"), "{error}");
}

#[test]
fn what_is_endless_or_hangs_is_not_read() {
    let home = home_with(&[]);
    let (long, pipe) = (home.path().join("long"), home.path().join("pipe"));
    fs::File::create(&long).unwrap().set_len(1 << 40).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    for (file, reason) in [
        (Path::new("/dev/zero"), "it is not a regular file"),
        (&pipe, "it is not a regular file"),
        (&long, "it is larger than 4194304 bytes"),
    ] {
        let error = load(&home, file.to_str(), None).unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be read: {reason}", file.display()));
    }
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    let home = home_with(&[]);
    fs::write(home.path().join(".sandbox.toml"), format!("\u{feff}{DOCKER}")).unwrap();
    assert_eq!(load(&home, None, None).unwrap().source, PathBuf::from(home.path()).join(".sandbox.toml"));
}

#[test]
fn a_path_that_is_no_tilde_stays() {
    for (text, expected) in [("~", "/h"), ("~/a", "/h/a"), ("a/~", "a/~"), ("~me/a", "~me/a"), ("/a", "/a")] {
        assert_eq!(env::expand_home(text, Some(Path::new("/h"))), Some(expected.into()), "{text}");
    }
    assert_eq!(env::expand_home("~/a", None), None);
    assert_eq!(env::expand_home("/a", None), Some("/a".into()));
}
