//! The table of sandboxes.

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Listed;
use crate::telemetry;

const HEADER: [&str; COLUMNS] = ["ID", "STATE", "AGE", "EXPIRES", "IMAGE", "METADATA"];
const COLUMNS: usize = 6;

/// The columns that are shortened where a line is too long, and the widths that are left of them.
const SHORTENED: [(usize, usize); 2] = [(5, 12), (4, 12)];

/// What stands between two columns.
const GAP: usize = 2;

/// The table, a line a sandbox; on a terminal of `width` columns no line is longer, if that can be.
pub(super) fn of(sandboxes: &[Listed], now: Timestamp, has_header: bool, width: Option<usize>) -> String {
    let header = has_header.then(|| HEADER.map(str::to_owned));
    let rows: Vec<_> = header.into_iter().chain(sandboxes.iter().map(|sandbox| row(sandbox, now))).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    if let Some(width) = width {
        for (column, least) in SHORTENED {
            let whole = widths.iter().sum::<usize>() + GAP * (COLUMNS - 1);
            let excess = whole.saturating_sub(width);
            widths[column] = widths[column].saturating_sub(excess).max(least.min(widths[column]));
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let cell = cut(cell, width);
            let pad = width - cell.width() + GAP;
            line += &cell;
            line.extend(std::iter::repeat_n(' ', pad));
        }
        text += &match width {
            Some(width) => cut(line.trim_end(), width),
            None => line.trim_end().to_owned(),
        };
        text.push('\n');
    }
    text
}

fn row(sandbox: &Listed, now: Timestamp) -> [String; COLUMNS] {
    let shown = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), telemetry::one_line);
    // A time that is none is told as such.
    let time = |text: &str| text.parse::<Timestamp>().map_or_else(|_| None, |time| Some(time.as_second()));
    let age = match sandbox.text("/createdAt").map(time) {
        None => "-".to_owned(),
        Some(None) => "?".to_owned(),
        Some(Some(created)) => duration(now.as_second().saturating_sub(created)),
    };
    let expires = match sandbox.text("/expiresAt").map(time) {
        None => "never".to_owned(),
        Some(None) => "?".to_owned(),
        Some(Some(at)) if at <= now.as_second() => "now".to_owned(),
        Some(Some(at)) => duration(at - now.as_second()),
    };
    let image = sandbox.text("/image/uri").map(str::to_owned);
    let image = image.or_else(|| sandbox.text("/snapshotId").map(|id| format!("snapshot {id}")));
    let mut metadata: Vec<_> = sandbox.all_metadata().into_iter().collect();
    // The name first: it is what a person looks for, and what is cut is the end.
    metadata.sort_by_key(|(key, _)| *key != "name");
    let metadata: Vec<_> = metadata.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    [
        telemetry::one_line(&sandbox.id),
        shown(sandbox.text("/status/state")),
        age,
        expires,
        shown(image.as_deref()),
        shown(Some(metadata.join(",").as_str()).filter(|text| !text.is_empty())),
    ]
}

/// A length of time by its largest unit, and the next where that is but one figure: `45s`, `5m10s`, `3h`, `2d4h`.
fn duration(seconds: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    // Clocks differ.
    let seconds = seconds.max(0);
    let at = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[at];
    let (count, rest) = (seconds / unit, seconds % unit);
    match UNITS.get(at + 1) {
        Some((smaller, smaller_name)) if count < 10 && rest >= *smaller => {
            format!("{count}{name}{}{smaller_name}", rest / smaller)
        }
        _ => format!("{count}{name}"),
    }
}

/// The beginning that fits into so many columns of a terminal, with a mark where something is left out.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut cut, mut left) = (String::new(), width.saturating_sub(1));
    for char in text.chars() {
        let Some(rest) = left.checked_sub(char.width().unwrap_or(0)) else { break };
        cut.push(char);
        left = rest;
    }
    // A character and what is joined to it may be wider together than each alone.
    while cut.width() > width.saturating_sub(1) {
        cut.pop();
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn listed(object: serde_json::Value) -> Listed {
        Listed { id: object["id"].as_str().unwrap().to_owned(), object }
    }

    fn now() -> Timestamp {
        "2026-01-31T08:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_table_is_aligned() {
        let sandboxes = [
            listed(json!({
                "id": "e345f367-b51b-47e4-86c2-4f4fdd8e7a17",
                "status": {"state": "Running"},
                "image": {"uri": "python:3.12"},
                "metadata": {"a": "1", "name": "web"},
                "createdAt": "2026-01-31T07:54:50Z",
                "expiresAt": "2026-01-31T10:00:00+01:00",
            })),
            listed(json!({"id": "b", "status": {"state": "Paused"}, "snapshotId": "s", "createdAt": "x"})),
        ];
        let table = of(&sandboxes, now(), true, None);
        let expected = "\
ID                                    STATE    AGE    EXPIRES  IMAGE        METADATA
e345f367-b51b-47e4-86c2-4f4fdd8e7a17  Running  5m10s  1h       python:3.12  name=web,a=1
b                                     Paused   ?      never    snapshot s   -
";
        assert_eq!(table, expected);
        assert_eq!(of(&sandboxes, now(), false, None).lines().count(), 2);
        assert_eq!(of(&[], now(), true, None), "ID  STATE  AGE  EXPIRES  IMAGE  METADATA\n");
    }

    #[test]
    fn what_a_creator_wrote_does_nothing_to_the_terminal() {
        let metadata = json!({"name": "a\u{1b}[2J\nb\r\u{202e}\u{9b}c"});
        let sandbox = listed(json!({"id": "i\u{7}", "metadata": metadata, "image": {"uri": "\u{1b}]0;x\u{7}"}}));
        for width in [None, Some(200)] {
            let table = of(std::slice::from_ref(&sandbox), now(), false, width);
            assert!(!table.trim_end_matches('\n').contains(|char: char| char.is_control() || char == '\u{202e}'));
            assert!(table.contains("name=a\\u{1b}[2J\\nb\\r") && table.ends_with('\n'), "{table}");
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let of_name = |id: &str, name: &str| listed(json!({"id": id, "image": {"uri": name}, "metadata": {"k": "v"}}));
        let sandboxes = [of_name("a", "日本語"), of_name("b", "abcdef"), of_name("c", "e\u{301}")];
        let table = of(&sandboxes, now(), false, None);
        let columns: Vec<_> = table.lines().map(|line| line.split_once("k=v").unwrap().0.width()).collect();
        assert!(columns.iter().all(|column| *column == columns[0]), "{table}");
    }

    #[test]
    fn a_length_of_time_has_two_units_at_most() {
        for (seconds, expected) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (310, "5m10s"),
            (600, "10m"),
            (5_400, "1h30m"),
            (100_000, "1d3h"),
            (86_400 * 400, "400d"),
            (i64::MAX, "106751991167300d"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(image in any::<String>(), value in any::<String>(), width in 1_usize..120) {
            let sandbox = json!({"id": "e345f367", "image": {"uri": image}, "metadata": {"name": value}});
            let table = of(&[listed(sandbox)], now(), true, Some(width));
            prop_assert_eq!(table.lines().count(), 2);
            for line in table.lines() {
                prop_assert!(line.width() <= width, "{} {:?}", line.width(), line);
            }
        }
    }
}
