//! Kubernetes resource names and quantities, of settings and of requests.

use super::names::is_dns_subdomain;

/// A quantity in thousand-millionths, so that whole and fractional ones compare.
const NANO: i128 = 1_000_000_000;

/// The longest text of one, in bytes: more than any that can be counted.
const MAX_LENGTH: usize = 64;

/// Whether a container may ask for a resource of that name: one of the
/// standard ones, or one with the domain of its maker.
pub fn is_resource_name(name: &str) -> bool {
    match name.split_once('/') {
        None => {
            let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name);
            standard || name.strip_prefix("hugepages-").is_some_and(|size| parse_quantity(size).is_some())
        }
        Some((domain, rest)) => is_dns_subdomain(domain) && is_qualified_name(rest),
    }
}

/// Whether it can be the name in a key of labels, annotations or resources, behind the domain.
pub fn is_qualified_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

/// A quantity such as `500m`, `1.5`, `1Gi` or `2e3`, in thousand-millionths,
/// rounded up. `None` when it is none, negative, or beyond counting.
pub fn parse_quantity(text: &str) -> Option<i128> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(divisor)?;
    let scaled = digits.checked_mul(multiplier)?.checked_mul(NANO)?;
    Some(scaled / divisor + i128::from(scaled % divisor != 0))
}

/// What the suffix multiplies and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let decimal = ["", "k", "M", "G", "T", "P", "E"];
    let fractional = ["n", "u", "m"];
    let power = |base: i128, exponent: usize| base.checked_pow(u32::try_from(exponent).ok()?);
    if let Some(at) = decimal.iter().position(|unit| *unit == suffix) {
        return Some((power(1000, at)?, 1));
    }
    if let Some(at) = fractional.iter().position(|unit| *unit == suffix) {
        return Some((1, power(1000, 3 - at)?));
    }
    if let Some(at) = suffix.strip_suffix('i').and_then(|unit| {
        let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        binary.iter().position(|known| known.trim_end_matches('i') == unit)
    }) {
        return Some((power(1024, at + 1)?, 1));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("1", Some(NANO)),
            ("+1", Some(NANO)),
            ("1.", Some(NANO)),
            (".5", Some(NANO / 2)),
            ("500m", Some(NANO / 2)),
            ("1n", Some(1)),
            ("0.1n", Some(1)),
            ("2k", Some(2_000 * NANO)),
            ("1Ki", Some(1_024 * NANO)),
            ("1.5Gi", Some(3 * 512 * 1_048_576 * NANO)),
            ("2e3", Some(2_000 * NANO)),
            ("2E-3", Some(NANO / 500)),
            ("1E", Some(1_000_000_000_000_000_000 * NANO)),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("-1", None),
            ("1 Gi", None),
            ("1GB", None),
            ("1KI", None),
            ("x", None),
            ("1e99", None),
            ("0000000000000000000000000000000000000000000000000000000000000000001", None),
        ] {
            assert_eq!(parse_quantity(text), expected, "{text}");
        }
    }

    #[test]
    fn resource_names() {
        for (name, fits) in [
            ("cpu", true),
            ("memory", true),
            ("ephemeral-storage", true),
            ("hugepages-2Mi", true),
            ("nvidia.com/gpu", true),
            ("disk", false),
            ("hugepages-", false),
            ("nvidia.com/", false),
            ("/gpu", false),
            ("nvidia.com/-gpu", false),
        ] {
            assert_eq!(is_resource_name(name), fits, "{name}");
        }
    }
}
