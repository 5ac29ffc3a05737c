//! build.rs, as cargo runs it: which revision a program is told, from the kinds of sources that it is built from.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Nobody's number: an owner that is not the one who builds.
const ANOTHER: u32 = 65_534;

/// A repository with build.rs in it, and that compiled.
struct Source {
    dir: TempDir,
    script: PathBuf,
    commit: String,
}

impl Source {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (top, script) = (dir.path().join("top"), dir.path().join("script"));
        fs::create_dir(&top).unwrap();
        for name in ["build.rs", ".gitattributes"] {
            fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), top.join(name)).unwrap();
        }
        // In an archive of ours it has a commit already.
        let script_text = fs::read_to_string(top.join("build.rs")).unwrap();
        let as_committed = |line: &str| match line.starts_with("const ARCHIVED: ") {
            true => "const ARCHIVED: &str = \"$Format:%H$\";\n".to_owned(),
            false => format!("{line}\n"),
        };
        fs::write(top.join("build.rs"), script_text.lines().map(as_committed).collect::<String>()).unwrap();
        compile(&top, &script);
        git(&top, &["init", "-q", "-b", "main"]);
        git(&top, &["add", "-A"]);
        let commit = commit(&top);
        Self { dir, script, commit }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a release of the source in `dir` is told.
    fn told(&self, dir: &Path) -> String {
        told(&self.script, dir, &[("PROFILE", "release")])
    }
}

fn compile(dir: &Path, into: &Path) {
    let mut rustc = Command::new("rustc");
    let output = rustc.args(["--edition", "2024", "build.rs", "-o"]).arg(into).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    // A hook that runs the tests has variables that name its own repository, and a user's configuration may sign commits or have
    // hooks.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"] {
        git.env_remove(name);
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    git.args(["-c", "user.name=n", "-c", "user.email=e@localhost"]).args(args).current_dir(dir);
    let output = git.output().unwrap();
    assert!(output.status.success(), "{args:?} {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A new commit.
fn commit(dir: &Path) -> String {
    git(dir, &["commit", "-q", "--allow-empty", "-m", "m"]);
    git(dir, &["rev-parse", "HEAD"])
}

/// All that the script says to cargo.
fn said(script: &Path, dir: &Path, env: &[(&str, &str)]) -> String {
    let mut command = Command::new(script);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(env.iter().copied()).current_dir(dir);
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

fn told(script: &Path, dir: &Path, env: &[(&str, &str)]) -> String {
    let said = said(script, dir, env);
    let told = said.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=GATEWAY_REVISION="));
    told.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn a_release_knows_its_commit() {
    let source = Source::new();
    let top = source.path("top");
    assert_eq!((source.told(&top), source.commit.len()), (source.commit.clone(), 40));
    // Where `.git` is a file, with a commit of its own; and where no file of its own has a commit.
    let worktree = source.path("worktree");
    git(&top, &["worktree", "add", "-q", worktree.to_str().unwrap()]);
    let other = commit(&worktree);
    assert!(worktree.join(".git").is_file() && other != source.commit);
    git(&top, &["pack-refs", "--all"]);
    assert_eq!((source.told(&worktree), source.told(&top)), (other, source.commit.clone()));
    // A variable of git's, as its hooks have, says nothing about this source.
    let env = [("PROFILE", "release"), ("GIT_DIR", "/nowhere")];
    assert_eq!(told(&source.script, &top, &env), source.commit);
    // As a container builds, as root, what is its user's.
    for path in [&top, &top.join(".git")] {
        chown(path, Some(ANOTHER), Some(ANOTHER)).unwrap();
    }
    assert_eq!(source.told(&top), source.commit);
}

#[test]
fn a_later_commit_is_seen() {
    let source = Source::new();
    let top = source.path("top");
    let said = said(&source.script, &top, &[("PROFILE", "release")]);
    let watched: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed=")).collect();
    let [_, log] = watched[..] else { panic!("{said}") };
    let before = fs::read(top.join(log)).unwrap();
    let later = commit(&top);
    assert_ne!(fs::read(top.join(log)).unwrap(), before);
    assert_eq!(source.told(&top), later);
}

#[test]
fn a_source_without_a_repository_is_told_or_says_so() {
    let source = Source::new();
    // An archive of a commit knows it.
    let archive = source.path("archive");
    fs::create_dir(&archive).unwrap();
    let tar = source.path("a.tar");
    git(&source.path("top"), &["archive", "-o", tar.to_str().unwrap(), "HEAD"]);
    assert!(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&archive).status().unwrap().success());
    let script = source.path("archived");
    compile(&archive, &script);
    assert_eq!(told(&script, &archive, &[]), source.commit);
    // Files that were copied do not, alone or in a repository of somebody else's.
    let outside = tempfile::tempdir().unwrap();
    let inside = source.path("top/copy");
    fs::create_dir(&inside).unwrap();
    for copy in [outside.path(), inside.as_path()] {
        let said = said(&source.script, copy, &[("PROFILE", "release")]);
        assert!(said.contains("GATEWAY_REVISION=unknown\n"), "{said}");
        assert!(said.contains("cargo::warning=") && said.contains("Set SOURCE_REVISION"), "{said}");
    }
    // Whoever builds may say it, of any build.
    for env in [
        &[("SOURCE_REVISION", " v1.0.0-3-gabc\n")][..],
        &[("SOURCE_REVISION", "v1.0.0-3-gabc"), ("PROFILE", "release")],
    ] {
        assert_eq!(told(&source.script, outside.path(), env), "v1.0.0-3-gabc");
    }
    for revision in ["a b", "a\ncargo::rustc-cfg=x", &"a".repeat(129)] {
        let said = said(&source.script, outside.path(), &[("SOURCE_REVISION", revision)]);
        assert!(said.contains("SOURCE_REVISION is no revision") && !said.contains("GATEWAY_REVISION"), "{said}");
    }
    // A debug build is not made anew for each commit.
    let said = said(&source.script, &source.path("top"), &[("PROFILE", "debug")]);
    assert!(said.contains("GATEWAY_REVISION=unrecorded (debug build)\n") && !said.contains("logs/HEAD"), "{said}");
}
