//! A mark on forwarded requests, by which one that comes back is known (RFC 8586).
//!
//! A sandbox's server, or one that it leads to, may send a request on to the gateway: by mistake, or to make one request
//! many. `Via` would do as well, but servers compress nothing for who sends it.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// This process, told from every other. Never freed, so that its copies need not be counted.
static OWN: LazyLock<HeaderValue> = LazyLock::new(|| {
    let text = format!("opensandbox-gateway-{}", Uuid::new_v4().simple());
    HeaderValue::from_static(text.leak())
});

/// Marks a request that leaves here.
pub(super) fn mark(headers: &mut HeaderMap) {
    headers.append(CDN_LOOP, OWN.clone());
}

/// Whether a request was marked by this process.
pub fn has_come_before(headers: &HeaderMap) -> bool {
    let mut marks = headers.get_all(CDN_LOOP).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    marks.any(|mark| {
        let id = mark.split(|byte| *byte == b';').next().unwrap_or_default();
        id.trim_ascii().eq_ignore_ascii_case(OWN.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_process_s_mark_counts() {
        let mut headers = HeaderMap::new();
        headers.append(CDN_LOOP, HeaderValue::from_static("a.example; x=1, opensandbox-gateway-0"));
        assert!(!has_come_before(&headers));
        mark(&mut headers);
        assert!(has_come_before(&headers), "{headers:?}");
        let list = format!("a, {} ;v=1,b", OWN.to_str().unwrap().to_uppercase());
        assert!(has_come_before(&HeaderMap::from_iter([(CDN_LOOP, list.parse().unwrap())])));
    }
}
