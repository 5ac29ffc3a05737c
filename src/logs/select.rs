//! What of a log is asked for: streams, times, and what lines contain.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder, RegexSetBuilder};

use super::{
    LogQuery,
    lines::Line,
    record::{Record, Stream},
};

/// Largest size of all expressions of a filter when they are compiled, in bytes; and of what is remembered while they are looked
/// for.
const MAX_COMPILED: usize = 1024 * 1024;

/// What lines are to contain. [`Filter::default`] lets every line pass. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Filter(Option<Arc<Criteria>>);

struct Criteria {
    grep: Vec<Regex>,
    invert: bool,
    search: Vec<Finder<'static>>,
}

impl Filter {
    /// Lets every line pass.
    pub const ALL: Self = Self(None);

    /// Lines that match all of `grep`, or not all of them if `invert` is set, and contain all of `search`.
    pub fn new(grep: Vec<Regex>, invert: bool, search: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let search: Vec<_> = search.into_iter().map(|text| Finder::new(&text).into_owned()).collect();
        let is_empty = grep.is_empty() && search.is_empty();
        Self((!is_empty).then(|| Arc::new(Criteria { grep, invert, search })))
    }

    /// Compiles expressions, which have a bounded size together. They work on bytes, so that lines that are not UTF-8 match too; `.`
    /// and classes mean whole characters.
    ///
    /// # Errors
    /// One of them cannot be understood, or they are too large.
    pub fn compile(patterns: &[impl AsRef<str>]) -> Result<Vec<Regex>, regex::Error> {
        if patterns.len() > 1 {
            // Nothing but their size is asked of the set: which of them failed, only each by itself can tell.
            RegexSetBuilder::new(patterns).size_limit(MAX_COMPILED).build()?;
        }
        let share = MAX_COMPILED / patterns.len().max(1);
        let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(MAX_COMPILED).dfa_size_limit(share).build();
        patterns.iter().map(|pattern| compile(pattern.as_ref())).collect()
    }

    /// Whether every line passes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a line may cost much: expressions are looked for.
    pub fn is_costly(&self) -> bool {
        self.0.as_deref().is_some_and(|criteria| !criteria.grep.is_empty())
    }

    /// Whether a line passes, given with its newline or without.
    #[inline]
    pub fn passes(&self, line: &[u8]) -> bool {
        self.0.as_deref().is_none_or(|criteria| criteria.pass(line.strip_suffix(b"\n").unwrap_or(line)))
    }
}

impl Criteria {
    fn pass(&self, line: &[u8]) -> bool {
        self.search.iter().all(|finder| finder.find(line).is_some())
            && (self.grep.is_empty() || self.grep.iter().all(|regex| regex.is_match(line)) != self.invert)
    }

    /// What tells two of them apart.
    fn parts(&self) -> (Vec<&str>, bool, Vec<&[u8]>) {
        let grep = self.grep.iter().map(Regex::as_str).collect();
        (grep, self.invert, self.search.iter().map(Finder::needle).collect())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0.as_deref().map(Criteria::parts)).finish()
    }
}

impl PartialEq for Criteria {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Criteria {}

/// A query's choice.
#[derive(Debug, Clone)]
pub struct Select {
    streams: [bool; 2],
    times: RangeInclusive<i64>,
    filter: Filter,
}

impl Select {
    /// The choice of `query`.
    pub fn new(query: &LogQuery) -> Self {
        // Times that a count of nanoseconds in 64 bits cannot tell are beyond every record.
        let nanoseconds = |time: jiff::Timestamp| {
            i64::try_from(time.as_nanosecond()).unwrap_or(if time.as_second() < 0 { i64::MIN } else { i64::MAX })
        };
        let times = query.since.map_or(i64::MIN, nanoseconds)..=query.until.map_or(i64::MAX, nanoseconds);
        Self { streams: [query.stdout, query.stderr], times, filter: query.filter.clone() }
    }

