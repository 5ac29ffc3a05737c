//! The files that the documentation's pages load. `assets/docs/README.md` tells where they come from.

use std::sync::OnceLock;

use bytes::Bytes;

/// A file, compressed with gzip.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) zipped: &'static [u8],
    /// As it is without gzip, once that was asked for.
    pub(super) plain: OnceLock<Bytes>,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset {
            name: $name,
            content_type: $content_type,
            zipped: include_bytes!(concat!("../../../assets/docs/", $name, ".gz")),
            plain: OnceLock::new(),
        }
    };
}

static ASSETS: [Asset; 7] = [
    asset!("swagger-ui-bundle.js", SCRIPT),
    asset!("swagger-ui.css", "text/css; charset=utf-8"),
    asset!("swagger-init.js", SCRIPT),
    asset!("redoc-init.js", SCRIPT),
    asset!("oauth2-redirect.js", SCRIPT),
    asset!("redoc.standalone.js", SCRIPT),
    asset!("favicon-32x32.png", "image/png"),
];

impl Asset {
    /// The file of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.name == name)
    }

    /// What tells this content from any other, in this coding: the checksum and the length that gzip ends with
    /// (RFC 1952 §2.3.1).
    pub(super) fn tag(&self, zipped: bool) -> String {
        let end: String = self.zipped.iter().rev().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("\"{end}{}\"", if zipped { "-gzip" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io::Read as _};

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn every_file_can_be_unpacked_and_has_a_tag_of_its_own() {
        let mut tags = HashSet::new();
        for asset in &ASSETS {
            let mut plain = Vec::new();
            GzDecoder::new(asset.zipped).read_to_end(&mut plain).unwrap();
            assert!(!plain.is_empty(), "{}", asset.name);
            assert!(tags.insert(asset.tag(true)) && tags.insert(asset.tag(false)), "{}", asset.name);
        }
    }

    #[test]
    fn what_is_built_in_of_our_own_is_what_its_source_says() {
        for (name, source) in [
            ("swagger-init.js", include_str!("../../../assets/docs/swagger-init.js")),
            ("redoc-init.js", include_str!("../../../assets/docs/redoc-init.js")),
        ] {
            let mut plain = String::new();
            GzDecoder::new(Asset::find(name).unwrap().zipped).read_to_string(&mut plain).unwrap();
            assert!(plain == source, "{name}: run scripts/assets");
        }
    }

    #[test]
    fn the_pages_load_what_there_is() {
        for page in [
            include_str!("../../../assets/docs/swagger.html"),
            include_str!("../../../assets/docs/redoc.html"),
            include_str!("../../../assets/docs/oauth2-redirect.html"),
        ] {
            let files = page.split("assets/").skip(1).map(|rest| rest.split('"').next().unwrap());
            let files: Vec<_> = files.collect();
            assert!(!files.is_empty());
            files.into_iter().for_each(|file| assert!(Asset::find(file).is_some(), "{file}"));
            assert!(!page.contains("//"), "a page loads from elsewhere: {page}");
        }
    }
}
