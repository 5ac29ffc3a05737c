//! `/docs`, `/docs/oauth2-redirect`, `/redoc` and what they load (http-api.md §5): all of it out of the program itself,
//! so that the pages work without the Internet.

mod assets;

use std::{io::Read as _, panic::resume_unwind};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use self::assets::Asset;
use crate::{body::Body, problem::ApiError, router::DocsFile};

/// What the pages may do: load from here, and nothing else. Both set styles of their own; ReDoc searches in a worker.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A new version of the program has other files under the same names, so a copy is asked about each day.
const FRESH: &str = "public, max-age=86400";

/// Answers with a page, or with a file that one loads.
///
/// # Errors
/// There is no such file.
pub async fn answer(file: &DocsFile, asked: &HeaderMap) -> Result<Response<Body>, ApiError> {
    match file {
        DocsFile::Swagger => Ok(page(include_str!("../../assets/docs/swagger.html"))),
        DocsFile::OAuth2Redirect => Ok(page(include_str!("../../assets/docs/oauth2-redirect.html"))),
        DocsFile::Redoc => Ok(page(include_str!("../../assets/docs/redoc.html"))),
        DocsFile::Asset(name) => Ok(loaded(Asset::find(name).ok_or_else(ApiError::no_route)?, asked).await),
    }
}

fn page(text: &'static str) -> Response<Body> {
    let mut res = Response::new(Body::full(text));
    let headers = res.headers_mut();
    set(headers, header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(headers, header::CONTENT_SECURITY_POLICY, POLICY);
    set(headers, header::REFERRER_POLICY, "no-referrer");
    set(headers, header::CACHE_CONTROL, "no-cache");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    res
}

async fn loaded(asset: &'static Asset, asked: &HeaderMap) -> Response<Body> {
    let zipped = takes_gzip(asked);
    let tag = asset.tag(zipped);
    let is_known = asked.get_all(header::IF_NONE_MATCH).iter().any(|tags| names(tags, &tag));
    let mut res = Response::new(if is_known { Body::empty() } else { body(asset, zipped).await });
    let headers = res.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    set(headers, header::CACHE_CONTROL, FRESH);
    set(headers, header::VARY, "Origin, Accept-Encoding");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::CONTENT_TYPE, asset.content_type);
    if zipped {
        set(headers, header::CONTENT_ENCODING, "gzip");
    }
    if is_known {
        *res.status_mut() = StatusCode::NOT_MODIFIED;
    }
    res
}

/// The body of a file. It is decompressed once, since a client without gzip will ask for it again, and on a blocking thread,
/// since that takes some milliseconds.
async fn body(asset: &'static Asset, zipped: bool) -> Body {
    if zipped {
        return Body::full(asset.zipped);
    }
    if let Some(plain) = asset.plain.get() {
        return Body::full(plain.clone());
    }
    let plain = tokio::task::spawn_blocking(|| asset.plain.get_or_init(|| unzipped(asset)).clone()).await;
    Body::full(plain.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic())))
}

fn unzipped(asset: &Asset) -> Bytes {
    let mut plain = Vec::new();
    // The files are built in, and a test has unpacked each.
    if let Err(error) = GzDecoder::new(asset.zipped).read_to_end(&mut plain) {
        tracing::error!(%error, asset.name, "a file of the documentation is broken");
    }
    plain.into()
}

/// Whether the client takes gzip (RFC 9110 §12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let all = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<_> = all.flat_map(|value| value.split(',')).map(coding).collect();
    let weight = |wanted: &str| codings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, on)| *on);
    weight("gzip").or(weight("*")).unwrap_or(false)
}

/// A coding, and whether it may be used: its weight is not 0.
fn coding(text: &str) -> (&str, bool) {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let weight = parameters.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
    (name.trim(), weight.is_none_or(|weight| weight > 0.0))
}

fn names(tags: &HeaderValue, wanted: &str) -> bool {
    let tags = tags.to_str().unwrap_or_default();
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == wanted)
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for value in ["gzip", "br, GZIP;q=0.5", "*", "deflate, *;q=0.1", "gzip ; q=1"] {
            assert!(takes_gzip(&asked(header::ACCEPT_ENCODING, value)), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip; q=0.0, *", "*;q=0", "xgzip"] {
            assert!(!takes_gzip(&asked(header::ACCEPT_ENCODING, value)), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_copy_that_is_right_is_not_sent_again() {
        let file = DocsFile::Asset("swagger-ui.css".to_owned());
        let first = answer(&file, &HeaderMap::new()).await.unwrap();
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!((first.status(), first.headers().get(header::CONTENT_ENCODING)), (StatusCode::OK, None));
        for tags in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let again = answer(&file, &asked(header::IF_NONE_MATCH, &tags)).await.unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{tags}");
        }
        assert_eq!(answer(&file, &asked(header::IF_NONE_MATCH, "\"x\"")).await.unwrap().status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn there_are_no_other_files() {
        for name in ["", "..", "swagger-ui.css.gz", "README.md", "../swagger.html"] {
            assert!(answer(&DocsFile::Asset(name.to_owned()), &HeaderMap::new()).await.is_err(), "{name}");
        }
    }
}
