//! The lenient reading of scalars: what a file written for the Python server
//! may hold where a number or a truth value is meant (contract `config.md` §1).

use toml::Value;

/// An integer, a whole float, a truth value, or a string that spells a whole number.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(n) => Some(*n),
        Value::Boolean(b) => Some(i64::from(*b)),
        Value::Float(f) => whole(*f),
        Value::String(s) => whole_text(s.trim()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// A finite float, an integer, a truth value, or a string that spells a number.
#[expect(clippy::cast_precision_loss, reason = "no setting is large enough to lose a digit that matters")]
pub(super) fn float(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Float(f) => *f,
        Value::Integer(n) => *n as f64,
        Value::Boolean(b) => f64::from(*b),
        Value::String(s) => without_underscores(s.trim())?.parse().ok()?,
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => return None,
    };
    number.is_finite().then_some(number)
}

/// A truth value, 0 or 1, or a word for one, in any case.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Boolean(b) => Some(*b),
        Value::Integer(0) => Some(false),
        Value::Integer(1) => Some(true),
        Value::Float(f) => whole(*f).and_then(|n| boolean(&Value::Integer(n))),
        Value::String(s) => word(&s.to_ascii_lowercase()),
        Value::Integer(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

fn word(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked before the cast")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(number as i64)
}

/// `8080`, `+8_080` or `8080.0`.
fn whole_text(text: &str) -> Option<i64> {
    let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b == b'0') {
        return None;
    }
    without_underscores(digits)?.parse().ok()
}

/// Underscores are allowed between two digits and nowhere else.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let stray = (0..bytes.len()).filter(|&i| bytes[i] == b'_').any(|i| i == 0 || !digit(i - 1) || !digit(i + 1));
    (!stray).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        let table: toml::Table = format!("v = {text}").parse().unwrap();
        table["v"].clone()
    }

    #[test]
    fn integers() {
        for (text, expected) in [
            ("8080", Some(8080)),
            ("\"8080\"", Some(8080)),
            ("\" +8_080 \"", Some(8080)),
            ("\"-1\"", Some(-1)),
            ("\"8080.0\"", Some(8080)),
            ("8080.0", Some(8080)),
            ("true", Some(1)),
            ("8080.5", None),
            ("\"8080.5\"", None),
            ("\"80a\"", None),
            ("\"_80\"", None),
            ("\"8__0\"", None),
            ("\"\"", None),
            ("nan", None),
            ("inf", None),
            ("1e300", None),
            ("\"99999999999999999999\"", None),
            ("[1]", None),
            ("{}", None),
            ("2026-01-01", None),
        ] {
            assert_eq!(integer(&value(text)), expected, "{text}");
        }
    }

    #[test]
    fn floats() {
        for (text, expected) in [
            ("1.5", Some(1.5)),
            ("2", Some(2.0)),
            ("\"1_0.5\"", Some(10.5)),
            ("\" 3e1 \"", Some(30.0)),
            ("true", Some(1.0)),
            ("inf", None),
            ("\"nan\"", None),
            ("\"x\"", None),
            ("[]", None),
        ] {
            assert_eq!(float(&value(text)), expected, "{text}");
        }
    }

    #[test]
    fn booleans() {
        for text in ["true", "1", "1.0", "\"1\"", "\"yes\"", "\"On\"", "\"TRUE\"", "\"t\"", "\"Y\""] {
            assert_eq!(boolean(&value(text)), Some(true), "{text}");
        }
        for text in ["false", "0", "0.0", "\"0\"", "\"no\"", "\"OFF\"", "\"False\"", "\"f\"", "\"n\""] {
            assert_eq!(boolean(&value(text)), Some(false), "{text}");
        }
        for text in ["2", "-1", "0.5", "\"maybe\"", "\"\"", "[]", "{}"] {
            assert_eq!(boolean(&value(text)), None, "{text}");
        }
    }
}
