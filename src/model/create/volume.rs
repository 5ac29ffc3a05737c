//! The form of volumes (http-api.md §6.6). Only the form: no runtime of this version mounts them.

use serde_json::Value;

use crate::model::{
    read::{self, Members},
    violation::Report,
};

const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const MOUNT_PATH: &str = "^/.*";
const HOST_PATH: &str = r"^(/|[A-Za-z]:[\\/])";
const STORAGE: &str = r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|Pi|Ei)?$";

/// Checks one volume.
pub(super) fn check(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    let before = report.count();
    read::required(report, members, "name", |r, v| read::pattern(r, v, 63, NAME, is_name));
    let backends = [
        read::optional(report, members, "host", check_host),
        read::optional(report, members, "pvc", check_pvc),
        read::optional(report, members, "ossfs", check_ossfs),
    ];
    read::required(report, members, "mountPath", |r, v| {
        read::pattern(r, v, usize::MAX, MOUNT_PATH, |path| path.starts_with('/'))
    });
    read::flag(report, members, "readOnly", false);
    read::optional(report, members, "subPath", read::string);
    if report.count() == before { require_one_backend(report, backends) } else { None }
}

fn require_one_backend(report: &mut Report, backends: [Option<()>; 3]) -> Option<()> {
    let what = match backends.iter().flatten().count() {
        1 => return Some(()),
        0 => "none was provided",
        _ => "multiple were provided",
    };
    report.add_rule(&format!("Exactly one backend (host, pvc, ossfs) must be specified, but {what}."));
    None
}

fn check_host(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    read::required(report, members, "path", |r, v| read::pattern(r, v, usize::MAX, HOST_PATH, is_host_path))?;
    Some(())
}

fn check_pvc(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    let before = report.count();
    read::required(report, members, "claimName", |r, v| read::pattern(r, v, 253, NAME, is_name));
    read::flag(report, members, "createIfNotExists", true);
    read::flag(report, members, "deleteOnSandboxTermination", false);
    read::optional(report, members, "storageClass", read::string);
    read::optional(report, members, "storage", |r, v| read::pattern(r, v, usize::MAX, STORAGE, is_storage));
    read::optional(report, members, "accessModes", |r, v| read::list(r, v, 0, read::string));
    (report.count() == before).then_some(())
}

fn check_ossfs(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    let before = report.count();
    read::required(report, members, "bucket", |r, v| read::string_of(r, v, 3..=63));
    read::required(report, members, "endpoint", not_empty);
    read::optional(report, members, "version", |r, v| read::literal(r, v, &["1.0", "2.0"]));
    read::optional(report, members, "options", |r, v| read::list(r, v, 0, read::string));
    let credentials = ossfs_credentials(report, members);
    if report.count() == before && !credentials {
        report.add_rule("OSSFS inline credentials are required: accessKeyId and accessKeySecret.");
    }
    (report.count() == before).then_some(())
}

fn ossfs_credentials(report: &mut Report, members: &Members) -> bool {
    let id = read::optional(report, members, "accessKeyId", not_empty);
    let secret = read::optional(report, members, "accessKeySecret", not_empty);
    id.is_some() && secret.is_some()
}

fn not_empty(report: &mut Report, value: &Value) -> Option<String> {
    read::string_of(report, value, 1..=usize::MAX)
}

fn is_name(name: &str) -> bool {
    let is_edge = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.iter().all(|c| is_edge(c) || *c == b'-')
        && bytes.first().is_some_and(is_edge)
        && bytes.last().is_some_and(is_edge)
}

fn is_host_path(path: &str) -> bool {
    matches!(path.as_bytes(), [b'/', ..] | [b'A'..=b'Z' | b'a'..=b'z', b':', b'\\' | b'/', ..])
}

fn is_storage(size: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unit = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().find_map(|unit| size.strip_suffix(unit));
    match unit.unwrap_or(size).split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(unit.unwrap_or(size)),
    }
}
