//! `grep`, `invert` and `search`: what lines are to contain.

use percent_encoding::percent_decode;
use regex::bytes::Regex;
use serde_json::{Value, json};

use crate::{
    api::extract::Query,
    logs::select::Filter,
    model::{read::boolean, violation::Report},
};

/// Most values of each.
const MAX_VALUES: usize = 16;

/// Longest expression, in bytes.
const MAX_GREP: usize = 1024;

/// Longest text, in bytes.
const MAX_SEARCH: usize = 256;

/// Reads them from the query string, and from what it was decoded to.
pub(super) fn read(text: &str, query: &Query<'_>, report: &mut Report) -> Filter {
    let grep = compile(values(text, "grep", report, grep), report);
    let invert = query.read(report, "invert", boolean).unwrap_or(false);
    let search = values(text, "search", report, search);
    if invert && query.last("grep").is_none() {
        report.add_rule("invert is about grep: without one there is nothing to invert.");
    }
    Filter::new(grep, invert, search)
}

/// The values of a repeated parameter, each read by `read`.
fn values<T>(text: &str, name: &str, report: &mut Report, read: fn(&mut Report, Vec<u8>) -> Option<T>) -> Vec<T> {
    let mut all = raw(text, name);
    let first: Vec<_> = all.by_ref().take(MAX_VALUES).collect();
    report.within(name, |report| {
        if all.next().is_some() {
            let msg = format!("List should have at most {MAX_VALUES} items");
            report.add("too_long", msg, &Value::Null, Some(json!({"max_length": MAX_VALUES})));
            return Vec::new();
        }
        let each = first.into_iter().enumerate();
        each.filter_map(|(at, value)| report.within(at, |report| read(report, value))).collect()
    })
}

/// All values of a parameter, in the client's order. [`Query`] has text alone, but a log's lines need not be UTF-8.
fn raw<'q>(query: &'q str, name: &str) -> impl Iterator<Item = Vec<u8>> + use<'q> {
    let name = name.as_bytes().to_vec();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(key, _)| decoded(key) == name).map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> Vec<u8> {
    percent_decode(text.replace('+', " ").as_bytes()).collect()
}

/// An expression that can be understood.
fn grep(report: &mut Report, value: Vec<u8>) -> Option<String> {
    let pattern = match String::from_utf8(value) {
        Ok(pattern) => pattern,
        Err(error) => {
            let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
            report.add_value_rule("must be UTF-8; (?-u:\\xff) matches a byte that is not.", &shown.into());
            return None;
        }
    };
    if pattern.len() > MAX_GREP {
        report.add_value_rule(&format!("must have at most {MAX_GREP} bytes, not {}.", pattern.len()), &pattern.into());
        return None;
    }
    if let Some((what, position)) = fault(&pattern) {
        let msg = format!("Value error, not a regular expression: {what}, at character {position}.");
        report.add("value_error", msg, &pattern.into(), Some(json!({"error": {}, "position": position})));
        return None;
    }
    Some(pattern)
}

/// Compiles expressions that can be understood.
fn compile(patterns: Vec<String>, report: &mut Report) -> Vec<Regex> {
    let refused = match Filter::compile(&patterns) {
        Ok(compiled) => return compiled,
        Err(regex::Error::CompiledTooBig(_)) if patterns.len() == 1 => {
            "this regular expression is too large when it is compiled.".to_owned()
        }
        Err(regex::Error::CompiledTooBig(_)) => {
            "these regular expressions are too large when they are compiled.".to_owned()
        }
        Err(error) => format!("not a regular expression: {error}"),
    };
    let ctx = Some(json!({"error": {}, "position": null}));
    report.within("grep", |report| report.add("value_error", format!("Value error, {refused}"), &patterns.into(), ctx));
    Vec::new()
}

/// What is wrong with an expression, in the parser's words, and at which character, counted from 1.
fn fault(pattern: &str) -> Option<(String, usize)> {
    let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern);
    let (what, at) = match parsed {
        Err(regex_syntax::Error::Parse(error)) => (error.kind().to_string(), error.span().start.offset),
        Err(regex_syntax::Error::Translate(error)) => (error.kind().to_string(), error.span().start.offset),
        // What else there is, compiling tells.
        _ => return None,
    };
    Some((what, pattern.get(..at).unwrap_or_default().chars().count() + 1))
}

