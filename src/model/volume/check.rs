//! Whether volumes may be mounted: what can be said without a look at the host (http-api.md §6.6, docker-runtime.md §8).

use std::collections::HashSet;

use super::{Ossfs, Source, Volume, fault, mount_path};
use crate::{
    error::{Error, Family, Kind, VolumePart},
    model::env::shown,
};

/// What would mean something to a shell.
const SHELL: &[char] = &[';', '&', '|', '`', '$', '(', ')', '<', '>', '\r', '\n'];

/// What the names of the volumes begin with that belong to single sandboxes. Those of the gateway are the runtime's to refuse.
const OWN_VOLUMES: [&str; 2] = ["opensandbox-runtime-", "opensandbox-win-oem-"];

/// The most volumes of one sandbox: each costs the host mounts and the engine calls.
const MAX_VOLUMES: usize = 64;

/// The most options of one bucket.
const MAX_OPTIONS: usize = 64;

/// The longest path, in bytes: Linux's `PATH_MAX` without the NUL at its end. What is handed to a bucket's tool is no longer.
const MAX_PATH: usize = 4095;

/// The longest name in a path, in bytes (Linux's `NAME_MAX`).
const MAX_NAME: usize = 255;

/// Checks volumes one after the other; `allowed` are the paths of the host at and below which may be mounted, `reserved`
/// the places in the sandbox that are the server's own, `taken` those at which its configuration mounts something.
///
/// # Errors
/// The first fault, of [`Family::Volume`], or of [`Family::Parameter`] for too many volumes and for what a shell
/// would understand.
pub fn check<'a>(
    volumes: &[Volume],
    allowed: &[String],
    reserved: &[&str],
    taken: impl IntoIterator<Item = &'a str>,
) -> Result<(), Error> {
    if volumes.len() > MAX_VOLUMES {
        return Err(invalid(format!(
            "A sandbox can have at most {MAX_VOLUMES} volumes (received: {}).",
            volumes.len()
        )));
    }
    let mut names = HashSet::new();
    let mut places: HashSet<String> = taken.into_iter().map(mount_path::plain).collect();
    volumes.iter().try_for_each(|volume| {
        let name = volume.name.as_str();
        if !names.insert(name) {
            let text = format!("Duplicate volume name '{name}'. Each volume must have a unique name.");
            return Err(fault(VolumePart::Name, Kind::Conflict, text));
        }
        check_length("Mount path", &volume.mount_path, VolumePart::MountPath)?;
        mount_path::check(&volume.mount_path, reserved)?;
        let place = mount_path::plain(&volume.mount_path);
        if places.contains(&place) {
            let text = format!("Mount path '{place}' is taken: something else is mounted there in the sandbox.");
            return Err(fault(VolumePart::MountPath, Kind::Invalid, text));
        }
        places.insert(place);
        check_one(volume, allowed)
    })
}

/// The error for a path of the host that the operator does not allow.
pub fn not_allowed<'a>(path: &str, allowed: impl IntoIterator<Item = &'a str>) -> Error {
    let allowed: Vec<String> = allowed.into_iter().map(|prefix| format!("'{prefix}'")).collect();
    let text =
        format!("Host path '{path}' is not under any allowed prefix. Allowed prefixes: [{}]", allowed.join(", "));
    fault(VolumePart::HostPath, Kind::Denied, text)
}

/// A path of the host with a part of it, in plain form.
pub fn joined(path: &str, sub_path: Option<&str>) -> String {
    let Some(sub_path) = sub_path else { return path.to_owned() };
    let parts = path.split('/').chain(sub_path.split('/')).filter(|part| !part.is_empty() && *part != ".");
    parts.fold(String::new(), |joined, part| joined + "/" + part)
}

/// Refuses a path that no file can have.
fn check_length(what: &str, path: &str, part: VolumePart) -> Result<(), Error> {
    let wrong = |rule: &str| Err(fault(part, Kind::Invalid, format!("{what} '{}' {rule}", shown(path))));
    if path.len() > MAX_PATH {
        return wrong(&format!("is too long: {} bytes, where at most {MAX_PATH} can be.", path.len()));
    }
    if path.split('/').any(|name| name.len() > MAX_NAME) {
        return wrong(&format!("has a part of more than {MAX_NAME} bytes."));
    }
    Ok(())
}

