//! The request target of a log on the engine (Engine API, `ContainerLogs`).

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Container;
use crate::logs::LogQuery;

/// The request target for what `query` asks of `container`, from the last `tail` records on.
pub(super) fn reading(container: &Container, query: &LogQuery, tail: Option<u64>) -> String {
    let LogQuery { follow, timestamps, since, until, stdout, stderr, .. } = query;
    let mut target = start(container);
    // A TTY's bytes are all on the standard output, whichever the program wrote them to.
    for (name, on) in [("follow", *follow), ("stdout", *stdout), ("stderr", *stderr), ("timestamps", *timestamps)] {
        add(&mut target, name, u8::from(on));
    }
    if let Some(since) = since {
        add(&mut target, "since", seconds(*since));
    }
    if let Some(until) = until {
        add(&mut target, "until", seconds(*until));
    }
    if let Some(tail) = tail {
        add(&mut target, "tail", tail);
    }
    target
}

/// The request target for counting: the last `tail` records of both streams and of any time, with timestamps.
pub(super) fn counting(container: &Container, tail: u64) -> String {
    let mut target = start(container);
    for name in ["stdout", "stderr", "timestamps"] {
        add(&mut target, name, 1);
    }
    add(&mut target, "tail", tail);
    target
}

/// The path; a container's id is hexadecimal.
fn start(Container { api_version, id, .. }: &Container) -> String {
    format!("/v{api_version}/containers/{id}/logs?")
}

fn add(target: &mut String, name: &str, value: impl std::fmt::Display) {
    let gap = if target.ends_with('?') { "" } else { "&" };
    // Writing to a string does not fail.
    let _ = write!(target, "{gap}{name}={value}");
}

/// Unix seconds with nanoseconds, the form in which the engine keeps the whole time (moby `timestamp.GetTimestamp`).
fn seconds(time: Timestamp) -> String {
    format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, time::Duration};

    use super::*;
    use crate::{
        metrics::backend::BackendCalls,
        runtime::docker::engine::{endpoint::Endpoint, liveness::Liveness},
    };

    fn container() -> Container {
        Container {
            endpoint: Endpoint::Unix("/nowhere".into()),
            api_version: "1.41".into(),
            id: "abc".into(),
            tty: false,
            buffer: 65_536,
            calls: BackendCalls::default(),
            timeout: Duration::from_secs(1),
            liveness: Liveness::new(Endpoint::Unix("/nowhere".into()), Duration::from_secs(1)),
        }
    }

    #[test]
    fn a_query_is_asked_to_the_nanosecond() {
        let query = LogQuery {
            follow: true,
            tail: NonZeroU64::new(5),
            timestamps: false,
            since: Some(Timestamp::new(1_700_000_000, 5).expect("a time")),
            until: None,
            stdout: true,
            stderr: false,
        };
        assert_eq!(
            reading(&container(), &query, Some(6)),
            "/v1.41/containers/abc/logs?follow=1&stdout=1&stderr=0&timestamps=0&since=1700000000.000000005&tail=6"
        );
        assert_eq!(counting(&container(), 9), "/v1.41/containers/abc/logs?stdout=1&stderr=1&timestamps=1&tail=9");
    }
}
