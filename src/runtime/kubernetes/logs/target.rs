//! The request target of a log on the API server (kubernetes-api.md §2).

use std::fmt::Write as _;

use crate::logs::record::Stream;

/// What is asked of the API server. Times are always asked for: they are what a record is found again by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) container: &'a str,
    pub(super) follow: bool,
    /// The instance before the present one.
    pub(super) previous: bool,
    /// The last so many of what the runtime stored.
    pub(super) last: Option<u64>,
    /// One stream alone, where the cluster can. Not together with `last`.
    pub(super) stream: Option<Stream>,
    /// What is of this second and later, since 1970.
    pub(super) since: Option<jiff::Timestamp>,
}

impl Target<'_> {
    /// The path and the query.
    pub(super) fn text(&self) -> String {
        let Self { namespace, pod, container, .. } = self;
        // Names are DNS labels and subdomains: there is nothing to escape.
        let mut text = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&timestamps=true");
        for (name, is_set) in [("follow", self.follow), ("previous", self.previous)] {
            if is_set {
                text = text + "&" + name + "=true";
            }
        }
        match (self.stream, self.last) {
            (Some(stream), _) => text = text + "&stream=" + name(stream),
            // Writing to a string does not fail.
            (None, Some(last)) => drop(write!(text, "&tailLines={last}")),
            (None, None) => {}
        }
        if let Some(since) = self.since {
            text += &since.strftime("&sinceTime=%Y-%m-%dT%H:%M:%SZ").to_string();
        }
        text
    }
}

/// A stream as Kubernetes has it.
pub(super) fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "Stdout",
        Stream::Stderr => "Stderr",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_asked_for() {
        let plain = Target {
            namespace: "ns",
            pod: "pod-0",
            container: "sandbox",
            follow: false,
            previous: false,
            last: None,
            stream: None,
            since: None,
        };
        let path = "/api/v1/namespaces/ns/pods/pod-0/log?container=sandbox&timestamps=true";
        assert_eq!(plain.text(), path);
        let follow = Target { follow: true, last: Some(64), ..plain };
        assert_eq!(follow.text(), format!("{path}&follow=true&tailLines=64"));
        let since = "2026-11-23T02:01:21.9Z".parse().ok();
        let errors = Target { stream: Some(Stream::Stderr), last: Some(64), since, previous: true, ..plain };
        assert_eq!(errors.text(), format!("{path}&previous=true&stream=Stderr&sinceTime=2026-11-23T02:01:21Z"));
    }
}
