//! The program's own log: to standard output and to files, in the existing server's line format or as JSON (config.md,
//! `[log]`).

mod file;
mod writer;

use std::{
    fmt,
    io::{self, IsTerminal},
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    field::RecordFields,
    filter::{LevelFilter, Targets, filter_fn},
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::{DefaultFields, Writer},
    },
    layer::{Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

pub use self::writer::Flush;
use self::writer::LineWriter;
use crate::config::{Log, LogFormat};

/// Writes the log from now on, for the whole process. What is returned is to be kept until its end.
///
/// # Errors
///
/// A file cannot be opened, or a subscriber is already set.
pub fn init(log: &Log) -> Result<Vec<Flush>, String> {
    let level = LevelFilter::from_level(log.level);
    // hyper and its like speak of every frame below `info`; their warnings are ours to know.
    let server = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_target(ACCESS, LevelFilter::OFF);
    let all = server.clone().with_target(ACCESS, level);
    let colour = io::stdout().is_terminal();
    let console = LineWriter::to_stdout().map_err(|error| error.to_string())?;
    let mut flushes = vec![console.flush()];
    let Some(file) = &log.file else {
        // One filter for all: those of single layers cost something whenever a span is entered.
        tracing_subscriber::registry()
            .with(all)
            .with(lines(log.format, console, CONSOLE, colour))
            .try_init()
            .map_err(|error| error.to_string())?;
        return Ok(flushes);
    };
    let mut open = |path: &Path| {
        let writer = LineWriter::to_file(path, file.max_bytes, file.backup_count)
            .map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
        flushes.push(writer.flush());
        Ok::<_, String>(lines(log.format, writer, FILE, false))
    };
    let layers: Layers = vec![
        lines(log.format, console, CONSOLE, colour).with_filter(all).boxed(),
        open(&file.path)?.with_filter(server).boxed(),
        open(&file.access_path)?.with_filter(accesses(log.level)).boxed(),
    ];
    tracing_subscriber::registry().with(layers).try_init().map_err(|error| error.to_string())?;
    Ok(flushes)
}

/// The target of access lines.
const ACCESS: &str = "access";

/// Access lines alone; spans too, since a request's id is in its span.
fn accesses(level: Level) -> impl Filter<Registry> + Send + Sync {
    filter_fn(move |metadata| metadata.is_span() || (metadata.target() == ACCESS && *metadata.level() <= level))
        .with_max_level_hint(LevelFilter::from_level(level))
}

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// Writes lines of this format to `writer`.
fn lines<S, W>(format: LogFormat, writer: W, text: Lines, colour: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(colour).fmt_fields(OnlyId).event_format(text).boxed(),
    }
}

/// Of a request's span, keeps only the id for the lines written in it; to write the other fields out for every request
/// would cost more than some requests do.
struct OnlyId;

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
            self.written = self.out.write_str(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// `LEVEL:     2026-11-23 02:01:21+0000 [request id or -] module: message key=value`; in a file without the colon.
struct Lines {
    /// How many columns the level has.
    pad: usize,
    /// What follows its name.
    mark: &'static str,
}

/// Lines as the existing server writes them to its standard output.
const CONSOLE: Lines = Lines { pad: 9, mark: ":" };

/// Lines as it writes them to files.
const FILE: Lines = Lines { pad: 8, mark: "" };

impl<S: Subscriber + for<'l> LookupSpan<'l>> FormatEvent<S, OnlyId> for Lines {
    fn format_event(&self, ctx: &FmtContext<'_, S, OnlyId>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        self.write_level(&mut out, event.metadata())?;
        let spans = ctx.event_scope().into_iter().flatten();
        let ids =
            spans.filter_map(|span| span.extensions().get::<FormattedFields<OnlyId>>().map(|id| id.fields.clone()));
        let id = ids.filter(|id| !id.is_empty()).last().unwrap_or_else(|| "-".to_owned());
        write!(out, " {} [{id}] {}: ", now(), event.metadata().target())?;
        DefaultFields::new().format_fields(out.by_ref(), event)?;
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

/// The present time, as lines have it.
fn now() -> impl fmt::Display {
    Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S+0000").to_string()
}
