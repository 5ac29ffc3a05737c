//! Tells the program what it was built from: the metric `build_info`.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_REVISION");
    let rustc = env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    println!("cargo::rustc-env=GATEWAY_RUSTC={}", rustc.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=GATEWAY_REVISION={}", revision().as_deref().unwrap_or("unknown"));
}

/// The commit: as whoever builds says, for whom there may be no repository; else, for a release, as git does. Other builds
/// need not be made anew for each commit.
fn revision() -> Option<String> {
    let told = env::var("SOURCE_REVISION").ok().filter(|revision| !revision.trim().is_empty());
    if told.is_some() || env::var("PROFILE").as_deref() != Ok("release") {
        return told;
    }
    let log = output("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    output("git", &["rev-parse", "HEAD"])
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}
