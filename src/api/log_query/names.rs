//! Names of parameters: one that is not known is told with the one that is probably meant.

use serde_json::Value;

use crate::{api::extract::Query, model::violation::Report};

/// All parameters.
const KNOWN: [&str; 20] = [
    "follow",
    "tail",
    "timestamps",
    "since",
    "until",
    "stdout",
    "stderr",
    "container",
    "previous",
    "command",
    "restarts",
    "format",
    "after",
    "grep",
    "invert",
    "search",
    "limit_bytes",
    "heartbeat",
    "on_slow",
    "notes",
];

/// Names that others have for the same, in lower case without `_` and `-`.
const OTHERS: [(&str, &str); 24] = [
    ("f", "follow"),
    ("watch", "follow"),
    ("n", "tail"),
    ("lines", "tail"),
    ("limit", "tail"),
    ("t", "timestamps"),
    ("from", "since"),
    ("start", "since"),
    ("to", "until"),
    ("end", "until"),
    ("c", "container"),
    ("p", "previous"),
    ("output", "format"),
    ("cursor", "after"),
    ("token", "after"),
    ("lasteventid", "after"),
    ("regex", "grep"),
    ("pattern", "grep"),
    ("filter", "grep"),
    ("q", "search"),
    ("query", "search"),
    ("maxbytes", "limit_bytes"),
    ("bytes", "limit_bytes"),
    ("ping", "heartbeat"),
];

/// No name that is probably meant for a known one is longer, in bytes.
const MAX_NAME: usize = 40;

/// Notes each parameter that there is not, once.
pub(super) fn check(query: &Query<'_>, report: &mut Report) {
    let mut told: Vec<&str> = Vec::new();
    for name in query.names().filter(|name| !KNOWN.contains(name) && !name.starts_with('_')) {
        // The report keeps no more of them.
        if told.contains(&name) || told.len() > 100 {
            continue;
        }
        told.push(name);
        let hint = match nearest(name) {
            Some(meant) => format!("did you mean '{meant}'?"),
            None => format!("there are {}.", KNOWN.join(", ")),
        };
        let value = query.last(name).map_or(Value::Null, Value::from);
        let text = format!("Extra inputs are not permitted: the log has no such parameter; {hint}");
        report.within(name, |report| report.add("extra_forbidden", text, &value, None));
    }
}

/// The known name that is probably meant.
fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME {
        return None;
    }
    let plain = plain(name);
    let known = || KNOWN.into_iter().filter(|known| known.len() > 3);
    let same = known().find(|known| self::plain(known) == plain);
    let other = || OTHERS.into_iter().find(|(other, _)| *other == plain).map(|(_, known)| known);
    // `tailLines`, `sinceTime`, `sinceSeconds`: what Kubernetes has.
    let longer = || known().find(|known| plain.starts_with(&self::plain(known)));
    let slip = || {
        let near = known().map(|known| (strsim::levenshtein(&plain, &self::plain(known)), known)).min();
        near.filter(|(distance, _)| *distance <= 2).map(|(_, known)| known)
    };
    same.or_else(other).or_else(longer).or_else(slip)
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_leads_to_what_there_is() {
        for (typed, known) in [
            ("timestamp", Some("timestamps")),
            ("Follow", Some("follow")),
            ("tailLines", Some("tail")),
            ("sinceTime", Some("since")),
            ("sinceSeconds", Some("since")),
            ("limitBytes", Some("limit_bytes")),
            ("limit-bytes", Some("limit_bytes")),
            ("onSlow", Some("on_slow")),
            ("Last-Event-ID", Some("after")),
            ("grpe", Some("grep")),
            ("n", Some("tail")),
            ("f", Some("follow")),
            ("stdrr", Some("stderr")),
            ("something", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed), known, "{typed}");
        }
        assert_eq!(nearest(&"tail".repeat(1000)), None);
    }
}
