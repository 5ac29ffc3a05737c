//! Readers for single values, as lenient as the peer's (http-api.md §2), with its texts for what they refuse.
//!
//! Each returns `None` after noting a violation; the caller goes on, so that one answer names all of them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::violation::Report;

/// The members of a JSON object.
pub type Members = Map<String, Value>;

/// A JSON object that is read field by field.
pub fn object<'a>(report: &mut Report, value: &'a Value) -> Option<&'a Members> {
    if value.as_object().is_none() {
        let msg = "Input should be a valid dictionary or object to extract fields from";
        report.add("model_attributes_type", msg, value, None);
    }
    value.as_object()
}

/// A field that may be absent or null: its value is read by `read` at its place.
pub fn optional<'a, T>(
    report: &mut Report,
    members: &'a Members,
    name: &str,
    read: impl FnOnce(&mut Report, &'a Value) -> Option<T>,
) -> Option<T> {
    let (key, value) = find(members, name)?;
    if value.is_null() { None } else { report.within(key, |report| read(report, value)) }
}

/// A field that must be there.
pub fn required<'a, T>(
    report: &mut Report,
    members: &'a Members,
    name: &str,
    read: impl FnOnce(&mut Report, &'a Value) -> Option<T>,
) -> Option<T> {
    match find(members, name) {
        Some((key, value)) => report.within(key, |report| read(report, value)),
        None => {
            let holder = Value::Object(members.clone());
            report.within(name, |report| report.add("missing", "Field required", &holder, None));
            None
        }
    }
}

/// A flag that is `default` when absent. Null is not a flag.
pub fn flag(report: &mut Report, members: &Members, name: &str, default: bool) -> Option<bool> {
    match find(members, name) {
        Some((key, value)) => report.within(key, |report| boolean(report, value)),
        None => Some(default),
    }
}

/// Whether a field is there and not null.
pub fn is_present(members: &Members, name: &str) -> bool {
    find(members, name).is_some_and(|(_, value)| !value.is_null())
}

/// A string; numbers are not strings.
pub fn string(report: &mut Report, value: &Value) -> Option<String> {
    if !value.is_string() {
        report.add("string_type", "Input should be a valid string", value, None);
    }
    value.as_str().map(str::to_owned)
}

/// A string whose length in characters is in `lengths`.
pub fn string_of(report: &mut Report, value: &Value, lengths: RangeInclusive<usize>) -> Option<String> {
    let text = string(report, value)?;
    let (min, max) = lengths.into_inner();
    match text.chars().count() {
        length if length < min => {
            let msg = format!("String should have at least {min} character{}", plural(min));
            report.add("string_too_short", msg, value, Some(json!({"min_length": min})));
            None
        }
        length if length > max => {
            let msg = format!("String should have at most {max} character{}", plural(max));
            report.add("string_too_long", msg, value, Some(json!({"max_length": max})));
            None
        }
        _ => Some(text),
    }
}

/// A string that `matches`; `pattern` is what the client is told.
pub fn pattern(
    report: &mut Report,
    value: &Value,
    max: usize,
    pattern: &str,
    matches: impl FnOnce(&str) -> bool,
) -> Option<String> {
    let text = string_of(report, value, 0..=max)?;
    if !matches(&text) {
        let msg = format!("String should match pattern '{pattern}'");
        report.add("string_pattern_mismatch", msg, value, Some(json!({"pattern": pattern})));
        return None;
    }
    Some(text)
}

/// One of a few strings.
pub fn literal(report: &mut Report, value: &Value, allowed: &[&str]) -> Option<String> {
    let found = value.as_str().filter(|text| allowed.contains(text));
    if found.is_none() {
        let quoted: Vec<String> = allowed.iter().map(|text| format!("'{text}'")).collect();
        let expected = quoted.join(" or ");
        report.add("literal_error", format!("Input should be {expected}"), value, Some(json!({"expected": expected})));
    }
    found.map(str::to_owned)
}

/// A list, each item read by `read`; with at least `min` items.
pub fn list<T>(
    report: &mut Report,
    value: &Value,
    min: usize,
    mut read: impl FnMut(&mut Report, &Value) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(items) = value.as_array() else {
        report.add("list_type", "Input should be a valid list", value, None);
        return None;
    };
    if items.len() < min {
        let actual = items.len();
        let msg = format!("List should have at least {min} item{} after validation, not {actual}", plural(min));
        let ctx = json!({"field_type": "List", "min_length": min, "actual_length": actual});
        report.add("too_short", msg, value, Some(ctx));
        return None;
    }
    // All are read before one failure counts, so that every bad item is reported.
    let read: Vec<_> =
        items.iter().enumerate().map(|(i, item)| report.within(i, |report| read(report, item))).collect();
    read.into_iter().collect()
}

