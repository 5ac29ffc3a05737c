//! The order of the modules: what a file imports stands below it. The list here is that of `docs/design/architecture.md`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The crate's modules, from the top. Each may import those after it and none before it, so there is no cycle.
const ORDER: &[&str] = &[
    "main",
    "program",
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
    "tenants",
    "config",
    "keys",
    "peer",
    "model",
    "error",
    "http1",
    "router",
    "host",
    "https",
    "accept",
    "backoff",
    "deadline",
    "regular_file",
    "drain",
    "keyed_lock",
    "trace_context",
    "end_reason",
    "error_chain",
    "secret",
];

/// The same for the groups of a folder, whose own file stands above them all.
struct Groups {
    /// The folder's module.
    module: &'static [&'static str],
    order: &'static [&'static str],
    /// What the groups use of the folder's own file.
    shared: &'static [&'static str],
}

const GROUPS: [Groups; 3] = [
    Groups {
        module: &["runtime", "docker"],
        order: &[
            "startup",
            "events",
            "endpoints",
            "create",
            "lifecycle",
            "snapshot",
            "diagnostics",
            "sidecar",
            "volumes",
            "logs",
            "state",
            "ports",
            "options",
            "engine",
        ],
        shared: &["Inner", "DockerOptions"],
    },
    Groups {
        module: &["runtime", "kubernetes"],
        order: &[
            "tenancy",
            "create",
            "pausing",
            "pools",
            "snapshots",
            "lifecycle",
            "endpoints",
            "diagnostics",
            "logs",
            "pods",
            "cleanups",
            "namespaces",
            "workload",
            "cache",
            "pod_templates",
            "objects",
            "client",
            "options",
        ],
        shared: &["CreationOptions", "Inner", "Kubernetes", "KubernetesOptions", "Scope"],
    },
    Groups {
        module: &["runtime", "process"],
        order: &[
            "change",
            "describe",
            "log_backend",
            "sandbox",
            "pump",
            "reader",
            "cutter",
            "record",
            "log",
            "request",
            "state_dir",
        ],
        shared: &[],
    },
];

/// A path of modules below the crate's root, without `crate`.
type Module = Vec<String>;

/// The source files that are no tests, by their modules, each with what it imports.
struct Sources(BTreeMap<Module, Vec<Module>>);

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        find(&root, &mut files);
        let read = |file: PathBuf| {
            let module: Module = file
                .strip_prefix(&root)
                .unwrap()
                .with_extension("")
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            let imports = imports(&code(&fs::read_to_string(&file).unwrap()), &module);
            (module, imports)
        };
        Self(files.into_iter().map(read).filter(|(module, _)| module != &["lib"]).collect())
    }

    /// The file that an import leads to: that of the longest part of it that is a file.
    fn file_of<'a>(&self, import: &'a [String]) -> Option<&'a [String]> {
        (1..=import.len()).rev().map(|length| &import[..length]).find(|module| self.0.contains_key(*module))
    }

    /// Each import of one file by another, as their modules, with what is imported.
    fn imports(&self) -> impl Iterator<Item = (&[String], &[String], &[String])> {
        let all = self.0.iter().flat_map(|(module, imports)| imports.iter().map(move |import| (module, import)));
        all.filter_map(|(module, import)| {
            let file = self.file_of(import)?;
            (file != module.as_slice()).then_some((module.as_slice(), file, import.as_slice()))
        })
    }
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            find(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests" && !name.ends_with("_tests") {
            found.push(path);
        }
    }
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("mod tests {").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Everything that a file names by `crate::`, `super::` or `self::`, also as a tree `crate::{a, b::{c, d}}`.
fn imports(code: &str, module: &[String]) -> Vec<Module> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some((at, start)) =
        ["crate::", "super::", "self::"].iter().filter_map(|start| Some((rest.find(start)?, *start))).min()
    {
        let is_path = !rest[..at].ends_with(|char: char| char.is_alphanumeric() || "_:$".contains(char));
        rest = &rest[at..];
        if is_path {
            rest = tree(rest, &[], &mut found);
        } else {
            rest = &rest[start.len()..];
        }
    }
    found.iter().map(|path| absolute(path, module)).collect()
}

