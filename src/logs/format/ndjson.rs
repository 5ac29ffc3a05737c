//! NDJSON: a JSON object a line.

use bytes::{BufMut, BytesMut};

use super::{
    Event, Progress, Told,
    json::{Json, Token},
};
use crate::logs::{cursor::Cursor, lines::Line};

/// What is sent in silence.
pub const PING: &[u8] = b"{\"event\":\"ping\"}\n";

/// Writes records and events.
#[derive(Debug)]
pub struct Ndjson {
    json: Json,
}

impl Ndjson {
    /// Of lines of which so much is `told`.
    pub fn new(told: Told) -> Self {
        Self { json: Json::new(told) }
    }

    /// Appends a line, behind which is `cursor`.
    #[inline]
    pub fn line(&mut self, line: &Line<'_>, cursor: &Cursor, out: &mut BytesMut) {
        self.json.line(line, Token::of(cursor).as_bytes(), out);
        out.put_u8(b'\n');
    }

    /// Appends an event.
    pub fn event(&mut self, event: Event<'_>, progress: &Progress, out: &mut BytesMut) {
        self.json.event(event, progress, Token::of(&progress.cursor).as_bytes(), out);
        out.put_u8(b'\n');
    }
}
