//! A sandbox's log through the gateway, with the faults that clusters have on the way: complete, nothing doubled, and a gap
//! exactly where something is missing.

mod answers;
mod crowd;
pub(crate) mod fixture;
mod interrupted;
mod lost;
mod moved;
mod nodes;
mod release;
mod slow;
mod states;

use serde_json::Value;

use crate::support::{
    LONGEST, bounded,
    client::{Client, Response},
};

/// The records of an answer in NDJSON.
pub(crate) fn records(response: &Response) -> Vec<Value> {
    assert_eq!(response.status(), 200, "{:?}", response.body);
    response.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(json).collect()
}

fn json(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
}

/// A stream of NDJSON that is read record by record.
pub(crate) struct Records {
    client: Client,
    buffer: Vec<u8>,
}

impl Records {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, buffer: Vec::new() }
    }

    /// The next record that is no ping; none at the end of the body.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        bounded("the next record", self.unbounded()).await
    }

    async fn unbounded(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let record = json(&line);
                if record["event"] != "ping" {
                    return Some(record);
                }
                continue;
            }
            let piece = self.client.piece().await.expect("records end cleanly")?;
            self.buffer.extend_from_slice(&piece);
        }
    }

    /// The records up to and with the one that says so.
    pub(crate) async fn until(&mut self, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let (mut records, start) = (Vec::new(), std::time::Instant::now());
        while let Some(record) = self.next().await {
            let is_last = is_last(&record);
            records.push(record);
            if is_last {
                return records;
            }
            let last = &records[records.len().saturating_sub(3)..];
            assert!(start.elapsed() < 3 * LONGEST, "the record is not among {}: {last:?}", records.len());
        }
        panic!("the body ended: {records:?}");
    }
}

/// What a line says that [`fixture`]'s containers print by number.
pub(crate) fn number(record: &Value) -> Option<u64> {
    record["log"].as_str()?.strip_prefix("line-")?.split_whitespace().next()?.parse().ok()
}

/// Checks that the numbers are in their order without a double, and that some are missing exactly where a gap is told. Gives
/// the numbers of gaps and of lines.
pub(crate) fn check_order(records: &[Value]) -> (usize, usize) {
    check_numbers(records, |is_missing, is_told| is_missing == is_told)
}

/// The same on a cluster that is not the test's alone: a gap may be told also where nothing is missing. If the log is rotated
/// right behind the last line that was read, whether there was another in the old file cannot be known.
pub(crate) fn check_told(records: &[Value]) -> (usize, usize) {
    check_numbers(records, |is_missing, is_told| is_told || !is_missing)
}

fn check_numbers(records: &[Value], is_right: impl Fn(bool, bool) -> bool) -> (usize, usize) {
    let (mut last, mut gaps, mut lines, mut has_gap) = (None, 0, 0, false);
    for record in records {
        if record["event"] == "gap" {
            gaps += 1;
            has_gap = true;
        }
        let Some(number) = number(record) else { continue };
        lines += 1;
        if let Some(last) = last {
            assert!(number > last, "{number} comes after {last}");
            assert!(is_right(number > last + 1, has_gap), "{number} comes after {last}, gap: {has_gap}");
        }
        (last, has_gap) = (Some(number), false);
    }
    assert!(is_right(false, has_gap), "a gap with nothing behind it");
    (gaps, lines)
}
