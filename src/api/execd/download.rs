//! A file that a client reads: all of it, a range of bytes, or some lines.

use std::{
    io::{self, Seek, SeekFrom},
    ops::Range,
    pin::Pin,
    task::{Context as Task, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::fs::File;
use tokio_util::io::poll_read_buf;

use super::{Context, blocking, files::one_path, query};
use crate::{
    api::extract::Query,
    body::{
        Body,
        pieces::{Pieces, PiecesBody},
    },
    error::{Error, Family, Kind},
    execd::{
        error,
        files::read::{Content, Opened},
    },
    problem::ApiError,
    response,
};

/// The most that one read takes, in bytes.
const READ_SIZE: usize = 64 * 1024;

/// What stands for itself in a file's name (RFC 8187 §3.2.1, `attr-char`).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which part of a file is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    All,
    /// `Range`, to be read when the length is known.
    Bytes(String),
    /// Lines from one on, counted from 1, and how many; all without.
    Lines(u64, Option<u64>),
}

/// Sends a file.
pub(super) async fn send(context: Context, head: &Parts) -> Result<Response<Body>, ApiError> {
    let asked = Query::parse(query(head));
    let (path, wanted) = (one_path(&asked)?, wanted_part(&asked, &head.headers)?);
    let by_lines = matches!(wanted, Part::Lines(..));
    let found = blocking(&context, move |execd| {
        let mut opened = execd.open(&path)?;
        let part = range_of(&mut opened, wanted)?;
        if let Content::File(file, _) = &mut opened.content {
            let start = if let Asked::Range(range) = &part { range.start } else { 0 };
            file.seek(SeekFrom::Start(start)).map_err(failed)?;
        }
        Ok((opened, part))
    });
    let (opened, part) = found.await?;
    let length = opened.content.length();
    let range = match part {
        Asked::Ignored => None,
        Asked::Range(range) => Some(range),
        Asked::Nothing => return Ok(outside(length)),
    };
    let all = 0..length;
    let whole = range.clone().unwrap_or(all);
    let file_name = opened.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let modified = opened.modified;
    let body = match opened.content {
        Content::Bytes(bytes) => Body::full(Bytes::from(bytes).slice(place(whole.start)..place(whole.end))),
        Content::File(file, _) => {
            let pieces = FilePieces { file: File::from_std(file), left: whole.end - whole.start };
            Body::pieces(PiecesBody::new(pieces, context.client, context.drain))
        }
    };
    let mut res = Response::new(body);
    let headers = res.headers_mut();
    if by_lines {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        return Ok(res);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let attachment = format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(&file_name, PLAIN));
    let fields = [
        (header::CONTENT_DISPOSITION, attachment),
        (header::LAST_MODIFIED, modified.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
    ];
    // All of it is visible ASCII.
    headers.extend(fields.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))));
    if let Some(range) = range {
        let text = format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1));
        headers.extend(HeaderValue::try_from(text).ok().map(|text| (header::CONTENT_RANGE, text)));
        *res.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(res)
}

/// Tells how long the file is when no byte of it is in the range (RFC 9110 §15.5.17).
fn outside(length: u64) -> Response<Body> {
    let text = format!("Range: it lies outside of the {length} bytes of the file.");
    let mut res = response::error(Error::new(Family::Execd, Kind::OutOfRange, text).into());
    let text = HeaderValue::try_from(format!("bytes */{length}"));
    res.headers_mut().extend(text.ok().map(|text| (header::CONTENT_RANGE, text)));
    res
}

fn wanted_part(query: &Query<'_>, headers: &HeaderMap) -> Result<Part, Error> {
    let number = |name: &str| {
        let malformed = |_| error::invalid(format!("{name}: it must be a whole number from 1 on."));
        query.last(name).map(str::parse::<u64>).transpose().map_err(malformed)
    };
    let (offset, limit) = (number("offset")?, number("limit")?);
    // What the file must be for the range to be one of it is not known here, so it is not that.
    let range = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
    match (range, offset, limit) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            Err(error::invalid("Range and offset or limit exclude each other."))
        }
        (None, Some(0), _) => Err(error::invalid("offset: lines are counted from 1.")),
        (None, None, None) => Ok(Part::All),
        (None, offset, limit) => Ok(Part::Lines(offset.unwrap_or(1), limit)),
        (Some(range), None, None) => Ok(range.to_str().map_or(Part::All, |range| Part::Bytes(range.to_owned()))),
    }
}

/// The part that is wanted.
fn range_of(opened: &mut Opened, wanted: Part) -> Result<Asked, Error> {
    match wanted {
        Part::All => Ok(Asked::Ignored),
        Part::Lines(first, count) => opened.content.lines(first, count).map(Asked::Range).map_err(failed),
        Part::Bytes(text) => Ok(bytes(&text, opened.content.length())),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// No part, or no range of bytes, or several: all of the file is the answer (RFC 9110 §14.2).
    Ignored,
    Range(Range<u64>),
    /// No byte of the file is in it.
    Nothing,
}

/// Reads `bytes=first-last`, `bytes=first-` and `bytes=-count` (RFC 9110 §14.1.2).
fn bytes(text: &str, length: u64) -> Asked {
    let spec = text.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, range)| range.trim().split_once('-')) else { return Asked::Ignored };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // One that is too long for us is longer than any file.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last), last) {
        (Some(first), Some(last), _) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None, "") => first..length,
        (None, Some(count), _) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return Asked::Ignored,
    };
    if range.is_empty() { Asked::Nothing } else { Asked::Range(range) }
}

/// A file, piece by piece, up to the length that was told.
struct FilePieces {
    file: File,
    left: u64,
}

impl Pieces for FilePieces {
    fn poll_piece(&mut self, cx: &mut Task<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = BytesMut::with_capacity(READ_SIZE);
        match ready!(poll_read_buf(Pin::new(&mut self.file), cx, &mut piece)) {
            // It was cut short meanwhile: what was promised cannot be sent.
            Ok(0) => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            Ok(read) => {
                piece.truncate(usize::try_from(self.left).map_or(read, |left| read.min(left)));
                self.left -= piece.len() as u64;
                Poll::Ready(Some(Ok(piece.freeze())))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn left(&self) -> Option<u64> {
        Some(self.left)
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn failed(error: io::Error) -> Error {
    Error::new(Family::Execd, Kind::Failed, format!("The file cannot be read: {error}.")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        for (text, expected) in [
            ("bytes=0-3", Asked::Range(0..4)),
            ("bytes=2-", Asked::Range(2..10)),
            ("bytes=-3", Asked::Range(7..10)),
            ("bytes=-99", Asked::Range(0..10)),
            ("bytes=5-99", Asked::Range(5..10)),
            ("Bytes = 9-9", Asked::Range(9..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=3-2", Asked::Ignored),
            ("bytes=0-1,3-4", Asked::Ignored),
            ("bytes=-", Asked::Ignored),
            ("bytes=a-b", Asked::Ignored),
            ("bytes=+1-2", Asked::Ignored),
            ("lines=1-2", Asked::Ignored),
            ("", Asked::Ignored),
        ] {
            assert_eq!(bytes(text, 10), expected, "{text}");
        }
        assert_eq!(bytes("bytes=0-", 0), Asked::Nothing);
    }
}