/// A map from strings to what `read` gives, in the client's order.
pub fn map<T>(
    report: &mut Report,
    value: &Value,
    mut read: impl FnMut(&mut Report, &Value) -> Option<T>,
) -> Option<Vec<(String, T)>> {
    let Some(members) = value.as_object() else {
        report.add("dict_type", "Input should be a valid dictionary", value, None);
        return None;
    };
    let mut entry = |(key, value): (&String, _)| {
        let value = report.within(key.as_str(), |report| read(report, value))?;
        Some((key.clone(), value))
    };
    let read: Vec<_> = members.iter().map(&mut entry).collect();
    read.into_iter().collect()
}

/// Notes every member that is not one of `names`, in either spelling.
pub fn forbid_others(report: &mut Report, members: &Members, names: &[&str]) {
    let is_known = |key: &str| names.iter().any(|name| key == *name || key == snake_case(name));
    for (key, value) in members.iter().filter(|(key, _)| !is_known(key)) {
        report.within(key.as_str(), |report| {
            report.add("extra_forbidden", "Extra inputs are not permitted", value, None);
        });
    }
}

/// A flag as JSON or text: true/false, 1/0, and the usual words in any case.
pub fn boolean(report: &mut Report, value: &Value) -> Option<bool> {
    let read = match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_f64().and_then(bit),
        Value::String(text) => word(text),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            report.add("bool_type", "Input should be a valid boolean", value, None);
            return None;
        }
    };
    if read.is_none() {
        report.add("bool_parsing", "Input should be a valid boolean, unable to interpret input", value, None);
    }
    read
}

/// An integer as JSON or text, in `bounds`. Floats without a fraction and digit strings are integers too.
pub fn integer(report: &mut Report, value: &Value, bounds: RangeInclusive<u64>) -> Option<u64> {
    let number = match whole(value) {
        Ok(number) => number,
        Err(NotWhole { rule, msg }) => {
            report.add(rule, msg, value, None);
            return None;
        }
    };
    let (min, max) = bounds.into_inner();
    if number < i128::from(min) {
        let msg = format!("Input should be greater than or equal to {min}");
        report.add("greater_than_equal", msg, value, Some(json!({"ge": min})));
        return None;
    }
    if number > i128::from(max) {
        too_large(report, value, max);
        return None;
    }
    u64::try_from(number).ok()
}

fn too_large(report: &mut Report, value: &Value, max: u64) {
    // A bound of the representation is not a rule of the API, so it has a text of its own.
    if max == u64::MAX {
        report.add(TOO_BIG.rule, TOO_BIG.msg, value, None);
    } else {
        let msg = format!("Input should be less than or equal to {max}");
        report.add("less_than_equal", msg, value, Some(json!({"le": max})));
    }
}

struct NotWhole {
    rule: &'static str,
    msg: &'static str,
}

const TOO_BIG: NotWhole =
    NotWhole { rule: "int_parsing_size", msg: "Unable to parse input string as an integer, exceeded maximum size" };
const FRACTION: NotWhole =
    NotWhole { rule: "int_from_float", msg: "Input should be a valid integer, got a number with a fractional part" };
const NO_DIGITS: NotWhole =
    NotWhole { rule: "int_parsing", msg: "Input should be a valid integer, unable to parse string as an integer" };

fn whole(value: &Value) -> Result<i128, NotWhole> {
    match value {
        Value::Bool(flag) => Ok(i128::from(*flag)),
        Value::String(text) => whole_text(text),
        Value::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(number), _) => Ok(number),
            (None, Some(float)) if float.fract() != 0.0 => Err(FRACTION),
            // Every float of this size is exact in an i128.
            (None, Some(float)) if float.abs() < 1e30 => Ok(float as i128),
            _ => Err(TOO_BIG),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(NotWhole { rule: "int_type", msg: "Input should be a valid integer" })
        }
    }
}

/// Digits with an optional sign, single underscores between digits, and a fraction of zeros.
fn whole_text(text: &str) -> Result<i128, NotWhole> {
    let text = text.trim();
    let (is_negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = match digits.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return Err(NO_DIGITS),
        None => digits,
    };
    let is_number = digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if !is_number {
        return Err(NO_DIGITS);
    }
    let number: i128 = digits.replace('_', "").parse().map_err(|_| TOO_BIG)?;
    Ok(if is_negative { -number } else { number })
}

