//! Programs that tests write.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Writes a program that may be started at once.
///
/// Another process writes it: a descriptor of this one would be inherited by whatever another thread starts meanwhile, and
/// the kernel starts no file that is open for writing (`ETXTBSY`).
///
/// # Panics
///
/// If it cannot be written.
pub fn executable(path: &Path, content: impl AsRef<[u8]>) {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().expect("install is there");
    install.stdin.take().expect("it is a pipe").write_all(content.as_ref()).expect("it is read");
    assert!(install.wait().expect("it is a child").success(), "{} is not written", path.display());
}
