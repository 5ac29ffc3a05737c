//! Flags and integers, in all the spellings that the peer takes (http-api.md §2).

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::model::violation::Report;

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

/// An integer as JSON or text, of any size; one beyond an `i128` becomes its end.
pub fn any_integer(report: &mut Report, value: &Value) -> Option<i128> {
    match whole(value) {
        Ok(number) => Some(number),
        Err(TOO_BIG) => Some(i128::MAX),
        Err(NotWhole { rule, msg }) => {
            report.add(rule, msg, value, None);
            None
        }
    }
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

#[derive(PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::rule_of, *};

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
