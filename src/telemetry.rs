//! The program's own log: to standard output, in the existing server's line format or as JSON (config.md, `[log]`).

use std::{
    fmt,
    io::{self, IsTerminal},
};

use jiff::{Timestamp, tz::TimeZone};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// Writes the log from now on, for the whole process.
///
/// # Errors
///
/// A subscriber is already set.
pub fn init(log: &Log) -> Result<(), tracing_subscriber::util::TryInitError> {
    let level = LevelFilter::from_level(log.level);
    // hyper and its like speak of every frame below `info`; their warnings are ours to know.
    let filter = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_targets([(env!("CARGO_CRATE_NAME"), level), ("access", level)]);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stdout);
    let registry = tracing_subscriber::registry().with(RequestIds.with_filter(filter.clone()));
    match log.format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
        LogFormat::Text => {
            let colour = io::stdout().is_terminal();
            registry.with(lines.with_ansi(colour).event_format(Lines).with_filter(filter)).try_init()
        }
    }
}

/// Keeps each request's id at hand for the lines written in its span.
struct RequestIds;

/// The id of a request, as its span has it.
struct RequestId(String);

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for RequestIds {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id).filter(|span| span.name() == "request") else { return };
        let mut find = FindId(None);
        attributes.record(&mut find);
        if let FindId(Some(id)) = find {
            span.extensions_mut().insert(RequestId(id));
        }
    }
}

struct FindId(Option<String>);

impl Visit for FindId {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "id" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// `LEVEL:     2026-11-23 02:01:21+0000 [request id or -] module: message key=value`.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let time = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S+0000");
        write_level(&mut out, event.metadata())?;
        let mut id = String::from("-");
        for span in ctx.event_scope().into_iter().flatten() {
            if let Some(RequestId(own)) = span.extensions().get() {
                id.clone_from(own);
            }
        }
        write!(out, " {time} [{id}] {}: ", event.metadata().target())?;
        ctx.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}

fn write_level(out: &mut Writer<'_>, metadata: &Metadata<'_>) -> fmt::Result {
    let (name, colour) = match *metadata.level() {
        Level::ERROR => ("ERROR", 31),
        Level::WARN => ("WARNING", 33),
        Level::INFO => ("INFO", 32),
        Level::DEBUG => ("DEBUG", 36),
        Level::TRACE => ("TRACE", 35),
    };
    let gap = " ".repeat(9 - name.len());
    if out.has_ansi_escapes() {
        write!(out, "\u{1b}[{colour}m{name}\u{1b}[0m:{gap}")
    } else {
        write!(out, "{name}:{gap}")
    }
}
