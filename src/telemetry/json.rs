//! Lines for machines: one JSON object each, `{"timestamp","level",…fields,"target","span","spans"}`.

use std::{error::Error, fmt};

use jiff::Timestamp;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

use super::escape::{Escaped, Place};
use crate::error_chain;

/// Writes a span's fields as the members of an object, each with a comma behind it.
pub(super) struct Members;

impl<'w> FormatFields<'w> for Members {
    fn format_fields<R: RecordFields>(&self, out: Writer<'w>, fields: R) -> fmt::Result {
        let mut members = WriteMembers { out, written: Ok(()) };
        fields.record(&mut members);
        members.written
    }
}

/// Writes an event as an object.
pub(super) struct Objects;

impl<S: Subscriber + for<'l> LookupSpan<'l>> FormatEvent<S, Members> for Objects {
    fn format_event(&self, ctx: &FmtContext<'_, S, Members>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        write!(out, r#"{{"timestamp":"{}","level":"{}","#, now(), metadata.level())?;
        let mut members = WriteMembers { out: out.by_ref(), written: Ok(()) };
        event.record(&mut members);
        members.written?;
        write!(out, r#""target":"{}""#, metadata.target())?;
        if let Some(context) = super::trace(ctx) {
            write!(out, r#","trace_id":"{}","span_id":"{}""#, context.trace_id(), context.span_id())?;
        }
        let spans: Vec<String> = ctx
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| {
                let extensions = span.extensions();
                let fields = extensions.get::<FormattedFields<Members>>().map_or("", |fields| fields.fields.as_str());
                format!(r#"{{{fields}"name":"{}"}}"#, span.name())
            })
            .collect();
        if let Some(last) = spans.last() {
            write!(out, r#","span":{last},"spans":[{}]"#, spans.join(","))?;
        }
        writeln!(out, "}}")
    }
}

/// The line that stands for missing ones.
pub(super) fn gap(left_out: u64) -> String {
    format!(
        "{{\"timestamp\":\"{}\",\"level\":\"WARN\",\"message\":\"{}\",\"target\":\"log\"}}\n",
        now(),
        super::left_out(left_out)
    )
}

fn now() -> impl fmt::Display {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

struct WriteMembers<'w> {
    out: Writer<'w>,
    written: fmt::Result,
}

impl WriteMembers<'_> {
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        let name = field.name();
        self.written = self.written.and_then(|()| write!(self.out, r#""{name}":{value},"#));
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        self.written = self.written.and_then(|()| {
            write!(self.out, r#""{name}":""#)?;
            Escaped::new(&mut self.out, Place::Json).value(value)?;
            self.out.write_str("\",")
        });
    }
}

impl Visit for WriteMembers<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity and no NaN.
        if value.is_finite() { self.plain(field, value) } else { self.text(field, format_args!("{value}")) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, format_args!("{}", error_chain::text(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}