fn check_one(volume: &Volume, allowed: &[String]) -> Result<(), Error> {
    let sub_path = volume.sub_path.as_deref();
    sub_path.map_or(Ok(()), check_sub_path)?;
    match &volume.source {
        Source::Host(path) => {
            check_host_path(path, allowed)?;
            check_host_path(&joined(path, sub_path), allowed)
        }
        Source::Claim(claim) => check_claim(&volume.name, &claim.name),
        Source::Ossfs(ossfs) => check_ossfs(ossfs, sub_path),
    }
}

/// Refuses the volumes that the server makes for a sandbox: they have what runs in it.
fn check_claim(volume: &str, name: &str) -> Result<(), Error> {
    if OWN_VOLUMES.iter().any(|prefix| name.starts_with(prefix)) {
        let text = format!("Volume '{volume}': the name '{name}' is the gateway's own.");
        return Err(fault(VolumePart::Claim, Kind::NotFound, text));
    }
    Ok(())
}

fn check_sub_path(path: &str) -> Result<(), Error> {
    check_length("SubPath", path, VolumePart::SubPath)?;
    let wrong = |what: &str| Err(fault(VolumePart::SubPath, Kind::Invalid, format!("SubPath '{path}' {what}")));
    if path.starts_with('/') {
        return wrong("must be a relative path, not absolute.");
    }
    if path.split('/').any(|part| part == "..") {
        return wrong("contains path traversal '..' which is not allowed.");
    }
    if path.contains('\0') {
        return wrong("contains a NUL character.");
    }
    Ok(())
}

fn check_host_path(path: &str, allowed: &[String]) -> Result<(), Error> {
    check_length("Host path", path, VolumePart::HostPath)?;
    let wrong = |what: &str| Err(fault(VolumePart::HostPath, Kind::Invalid, format!("Host path '{path}' {what}")));
    let unified = path.replace('\\', "/");
    if unified.contains("/..") {
        return wrong("contains path traversal component '..'.");
    }
    if unified.contains("//") || unified.len() > 1 && unified.ends_with('/') {
        return wrong("is not normalized. Remove redundant slashes.");
    }
    if path.contains('\0') {
        return wrong("contains a NUL character.");
    }
    if !allowed.iter().any(|prefix| is_under(path, prefix)) {
        return Err(not_allowed(path, allowed.iter().map(String::as_str)));
    }
    if !path.starts_with('/') {
        return wrong("is a path of Windows, and the engine's host is none.");
    }
    Ok(())
}

