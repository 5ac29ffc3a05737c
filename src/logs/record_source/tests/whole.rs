//! What clients get is the log: through the real rendering, after any record.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::Value;

use super::{
    super::RecordSource,
    RECONNECT, paused,
    scripted::{Printed, Script},
};
use crate::{
    error::Error,
    logs::{
        LogError, LogQuery, LogSource as _,
        backend::{Backend as _, Exit, State},
        cursor::Cursor,
        record::Stream,
        rendered::{Format, Rendered, Rendering},
    },
};

pub(super) const ENDED: State =
    State::Ended { exit: Exit { code: Some(0), oom: false, finished_at: None }, started: None };

/// A response.
pub(super) struct Response(Pin<Box<Rendered>>);

impl Response {
    pub(super) async fn open(script: &Arc<Script>, query: &LogQuery, format: Format) -> Result<Self, Error> {
        let backend = Arc::new(Arc::clone(script));
        let state = backend.state().await?;
        let source = RecordSource::open(backend, query, state, RECONNECT).await?;
        Ok(Self(Box::pin(Rendered::new(source, query, Rendering { format, ..Rendering::default() }))))
    }

    /// The next chunk; none at the end.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        self.try_next().await.transpose().unwrap()
    }

    pub(super) async fn try_next(&mut self) -> Option<Result<Vec<u8>, LogError>> {
        poll_fn(|cx| self.0.as_mut().poll_chunk(cx)).await.map(|chunk| Ok(chunk?.into()))
    }
}

async fn response(script: &Arc<Script>, query: &LogQuery, format: Format) -> Vec<u8> {
    let (mut response, mut all) = (Response::open(script, query, format).await.unwrap(), Vec::new());
    while let Some(chunk) = response.next().await {
        all.extend_from_slice(&chunk);
    }
    all
}

pub(super) fn parsed(ndjson: &[u8]) -> Vec<Value> {
    assert!(ndjson.is_empty() || ndjson.ends_with(b"\n"));
    ndjson.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

pub(super) async fn objects(script: &Arc<Script>, query: &LogQuery) -> Vec<Value> {
    parsed(&response(script, query, Format::Ndjson).await)
}

/// The bytes of a line's record.
pub(super) fn log(object: &Value) -> Option<Vec<u8>> {
    let text = object["log"].as_str().map(|text| text.as_bytes().to_vec());
    text.or_else(|| Some(STANDARD.decode(object["log_base64"].as_str()?).unwrap()))
}

pub(super) fn after(object: &Value) -> Option<Cursor> {
    Some(Cursor::parse(object["id"].as_str().unwrap()).unwrap())
}

pub(super) fn of_stream(object: &Value, stream: Stream) -> bool {
    object["stream"] == stream.name()
}

fn raw(printed: &[Printed], stream: Stream) -> Vec<u8> {
    printed.iter().filter(|record| record.stream == stream).flat_map(|record| record.bytes.clone()).collect()
}

fn joined<'a>(objects: impl IntoIterator<Item = &'a Value>, stream: Stream) -> Vec<u8> {
    objects.into_iter().filter(|object| of_stream(object, stream)).filter_map(log).flatten().collect()
}

/// For each record of `all`, and the end of a log that has not ended: who comes back gets exactly the rest.
/// In a log whose times come again and again, a long one, a record's number is another one in a window: then but for the tokens.
pub(super) async fn assert_resumable(script: &Arc<Script>, all: &[Value], query: &LogQuery, has_ids: bool) {
    for (at, object) in all.iter().enumerate().filter(|(_, object)| log(object).is_some()) {
        let query = LogQuery { after: after(object), ..query.clone() };
        let rest = objects(script, &query).await;
        let without_id = |object: &Value| {
            let mut object = object.clone();
            object.as_object_mut().unwrap().retain(|name, _| has_ids || name != "id");
            object
        };
        let (given, expected) = (&rest[..rest.len() - 1], &all[at + 1..all.len() - 1]);
        let is_equal = given.iter().map(without_id).eq(expected.iter().map(without_id));
        let shown = |objects: &[Value]| {
            let mut all = String::new();
            for object in objects {
                let mut object = object.clone();
                if let Some(log) = object["log"].as_str().filter(|log| log.len() > 100) {
                    object["log"] = format!("{}… {}", &log[..20], log.len()).into();
                }
                all += &format!("\n  {object}");
            }
            all
        };
        assert!(is_equal, "after {}: {}\nnot {}", shown(&all[at..=at]), shown(&rest), shown(&all[at + 1..]));
    }
}

