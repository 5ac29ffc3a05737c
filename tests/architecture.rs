//! The order of the modules: what a file imports stands below it. The list here is that of `docs/design/architecture.md`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The crate's modules, from the top. Each may import those after it and none before it, so there is no cycle.
const ORDER: &[&str] = &[
    "main",
    "start",
    "cli",
    "dev",
    "init_config",
    "guard",
    "admin",
    "reload",
    "notify",
    "server",
    "signal",
    "service",
    "api",
    "response",
    "body",
    "problem",
    "snapshots",
    "renew",
    "runtime",
    "execd",
    "logs",
    "proxy",
    "access",
    "own_listeners",
    "netlink",
    "store",
    "state_file",
    "children",
    "metrics",
    "client",
    "open",
    "telemetry",
    "config",
    "keys",
    "peer",
    "model",
    "error",
    "framing",
    "router",
    "deadline",
    "regular_file",
    "drain",
    "end_reason",
    "error_chain",
    "secret",
];

/// All source files that are no tests, with the module that each belongs to.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests" && !name.ends_with("_tests") {
            found.push(path);
        }
    }
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The modules of the crate that a text names, by `crate::a` or `crate::{a, b::{c, d}}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut is_next = true;
        for (at, char) in list.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_next = true,
                _ if is_next && !char.is_whitespace() => {
                    found.push(word(&list[at..]));
                    is_next = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

#[test]
fn what_a_file_imports_stands_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let place = |module: &str| ORDER.iter().position(|other| *other == module);
    let mut faults = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let Some(own) = place(&module) else {
            faults.push(format!("src/{}: `{module}` has no place in the order", inside.display()));
            continue;
        };
        for other in imports(&code(&fs::read_to_string(&file).unwrap())) {
            // What has no place is no module: a macro, or an item of the crate's root.
            if place(&other).is_some_and(|other| other < own) {
                faults.push(format!("src/{} imports `{other}`, which stands above `{module}`", inside.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let text = "use crate::{\n    a::B,\n    c::{D, e},\n    f,\n};\nuse crate::g::H; // crate::i\nlet x = crate::j::K;\n#[cfg(test)]\nmod tests {\n    use crate::l;";
    assert_eq!(imports(&code(text)), ["a", "c", "f", "g", "j"]);
}
