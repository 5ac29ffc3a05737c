//! Names: of keys in messages, and of hosts in settings.

/// The key as TOML would write it, so that a message stays one line whatever
/// characters the key is made of.
pub(super) fn quoted(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !key.is_empty() && key.bytes().all(bare) {
        return key.to_owned();
    }
    format!("{key:?}")
}

/// The known key that `key` is probably a slip of: at most two letters away,
/// and not for names so short that two letters make any of them.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|&name| (strsim::levenshtein(key, name), name));
    let (distance, name) = near.min()?;
    (distance <= 2 && name.len() > 3).then_some(name)
}

/// Whether the name is a DNS-1123 subdomain: lower-case labels joined by dots.
pub fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

/// Whether the name is a DNS-1123 label, as that of a namespace is.
pub(super) fn is_dns_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_odd_keys_are_quoted() {
        assert_eq!(quoted("api_key-2"), "api_key-2");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a\nb.c"), "\"a\\nb.c\"");
    }

    #[test]
    fn dns_names() {
        let long = "a".repeat(64);
        for (name, fits) in [
            ("a", true),
            ("a-1.b2", true),
            ("", false),
            ("a..b", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a_b", false),
            ("..", false),
            ("a/b", false),
            ("a%2fb", false),
            ("a?b", false),
            ("a b", false),
            ("ü", false),
            ("a\r\n", false),
            (long.as_str(), false),
        ] {
            assert_eq!(is_dns_subdomain(name), fits, "{name}");
        }
    }

    #[test]
    fn suggests_what_is_near() {
        let known = ["host", "port", "network_mode", "mode"];
        for (key, expected) in [
            ("network_mod", Some("network_mode")),
            ("networkmode", Some("network_mode")),
            ("hots", Some("host")),
            ("something", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, &known), expected, "{key}");
        }
        assert_eq!(nearest("anything", &[]), None);
    }
}
