//! Readers for single values, as lenient as the peer's (http-api.md §2), with its texts for what they refuse.
//!
//! Each returns `None` after noting a violation; the caller goes on, so that one answer names all of them.

mod scalar;

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

pub use self::scalar::{any_integer, boolean, integer};
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
    read: impl FnMut(&mut Report, &Value) -> Option<T>,
) -> Option<Vec<(String, T)>> {
    map_where(report, value, read, |_, _, _| true)
}

/// The same, of entries that `accept` takes; what it does not, it reports, at the map's own place.
pub fn map_where<T>(
    report: &mut Report,
    value: &Value,
    mut read: impl FnMut(&mut Report, &Value) -> Option<T>,
    mut accept: impl FnMut(&mut Report, &str, &Value) -> bool,
) -> Option<Vec<(String, T)>> {
    let Some(members) = value.as_object() else {
        report.add("dict_type", "Input should be a valid dictionary", value, None);
        return None;
    };
    let mut entry = |(key, value): (&String, _)| {
        if !accept(report, key, value) {
            return None;
        }
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
    use super::*;

    /// What a reader gives, or the first rule that it found broken.
    pub(super) fn rule_of<T: std::fmt::Debug>(read: impl FnOnce(&mut Report) -> Option<T>) -> Result<T, &'static str> {
        let mut report = Report::new("body");
        let value = read(&mut report);
        match report.finish(value) {
            Ok(value) => Ok(value.expect("a clean report has a value")),
            Err(invalid) => Err(invalid.0[0].rule),
        }
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
}
