//! `/docs`, `/docs/oauth2-redirect`, `/redoc` and what they load (http-api.md §5): all of it out of the program itself,
//! so that the pages work without the Internet.

mod assets;

use std::{io::Read as _, panic::resume_unwind};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use self::assets::Asset;
use super::conditional::{is_known, takes_gzip};
use crate::{body::Body, problem::ApiError, router::DocsFile};

/// What the pages may do: load from here, and nothing else. Both set styles of their own; ReDoc searches in a worker.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Gives the pages an origin that no other page has. Pages of sandboxes come from this origin too, and their scripts could open
/// one of these pages and read the key that a person types into it. What the pages ask of the API has `Origin: null` then, which
/// CORS allows as any other origin.
const APART: &str = "; sandbox allow-scripts allow-forms allow-modals allow-downloads allow-popups \
                     allow-popups-to-escape-sandbox";

/// A new version of the program has other files under the same names, so a copy is asked about each day.
const FRESH: &str = "public, max-age=86400";

/// Answers with a page, or with a file that one loads. `is_apart` says that sandboxes are kept apart from this program, so that
/// its pages have to be kept apart from theirs. The process runtime answers no page of the origin `null`, and its sandboxes read
/// what this user's programs read in any case.
///
/// # Errors
/// There is no such file.
pub async fn answer(file: &DocsFile, asked: &HeaderMap, is_apart: bool) -> Result<Response<Body>, ApiError> {
    match file {
        DocsFile::Swagger => Ok(page(include_str!("../../assets/docs/swagger.html"), is_apart)),
        DocsFile::OAuth2Redirect => Ok(page(include_str!("../../assets/docs/oauth2-redirect.html"), is_apart)),
        DocsFile::Redoc => Ok(page(include_str!("../../assets/docs/redoc.html"), is_apart)),
        DocsFile::Asset(name) => Ok(loaded(Asset::find(name).ok_or_else(ApiError::no_route)?, asked).await),
    }
}

fn page(text: &'static str, is_apart: bool) -> Response<Body> {
    let mut res = Response::new(Body::full(text));
    let headers = res.headers_mut();
    set(headers, header::CONTENT_TYPE, "text/html; charset=utf-8");
    let policy = if is_apart { [POLICY, APART].concat() } else { POLICY.to_owned() };
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    set(headers, header::REFERRER_POLICY, "no-referrer");
    set(headers, header::CACHE_CONTROL, "no-cache");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    res
}

async fn loaded(asset: &'static Asset, asked: &HeaderMap) -> Response<Body> {
    let zipped = takes_gzip(asked);
    let tag = asset.tag(zipped);
    let is_known = is_known(asked, &tag);
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

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[tokio::test]
    async fn a_copy_that_is_right_is_not_sent_again() {
        let file = DocsFile::Asset("swagger-ui.css".to_owned());
        let first = answer(&file, &HeaderMap::new(), true).await.unwrap();
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!((first.status(), first.headers().get(header::CONTENT_ENCODING)), (StatusCode::OK, None));
        for tags in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let again = answer(&file, &asked(header::IF_NONE_MATCH, &tags), true).await.unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{tags}");
        }
        assert_eq!(answer(&file, &asked(header::IF_NONE_MATCH, "\"x\""), true).await.unwrap().status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn there_are_no_other_files() {
        for name in ["", "..", "swagger-ui.css.gz", "README.md", "../swagger.html"] {
            assert!(answer(&DocsFile::Asset(name.to_owned()), &HeaderMap::new(), true).await.is_err(), "{name}");
        }
    }
}
