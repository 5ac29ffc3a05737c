//! Any records, in any pieces: NDJSON and event streams tell them exactly.

use proptest::prelude::*;

use super::*;

/// An event of an event stream.
#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: String,
}

/// Reads an event stream as HTML's §9.2.6 says.
fn events(text: &str) -> Vec<Event> {
    let (mut all, mut event, mut last_id) = (Vec::new(), Event::default(), String::new());
    for line in text.split('\n') {
        if line.is_empty() {
            let done = std::mem::take(&mut event);
            if !done.data.is_empty() {
                all.push(Event { id: last_id.clone(), data: done.data.trim_end_matches('\n').to_owned(), ..done });
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "data" => event.data += &(value.to_owned() + "\n"),
            "id" => value.clone_into(&mut last_id),
            _ => {}
        }
    }
    all
}

/// Records of lines cut into pieces: the stream, the line, how many pieces, the newline.
fn lines() -> impl Strategy<Value = Vec<(bool, Vec<u8>, usize)>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>().prop_filter("no newline", |byte| *byte != b'\n'), 0..40),
        "[ -~é\t\"\\\\]{0,60}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec((any::<bool>(), bytes, 1_usize..4), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn any_records_are_told_exactly(lines in lines(), cuts in proptest::collection::vec(1_usize..20, 1..10), last_ends: bool) {
        let mut raw = [Vec::new(), Vec::new()];
        let (mut all, count) = (Vec::new(), lines.len());
        for (at, (is_stderr, mut line, pieces)) in lines.into_iter().enumerate() {
            let stream = if is_stderr { E } else { O };
            if last_ends || at + 1 < count || line.is_empty() {
                line.push(b'\n');
            }
            raw[stream.index()].extend_from_slice(&line);
            let size = line.len().div_ceil(pieces).max(1);
            all.extend(line.chunks(size).map(|piece| (stream, at as i64, piece.to_vec())));
        }
        let (mut index, mut ordinals, mut buf) = (Vec::new(), Ordinals::default(), Vec::new());
        for (stream, time, bytes) in &all {
            let start = buf.len() as u32;
            buf.extend_from_slice(bytes);
            index.push(Record { stream: *stream, place: ordinals.place(*stream, BASE + time), start, end: buf.len() as u32 });
        }
        let (buf, mut rest, mut batches, mut cuts) = (Bytes::from(buf), index.as_slice(), Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            batches.push(Records { buf: buf.clone(), index: batch.to_vec(), run: None });
            rest = behind;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let render = |format| runtime.block_on(async {
            let steps = batches.iter().map(|records| Step::Piece(Piece::Records(records.clone()))).chain([end(Reason::Exited)]);
            text(steps, &LogQuery::ALL, of(format)).await
        });
        let objects = parsed(render(Format::Ndjson).as_bytes());
        let mut decoded = [Vec::new(), Vec::new()];
        let mut ids: Vec<_> = objects.iter().filter(|object| object["event"].is_null()).map(|object| object["id"].to_string()).collect();
        prop_assert_eq!(ids.len(), count);
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), count);
        for object in &objects[..count] {
            let stream = if object["stream"] == "stderr" { E } else { O };
            decoded[stream.index()].extend_from_slice(&log(object).unwrap());
        }
        prop_assert_eq!(decoded, raw);
        let events = events(&render(Format::Sse));
        prop_assert_eq!(events.len(), objects.len());
        for (event, object) in events.iter().zip(&objects) {
            prop_assert_eq!(&serde_json::from_str::<Value>(&event.data).unwrap(), object);
            prop_assert_eq!(&event.id, object["id"].as_str().unwrap());
            prop_assert_eq!(&event.name, object["event"].as_str().unwrap_or_default());
        }
    }
}
