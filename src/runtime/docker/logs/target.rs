//! The request target of a log on the engine (Engine API, `ContainerLogs`).
//!
//! The engine is never asked for times: it takes `since` as leave to leave out files, and `until` as the place to stop at.

use std::fmt::Write as _;

use crate::logs::{LogQuery, backend::Window};

/// The request target for a log as plain text, all of it.
pub(super) fn text(api_version: &str, container: &str, query: &LogQuery) -> String {
    let LogQuery { follow, timestamps, stdout, stderr, .. } = *query;
    // A TTY's bytes are all on the standard output, whichever the program wrote them to.
    target(api_version, container, follow, [stdout, stderr, timestamps])
}

/// The request target for records.
pub(super) fn records(api_version: &str, container: &str, Window { last, follow }: Window) -> String {
    let mut target = target(api_version, container, follow, [true; 3]);
    if let Some(last) = last {
        // Writing to a string does not fail.
        let _ = write!(target, "&tail={last}");
    }
    target
}

/// A container's id is hexadecimal.
fn target(api_version: &str, container: &str, follow: bool, [stdout, stderr, timestamps]: [bool; 3]) -> String {
    let [follow, stdout, stderr, timestamps] = [follow, stdout, stderr, timestamps].map(u8::from);
    format!(
        "/v{api_version}/containers/{container}/logs?follow={follow}&stdout={stdout}&stderr={stderr}&timestamps={timestamps}"
    )
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn text_is_asked_as_it_is_wanted_and_records_with_all_there_is() {
        let query = LogQuery { follow: true, stderr: false, ..LogQuery::ALL };
        let expected = "/v1.41/containers/abc/logs?follow=1&stdout=1&stderr=0&timestamps=0";
        assert_eq!(text("1.41", "abc", &query), expected);
        let expected = "/v1.41/containers/abc/logs?follow=0&stdout=1&stderr=1&timestamps=1";
        assert_eq!(records("1.41", "abc", Window { last: None, follow: false }), expected);
        let expected = "/v1.41/containers/abc/logs?follow=1&stdout=1&stderr=1&timestamps=1&tail=9";
        assert_eq!(records("1.41", "abc", Window { last: NonZeroU64::new(9), follow: true }), expected);
    }
}