/// Adds the paths of the tree that the text begins with, and gives the rest.
fn tree<'a>(text: &'a str, before: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        while !list.trim_start().starts_with('}') {
            list = tree(list, before, found).trim_start();
            // An alias, which changes nothing of what is imported.
            list = list.trim_start_matches(|char| char != ',' && char != '}').trim_start_matches(',');
        }
        return &list.trim_start()[1..];
    }
    let length = text.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(text.len());
    let path = [before, &[text[..length].to_owned()]].concat();
    match text[length..].strip_prefix("::") {
        Some(rest) => tree(rest, &path, found),
        None => {
            found.push(path);
            &text[length..]
        }
    }
}

fn absolute(path: &[String], module: &[String]) -> Module {
    let mut all = if path[0] == "crate" { Module::new() } else { module.to_vec() };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(all.pop()),
            part => all.push(part.to_owned()),
        }
    }
    all
}

fn shown(module: &[String]) -> String {
    format!("src/{}.rs", module.join("/"))
}

/// What stands in the wrong order: an import of `order[n]` by anything after it. `depth` modules stand before the order's.
fn upwards(sources: &Sources, depth: usize, parent: &[&str], order: &[&str]) -> Vec<String> {
    let place = |module: &[String]| order.iter().position(|other| module.get(depth).is_some_and(|own| own == other));
    let mut faults = Vec::new();
    for module in sources.0.keys().filter(|module| module.starts_with_words(parent) && module.len() > depth) {
        if place(module).is_none() {
            faults.push(format!("{}: `{}` has no place in the order", shown(module), module[depth]));
        }
    }
    for (module, file, import) in sources.imports() {
        if !module.starts_with_words(parent) || !import.starts_with_words(parent) {
            continue;
        }
        if let (Some(own), Some(other)) = (place(module), place(import))
            && other < own
        {
            faults.push(format!("{} imports {}, which stands above", shown(module), shown(file)));
        }
    }
    faults
}

trait StartsWithWords {
    fn starts_with_words(&self, words: &[&str]) -> bool;
}

impl StartsWithWords for [String] {
    fn starts_with_words(&self, words: &[&str]) -> bool {
        self.len() >= words.len() && self.iter().zip(words).all(|(own, other)| own == other)
    }
}

#[test]
fn what_a_file_imports_stands_below_it() {
    let faults = upwards(&Sources::read(), 0, &[], ORDER);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_a_group_imports_stands_below_it() {
    let sources = Sources::read();
    let mut faults = Vec::new();
    for Groups { module, order, shared } in GROUPS {
        faults.extend(upwards(&sources, module.len(), module, order));
        // An item of a group that is named by way of the folder's own file would not be seen above.
        for (file, parent, import) in sources.imports() {
            let is_inside = file.starts_with_words(module) && file.len() > module.len();
            if let Some(item) = import.get(module.len()).filter(|_| is_inside && parent.len() == module.len())
                && parent.starts_with_words(module)
                && !shared.contains(&item.as_str())
            {
                faults.push(format!("{} imports `{item}` by way of {}", shown(file), shown(parent)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_two_files_import_each_other() {
    let sources = Sources::read();
    let pairs: Vec<_> = sources.imports().map(|(module, file, _)| (module, file)).collect();
    // A folder's own file and those in the folder do.
    let is_mutual = |(one, other): &(&[String], &[String])| {
        one < other && !other.starts_with(one) && pairs.contains(&(*other, *one))
    };
    let mut faults: Vec<_> = pairs.iter().copied().filter(is_mutual).collect();
    faults.dedup();
    let faults: Vec<_> = faults.iter().map(|(one, other)| format!("{} and {}", shown(one), shown(other))).collect();
    assert!(faults.is_empty(), "these import each other:\n{}", faults.join("\n"));
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let text = "use crate::{\n    a::B,\n    c::{self as z, D, e},\n    f as g,\n};\nuse super::{h::I, super::J}; // crate::i\n\
                let x = self::j::K::new(not_super::l);\n#[cfg(test)]\nmod tests {\n    use crate::l;";
    let module = ["m", "n"].map(str::to_owned);
    let found: Vec<String> = imports(&code(text), &module).iter().map(|path| path.join("/")).collect();
    assert_eq!(found, ["a/B", "c", "c/D", "c/e", "f", "m/h/I", "J", "m/n/j/K/new"]);
}