fn search(report: &mut Report, value: Vec<u8>) -> Option<Vec<u8>> {
    if (1..=MAX_SEARCH).contains(&value.len()) {
        return Some(value);
    }
    let shown = String::from_utf8_lossy(&value).into_owned();
    report.add_value_rule(&format!("must have 1 to {MAX_SEARCH} bytes, not {}.", value.len()), &shown.into());
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::violation::Violation;

    fn filter(query: &str) -> Result<Filter, Vec<Violation>> {
        let mut report = Report::new("query");
        let filter = read(query, &Query::parse(query), &mut report);
        report.finish(filter).map_err(|invalid| invalid.0)
    }

    fn passes(query: &str, line: &[u8]) -> bool {
        filter(query).unwrap_or_else(|found| panic!("{query}: {found:?}")).passes(line)
    }

    fn refused(query: &str) -> (String, Value, Option<Value>) {
        let found = filter(query).expect_err(query);
        assert_eq!(found.len(), 1, "{found:?}");
        let Violation { msg, loc, ctx, .. } = found[0].clone();
        (msg, loc.into(), ctx)
    }

    #[test]
    fn all_values_count() {
        assert!(filter("tail=1").unwrap().is_empty());
        assert!(passes("grep=%5Ea&grep=b%24", b"a b\n") && !passes("grep=%5Ea&grep=b%24", b"a c\n"));
        assert!(passes("grep=x&invert=true", b"a\n") && !passes("grep=x&invert=1", b"x\n"));
        assert!(passes("search=a+b&search=%2B", b"+a b\n") && !passes("search=a+b&search=%2B", b"a b\n"));
        assert!(passes("%67rep=z", b"z") && passes("grep", b"anything"));
    }

    #[test]
    fn a_text_may_be_any_bytes() {
        assert!(passes("search=%FF%00", b"a\xff\0\n") && !passes("search=%FF", "\u{fffd}\n".as_bytes()));
        assert!(passes("grep=(?-u:%5Cxff)", b"\xff\n"));
        assert_eq!(refused("grep=%FF").1, json!(["query", "grep", 0]));
    }

    #[test]
    fn an_expression_that_is_none_is_told_with_its_place() {
        for (grep, msg, position) in [
            ("(", "not a regular expression: unclosed group, at character 1.", 1),
            ("\u{e4}\u{e4}[z-a]", "not a regular expression: invalid character class range", 4),
            ("a{2,1}", "not a regular expression: invalid repetition count range", 2),
            ("(?=x)", "not a regular expression: look-around", 1),
            (r"\p{Nothing}", "not a regular expression: Unicode property not found, at character 1.", 1),
        ] {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("grep", grep).finish();
            let (told, loc, ctx) = refused(&query);
            assert!(told.starts_with(&format!("Value error, {msg}")), "{told}");
            assert_eq!((loc, ctx), (json!(["query", "grep", 0]), Some(json!({"error": {}, "position": position}))));
        }
        for (query, which) in [
            ("grep=((a{100}){100}){100}", "this regular expression is too large when it is compiled."),
            ("grep=a&grep=((a{100}){100}){100}", "these regular expressions are too large when they are compiled."),
            (&"&grep=(a{100}){100}".repeat(5), "these regular expressions are too large when they are compiled."),
        ] {
            let (told, loc, ctx) = refused(query);
            assert_eq!((told, loc), (format!("Value error, {which}"), json!(["query", "grep"])));
            assert_eq!(ctx, Some(json!({"error": {}, "position": null})));
        }
        assert!(passes("grep=(a{100}){100}", &[b'a'; 10_000]));
    }

    #[test]
    fn lengths_and_numbers_are_bounded() {
        assert!(passes(&format!("grep={}", "a".repeat(1024)), "a".repeat(1024).as_bytes()));
        assert!(refused(&format!("grep={}", "a".repeat(1025))).0.ends_with("must have at most 1024 bytes, not 1025."));
        assert!(passes(&format!("search={}", "%C3%A4".repeat(128)), "\u{e4}".repeat(128).as_bytes()));
        assert!(refused(&format!("search={}", "%C3%A4".repeat(129))).0.ends_with("must have 1 to 256 bytes, not 258."));
        assert!(refused("search=").0.ends_with("must have 1 to 256 bytes, not 0."));
        assert!(passes(&"&search=a".repeat(16), b"a"));
        for name in ["grep", "search"] {
            let (msg, loc, _) = refused(&format!("&{name}=a").repeat(17));
            assert_eq!((msg.as_str(), loc), ("List should have at most 16 items", json!(["query", name])));
        }
    }

    #[test]
    fn nothing_is_inverted_without_an_expression() {
        assert!(refused("invert=true&search=a").0.contains("invert is about grep"));
        assert!(passes("invert=false", b"a"));
    }
}
