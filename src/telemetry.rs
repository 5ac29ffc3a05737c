//! The program's own log: to standard output and to files, in the existing server's line format or as JSON (config.md,
//! `[log]`).
//!
//! Callers log values as they are; the two formats, `text` and `json`, write each of them through `escape`.

mod escape;
mod file;
mod json;
pub mod rate_limit;
mod text;
mod writer;

use std::{
    fmt,
    io::{self, IsTerminal},
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};
use opentelemetry::trace::SpanContext;
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets, filter_fn},
    fmt::{FmtContext, FormatFields, MakeWriter},
    layer::{Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

pub use self::writer::Output;
use self::{
    escape::{Escaped, Place},
    text::{CONSOLE, FILE, Lines, OnlyId},
    writer::LineWriter,
};
use crate::{
    config::{Log, LogFormat},
    trace_context::InTrace,
};

/// Sets up the log for the whole process. The outputs that it returns are to be flushed before the process ends.
///
/// # Errors
///
/// A file cannot be opened, or a subscriber is already set.
pub fn init(log: &Log) -> Result<Vec<Output>, String> {
    let level = LevelFilter::from_level(log.level);
    // Below `info`, hyper and other crates log every frame; their warnings concern us. Those of h2 do not: a client causes a
    // line with each frame.
    let server = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target("h2", LevelFilter::ERROR)
        // Its warnings are of every watch that breaks off, and quote whole answers, secrets and all; the runtime tells its own.
        .with_target("kube_client", LevelFilter::ERROR)
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_target(ACCESS, LevelFilter::OFF);
    let all = server.clone().with_target(ACCESS, level);
    let colour = io::stdout().is_terminal();
    let gap = match log.format {
        LogFormat::Text => text::gap,
        LogFormat::Json => json::gap,
    };
    let console = LineWriter::to_stdout(gap).map_err(|error| error.to_string())?;
    let mut outputs = vec![console.output()];
    let Some(file) = &log.file else {
        // One global filter: a filter for each layer costs something whenever a span is entered.
        tracing_subscriber::registry()
            .with(all)
            .with(lines(log.format, console, CONSOLE, colour))
            .try_init()
            .map_err(|error| error.to_string())?;
        return Ok(outputs);
    };
    let mut open = |path: &Path| {
        let writer = LineWriter::to_file(path, file.max_bytes, file.backup_count, gap)
            .map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
        outputs.push(writer.output());
        Ok::<_, String>(lines(log.format, writer, FILE, false))
    };
    let layers: Layers = vec![
        lines(log.format, console, CONSOLE, colour).with_filter(all).boxed(),
        open(&file.path)?.with_filter(server).boxed(),
        open(&file.access_path)?.with_filter(accesses(log.level)).boxed(),
    ];
    tracing_subscriber::registry().with(layers).try_init().map_err(|error| error.to_string())?;
    Ok(outputs)
}

/// Text for the standard error, where there is no log yet, on one line: what ends a line is escaped.
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = Escaped::bounded(&mut line, Place::Terminal, MAX_COMPLAINT).value(format_args!("{text}"));
    line
}

/// Most bytes of an error on the standard error: one about the configuration may quote much, and is written once.
const MAX_COMPLAINT: usize = 16 * 1024;

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
        LogFormat::Json => lines.with_ansi(false).fmt_fields(json::Members).event_format(json::Objects).boxed(),
        LogFormat::Text => lines.with_ansi(colour).fmt_fields(OnlyId).event_format(text).boxed(),
    }
}

/// The span of the trace that a line belongs to.
fn trace<S, N>(ctx: &FmtContext<'_, S, N>) -> Option<SpanContext>
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    let mut spans = ctx.event_scope()?;
    spans.find_map(|span| span.extensions().get::<InTrace>().map(|InTrace(context)| context.clone()))
}

/// The present time, as lines of text have it.
fn now() -> impl fmt::Display {
    Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S+0000").to_string()
}

/// The text of the line that stands for missing ones.
fn left_out(lines: u64) -> impl fmt::Display {
    format!("{lines} lines were left out: they came faster than they were taken")
}
