//! A mark on forwarded requests, which tells a loop (RFC 8586).
//!
//! A sandbox's server may forward a request to another sandbox through the gateway, with the headers that it came with. One that
//! comes again and again is in a loop, by mistake or to multiply requests. The mark names this process, so that other gateways
//! on the way do not count. `Via` would do as well, but servers do not compress for requests with it.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// How many times one request may pass the proxy of this process.
const MAX_PASSES: usize = 5;

pub(super) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// This process, told from every other. Never freed, so that its copies need not be counted.
static OWN: LazyLock<HeaderValue> = LazyLock::new(|| {
    let text = format!("opensandbox-gateway-{}", Uuid::new_v4().simple());
    HeaderValue::from_static(text.leak())
});

/// Marks a request that leaves here.
pub(super) fn mark(headers: &mut HeaderMap) {
    headers.append(CDN_LOOP, OWN.clone());
}

/// Whether a request was marked by this process as often as it may be.
pub fn goes_round(headers: &HeaderMap) -> bool {
    let marks = headers.get_all(CDN_LOOP).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let own = marks.filter(|mark| {
        let id = mark.split(|byte| *byte == b';').next().unwrap_or_default();
        id.trim_ascii().eq_ignore_ascii_case(OWN.as_bytes())
    });
    own.take(MAX_PASSES).count() == MAX_PASSES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_process_s_mark_counts() {
        let mut headers = HeaderMap::new();
        for _ in 0..MAX_PASSES {
            headers.append(CDN_LOOP, HeaderValue::from_static("a.example; x=1, opensandbox-gateway-0"));
            assert!(!goes_round(&headers), "{headers:?}");
            mark(&mut headers);
        }
        assert!(goes_round(&headers), "{headers:?}");
        let once = format!("a, {} ;v=1,b,", OWN.to_str().unwrap().to_uppercase());
        let in_one = |count| goes_round(&HeaderMap::from_iter([(CDN_LOOP, once.repeat(count).parse().unwrap())]));
        assert!(!in_one(MAX_PASSES - 1) && in_one(MAX_PASSES) && in_one(MAX_PASSES + 1));
    }
}
