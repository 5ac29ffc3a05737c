//! The forms of a log on the wire (log-api.md §2, §4, §5). No IO, and no allocation a line.

pub mod json;
pub mod ndjson;
pub mod sse;
pub mod text;
pub mod time;

use std::num::NonZeroU64;

use bytes::BytesMut;

use super::{
    cursor::Cursor,
    lines::Line,
    piece::{End, Gap, Notice, PieceSource},
};

/// What the answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The sandbox's bytes.
    Text,
    /// A JSON object a line.
    Ndjson,
    /// Server-sent events (HTML Living Standard §9.2).
    Sse,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The place behind the last line that was read, or that needs not be read again.
    pub cursor: Cursor,
    /// The time of the last line that was sent, in nanoseconds since 1970.
    pub time: Option<i64>,
    /// Logical lines of what was asked for, before filters.
    pub lines_read: u64,
    /// Those that were sent.
    pub lines_sent: u64,
    /// Bytes of the lines that were sent.
    pub bytes: u64,
}

impl Progress {
    /// Nothing was sent since `cursor`.
    pub fn new(cursor: Cursor) -> Self {
        Self { cursor, time: None, lines_read: 0, lines_sent: 0, bytes: 0 }
    }

    /// Whether so many bytes are reached.
    pub fn reaches(&self, limit: Option<NonZeroU64>) -> bool {
        limit.is_some_and(|limit| self.bytes >= limit.get())
    }
}

/// Something that happened between lines.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Something to know of the log.
    Notice(Notice),
    /// Something is missing.
    Gap(&'a Gap),
    /// The process was started anew, at this time in nanoseconds since 1970.
    Restart(i64),
    /// Nothing more comes.
    End(&'a End),
}

/// What is known of a log's lines, of each alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Their times are their own; if not, the gateway has given them theirs, and objects tell that.
    pub own_times: bool,
    /// Their streams; if not, objects have none.
    pub streams: bool,
}

impl Told {
    /// All of it.
    pub const ALL: Self = Self { own_times: true, streams: true };

    /// What `source` tells.
    pub fn by(source: &impl PieceSource) -> Self {
        Self { own_times: source.has_own_times(), streams: source.tells_streams() }
    }
}

/// Writes lines and events in one of the forms.
#[derive(Debug)]
pub enum Writer {
    /// As text.
    Text(text::Text),
    /// As NDJSON.
    Ndjson(ndjson::Ndjson),
    /// As server-sent events.
    Sse(sse::Sse),
}

impl Writer {
    /// A writer of `format`; text with `timestamps` before lines and `notes` of events.
    pub fn new(format: Format, timestamps: bool, notes: bool, told: Told) -> Self {
        match format {
            Format::Text => Self::Text(text::Text::new(timestamps, notes)),
            Format::Ndjson => Self::Ndjson(ndjson::Ndjson::new(told)),
            Format::Sse => Self::Sse(sse::Sse::new(told)),
        }
    }

    /// What comes before everything else.
    pub fn opening(&self) -> &'static [u8] {
        match self {
            Self::Text(_) | Self::Ndjson(_) => b"",
            Self::Sse(_) => sse::OPENING,
        }
    }

    /// What tells a client that the stream lives; empty where there is no such thing.
    pub fn ping(&self) -> &'static [u8] {
        match self {
            Self::Text(_) => b"",
            Self::Ndjson(_) => ndjson::PING,
            Self::Sse(_) => sse::PING,
        }
    }

    /// Appends a line, behind which is `cursor`.
    #[inline]
    pub fn line(&mut self, line: &Line<'_>, cursor: &Cursor, out: &mut BytesMut) {
        match self {
            Self::Text(text) => text.line(line, out),
            Self::Ndjson(ndjson) => ndjson.line(line, cursor, out),
            Self::Sse(sse) => sse.line(line, cursor, out),
        }
    }

    /// Appends an event of a stream that has made this `progress`.
    pub fn event(&mut self, event: Event<'_>, progress: &Progress, out: &mut BytesMut) {
        match self {
            Self::Text(text) => text.event(event, out),
            Self::Ndjson(ndjson) => ndjson.event(event, progress, out),
            Self::Sse(sse) => sse.event(event, progress, out),
        }
    }
}
