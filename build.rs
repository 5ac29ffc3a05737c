//! Tells the program what it was built from: `--version`, and the metric `build_info`.

use std::{env, process::Command};

/// The commit of a source archive, which `git archive` and who calls it write here (.gitattributes); in a repository it is not.
const ARCHIVED: &str = "$Format:%H$";

/// Longest revision, in bytes.
const MAX_REVISION: usize = 128;

/// Variables that would have git read another repository than the one that this file is in.
const ELSEWHERE: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE"];

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_REVISION");
    let rustc = env::var("RUSTC").ok().and_then(|rustc| output(Command::new(rustc).arg("--version")));
    let rustc = rustc.as_deref().and_then(|lines| lines.lines().next());
    println!("cargo::rustc-env=GATEWAY_RUSTC={}", rustc.unwrap_or("unknown"));
    println!("cargo::rustc-env=GATEWAY_REVISION={}", revision()?);
    Ok(())
}

/// The commit: as whoever builds says, for whom there may be no repository; else as the archive says that the source came in;
/// else, for a release, as git says. Other builds need not be made anew for each commit.
fn revision() -> Result<String, String> {
    let told = env::var("SOURCE_REVISION").unwrap_or_default().trim().to_owned();
    if !told.is_empty() {
        if told.len() > MAX_REVISION || !told.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "SOURCE_REVISION is no revision: at most {MAX_REVISION} ASCII characters without spaces"
            ));
        }
        return Ok(told);
    }
    if !ARCHIVED.starts_with('$') {
        return Ok(ARCHIVED.to_owned());
    }
    if env::var("PROFILE").as_deref() != Ok("release") {
        return Ok("unrecorded (debug build)".to_owned());
    }
    Ok(commit().unwrap_or_else(|| {
        println!("cargo::warning=the program will not know its revision: git tells none. Set SOURCE_REVISION to it");
        "unknown".to_owned()
    }))
}

/// The commit of the repository, or of its worktree or submodule, whose top this package is.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    for name in ELSEWHERE {
        git.env_remove(name);
    }
    // A container often builds, as root, what is another user's. Nothing of the repository is run, and this file is its own.
    git.args(["-c", "safe.directory=*", "rev-parse", "--show-prefix", "--git-path", "logs/HEAD", "HEAD"]);
    let told = output(&mut git)?;
    let [prefix, log, commit] = told.lines().collect::<Vec<_>>().try_into().ok()?;
    // Below the top of a repository, the source was put into somebody else's.
    if !prefix.is_empty() {
        return None;
    }
    println!("cargo::rerun-if-changed={log}");
    Some(commit.to_owned())
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
