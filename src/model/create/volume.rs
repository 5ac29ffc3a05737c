//! The form of volumes (http-api.md §6.6).

use serde_json::Value;

use crate::{
    model::{
        read::{self, Members},
        violation::Report,
        volume::{Claim, Ossfs, OssfsVersion, Source, Volume, Wanted},
    },
    secret::Secret,
};

const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const MOUNT_PATH: &str = "^/.*";
const HOST_PATH: &str = r"^(/|[A-Za-z]:[\\/])";
const STORAGE: &str = r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|Pi|Ei)?$";

/// Reads one volume.
pub(super) fn volume(report: &mut Report, value: &Value) -> Option<Volume> {
    let members = read::object(report, value)?;
    let before = report.count();
    let name = read::required(report, members, "name", |r, v| read::pattern(r, v, 63, NAME, is_name));
    let sources = [
        read::optional(report, members, "host", host),
        read::optional(report, members, "pvc", claim),
        read::optional(report, members, "ossfs", ossfs),
    ];
    let mount_path = read::required(report, members, "mountPath", |r, v| {
        read::pattern(r, v, usize::MAX, MOUNT_PATH, |path| path.starts_with('/'))
    });
    let read_only = read::flag(report, members, "readOnly", false);
    let sub_path = read::optional(report, members, "subPath", read::string).filter(|path| !path.is_empty());
    let source = if report.count() == before { only_one(report, sources) } else { None };
    Some(Volume { name: name?, mount_path: mount_path?, read_only: read_only?, sub_path, source: source? })
}

fn only_one(report: &mut Report, sources: [Option<Source>; 3]) -> Option<Source> {
    let mut sources = sources.into_iter().flatten();
    let what = match (sources.next(), sources.next()) {
        (Some(source), None) => return Some(source),
        (None, _) => "none was provided",
        (Some(_), Some(_)) => "multiple were provided",
    };
    report.add_rule(&format!("Exactly one backend (host, pvc, ossfs) must be specified, but {what}."));
    None
}

fn host(report: &mut Report, value: &Value) -> Option<Source> {
    let members = read::object(report, value)?;
    let path = read::required(report, members, "path", |r, v| read::pattern(r, v, usize::MAX, HOST_PATH, is_host_path));
    path.map(Source::Host)
}

fn claim(report: &mut Report, value: &Value) -> Option<Source> {
    let members = read::object(report, value)?;
    let before = report.count();
    let name = read::required(report, members, "claimName", |r, v| read::pattern(r, v, 253, NAME, is_name));
    let create_if_not_exists = read::flag(report, members, "createIfNotExists", true);
    let delete_on_termination = read::flag(report, members, "deleteOnSandboxTermination", false);
    let wanted = Wanted {
        storage_class: read::optional(report, members, "storageClass", read::string),
        storage: read::optional(report, members, "storage", |r, v| {
            read::pattern(r, v, usize::MAX, STORAGE, is_storage)
        }),
        access_modes: read::optional(report, members, "accessModes", |r, v| read::list(r, v, 0, read::string))
            .unwrap_or_default(),
    };
    if report.count() > before {
        return None;
    }
    let (create_if_not_exists, delete_on_termination) = (create_if_not_exists?, delete_on_termination?);
    Some(Source::Claim(Claim { name: name?, create_if_not_exists, delete_on_termination, wanted }))
}

fn ossfs(report: &mut Report, value: &Value) -> Option<Source> {
    let members = read::object(report, value)?;
    let before = report.count();
    let bucket = read::required(report, members, "bucket", |r, v| read::string_of(r, v, 3..=63));
    let endpoint = read::required(report, members, "endpoint", not_empty);
    let version = read::optional(report, members, "version", |r, v| read::literal(r, v, &["1.0", "2.0"]));
    let options = read::optional(report, members, "options", |r, v| read::list(r, v, 0, read::string));
    let credentials = ossfs_credentials(report, members);
    if report.count() == before && credentials.is_none() {
        report.add_rule("OSSFS inline credentials are required: accessKeyId and accessKeySecret.");
    }
    let (access_key_id, access_key_secret) = credentials.filter(|_| report.count() == before)?;
    let version = if version.as_deref() == Some("1.0") { OssfsVersion::V1 } else { OssfsVersion::V2 };
    let (bucket, endpoint, options) = (bucket?, endpoint?, options.unwrap_or_default());
    Some(Source::Ossfs(Box::new(Ossfs { bucket, endpoint, version, options, access_key_id, access_key_secret })))
}

fn ossfs_credentials(report: &mut Report, members: &Members) -> Option<(Secret, Secret)> {
    let id = read::optional(report, members, "accessKeyId", not_empty);
    let secret = read::optional(report, members, "accessKeySecret", not_empty);
    Some((Secret::new(id?), Secret::new(secret?)))
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
