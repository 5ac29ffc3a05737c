//! W3C Trace Context, level 1: the headers `traceparent` and `tracestate`, and which trace the current task works for.
//!
//! A request's trace is kept with its span of the log ([`tracing::Span`]), which tasks that work for the request are given anyway.
//! So log lines and calls of a backend find it wherever the request's id is found.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use tracing::{Dispatch, Span, span};
use tracing_subscriber::{
    Registry,
    registry::{LookupSpan, SpanRef},
};

/// Names the trace and the caller's span (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What tracing systems of callers pass on to each other (§3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is passed on, in bytes: no less than what §3.3.1.5 asks for.
const MAX_STATE: usize = 512;

/// Most members of a `tracestate` (§3.3.1.1).
const MAX_MEMBERS: usize = 32;

/// The trace that a span of the log belongs to.
#[derive(Debug, Clone)]
pub struct InTrace(pub SpanContext);

/// The caller's span, if the headers name one. None for headers that break the rules in any way, so that a new trace begins.
pub fn read(headers: &HeaderMap) -> Option<SpanContext> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (trace, span, flags) = parse(all.next()?.as_bytes())?;
    if all.next().is_some() {
        return None;
    }
    Some(SpanContext::new(trace, span, flags, true, state(headers)))
}

/// Puts the span into the headers, in place of what they say.
pub fn write(context: &SpanContext, headers: &mut HeaderMap) {
    headers.remove(TRACESTATE);
    let mut text = String::with_capacity(55);
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    // Writing to a string cannot fail.
    let _ = write!(text, "00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    headers.insert(TRACEPARENT, HeaderValue::try_from(text).expect("hexadecimal digits are a header value"));
    let state = context.trace_state().header();
    if !state.is_empty()
        && let Ok(state) = HeaderValue::try_from(state)
    {
        headers.insert(TRACESTATE, state);
    }
}

/// `version-trace-span-flags`, in lower-case hexadecimal digits. A later version may have more behind (§4.3); `ff` is none.
fn parse(text: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (known, more) = text.split_at_checked(55)?;
    let text = str::from_utf8(known).ok()?;
    let is_valid = text.bytes().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    // From here on the text is ASCII, and any part of it a text.
    if !is_valid {
        return None;
    }
    let is_known = match &text[..2] {
        "00" => more.is_empty(),
        "ff" => false,
        _ => more.first().is_none_or(|byte| *byte == b'-'),
    };
    if !is_known {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(&text[3..35]).ok()?, SpanId::from_hex(&text[36..52]).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(&text[53..], 16).ok()?) & TraceFlags::SAMPLED;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags))
}