fn bit(number: f64) -> Option<bool> {
    if number == 1.0 {
        Some(true)
    } else if number == 0.0 {
        Some(false)
    } else {
        None
    }
}

fn word(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 6]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(["true", "1", "yes", "on", "t", "y"]) {
        Some(true)
    } else if is_one_of(["false", "0", "no", "off", "f", "n"]) {
        Some(false)
    } else {
        None
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The camelCase spelling is looked up first, then the snake_case one.
fn find<'a>(members: &'a Members, name: &str) -> Option<(&'a str, &'a Value)> {
    let entry = members.get_key_value(name).or_else(|| members.get_key_value(snake_case(name).as_str()));
    entry.map(|(key, value)| (key.as_str(), value))
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule_of<T: std::fmt::Debug>(read: impl FnOnce(&mut Report) -> Option<T>) -> Result<T, &'static str> {
        let mut report = Report::new("body");
        let value = read(&mut report);
        match report.finish(value) {
            Ok(value) => Ok(value.expect("a clean report has a value")),
            Err(invalid) => Err(invalid.0[0].rule),
        }
    }

    fn int(value: Value) -> Result<u64, &'static str> {
        rule_of(|report| integer(report, &value, 1..=u64::MAX))
    }

    #[test]
    fn integers_are_lenient() {
        for value in [json!(60), json!(60.0), json!("60"), json!(" +60 "), json!("6_0"), json!("060"), json!("60.00")] {
            assert_eq!(int(value.clone()), Ok(60), "{value}");
        }
        assert_eq!(int(json!(true)), Ok(1));
        assert_eq!(int(json!(u64::MAX)), Ok(u64::MAX));
    }

    #[test]
    fn integers_refuse_with_the_peers_rules() {
        assert_eq!(int(json!(60.5)), Err("int_from_float"));
        for text in ["", "abc", "6 0", "_60", "60_", "6__0", "60.5", "60.", "-", "0x1", "٣"] {
            assert_eq!(int(json!(text)), Err("int_parsing"), "{text:?}");
        }
        assert_eq!(int(json!(null)), Err("int_type"));
        assert_eq!(int(json!(0)), Err("greater_than_equal"));
        assert_eq!(int(json!("-99999999999999999999999999999999999999999999")), Err("int_parsing_size"));
        assert_eq!(int(json!("18446744073709551616")), Err("int_parsing_size"));
        assert_eq!(int(json!(1e300)), Err("int_parsing_size"));
        assert_eq!(rule_of(|r| integer(r, &json!(201), 1..=200)), Err("less_than_equal"));
    }

    #[test]
    fn booleans_are_lenient() {
        let read = |value: Value| rule_of(|report| boolean(report, &value));
        for value in [json!(true), json!(1), json!(1.0), json!("YES"), json!("on"), json!("T"), json!("y"), json!("1")]
        {
            assert_eq!(read(value.clone()), Ok(true), "{value}");
        }
        for value in [json!(false), json!(0), json!("No"), json!("off"), json!("f"), json!("N"), json!("0")] {
            assert_eq!(read(value.clone()), Ok(false), "{value}");
        }
        for value in [json!(2), json!("maybe"), json!("")] {
            assert_eq!(read(value.clone()), Err("bool_parsing"), "{value}");
        }
        assert_eq!(read(json!(null)), Err("bool_type"));
    }

    #[test]
    fn fields_have_two_spellings() {
        let body = json!({"mount_path": "/a", "readOnly": 1});
        let members = body.as_object().unwrap();
        assert_eq!(rule_of(|r| required(r, members, "mountPath", string)), Ok("/a".to_owned()));
        assert_eq!(rule_of(|r| flag(r, members, "readOnly", false)), Ok(true));
    }

    #[test]
    fn a_list_reports_every_bad_item() {
        let mut report = Report::new("body");
        assert_eq!(list(&mut report, &json!([1, "a", 2]), 0, string), None);
        let found = report.finish(()).unwrap_err().0;
        assert_eq!(found.iter().map(|v| v.loc[1].clone()).collect::<Vec<_>>(), [json!(0), json!(2)]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let value = Value::from(text);
            let _ = int(value.clone());
            let _ = rule_of(|report| boolean(report, &value));
        }

        #[test]
        fn every_integer_is_read_back(number in 1..u64::MAX) {
            prop_assert_eq!(int(json!(number)), Ok(number));
            prop_assert_eq!(int(json!(number.to_string())), Ok(number));
        }
    }
}
