//! The head of a backend's answer: its status, its fields, and where its body ends (RFC 9112 §4 and §6.3).

pub mod fields;

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use memchr::memchr_iter;

use super::{error::Failure, head::has_token};
use crate::http1::framing::Body;

/// Longest head, in bytes, as it is read and as it is sent on.
const MAX_HEAD: usize = 128 * 1024;

/// The values of a longer one, in bytes, are copied.
const LONG: usize = 4 * 1024;

/// What an answer begins with.
const VERSION: &[u8] = b"HTTP/1.";

/// Most fields of a head, and of the trailers.
pub const MAX_FIELDS: usize = 256;

/// A backend's answer, up to its body.
#[derive(Debug)]
pub struct Answer {
    /// Its status and its fields.
    pub head: Response<()>,
    /// Where the body's bytes are in what follows.
    pub body: Body,
    /// Whether the connection may carry another request.
    pub keeps: bool,
}

/// Takes a head off `input`, of which the first `seen` bytes were looked at before; `None` if it is not whole yet.
///
/// # Errors
///
/// It is no answer to a request with this `method`.
pub fn take(input: &mut BytesMut, seen: usize, method: &Method) -> Result<Option<Answer>, Failure> {
    // At once: who speaks another protocol may wait for a word that never comes.
    if !VERSION.starts_with(&input[..input.len().min(VERSION.len())]) {
        return Err(Failure::Malformed("it does not speak HTTP/1"));
    }
    let length = length(input, seen);
    if length.unwrap_or(input.len()) > MAX_HEAD {
        return Err(Failure::Malformed("its head is too long"));
    }
    let Some(length) = length else { return Ok(None) };
    // Copied: a field that shares the buffer of what is read keeps all of it, as long as the client does not take the head.
    let head = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    match ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, &head, &mut fields) {
        Ok(Status::Complete(whole)) if whole == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Failure::Malformed("its head has too many fields")),
        _ => return Err(Failure::Malformed("its head is not valid")),
    }
    let mut answer = Response::new(());
    let code = parsed.code.unwrap_or_default();
    *answer.status_mut() = StatusCode::from_u16(code).map_err(|_| Failure::Malformed("its status is no status"))?;
    *answer.headers_mut() = fields_of(&head, parsed.headers)?;
    keep_reason(&mut answer, parsed.reason.unwrap_or_default());
    let is_old = parsed.version == Some(0);
    let body = body(&mut answer, method, is_old)?;
    let token = |token| has_token(answer.headers(), &header::CONNECTION, token);
    let keeps = if is_old { token("keep-alive") } else { !token("close") } && !has_forbidden_body(&answer);
    let keeps = keeps && (body.is_ended() || !body.may_close());
    Ok(Some(Answer { head: answer, body, keeps }))
}

/// The length of the head that `input` begins with: up to an empty line. Only the end of what is new is looked for, so that
/// a head that comes byte by byte is not read again and again.
pub(super) fn length(input: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    memchr_iter(b'\n', &input[from..]).map(|at| from + at + 1).find_map(|at| match input[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

/// The fields as they were parsed from `source`, whose bytes they share unless it is long: what is not passed on would be kept
/// for the sake of what is.
///
/// # Errors
///
/// A value has bytes that no value has.
pub fn fields_of(source: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Failure> {
    let mut fields = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Failure::Malformed("a field's name is not valid"))?;
        let value = if source.len() > LONG {
            HeaderValue::from_bytes(field.value)
        } else {
            HeaderValue::from_maybe_shared(source.slice_ref(field.value))
        };
        fields.append(name, value.map_err(|_| Failure::Malformed("a field's value is not valid"))?);
    }
    Ok(fields)
}

/// Keeps words that are not the usual ones for hyper to write.
fn keep_reason(answer: &mut Response<()>, reason: &str) {
    if answer.status().canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(reason.to_owned())
    {
        answer.extensions_mut().insert(reason);
    }
}

/// Whether a body is announced where there is none, so that bytes may come which are no answer's.
fn has_forbidden_body(answer: &Response<()>) -> bool {
    let fields = answer.headers();
    let has_length = || fields.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    answer.status() == StatusCode::NO_CONTENT && (has_length() || fields.contains_key(header::TRANSFER_ENCODING))
}

/// Where the body of an answer to `method` ends.
fn body(answer: &mut Response<()>, method: &Method, is_old: bool) -> Result<Body, Failure> {
    let status = answer.status();
    let is_empty = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if *method == Method::HEAD || is_empty {
        return Ok(Body::with_length(0));
    }
    let fields = answer.headers_mut();
    if let Some(last) = fields.get_all(header::TRANSFER_ENCODING).iter().next_back() {
        if is_old {
            return Err(Failure::Malformed("its HTTP/1.0 has a transfer coding"));
        }
        let last = last.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked { Body::chunked() } else { Body::until_close() });
    }
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(Body::until_close()) };
    if lengths.next().is_none()
        && let Some(length) = number(first.as_bytes())
    {
        return Ok(Body::with_length(length));
    }
    let length = agreed_length(fields)?;
    // Told once, however often it came.
    fields.insert(header::CONTENT_LENGTH, length.into());
    Ok(Body::with_length(length))
}

/// The length that all that tell one agree on.
fn agreed_length(fields: &HeaderMap) -> Result<u64, Failure> {
    let told = fields.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = told.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(number);
    match lengths.next().flatten() {
        Some(length) if lengths.all(|other| other == Some(length)) => Ok(length),
        _ => Err(Failure::Malformed("its Content-Length is no length")),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.trim_ascii();
    digits.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