/// What the headers say besides, or nothing if it breaks the rules or is too long.
fn state(headers: &HeaderMap) -> TraceState {
    let mut text = String::new();
    for part in headers.get_all(TRACESTATE) {
        let Ok(part) = part.to_str() else { return TraceState::default() };
        if text.len() + part.len() >= MAX_STATE {
            return TraceState::default();
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(part);
    }
    if text.split(',').count() > MAX_MEMBERS {
        return TraceState::default();
    }
    // The library is not strict about all of it.
    let is_valid = |(key, value): (&str, &str)| !key.is_empty() && !value.is_empty() && !value.contains('\t');
    text.parse().ok().filter(|state: &TraceState| state.into_iter().all(is_valid)).unwrap_or_default()
}

/// Notes that what is done in `span` is done for a trace. Without effect where there is no log.
pub fn note(span: &Span, context: SpanContext) {
    span.with_subscriber(|(id, log)| with_span(id, log, |span| span.extensions_mut().insert(InTrace(context))));
}

/// The span of the trace that the current task works for.
pub fn current() -> Option<SpanContext> {
    let found = |(id, log): (&span::Id, &Dispatch)| {
        with_span(id, log, |span| {
            // The request's span is the outermost, but where a library has its own.
            span.scope().find_map(|span| span.extensions().get::<InTrace>().map(|InTrace(context)| context.clone()))
        })
    };
    Span::current().with_subscriber(found).flatten().flatten()
}

fn with_span<T>(id: &span::Id, log: &Dispatch, take: impl FnOnce(SpanRef<'_, Registry>) -> T) -> Option<T> {
    log.downcast_ref::<Registry>()?.span(id).map(take)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let parents = parents.iter().map(|value| (TRACEPARENT, HeaderValue::from_str(value).unwrap()));
        parents.chain(states.iter().map(|value| (TRACESTATE, HeaderValue::from_str(value).unwrap()))).collect()
    }

    #[test]
    fn bytes_that_are_no_ascii_are_no_trace() {
        for at in 0..55 {
            let mut text = PARENT.to_owned();
            text.replace_range(at..=at, "\u{e9}");
            assert_eq!(parse(&text.as_bytes()[..55]), None, "{at}");
            assert_eq!(parse(text.as_bytes()), None, "{at}");
        }
    }

    #[test]
    fn what_the_rules_allow_is_read() {
        let context = read(&headers(&[PARENT], &[])).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        let id = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        for (text, is_sampled) in [
            (format!("00-{id}-00"), false),
            (format!("00-{id}-02"), false),
            (format!("00-{id}-ff"), true),
            (format!("cc-{id}-01"), true),
            (format!("cc-{id}-01-what-comes-then"), true),
        ] {
            let context = read(&headers(&[&text], &[])).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(context.is_sampled(), is_sampled, "{text}");
        }
    }

    #[test]
    fn what_they_do_not_allow_is_none() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        for text in [
            "",
            "00",
            &format!("ff-{id}-01"),
            &format!("00-{id}-01-"),
            &format!("00-{id}-01-more"),
            &format!("cc-{id}-01more"),
            &format!("00-{id}-1"),
            &format!("0-{id}-01"),
            &format!("+0-{id}-01"),
            &format!("00-{id}-0A"),
            &format!(" 00-{id}-01"),
            &format!("00_{id}_01"),
            &format!("00-{}-01", id.to_uppercase()),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            &"0".repeat(60_000),
        ] {
            assert!(read(&headers(&[text], &["a=b"])).is_none(), "{text}");
        }
        assert!(read(&headers(&[PARENT, PARENT], &[])).is_none(), "two are none");
        assert!(read(&headers(&[], &["a=b"])).is_none());
        let mut raw = HeaderMap::new();
        raw.insert(TRACEPARENT, HeaderValue::from_bytes(&[0xe2; 55]).unwrap());
        assert!(read(&raw).is_none());
    }

    #[test]
    fn a_state_is_kept_whole_or_not_at_all() {
        let kept = |states: &[&str]| read(&headers(&[PARENT], states)).unwrap().trace_state().header();
        assert_eq!(kept(&["a=1, b@c=2", "d=3"]), "a=1,b@c=2,d=3");
        let many: Vec<_> = (0..MAX_MEMBERS).map(|number| format!("a{number}=1")).collect();
        assert_eq!(kept(&[&many.join(",")]), many.join(","));
        for states in [
            vec![""],
            vec!["A=1"],
            vec!["a"],
            vec!["a=1,=2"],
            vec!["a=1,b="],
            vec!["a=1\t2"],
            vec!["a=\u{e9}"],
            vec![&*format!("{},z=1", many.join(","))],
            vec![&*format!("a={}", "x".repeat(MAX_STATE))],
            vec!["a=1"; MAX_STATE],
        ] {
            assert_eq!(kept(&states), "", "{states:?}");
        }
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let context = read(&headers(&[PARENT], &["a=1", "b=2"])).unwrap();
        let mut out = headers(&["junk", "more"], &["c=3", "d=4"]);
        write(&context, &mut out);
        assert_eq!(out, headers(&[PARENT], &["a=1,b=2"]));
        write(
            &SpanContext::new(context.trace_id(), context.span_id(), TraceFlags::new(2), false, TraceState::NONE),
            &mut out,
        );
        assert_eq!(out, headers(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"], &[]));
    }

    #[test]
    fn a_task_s_trace_is_that_of_the_span_it_is_in() {
        assert!(current().is_none());
        let log = tracing_subscriber::registry().with(tracing_subscriber::fmt::layer());
        tracing::subscriber::with_default(log, || {
            let (span, other) = (tracing::error_span!("request"), tracing::error_span!("other"));
            let context = read(&headers(&[PARENT], &[])).unwrap();
            note(&span, context.clone());
            let _other = other.enter();
            assert!(current().is_none());
            let _span = span.enter();
            tracing::error_span!("inner").in_scope(|| assert_eq!(current(), Some(context)));
        });
    }
}
