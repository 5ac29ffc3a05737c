//! Which form the answer has: by `format`, else by `Accept`.

use http::HeaderValue;

use crate::{accept, logs::rendered::Format};

/// The type of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `text/plain`.
    Text,
    /// `application/x-ndjson`.
    Ndjson,
    /// `application/jsonl`, which is the same under another name.
    Jsonl,
    /// `text/event-stream`.
    EventStream,
}

impl Media {
    /// The values of `format`.
    pub(super) const NAMES: [&'static str; 5] = ["text", "ndjson", "json", "jsonl", "sse"];

    /// What a value of `format` stands for.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "ndjson" | "json" => Self::Ndjson,
            "jsonl" => Self::Jsonl,
            "sse" => Self::EventStream,
            _ => return None,
        })
    }

    /// What `Accept` headers like best: of types that are liked equally the first. Who takes any type gets text, and so does who
    /// names none of them, since clients of the existing server name what they please.
    pub(super) fn accepted<'a>(headers: impl Iterator<Item = &'a str>) -> Self {
        let (mut best, mut best_quality, mut any) = (Self::Text, 0.0, 0.0_f32);
        for range in headers.flat_map(accept::ranges) {
            let named = match range.kind.as_str() {
                "text/plain" => Self::Text,
                "application/x-ndjson" => Self::Ndjson,
                "application/jsonl" => Self::Jsonl,
                "text/event-stream" => Self::EventStream,
                "*/*" | "text/*" => {
                    any = any.max(range.quality);
                    continue;
                }
                _ => continue,
            };
            if range.quality > best_quality {
                (best, best_quality) = (named, range.quality);
            }
        }
        if best_quality >= any { best } else { Self::Text }
    }

    /// The form.
    pub fn format(self) -> Format {
        match self {
            Self::Text => Format::Text,
            Self::Ndjson | Self::Jsonl => Format::Ndjson,
            Self::EventStream => Format::Sse,
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
            Self::Jsonl => "application/jsonl",
            Self::EventStream => "text/event-stream",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_negotiated() {
        for (accept, media) in [
            ("", Media::Text),
            ("*/*", Media::Text),
            ("application/json", Media::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Media::Text),
            ("text/event-stream", Media::EventStream),
            ("Text/Event-Stream;charset=utf-8", Media::EventStream),
            ("application/x-ndjson", Media::Ndjson),
            ("application/jsonl", Media::Jsonl),
            ("application/x-ndjson, */*", Media::Ndjson),
            ("*/*, text/event-stream", Media::EventStream),
            ("text/*, application/jsonl;q=0.5", Media::Text),
            ("application/*", Media::Text),
            ("text/plain;q=0.5, application/jsonl;q=0.6", Media::Jsonl),
            ("application/jsonl, application/x-ndjson", Media::Jsonl),
            ("text/plain, text/event-stream", Media::Text),
            ("text/event-stream;q=0", Media::Text),
            ("text/event-stream;q=nan, application/jsonl;q=0.1", Media::Jsonl),
            ("text/plain;q=0, text/event-stream;q=0.1", Media::EventStream),
        ] {
            assert_eq!(Media::accepted([accept].into_iter()), media, "{accept}");
        }
        assert_eq!(Media::accepted(["text/html", "application/jsonl"].into_iter()), Media::Jsonl);
        assert_eq!(Media::accepted(std::iter::empty()), Media::Text);
    }

    #[test]
    fn each_name_is_a_form() {
        let forms = Media::NAMES.map(|name| Media::named(name).map(Media::format));
        let ndjson = Some(Format::Ndjson);
        assert_eq!(forms, [Some(Format::Text), ndjson, ndjson, ndjson, Some(Format::Sse)]);
        assert_eq!((Media::named("Text"), Media::named("jsonl")), (None, Some(Media::Jsonl)));
    }
}
