//! The configuration as a whole; single steps are tested beside them.

mod defaults;
mod environment;
mod faults;
mod files;
mod keys;
mod rules;
mod warnings;

use std::path::Path;

use super::{Config, ConfigError, source};

const DOCKER: &str = "[runtime]\ntype = 'docker'\nexecd_image = 'execd'\n";
const KUBERNETES: &str = "[runtime]\ntype = 'kubernetes'\nexecd_image = 'execd'\n";

type Outcome = Result<(Config, Vec<String>), ConfigError>;

/// Reads `text` as the file `t.toml`, with these variables set.
fn read_with(text: &str, variables: &[(&str, &str)]) -> Outcome {
    let file = Path::new("t.toml");
    let env = |name: &str| {
        let all = [("HOME", "/home/me")];
        let mut set = variables.iter().chain(&all);
        set.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Config::from_table(source::parse(file, text)?, file, &env)
}

fn read(text: &str) -> Outcome {
    read_with(text, &[])
}

/// A configuration of the Docker runtime with `text` besides.
fn docker(text: &str) -> Config {
    let (config, warnings) = read(&format!("{text}\n{DOCKER}")).expect(text);
    assert_eq!(warnings, [""; 0], "{text}");
    config
}

/// The faults of `text`, without the name of the file.
fn faults(text: &str) -> Vec<String> {
    let error = read(text).expect_err(text);
    let lines = error.lines().iter();
    lines.map(|line| line.strip_prefix("t.toml: ").unwrap_or(line).to_owned()).collect()
}

/// The warnings of `text`, without the name of the file.
fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = read(text).expect(text);
    let lines = warnings.iter();
    lines.map(|line| line.strip_prefix("t.toml: ").expect("names the file").to_owned()).collect()
}
