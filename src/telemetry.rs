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
    span,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets, filter_fn},
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::{Context, Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use self::writer::FileWriter;
pub use self::writer::Flush;
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
    let mut layers: Layers = vec![RequestIds.with_filter(all.clone()).boxed()];
    layers.push(lines(log.format, io::stdout, Lines { pad: 9, mark: ":" }, colour).with_filter(all).boxed());
    let mut flushes = Vec::new();
    if let Some(file) = &log.file {
        let mut open = |path: &Path| {
            let writer = FileWriter::start(path, file.max_bytes, file.backup_count)
                .map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
            flushes.push(writer.flush());
            Ok::<_, String>(lines(log.format, writer, Lines { pad: 8, mark: "" }, false))
        };
        layers.push(open(&file.path)?.with_filter(server).boxed());
        layers.push(open(&file.access_path)?.with_filter(accesses(log.level)).boxed());
    }
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
fn lines<W>(format: LogFormat, writer: W, text: Lines, colour: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(colour).event_format(text).boxed(),
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

/// `LEVEL:     2026-11-23 02:01:21+0000 [request id or -] module: message key=value`; in a file without the colon.
struct Lines {
    /// How many columns the level has.
    pad: usize,
    /// What follows its name.
    mark: &'static str,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        self.write_level(&mut out, event.metadata())?;
        let mut id = String::from("-");
        for span in ctx.event_scope().into_iter().flatten() {
            if let Some(RequestId(own)) = span.extensions().get() {
                id.clone_from(own);
            }
        }
        write!(out, " {} [{id}] {}: ", now(), event.metadata().target())?;
        ctx.field_format().format_fields(out.by_ref(), event)?;
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
