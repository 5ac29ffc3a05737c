//! Server-sent events: lines are default events, all else has a name, pings are comments.

use bytes::{BufMut, BytesMut};

use super::{
    Event, Progress, Told,
    json::{self, Json, Token},
};
use crate::logs::{cursor::Cursor, lines::Line};

/// What is sent first: after how many milliseconds a browser comes back.
///
/// It has no `id`. Before a record was seen, the only place that can be named is the log's beginning. For who asked for all of the
/// log that adds nothing: the same request gives the same. For who asked for a `tail` or a `since` it is wrong: the token wins over
/// a tail, so all of the log would come. The same request, sent again without a token, is nearer to what was meant. An event
/// behind the opening has the place of the last line, and pings need none: the last record's stands.
pub const OPENING: &[u8] = b"retry: 2000\n\n";

/// What is sent in silence. The empty line ends nothing: a comment alone makes no event.
pub const PING: &[u8] = b": ping\n\n";

/// Writes records and events.
#[derive(Debug)]
pub struct Sse {
    json: Json,
}

impl Sse {
    /// Of lines of which so much is `told`.
    pub fn new(told: Told) -> Self {
        Self { json: Json::new(told) }
    }

    /// Appends a line, behind which is `cursor`.
    #[inline]
    pub fn line(&mut self, line: &Line<'_>, cursor: &Cursor, out: &mut BytesMut) {
        let token = Token::of(cursor);
        out.put_slice(b"id: ");
        out.put_slice(token.as_bytes());
        out.put_slice(b"\ndata: ");
        // JSON has no newline that is not escaped.
        self.json.line(line, token.as_bytes(), out);
        out.put_slice(b"\n\n");
    }

    /// Appends an event.
    pub fn event(&mut self, event: Event<'_>, progress: &Progress, out: &mut BytesMut) {
        let token = Token::of(&progress.cursor);
        for part in [b"event: ", json::name(event).as_bytes(), b"\nid: ", token.as_bytes(), b"\ndata: "] {
            out.put_slice(part);
        }
        self.json.event(event, progress, token.as_bytes(), out);
        out.put_slice(b"\n\n");
    }
}
