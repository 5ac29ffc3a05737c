//! What a client says of a file that is built in: that it takes it compressed, or has it already.

use http::{HeaderMap, HeaderValue, header};

/// Whether the client takes gzip (RFC 9110 §12.5.3).
pub(super) fn takes_gzip(asked: &HeaderMap) -> bool {
    let all = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<_> = all.flat_map(|value| value.split(',')).map(coding).collect();
    let weight = |wanted: &str| codings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, on)| *on);
    weight("gzip").or(weight("*")).unwrap_or(false)
}

/// A coding, and whether it may be used: its weight is not 0.
fn coding(text: &str) -> (&str, bool) {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let weight = parameters.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
    (name.trim(), weight.is_none_or(|weight| weight > 0.0))
}

/// Whether the client has what `tag` names already (RFC 9110 §13.1.2).
pub(super) fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    asked.get_all(header::IF_NONE_MATCH).iter().any(|tags| names(tags, tag))
}

fn names(tags: &HeaderValue, wanted: &str) -> bool {
    let tags = tags.to_str().unwrap_or_default();
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for value in ["gzip", "br, GZIP;q=0.5", "*", "deflate, *;q=0.1", "gzip ; q=1"] {
            assert!(takes_gzip(&asked(header::ACCEPT_ENCODING, value)), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip; q=0.0, *", "*;q=0", "xgzip"] {
            assert!(!takes_gzip(&asked(header::ACCEPT_ENCODING, value)), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
