//! `Accept` (RFC 9110 §12.5.1): which types of media a client takes, and which of them it prefers.

/// One media range.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaRange<'a> {
    /// `type/subtype` in lower case; `*` stands for any.
    pub kind: String,
    /// How much it is liked, 0 (not at all) to 1. A value that is no such number is 0.
    pub quality: f32,
    /// The other parameters: the name as it was written, and the value without its quotes.
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> MediaRange<'a> {
    /// A parameter's value, whatever the case of its name; the last one of several.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn parse(range: &'a str) -> Self {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut params) = (1.0, Vec::new());
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("q") {
                quality = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(0.0);
            } else {
                params.push((name, value.trim_matches('"')));
            }
        }
        Self { kind, quality, params }
    }
}

/// The ranges of a header, in the client's order. Whatever is none of a type that anybody knows is one nevertheless.
pub fn ranges(accept: &str) -> impl Iterator<Item = MediaRange<'_>> {
    accept.split(',').map(MediaRange::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_a_type_a_quality_and_parameters() {
        let parsed: Vec<_> = ranges("Text/HTML, a/b; Q=0.5 ;version=\"1\";Version=2,*/*;q=0.1").collect();
        let brief: Vec<_> = parsed.iter().map(|range| (range.kind.as_str(), range.quality)).collect();
        assert_eq!(brief, [("text/html", 1.0), ("a/b", 0.5), ("*/*", 0.1)]);
        assert_eq!((parsed[1].param("version"), parsed[1].param("q")), (Some("2"), None));
    }

    #[test]
    fn what_is_no_quality_is_none() {
        for q in ["nan", "x", "", "-1", "1.1", "inf"] {
            assert_eq!(ranges(&format!("a/b;q={q}")).next().map(|range| range.quality), Some(0.0), "{q}");
        }
        assert_eq!(ranges(";;;=,q=,,").count(), 4);
    }
}
