//! Where in a sandbox a volume may be: not where the server itself writes or the kernel tells of itself.

use super::fault;
use crate::error::{Error, Kind, VolumePart};

/// Where the engine and the kernel put what is not a sandbox's to replace: at and below these nothing is mounted.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What may be mounted all the same, since it is only memory that is shared within the sandbox.
const SHARED_MEMORY: &str = "/dev/shm";

/// Checks a volume's place in the sandbox. At, above and below each of `reserved` nothing may be mounted; they are in plain
/// form.
///
/// The path is compared in the form in which the engine uses it: without `.`, `..` and slashes that say nothing.
///
/// # Errors
/// ([`VolumePart::MountPath`], [`Kind::Invalid`]).
pub fn check(path: &str, reserved: &[&str]) -> Result<(), Error> {
    let wrong = |what: &str| {
        let text = format!("Mount path '{}' {what}", path.escape_debug());
        Err(fault(VolumePart::MountPath, Kind::Invalid, text))
    };
    if path.contains('\0') {
        return wrong("contains a NUL character.");
    }
    refusal(&plain(path), reserved).map_or(Ok(()), |what| wrong(&what))
}

/// Checks where a volume's place in the sandbox is once every link of the image on its way is followed.
///
/// # Errors
/// ([`VolumePart::MountPath`], [`Kind::Invalid`]).
pub fn check_found(path: &str, found: &str, reserved: &[&str]) -> Result<(), Error> {
    let Some(what) = refusal(&plain(found), reserved) else { return Ok(()) };
    let (path, found) = (path.escape_debug(), found.escape_debug());
    let text = format!("Mount path '{path}' leads by links of the image to '{found}', which {what}");
    Err(fault(VolumePart::MountPath, Kind::Invalid, text))
}

/// What a plain path is that nothing may be mounted at.
fn refusal(plain: &str, reserved: &[&str]) -> Option<String> {
    if plain == "/" {
        return Some("is the root of the sandbox.".to_owned());
    }
    if let Some(own) = reserved.iter().find(|own| is_within(plain, own) || is_within(own, plain)) {
        return Some(format!("is at, above or below '{own}', which the server itself uses in the sandbox."));
    }
    let system = SYSTEM.iter().find(|system| is_within(plain, system) && !is_within(plain, SHARED_MEMORY))?;
    Some(format!("is at or below '{system}', which the engine provides."))
}

/// An absolute path without `.`, `..`, doubled slashes and one at its end, by its text alone. Above the root is the root.
pub fn plain(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether a plain path is another one or below it.
fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Family;

    #[test]
    fn nothing_is_mounted_at_above_or_below_what_the_server_uses() {
        for path in [
            "/opt/opensandbox",
            "//opt/./opensandbox/",
            "/x/../opt/opensandbox",
            "/../opt/opensandbox",
            "/opt/opensandbox/execd",
            "/opt",
            "/opt/x/..",
            "/oem/y",
            "/",
            "//",
            "/..",
            "/a/..",
        ] {
            let error = check(path, &["/opt/opensandbox", "/oem"]).unwrap_err();
            assert_eq!(error.key(), (Family::Volume(VolumePart::MountPath), Kind::Invalid), "{path}");
        }
        let error = check("//opt/./", &["/opt/opensandbox"]).unwrap_err();
        let text = "Mount path '//opt/./' is at, above or below '/opt/opensandbox', which the server itself uses in the \
                    sandbox.";
        assert_eq!(error.message, text);
        for path in ["/opt/opensandbox2", "/opt/other", "/optional", "/home/opt/opensandbox", "/oem2", "/x/..y"] {
            check(path, &["/opt/opensandbox", "/oem"]).unwrap();
        }
        check("/oem", &["/opt/opensandbox"]).unwrap();
    }

    #[test]
    fn nothing_replaces_what_the_engine_provides() {
        for path in ["/proc", "/proc/self/attr", "/sys", "/sys/fs/cgroup/x", "/dev", "/dev/null", "/dev/shm/../console"]
        {
            assert!(check(path, &[]).is_err(), "{path}");
        }
        for path in ["/dev/shm", "/dev/shm/x", "/process", "/device"] {
            check(path, &[]).unwrap();
        }
        let error = check("/a\0b", &[]).unwrap_err();
        assert_eq!(error.message, "Mount path '/a\\0b' contains a NUL character.");
    }
}
