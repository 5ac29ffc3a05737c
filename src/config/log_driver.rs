//! `docker.log_driver` and `docker.log_opts`: which of the engine's log drivers keeps what sandboxes print, and how much.
//!
//! The engine checks most options only when a container starts. What is known of the two drivers that keep logs on the
//! engine itself (moby's `jsonfilelog`, `local` and `logger`; as engine 20.10.24 was seen to refuse) is checked at the
//! gateway's start instead. Options of other drivers are the engine's to check.

use std::collections::BTreeMap;

use super::section::Section;
use crate::secret::Secret;

/// The most options, and the most bytes of a name or a value.
const MAX_OPTIONS: usize = 64;
const MAX_OPTION_LENGTH: usize = 4096;

/// Options of every driver.
const COMMON: [&str; 6] =
    ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];

/// Options of `local`, and of `json-file`.
const LOCAL: [&str; 3] = ["max-size", "max-file", "compress"];
const JSON_FILE: [&str; 8] = ["max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];

/// What may stand before the `b` of a unit, each 1024 times the one before.
const UNITS: &str = "kmgtp";

/// More than any disk has, in bytes.
const MAX_SIZE: f64 = 1e18;

/// What is wrong with an option: its name and the reason.
type Fault = (String, String);

/// Reads both keys.
pub(super) fn read(section: &mut Section<'_>) -> (Option<String>, BTreeMap<String, Secret>) {
    let driver = section.optional_text("log_driver").map(|driver| driver.trim().to_owned());
    let opts = section.text_map("log_opts").into_iter();
    let opts: BTreeMap<String, Secret> = opts.map(|(name, value)| (name, Secret::new(value))).collect();
    if driver.as_deref().is_some_and(|driver| !is_driver(driver)) {
        section.fail("log_driver", "must be the name of a log driver, such as 'local' or 'json-file'");
    }
    // Without a driver it is the engine's default one, which only the engine knows.
    for (name, reason) in faults(driver.as_deref().unwrap_or_default(), &opts) {
        let key = if name.is_empty() { "log_opts".to_owned() } else { format!("log_opts.{name}") };
        section.fail(&key, reason);
    }
    (driver, opts)
}

/// A driver's name, or a plugin's as in `vendor/plugin:tag`.
fn is_driver(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    name.len() <= 255 && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && name.bytes().all(is_word)
}

/// What is wrong with a driver's options. No value is told but that of an option with a fixed form: others may be secrets.
pub fn faults(driver: &str, opts: &BTreeMap<String, Secret>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if opts.len() > MAX_OPTIONS {
        faults.push((String::new(), format!("there may be at most {MAX_OPTIONS} options")));
    }
    if driver == "none" && !opts.is_empty() {
        faults.push((String::new(), "the driver 'none' has no options".to_owned()));
        return faults;
    }
    for (name, value) in opts {
        let fault = of_any(name, value.expose()).or_else(|| of_driver(driver, name, value.expose()));
        faults.extend(fault.map(|reason| (shown(name), reason)));
    }
    if faults.is_empty() {
        faults.extend(of_pairs(driver, opts));
    }
    faults
}

/// A name as it can be printed.
fn shown(name: &str) -> String {
    name.chars().filter(|char| !char.is_control()).take(64).collect()
}

fn of_any(name: &str, value: &str) -> Option<String> {
    let is_printable = |text: &str| text.len() <= MAX_OPTION_LENGTH && !text.chars().any(char::is_control);
    if name.is_empty() || !is_printable(name) || !is_printable(value) {
        return Some(format!(
            "a name or a value is empty, longer than {MAX_OPTION_LENGTH} bytes, or has control characters"
        ));
    }
    match name {
        "mode" if !["blocking", "non-blocking"].contains(&value) => {
            Some("must be 'blocking' or 'non-blocking'".to_owned())
        }
        "max-buffer-size" | "cache-max-size" => size_fault(value),
        "cache-max-file" => count_fault(value),
        "cache-disabled" | "cache-compress" => boolean_fault(value),
        _ => None,
    }
}

fn of_driver(driver: &str, name: &str, value: &str) -> Option<String> {
    let known: &[&str] = match driver {
        "local" => &LOCAL,
        "json-file" => &JSON_FILE,
        _ => return None,
    };
    if !COMMON.contains(&name) && !known.contains(&name) {
        return Some(format!("the driver '{driver}' has no such option; it has {}", known.join(", ")));
    }
    match name {
        "max-size" => size_fault(value),
        "max-file" => count_fault(value),
        "compress" => boolean_fault(value),
        _ => None,
    }
}

/// Options that are right each by itself.
fn of_pairs(driver: &str, opts: &BTreeMap<String, Secret>) -> Option<Fault> {
    let value = |name: &str| opts.get(name).map(Secret::expose);
    if value("max-buffer-size").is_some() && value("mode") != Some("non-blocking") {
        return Some(("max-buffer-size".to_owned(), "needs mode = \"non-blocking\"".to_owned()));
    }
    let compresses = value("compress").and_then(boolean);
    let is_one = value("max-file").and_then(|value| value.parse::<u32>().ok()) == Some(1);
    match driver {
        "json-file"
            if compresses == Some(true) && (is_one || value("max-file").is_none() || value("max-size").is_none()) =>
        {
            let reason = "needs max-size, and a max-file of at least 2: only files that are full are compressed";
            Some(("compress".to_owned(), reason.to_owned()))
        }
        "local" if is_one && compresses != Some(false) => {
            let reason = "1 needs compress = \"false\": only files that are full are compressed";
            Some(("max-file".to_owned(), reason.to_owned()))
        }
        _ => None,
    }
}

/// As the engine reads it: a number, perhaps with a fraction, and a unit in any case. At least a byte.
fn size_fault(value: &str) -> Option<String> {
    let text = value.to_ascii_lowercase();
    let number = text.trim_end_matches(|char: char| char.is_ascii_lowercase() || char == ' ');
    let unit = text.strip_prefix(number).unwrap_or_default();
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (power, rest) = match unit.find(|char| UNITS.contains(char)) {
        Some(0) => (UNITS.find(&unit[..1]).map_or(0, |place| place + 1), &unit[1..]),
        _ => (0, unit),
    };
    let is_unit = matches!(rest, "" | "b") || (power > 0 && matches!(rest, "i" | "ib"));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let bytes = number
        .parse::<f64>()
        .ok()
        .filter(|_| is_number)
        .map(|number| (0..power).fold(number, |bytes, _| bytes * 1024.0));
    let is_size = is_unit && bytes.is_some_and(|bytes| (1.0..MAX_SIZE).contains(&bytes));
    (!is_size).then(|| "must be a size with its unit, such as \"10m\"".to_owned())
}

fn count_fault(value: &str) -> Option<String> {
    (!value.parse::<u32>().is_ok_and(|count| count >= 1)).then(|| "must be a whole number of at least 1".to_owned())
}

fn boolean_fault(value: &str) -> Option<String> {
    boolean(value).is_none().then(|| "must be \"true\" or \"false\"".to_owned())
}

/// As Go reads it.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(driver: &str, pairs: &[(&str, &str)]) -> Vec<String> {
        let opts = pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        faults(driver, &opts).into_iter().map(|(name, _)| name).collect()
    }

    /// Each was tried on a real engine: the first group is taken, the second refused when a container is made or starts.
    #[test]
    fn options_are_checked_as_the_engine_checks_them() {
        for (driver, pairs) in [
            ("json-file", &[("max-size", "10m"), ("max-file", "3"), ("compress", "true")][..]),
            ("json-file", &[("max-size", "10MiB"), ("labels", "a,b"), ("tag", "{{.Name}}")]),
            ("json-file", &[("max-size", "1.5m"), ("mode", "non-blocking"), ("max-buffer-size", "4m")]),
            ("json-file", &[("max-size", "10 m"), ("max-file", "+2")]),
            ("local", &[("max-size", "10mb"), ("max-file", "1"), ("compress", "false")]),
            ("local", &[("max-size", "1")]),
            ("local", &[("max-size", "0.5G")]),
            ("splunk", &[("splunk-token", "s3cret"), ("whatever", "")]),
            ("", &[("max-size", "anything: the driver is not known yet")]),
        ] {
            assert!(wrong(driver, pairs).is_empty(), "{driver} {pairs:?}");
        }
        for (driver, pairs, key) in [
            ("json-file", &[("max-size", "0")][..], "max-size"),
            ("json-file", &[("max-size", "-1")], "max-size"),
            ("json-file", &[("max-size", "")], "max-size"),
            ("json-file", &[("max-size", "10e")], "max-size"),
            ("json-file", &[("max-size", "0.1")], "max-size"),
            ("json-file", &[("max-size", "10mm")], "max-size"),
            ("json-file", &[("max-size", "10ib")], "max-size"),
            ("json-file", &[("max-size", "m")], "max-size"),
            ("json-file", &[("max-size", "1.2.3m")], "max-size"),
            ("json-file", &[("max-size", "9999999999999p")], "max-size"),
            ("json-file", &[("max-size", "é")], "max-size"),
            ("json-file", &[("max-file", "0")], "max-file"),
            ("json-file", &[("max-file", "x")], "max-file"),
            ("json-file", &[("compress", "true")], "compress"),
            ("json-file", &[("compress", "true"), ("max-size", "1m"), ("max-file", "1")], "compress"),
            ("json-file", &[("foo", "bar")], "foo"),
            ("json-file", &[("max-buffer-size", "1m")], "max-buffer-size"),
            ("json-file", &[("mode", "sometimes")], "mode"),
            ("local", &[("labels", "x")], "labels"),
            ("local", &[("max-file", "1")], "max-file"),
            ("local", &[("compress", "maybe")], "compress"),
            ("syslog", &[("cache-disabled", "maybe")], "cache-disabled"),
            ("none", &[("max-size", "1m")], ""),
            ("gelf", &[("a\nb", "x")], "ab"),
        ] {
            assert_eq!(wrong(driver, pairs), [key], "{driver} {pairs:?}");
        }
    }

    #[test]
    fn drivers_have_names() {
        for name in ["local", "json-file", "vendor/plugin:1.0", "grafana/loki-docker-driver:latest"] {
            assert!(is_driver(name), "{name}");
        }
        for name in ["", "-x", "a b", "a\n", "é", &"x".repeat(256)] {
            assert!(!is_driver(name), "{name}");
        }
    }
}