/// Whether `path` is `prefix` or below it. A drive's letter may be in either case, `\` is `/`.
fn is_under(path: &str, prefix: &str) -> bool {
    let plain = |text: &str| {
        let mut text = text.replace('\\', "/");
        if text.as_bytes().get(1) == Some(&b':') {
            text[..1].make_ascii_lowercase();
        }
        text
    };
    let (path, prefix) = (plain(path), plain(prefix));
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_ossfs(ossfs: &Ossfs, sub_path: Option<&str>) -> Result<(), Error> {
    if ossfs.bucket.trim().is_empty() {
        return Err(fault(VolumePart::OssfsBucket, Kind::Invalid, "OSSFS bucket cannot be empty."));
    }
    if ossfs.endpoint.trim().is_empty() {
        return Err(fault(VolumePart::OssfsEndpoint, Kind::Invalid, "OSSFS endpoint cannot be empty."));
    }
    if ossfs.endpoint.len() > MAX_PATH {
        return Err(fault(
            VolumePart::OssfsEndpoint,
            Kind::Invalid,
            format!("OSSFS endpoint is longer than {MAX_PATH} bytes."),
        ));
    }
    if ossfs.options.len() > MAX_OPTIONS {
        let text = format!("OSSFS options: at most {MAX_OPTIONS} can be given (received: {}).", ossfs.options.len());
        return Err(fault(VolumePart::OssfsOption, Kind::Invalid, text));
    }
    ossfs.options.iter().try_for_each(|option| check_option(option))?;
    check_bucket(&ossfs.bucket)?;
    let urls = "URLs must not contain shell metacharacters or spaces.";
    forbid("endpoint URL", &ossfs.endpoint, &[SHELL, &[' ', '\0']], urls)?;
    for option in &ossfs.options {
        forbid("OSSFS option", option, &[SHELL, &['\0']], "Options must not contain shell metacharacters.")?;
    }
    forbid("mount path", sub_path.unwrap_or_default(), &[SHELL], "Paths must not contain shell metacharacters.")?;
    // A line break would be another line of the file that the credentials are handed over in.
    let credentials = [&ossfs.access_key_id, &ossfs.access_key_secret];
    if credentials.iter().any(|part| part.expose().contains(char::is_control)) {
        return Err(invalid("Invalid OSSFS credentials: they must not contain control characters."));
    }
    if credentials.iter().any(|part| part.expose().len() > MAX_PATH) {
        return Err(invalid(format!("Invalid OSSFS credentials: they must be no longer than {MAX_PATH} bytes.")));
    }
    Ok(())
}

fn check_option(option: &str) -> Result<(), Error> {
    if option.trim().is_empty() {
        return Err(fault(VolumePart::OssfsOption, Kind::Invalid, "OSSFS options must be non-empty strings."));
    }
    if option.len() > MAX_PATH {
        let text = format!("OSSFS options must be no longer than {MAX_PATH} bytes.");
        return Err(fault(VolumePart::OssfsOption, Kind::Invalid, text));
    }
    if option.trim_start().starts_with('-') {
        let text = "OSSFS options must be raw option payloads without '-' prefix (e.g. 'allow_other', 'uid=1000').";
        return Err(fault(VolumePart::OssfsOption, Kind::Invalid, text));
    }
    Ok(())
}

fn check_bucket(bucket: &str) -> Result<(), Error> {
    let is_edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = bucket.as_bytes();
    let is_name = bytes.iter().all(|c| is_edge(*c) || *c == b'-')
        && [bytes.first(), bytes.last()].into_iter().all(|c| c.is_some_and(|c| is_edge(*c)));
    if is_name {
        return Ok(());
    }
    Err(invalid(format!(
        "Invalid bucket name '{bucket}'. Bucket names must be 3-63 characters, contain only lowercase letters, numbers, \
         and hyphens, and start/end with a letter or number."
    )))
}

fn forbid(what: &str, text: &str, forbidden: &[&[char]], rule: &str) -> Result<(), Error> {
    match text.chars().find(|c| forbidden.iter().any(|set| set.contains(c))) {
        Some(c) => Err(invalid(format!("Invalid {what}: contains forbidden character '{c}'. {rule}"))),
        None => Ok(()),
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::{super::OssfsVersion, *};
    use crate::secret::Secret;

    fn host(path: &str, sub_path: Option<&str>) -> Volume {
        volume("v", sub_path, Source::Host(path.to_owned()))
    }

    fn volume(name: &str, sub_path: Option<&str>, source: Source) -> Volume {
        let sub_path = sub_path.map(str::to_owned);
        Volume { name: name.to_owned(), mount_path: "/x".to_owned(), read_only: false, sub_path, source }
    }

    fn ossfs(change: impl FnOnce(&mut Ossfs)) -> Volume {
        let mut ossfs = Ossfs {
            bucket: "bucket".to_owned(),
            endpoint: "oss.example.com".to_owned(),
            version: OssfsVersion::V2,
            options: Vec::new(),
            access_key_id: Secret::new("id"),
            access_key_secret: Secret::new("secret"),
        };
        change(&mut ossfs);
        volume("v", None, Source::Ossfs(Box::new(ossfs)))
    }

    fn refused(volumes: &[Volume]) -> ((Family, Kind), String) {
        let error = check(volumes, &["/srv/vol".to_owned(), "D:\\data".to_owned()], &[], []).unwrap_err();
        (error.key(), error.message)
    }

    #[test]
    fn host_paths_are_refused_as_in_transcript_03() {
        for (path, sub_path, part, start) in [
            ("/srv/vol/../x", None, VolumePart::HostPath, "Host path '/srv/vol/../x' contains path traversal"),
            ("/srv/vol/..foo", None, VolumePart::HostPath, "Host path '/srv/vol/..foo' contains path traver"),
            ("/srv/vol/", None, VolumePart::HostPath, "Host path '/srv/vol/' is not normalized. Remove redund"),
            ("/srv//vol", None, VolumePart::HostPath, "Host path '/srv//vol' is not normalized."),
            ("/srv/vol", Some("/a"), VolumePart::SubPath, "SubPath '/a' must be a relative path, not absolute"),
            ("/srv/vol", Some("../a"), VolumePart::SubPath, "SubPath '../a' contains path traversal '..' whi"),
            ("/srv/vol", Some("a/..b"), VolumePart::HostPath, "Host path '/srv/vol/a/..b' contains path trave"),
            ("/srv/vol", Some("a\\..\\b"), VolumePart::HostPath, "Host path '/srv/vol/a\\..\\b' contains path"),
            ("/srv/vol/a\0b", None, VolumePart::HostPath, "Host path '/srv/vol/a\0b' contains a NUL"),
            ("d:/data/x", None, VolumePart::HostPath, "Host path 'd:/data/x' is a path of Windows"),
        ] {
            let (found, text) = refused(&[host(path, sub_path)]);
            assert!(
                found == (Family::Volume(part), Kind::Invalid) && text.starts_with(start),
                "{path}: {found:?} {text}"
            );
        }
    }

    #[test]
    fn only_what_is_below_an_allowed_path_may_be_mounted() {
        let text = "is not under any allowed prefix. Allowed prefixes: ['/srv/vol', 'D:\\data']";
        for path in ["/a", "/", "/srv", "/srv/volume", "/srv/Vol", "C:\\x"] {
            let expected = ((Family::Volume(VolumePart::HostPath), Kind::Denied), format!("Host path '{path}' {text}"));
            assert_eq!(refused(&[host(path, None)]), expected);
        }
        for (path, prefix) in [("/srv/vol", "/srv/vol"), ("/srv/vol/x", "/srv/vol/"), ("/x", "/"), ("/", "/")] {
            check(&[host(path, Some("a/./b//c"))], &[prefix.to_owned()], &[], []).unwrap();
        }
        assert!(check(&[host("/x", None)], &[], &[], []).is_err(), "an empty list allows nothing");
        assert_eq!(joined("/srv/./vol", Some("a/./b//c")), "/srv/vol/a/b/c");
    }

    #[test]
    fn no_path_is_longer_than_a_file_s_can_be() {
        let long = format!("/srv/vol{}", "/a".repeat(300_000));
        let name = "a".repeat(256);
        for (volume, part) in [
            (host(&long, None), VolumePart::HostPath),
            (host("/srv/vol", Some(&long[1..])), VolumePart::SubPath),
            (host("/srv/vol", Some(&name)), VolumePart::SubPath),
            (host(&long[..4095], Some("a")), VolumePart::HostPath),
            (Volume { mount_path: long.clone(), ..host("/srv/vol", None) }, VolumePart::MountPath),
            (Volume { mount_path: format!("/{name}"), ..host("/srv/vol", None) }, VolumePart::MountPath),
            (ossfs(|o| o.endpoint = "x".repeat(4096)), VolumePart::OssfsEndpoint),
            (ossfs(|o| o.options = vec!["x".repeat(4096)]), VolumePart::OssfsOption),
            (ossfs(|o| o.options = vec!["x".to_owned(); 65]), VolumePart::OssfsOption),
        ] {
            let (found, text) = refused(&[volume]);
            assert!(found == (Family::Volume(part), Kind::Invalid) && text.len() < 5000, "{found:?} {text}");
        }
        check(&[host(&format!("/srv/vol/{}", &name[1..]), None)], &["/".to_owned()], &[], []).unwrap();
    }

    #[test]
    fn a_sandbox_has_at_most_64_volumes() {
        let volumes = |count: u32| -> Vec<Volume> {
            let named = |number| Volume {
                name: format!("v{number}"),
                mount_path: format!("/x/{number}"),
                ..host("/srv/vol", None)
            };
            (0..count).map(named).collect()
        };
        check(&volumes(64), &["/srv/vol".to_owned()], &[], []).unwrap();
        let text = "A sandbox can have at most 64 volumes (received: 65).".to_owned();
        assert_eq!(refused(&volumes(65)), ((Family::Parameter, Kind::Invalid), text));
    }

    #[test]
    fn no_two_things_are_mounted_at_one_place() {
        let two = |second: &str| {
            let second = second.to_owned();
            [host("/srv/vol", None), Volume { name: "w".to_owned(), mount_path: second, ..host("/srv/vol", None) }]
        };
        for path in ["/x", "/x/", "//x", "/./x/.", "/y/../x"] {
            let text = "Mount path '/x' is taken: something else is mounted there in the sandbox.".to_owned();
            assert_eq!(refused(&two(path)), ((Family::Volume(VolumePart::MountPath), Kind::Invalid), text), "{path}");
        }
        let allowed = ["/srv/vol".to_owned()];
        check(&two("/x/y"), &allowed, &[], ["/y"]).unwrap();
        check(&two("/x/y"), &allowed, &[], ["/x/y/."]).unwrap_err();
    }

    #[test]
    fn the_server_s_own_volumes_are_nobody_else_s() {
        let claim = |name: &str| {
            let name = name.to_owned();
            let claim = super::super::Claim { name, create_if_not_exists: true, ..Default::default() };
            [volume("v", None, Source::Claim(claim))]
        };
        for name in ["opensandbox-runtime-x", "opensandbox-win-oem-x"] {
            let text = format!("Volume 'v': the name '{name}' is the gateway's own.");
            assert_eq!(refused(&claim(name)), ((Family::Volume(VolumePart::Claim), Kind::NotFound), text));
        }
        for name in ["opensandbox-runtime", "my-opensandbox-runtime-x"] {
            check(&claim(name), &[], &[], []).unwrap();
        }
    }

    #[test]
    fn the_first_volume_s_faults_come_first() {
        let (kind, _) = refused(&[host("/srv/vol", Some("/a")), host("/x", None)]);
        assert_eq!(kind, (Family::Volume(VolumePart::SubPath), Kind::Invalid));
        let (kind, text) = refused(&[host("/srv/vol", None), host("/x", None)]);
        assert_eq!(kind, (Family::Volume(VolumePart::Name), Kind::Conflict));
        assert_eq!(text, "Duplicate volume name 'v'. Each volume must have a unique name.");
    }

    #[test]
    fn buckets_are_refused_with_the_peer_s_texts() {
        let text = |change: fn(&mut Ossfs)| refused(&[ossfs(change)]).1;
        assert_eq!(text(|o| o.bucket = "   ".to_owned()), "OSSFS bucket cannot be empty.");
        assert_eq!(text(|o| o.endpoint = " ".to_owned()), "OSSFS endpoint cannot be empty.");
        assert_eq!(text(|o| o.options = vec![" ".to_owned()]), "OSSFS options must be non-empty strings.");
        assert!(text(|o| o.options = vec!["-x".to_owned()]).starts_with("OSSFS options must be raw option payloads"));
        assert!(text(|o| o.bucket = "Buck_".to_owned()).starts_with("Invalid bucket name 'Buck_'. Bucket names must"));
        assert!(text(|o| o.endpoint = "a b".to_owned()).starts_with("Invalid endpoint URL: contains forbidden char"));
        assert!(text(|o| o.options = vec!["a\nb".to_owned()]).contains("forbidden character '\n'. Options must"));
        let secret = text(|o| o.access_key_secret = Secret::new("s3cr\n--x"));
        assert!(secret.starts_with("Invalid OSSFS credentials") && !secret.contains("s3cr"));
        check(&[ossfs(|_| ())], &[], &[], []).unwrap();
    }
}
