//! The head of a response: its status, its headers, and where its body ends (RFC 9112 §4 and §6.3).

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use memchr::memchr_iter;

use super::{error::Error, framing::BodyDecoder};

/// Longest head, in bytes.
pub const MAX_HEAD: usize = 128 * 1024;

/// The values of a longer head, in bytes, are copied.
const MAX_SHARED: usize = 4 * 1024;

/// What a response begins with.
const VERSION: &[u8] = b"HTTP/1.";

/// Most headers of a head, and most trailers.
pub const MAX_HEADERS: usize = 256;

/// A response, up to its body.
#[derive(Debug)]
pub struct Head {
    /// The status and the headers.
    pub response: Response<()>,
    /// Finds the body in what follows.
    pub body: BodyDecoder,
    /// Whether the connection may carry another request.
    pub keeps_alive: bool,
}

/// Takes a head off `input`, of which the first `seen` bytes were looked at before; `None` if it is not whole yet.
///
/// # Errors
///
/// It is no response to a request with this `method`.
pub fn take(input: &mut BytesMut, seen: usize, method: &Method) -> Result<Option<Head>, Error> {
    // At once: a server of another protocol may wait for something that never comes.
    if !VERSION.starts_with(&input[..input.len().min(VERSION.len())]) {
        return Err(Error::NotHttp1);
    }
    let length = length(input, seen);
    if length.unwrap_or(input.len()) > MAX_HEAD {
        return Err(Error::HeadTooLong);
    }
    let Some(length) = length else { return Ok(None) };
    // Copied: a header that shared the read buffer would keep all of it for as long as the client does not take the head.
    let head = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    match ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, &head, &mut headers) {
        Ok(Status::Complete(whole)) if whole == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Error::TooManyHeaders),
        _ => return Err(Error::InvalidHead),
    }
    let mut response = Response::new(());
    let code = parsed.code.unwrap_or_default();
    *response.status_mut() = StatusCode::from_u16(code).map_err(|_| Error::InvalidStatus)?;
    *response.headers_mut() = header_map(&head, parsed.headers)?;
    keep_reason(&mut response, parsed.reason.unwrap_or_default());
    let is_http10 = parsed.version == Some(0);
    let body = body(&mut response, method, is_http10)?;
    let token = |token| has_token(response.headers(), &header::CONNECTION, token);
    let is_asked_for = if is_http10 { token("keep-alive") } else { !token("close") };
    let has_end = body.is_ended() || !body.may_close();
    let keeps_alive = is_asked_for && has_end && !has_forbidden_body(&response);
    Ok(Some(Head { response, body, keeps_alive }))
}

/// Whether a response is the one to the request, and no informational one before it (RFC 9110 §15.2). One that switches
/// protocols is.
pub fn is_final(response: &Response<()>) -> bool {
    !response.status().is_informational() || response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// The length of the head that `input` begins with: up to an empty line. The first `seen` bytes are not searched again, so that
/// a head that comes byte by byte costs no more than one that comes at once.
pub(super) fn length(input: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    memchr_iter(b'\n', &input[from..]).map(|at| from + at + 1).find_map(|at| match input[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

/// The headers as they were parsed from `source`. They share its bytes unless it is long: one that is passed on would keep the
/// memory of those that are not.
///
/// # Errors
///
/// A name or a value has bytes that none has.
pub(super) fn header_map(source: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Error::InvalidHeaderName)?;
        let value = if source.len() > MAX_SHARED {
            HeaderValue::from_bytes(header.value)
        } else {
            HeaderValue::from_maybe_shared(source.slice_ref(header.value))
        };
        headers.append(name, value.map_err(|_| Error::InvalidHeaderValue)?);
    }
    Ok(headers)
}

/// Whether one of a header's comma-separated values is `token`, parameters aside.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut tokens =
        headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| matches!(byte, b',' | b';')));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Keeps a reason that is not the usual one of its status, for hyper to write.
fn keep_reason(response: &mut Response<()>, reason: &str) {
    if response.status().canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(reason.to_owned())
    {
        response.extensions_mut().insert(reason);
    }
}

/// Whether a body is announced where there is none, so that bytes may come that belong to no response.
fn has_forbidden_body(response: &Response<()>) -> bool {
    let headers = response.headers();
    let has_length = || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    response.status() == StatusCode::NO_CONTENT && (has_length() || headers.contains_key(header::TRANSFER_ENCODING))
}

/// Where the body of a response to `method` ends (RFC 9112 §6.3). A `Content-Length` that came several times stays once.
fn body(response: &mut Response<()>, method: &Method, is_http10: bool) -> Result<BodyDecoder, Error> {
    let status = response.status();
    let is_empty = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if *method == Method::HEAD || is_empty {
        return Ok(BodyDecoder::with_length(0));
    }
    let headers = response.headers_mut();
    if let Some(last) = headers.get_all(header::TRANSFER_ENCODING).iter().next_back() {
        if is_http10 {
            return Err(Error::CodedHttp10);
        }
        let last = last.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked { BodyDecoder::chunked() } else { BodyDecoder::until_close() });
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(BodyDecoder::until_close()) };
    if lengths.next().is_none()
        && let Some(length) = number(first.as_bytes())
    {
        return Ok(BodyDecoder::with_length(length));
    }
    let length = agreed_length(headers)?;
    headers.insert(header::CONTENT_LENGTH, length.into());
    Ok(BodyDecoder::with_length(length))
}

/// The length that all values of `Content-Length` agree on.
fn agreed_length(headers: &HeaderMap) -> Result<u64, Error> {
    let values = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(number);
    match lengths.next().flatten() {
        Some(length) if lengths.all(|other| other == Some(length)) => Ok(length),
        _ => Err(Error::InvalidContentLength),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.trim_ascii();
    digits.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
