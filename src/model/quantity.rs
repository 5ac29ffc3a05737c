//! Resource limits as an engine wants them (docker-runtime.md §3.4).

use std::collections::BTreeMap;

use crate::error::{Error, Family, Kind};

/// A refused value is repeated to the client up to this many characters.
const PREVIEW: usize = 80;

const NANOS_PER_CPU: f64 = 1e9;
const NANOS_PER_MILLI_CPU: f64 = 1e6;

/// The limits an engine understands; a limit that is absent is not set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes, positive.
    pub memory: Option<i64>,
    /// Processor time in billionths of a CPU, positive.
    pub nano_cpus: Option<i64>,
    /// Graphics processors.
    pub gpus: Option<Gpus>,
}

/// How many graphics processors a sandbox gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpus {
    /// All there are.
    All,
    /// So many, at least one.
    Count(i64),
}

/// Reads `memory`, `cpu` and `gpu`; other limits are for other runtimes and are passed over.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) for a value that is no positive limit.
pub fn limits(resource_limits: &BTreeMap<String, String>) -> Result<Limits, Error> {
    Ok(Limits {
        memory: limit(resource_limits, "memory", memory, "a positive resource limit")?,
        nano_cpus: limit(resource_limits, "cpu", nano_cpus, "a positive resource limit")?,
        gpus: limit(resource_limits, "gpu", gpus, "a positive device count or 'all'")?,
    })
}

/// Bytes from an integer with a unit of at most two letters, in any case; `None` when it is no positive amount.
pub fn memory(text: &str) -> Option<i64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let amount: i64 = digits.parse().ok()?;
    amount.checked_mul(memory_unit(unit)?).filter(|bytes| *bytes > 0)
}

/// Billionths of a CPU from a number of CPUs, or of thousandths when it ends in `m`; truncated.
///
/// `None` when nothing is left: to an engine zero means no limit at all.
pub fn nano_cpus(text: &str) -> Option<i64> {
    let text = text.trim();
    let nanos = match text.strip_suffix('m') {
        Some(milli) => milli.trim_end().parse::<f64>().ok()? * NANOS_PER_MILLI_CPU,
        None => text.parse::<f64>().ok()? * NANOS_PER_CPU,
    };
    // The comparison is false for NaN and the upper bound keeps the cast exact.
    (nanos >= 1.0 && nanos < i64::MAX as f64).then_some(nanos as i64)
}

/// A number of graphics processors, or `all`.
pub fn gpus(text: &str) -> Option<Gpus> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("all") {
        return Some(Gpus::All);
    }
    let is_digits = text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|count| is_digits && *count > 0).map(Gpus::Count)
}

fn limit<T>(
    limits: &BTreeMap<String, String>,
    name: &str,
    read: fn(&str) -> Option<T>,
    what: &str,
) -> Result<Option<T>, Error> {
    let Some(text) = limits.get(name) else { return Ok(None) };
    let error = || {
        let preview: String = text.chars().take(PREVIEW).collect();
        let message = format!("Invalid resourceLimits.{name}: '{preview}'; must resolve to {what}.");
        Error::new(Family::Parameter, Kind::Invalid, message)
    };
    read(text).ok_or_else(error).map(Some)
}

fn memory_unit(unit: &str) -> Option<i64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "ki" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "ti" => 1 << 40,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_has_decimal_and_binary_units() {
        for (text, bytes) in
            [("64Mi", 64 << 20), (" 1gb ", 1_000_000_000), ("5", 5), ("5B", 5), ("2K", 2_000), ("1TI", 1 << 40)]
        {
            assert_eq!(memory(text), Some(bytes), "{text}");
        }
        for text in ["", "abc", "1.5Gi", "0", "0Gi", "-1", "+1", "1KiB", "1 Gi", "1Pi", "9999999999Ti", "٣"] {
            assert_eq!(memory(text), None, "{text}");
        }
    }

    #[test]
    fn cpus_are_floats_or_milli() {
        for (text, nanos) in [
            ("1.5", 1_500_000_000),
            ("500m", 500_000_000),
            ("1e-3", 1_000_000),
            (" 2 ", 2_000_000_000),
            (".5", 500_000_000),
        ] {
            assert_eq!(nano_cpus(text), Some(nanos), "{text}");
        }
        for text in ["", "m", "0", "-1", "inf", "nan", "1e300", "1e-12", "1M", "abc"] {
            assert_eq!(nano_cpus(text), None, "{text}");
        }
    }

    #[test]
    fn gpus_are_counted() {
        assert_eq!(gpus("all"), Some(Gpus::All));
        assert_eq!(gpus("2"), Some(Gpus::Count(2)));
        for text in ["", "0", "-1", "+1", "x", "1.5"] {
            assert_eq!(gpus(text), None, "{text}");
        }
    }

    #[test]
    fn refusals_have_the_peers_texts() {
        let message = |name: &str, text: &str| {
            let given = BTreeMap::from([(name.to_owned(), text.to_owned())]);
            limits(&given).unwrap_err().message
        };
        assert_eq!(
            message("memory", "1.5Gi"),
            "Invalid resourceLimits.memory: '1.5Gi'; must resolve to a positive resource limit."
        );
        assert_eq!(message("cpu", "0"), "Invalid resourceLimits.cpu: '0'; must resolve to a positive resource limit.");
        assert_eq!(
            message("gpu", "x"),
            "Invalid resourceLimits.gpu: 'x'; must resolve to a positive device count or 'all'."
        );
        assert_eq!(message("cpu", &"x".repeat(100)).matches('x').count(), 80);
        assert_eq!(limits(&BTreeMap::from([("disk".to_owned(), "x".to_owned())])).unwrap(), Limits::default());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_givenare_positive(text in ".*|[0-9.eEmMkKgGtTiIbB +-]{0,12}") {
            prop_assert!(memory(&text).is_none_or(|bytes| bytes > 0));
            prop_assert!(nano_cpus(&text).is_none_or(|nanos| nanos > 0));
            let _ = gpus(&text);
        }
    }
}