    /// Whether a record is of a stream and a time that are asked for.
    #[inline]
    pub fn has_record(&self, record: &Record) -> bool {
        self.streams[record.stream.index()] && self.times.contains(&record.place.time)
    }

    /// Whether a logical line is asked for, given with its newline or without.
    #[inline]
    pub fn has_line(&self, line: &[u8]) -> bool {
        self.filter.passes(line)
    }

    /// The lines that are asked for, where long ones come in parts.
    pub fn lines(&self) -> LineChoice {
        LineChoice::new(self.filter.clone())
    }

    /// As [`Filter::is_costly`].
    pub fn is_costly(&self) -> bool {
        self.filter.is_costly()
    }

    /// The earliest time that is asked for, in nanoseconds since 1970.
    pub fn since(&self) -> Option<i64> {
        Some(*self.times.start()).filter(|since| *since != i64::MIN)
    }
}

/// Which lines are asked for, one after the other. The parts of a long line share the answer of the first.
#[derive(Debug)]
pub struct LineChoice {
    filter: Filter,
    /// For each stream: the answer of the line whose parts were given.
    of_parts: [Option<bool>; 2],
}

impl LineChoice {
    /// The lines that `filter` lets pass.
    pub fn new(filter: Filter) -> Self {
        Self { filter, of_parts: [None; 2] }
    }

    /// Parts of the stream's first line were given before, or left out.
    pub fn begin_in_line(&mut self, stream: Stream, left_out: bool) {
        self.of_parts[stream.index()] = Some(!left_out);
    }

    /// Whether the parts of the stream's line under way are left out.
    pub fn leaves_out(&self, stream: Stream) -> bool {
        self.of_parts[stream.index()] == Some(false)
    }

    /// Whether the next line, or part of one, is asked for.
    #[inline]
    pub fn has(&mut self, line: &Line<'_>) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let of_parts = &mut self.of_parts[line.stream.index()];
        let known = of_parts.take().filter(|_| line.is_rest);
        let has = known.unwrap_or_else(|| self.filter.passes(line.bytes));
        if line.is_part {
            *of_parts = Some(has);
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(grep: &[&str], invert: bool, search: &[&str]) -> Filter {
        Filter::new(Filter::compile(grep).expect("valid"), invert, search.iter().map(|text| text.as_bytes().to_vec()))
    }

    #[test]
    fn all_of_a_filter_must_hold() {
        for (grep, invert, search, line, passes) in [
            (&["^a.*b$"][..], false, &[][..], "a..b\n", true),
            (&["^a.*b$"], false, &[], "a..b", true),
            (&["^a", "c"], false, &[], "ab\n", false),
            (&["^a", "c"], true, &[], "ab\n", true),
            (&["^a", "b"], true, &[], "ab\n", false),
            (&[], true, &[], "ab\n", true),
            (&[], false, &["a", "b"], "b a\n", true),
            (&[], false, &["a", "c"], "b a\n", false),
            (&["x"], true, &["c"], "b a\n", false),
            (&[], false, &["\n"], "b a\n", false),
        ] {
            assert_eq!(filter(grep, invert, search).passes(line.as_bytes()), passes, "{grep:?} {search:?} {line:?}");
        }
        assert!(filter(&["b$"], false, &[]).passes(b"\xff\0b\n"));
    }

    #[test]
    fn expressions_have_a_bounded_size_together() {
        let half = "(a{100}){100}";
        assert!(Filter::compile(&[half]).is_ok());
        for large in [&[half.repeat(5)][..], &std::array::from_fn::<_, 5, _>(|_| half.to_owned())] {
            assert!(matches!(Filter::compile(large), Err(regex::Error::CompiledTooBig(_))), "{large:?}");
        }
        assert!(matches!(Filter::compile(&["a", "("]), Err(regex::Error::Syntax(_))));
        assert!(Filter::compile(&[r"\w{5}"; 16]).is_err() && Filter::compile(&[r"\w+ \d"; 16]).is_ok());
    }
}