/// Logs of lines in pieces: those of a line have one time and stand among records of the other stream.
fn printed() -> impl Strategy<Value = Vec<Printed>> {
    let bytes = prop::sample::select(vec![b'a', b'b', 0, 0xff, 0xc3, 0xa9, b'"', b'\r']);
    let pieces = prop::collection::vec(prop::collection::vec(bytes, 0..3), 1..4);
    let line = (any::<bool>(), -2_i64..4, pieces, prop::collection::vec(any::<bool>(), 4));
    let lines =
        prop_oneof![8 => prop::collection::vec(line.clone(), 0..14), 1 => prop::collection::vec(line, 100..130)];
    (lines, any::<[bool; 2]>(), any::<bool>()).prop_map(|(lines, ends, is_wild)| {
        let mut queues: [Vec<(Printed, bool)>; 2] = [Vec::new(), Vec::new()];
        let mut now = [10_i64; 2];
        let mut number = 0;
        for (is_err, passes, pieces, waits) in lines {
            let stream = if is_err { Stream::Stderr } else { Stream::Stdout };
            let index = stream.index();
            // Of a clock that is set back, or one that is not.
            now[index] += if is_wild { passes } else { passes.max(0) };
            let last = pieces.len() - 1;
            for (at, mut bytes) in pieces.into_iter().enumerate() {
                if is_wild {
                    // A time that comes again: records are told apart by their bytes.
                    bytes.extend_from_slice(number.to_string().as_bytes());
                    number += 1;
                }
                match at {
                    _ if at == last => bytes.push(b'\n'),
                    _ if bytes.is_empty() => bytes.push(b'x'),
                    _ => {}
                }
                let wait = waits.get(at).is_some_and(|wait| *wait);
                queues[index].push((Printed { stream, time: now[index], bytes }, wait));
            }
        }
        for (queue, ends) in queues.iter_mut().zip(ends) {
            if let Some((last, _)) = queue.last_mut().filter(|(last, _)| !ends && last.bytes.len() > 1) {
                last.bytes.pop();
            }
        }
        // Backwards, so that the first are taken first.
        queues.iter_mut().for_each(|queue| queue.reverse());
        let (mut printed, mut turn) = (Vec::new(), 0);
        while queues.iter().any(|queue| !queue.is_empty()) {
            match queues[turn].pop() {
                Some((record, wait)) => {
                    printed.push(record);
                    if wait {
                        turn = 1 - turn;
                    }
                }
                None => turn = 1 - turn,
            }
        }
        printed
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn records_are_the_log_and_each_can_be_gone_on_behind(
        printed in printed(), batches in prop::collection::vec(1_usize..9, 1..4),
    ) {
        let script = Script::new(printed.clone(), batches, ENDED);
        paused(async {
            let all = objects(&script, &LogQuery::ALL).await;
            let end = all.last().unwrap();
            assert_eq!((&end["event"], &end["reason"]), (&"end".into(), &"complete".into()));
            // In long logs whose times come again, a window numbers records otherwise.
            let has_ids = printed.len() < 200;
            for stream in Stream::ALL {
                let raw = raw(&printed, stream);
                assert_eq!(joined(&all, stream), raw);
                let lines: Vec<_> = all.iter().filter(|object| of_stream(object, stream)).filter_map(log).collect();
                let expected: Vec<_> = raw.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                assert_eq!(lines, expected);
            }
            assert_resumable(&script, &all, &LogQuery::ALL, has_ids).await;
            let text: Vec<u8> = printed.iter().flat_map(|record| record.bytes.clone()).collect();
            assert_eq!(response(&script, &LogQuery::ALL, Format::Text).await, text);
            for (at, object) in all.iter().enumerate().filter(|(_, object)| log(object).is_some()) {
                for stream in Stream::ALL {
                    let (stdout, stderr) = (stream == Stream::Stdout, stream == Stream::Stderr);
                    let query = LogQuery { after: after(object), stdout, stderr, ..LogQuery::ALL };
                    let text = response(&script, &query, Format::Text).await;
                    assert_eq!(text, joined(&all[at + 1..], stream), "text of {} after {object}", stream.name());
                }
            }
        });
    }
}
