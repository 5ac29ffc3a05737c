//! Lines for people, as the existing server writes them.

use std::{
    error::Error,
    fmt::{self, Write},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

use super::escape::{Beginning, Escaped, Place};
use crate::error_chain;

/// Longest request id in a line, in bytes.
const MAX_ID: usize = 128;

/// Keeps only the id of a request's span, for the lines within it. To format the other fields for every request would cost more
/// than some requests do.
pub(super) struct OnlyId;

impl<'w> FormatFields<'w> for OnlyId {
    fn format_fields<R: RecordFields>(&self, out: Writer<'w>, fields: R) -> fmt::Result {
        let mut id = WriteId { out, written: Ok(()) };
        fields.record(&mut id);
        id.written
    }
}

struct WriteId<'w> {
    out: Writer<'w>,
    written: fmt::Result,
}

impl Visit for WriteId<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "request_id" {
            self.written = Escaped::bounded(&mut self.out, Place::Brackets, MAX_ID).value(format_args!("{value}"));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// `LEVEL:     2026-11-23 02:01:21+0000 [request id or -] module: message key=value`; in a file without the colon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// How many columns the level has.
    pad: usize,
    /// What follows its name.
    mark: &'static str,
}

/// Lines as the existing server writes them to its standard output.
pub(super) const CONSOLE: Lines = Lines { pad: 9, mark: ":" };

/// Lines as it writes them to files.
pub(super) const FILE: Lines = Lines { pad: 8, mark: "" };

impl<S: Subscriber + for<'l> LookupSpan<'l>> FormatEvent<S, OnlyId> for Lines {
    fn format_event(&self, ctx: &FmtContext<'_, S, OnlyId>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        self.write_level(&mut out, event.metadata())?;
        let spans = ctx.event_scope().into_iter().flatten();
        let ids =
            spans.filter_map(|span| span.extensions().get::<FormattedFields<OnlyId>>().map(|id| id.fields.clone()));
        let id = ids.filter(|id| !id.is_empty()).last().unwrap_or_else(|| "-".to_owned());
        write!(out, " {} [{id}] {}: ", super::now(), event.metadata().target())?;
        let mut fields = WriteFields { out: out.by_ref(), is_first: true, written: Ok(()) };
        event.record(&mut fields);
        fields.written?;
        if let Some(context) = super::trace(ctx) {
            write!(out, " trace_id={}", context.trace_id())?;
        }
        writeln!(out)
    }
}

impl Lines {
    fn write_level(&self, out: &mut Writer<'_>, metadata: &Metadata<'_>) -> fmt::Result {
        let (name, colour) = match *metadata.level() {
            Level::ERROR => ("ERROR", 31),
            Level::WARN => ("WARNING", 33),
            Level::INFO => ("INFO", 32),
            Level::DEBUG => ("DEBUG", 36),
            Level::TRACE => ("TRACE", 35),
        };
        let Self { pad, mark } = self;
        let gap = " ".repeat(pad - name.len());
        if out.has_ansi_escapes() {
            write!(out, "\u{1b}[{colour}m{name}\u{1b}[0m{mark}{gap}")
        } else {
            write!(out, "{name}{mark}{gap}")
        }
    }
}

/// The line that stands for missing ones, in the form of a file's lines.
pub(super) fn gap(left_out: u64) -> String {
    format!("WARNING  {} [-] log: {}\n", super::now(), super::left_out(left_out))
}

/// Writes an event's message, and its other fields as `key=value`.
struct WriteFields<'w> {
    out: Writer<'w>,
    is_first: bool,
    written: fmt::Result,
}

impl WriteFields<'_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let gap = if std::mem::take(&mut self.is_first) { "" } else { " " };
        let name = field.name();
        let begun = if name == MESSAGE { self.out.write_str(gap) } else { write!(self.out, "{gap}{name}=") };
        self.written = self.written.and(begun).and_then(|()| value(&mut self.out));
    }
}

/// The name of the field that is the message.
const MESSAGE: &str = "message";

impl Visit for WriteFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.write(field, |out| Escaped::new(out, Place::Message).value(format_args!("{value}")));
        } else {
            self.write(field, |out| quoted(out, value));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |out| write!(out, "{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &error_chain::text(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            return self.write(field, |out| Escaped::new(out, Place::Message).value(format_args!("{value:?}")));
        }
        let mut text = Beginning::default();
        // An error is that there is more than a line has room for, which the mark of the cut tells.
        let _ = write!(text, "{value:?}");
        let text = text.0;
        self.write(field, |out| if is_word(&text) { out.write_str(&text) } else { quoted(out, &text) });
    }
}

fn quoted(out: &mut Writer<'_>, value: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped::new(out, Place::Quotes).value(format_args!("{value}"))?;
    out.write_char('"')
}

/// Whether a value can be told from what follows it without quotes: it is one word, or has them already.
fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    if !text.is_empty() && text.len() < super::escape::MAX_VALUE && text.bytes().all(is_plain) {
        return true;
    }
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.is_some_and(|inner| inner.bytes().all(|byte| is_plain(byte) || matches!(byte, b' ' | b'=')))
}
