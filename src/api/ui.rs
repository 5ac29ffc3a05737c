//! `/ui/`: the browser viewer's files, out of the program itself.

use std::{io::Write as _, panic::resume_unwind, sync::OnceLock};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::conditional::{is_known, takes_gzip};
use crate::{body::Body, problem::ApiError};

/// The page itself, which has the folder's own address.
const PAGE: &str = "index.html";

/// A new version of the program has other files under the same names, and they fit each other only: none is used before it
/// was asked about.
const FRESH: HeaderValue = HeaderValue::from_static("no-cache");

/// A file of `assets/ui`.
#[derive(Debug)]
struct File {
    name: &'static str,
    plain: &'static [u8],
    /// Compressed, and what tells its content from others', once somebody has asked.
    made: OnceLock<Made>,
}

#[derive(Debug)]
struct Made {
    zipped: Bytes,
    tag: String,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$({
            static FILE: File = File {
                name: $name,
                plain: include_bytes!(concat!("../../assets/ui/", $name)),
                made: OnceLock::new(),
            };
            &FILE
        }),*]
    };
}

/// All files of the folder, which a test compares with it.
static FILES: &[&File] = files![
    "README.md",
    "ansi.js",
    "api.js",
    "app.js",
    "bidi.js",
    "download.js",
    "index.html",
    "keyboard.js",
    "licences/ansi-sequence-parser.LICENSE",
    "line-links.js",
    "list.js",
    "log-older.js",
    "log-page.js",
    "log-read.js",
    "log-store.js",
    "log-stream.js",
    "log-view.js",
    "ndjson.js",
    "records.js",
    "route.js",
    "row.js",
    "search.js",
    "settings.js",
    "style.css",
    "time.js",
    "vendor/ansi-sequence-parser.js",
];

/// Answers with the file of this name below `/ui/`; the page for none.
///
/// # Errors
///
/// There is no such file.
pub async fn answer(name: &str, asked: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let name = if name.is_empty() { PAGE } else { name };
    let none = || ApiError::no_route_of("The viewer has no such file.");
    let file = FILES.iter().find(|file| file.name == name).ok_or_else(none)?;
    let made = file.made().await;
    let zipped = takes_gzip(asked);
    let tag = format!("\"{}{}\"", made.tag, if zipped { "-gzip" } else { "" });
    let known = is_known(asked, &tag);
    let body = match (known, zipped) {
        (true, _) => Body::empty(),
        (false, true) => Body::full(made.zipped.clone()),
        (false, false) => Body::full(file.plain),
    };
    let mut res = Response::new(body);
    if known {
        *res.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = res.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, FRESH);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    if zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(res)
}

impl File {
    /// The file's other form. It is made once, and on a blocking thread, since that takes some milliseconds.
    async fn made(&'static self) -> &'static Made {
        if let Some(made) = self.made.get() {
            return made;
        }
        let made = tokio::task::spawn_blocking(|| self.made.get_or_init(|| Made::of(self.plain))).await;
        made.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))
    }
}

impl Made {
    fn of(plain: &[u8]) -> Self {
        let mut zipped = GzEncoder::new(Vec::new(), Compression::best());
        // Nothing fails that writes into memory.
        let zipped = zipped.write_all(plain).and_then(|()| zipped.finish()).unwrap_or_else(|error| {
            tracing::error!(%error, "a file of the viewer cannot be compressed");
            Vec::new()
        });
        let digest = ring::digest::digest(&ring::digest::SHA256, plain);
        let tag = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { zipped: zipped.into(), tag }
    }
}

/// The type of a file by its name. Browsers are told not to guess.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, io::Read as _, path::Path};

    use flate2::read::GzDecoder;

    use super::*;

    fn found(folder: &Path, root: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found(&path, root, names);
            } else {
                names.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn what_is_built_in_is_the_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/ui");
        let mut names = BTreeSet::new();
        found(&root, &root, &mut names);
        let built_in: BTreeSet<_> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(built_in, names, "a file of assets/ui is missing in FILES, or the other way round");
        assert_eq!(built_in.len(), FILES.len());
    }

    #[test]
    fn each_file_can_be_unpacked_and_its_tag_is_its_own() {
        let mut tags = BTreeSet::new();
        for file in FILES {
            let (made, mut plain) = (Made::of(file.plain), Vec::new());
            GzDecoder::new(&made.zipped[..]).read_to_end(&mut plain).unwrap();
            assert!(plain == file.plain, "{}", file.name);
            tags.insert(made.tag);
        }
        assert_eq!(tags.len(), FILES.iter().map(|file| file.plain).collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn a_script_is_one_for_browsers() {
        for (name, start) in [
            ("index.html", "text/html"),
            ("a/b.min.js", "text/javascript"),
            ("x.css", "text/css"),
            ("LICENSE", "text/plain"),
            ("x.html.txt", "text/plain"),
        ] {
            assert!(content_type(name).starts_with(start), "{name}");
        }
    }

    #[tokio::test]
    async fn there_are_no_other_files() {
        for name in ["..", "/", "index.html/", "../config/docker.toml", "%69ndex.html", "INDEX.HTML"] {
            assert!(answer(name, &HeaderMap::new()).await.is_err(), "{name}");
        }
        assert!(answer("", &HeaderMap::new()).await.is_ok());
    }
}
