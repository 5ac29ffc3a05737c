//! Ends of logs, and reads one behind the other.

use super::*;
use crate::logs::record::{Ordinals, Place};

/// Records of these times and texts.
fn records(all: &[(i64, &str)]) -> Records {
    let (mut buf, mut index, mut ordinals) = (Vec::new(), Vec::new(), Ordinals::default());
    for (time, text) in all {
        let start = u32::try_from(buf.len()).unwrap();
        buf.extend_from_slice(text.as_bytes());
        let end = u32::try_from(buf.len()).unwrap();
        let place: Place = ordinals.place(Stream::Stdout, *time);
        index.push(Record { stream: Stream::Stdout, place, start, end });
    }
    Records { buf: buf.into(), index, run: None }
}

/// Whether a read that gives this in parts has reached the end of what `last` gave in parts.
fn is_reached(last: &[&[(i64, &str)]], read: &[&[(i64, &str)]]) -> bool {
    let mut end = last.iter().fold(None, |end, part| LogEnd::behind(end, &records(part))).unwrap();
    read.iter().for_each(|part| end.note(&records(part)));
    end.is_reached()
}

#[test]
fn an_end_is_reached_where_its_record_is_whatever_times_and_texts_say() {
    let log: &[_] = &[(5, "a\n"), (9, "a\n"), (2, "a\n"), (3, "a\n")];
    assert!(is_reached(&[log], &[log]));
    assert!(is_reached(&[&log[2..]], &[&log[..1], &log[1..]]), "in parts");
    for length in 0..log.len() {
        assert!(!is_reached(&[log], &[&log[..length]]), "{length}");
        assert!(!is_reached(&[&log[1..3], &log[3..]], &[&log[..length]]), "{length}");
    }
    // What was printed meanwhile comes behind it.
    assert!(is_reached(&[log], &[log, &[(1, "b\n"), (2, "c")]]));
    // It was rotated away: another read tells.
    assert!(!is_reached(&[log], &[&[(10, "b\n")]]));
    assert!(LogEnd::behind(None, &records(&[])).is_none());
}

#[test]
fn a_piece_of_a_line_has_another_time_when_it_is_read_alone() {
    let last: &[_] = &[(7, "piece\n")];
    assert!(is_reached(&[last], &[&[(1, "a\n"), (2, "a long "), (2, "piece\n")]]));
    assert!(is_reached(&[last], &[&[(2, "a long piece\n"), (9, "b\n")]]));
    assert!(!is_reached(&[last], &[&[(1, "a\n"), (2, "a long ")]]));
    assert!(!is_reached(&[last], &[]));
    // With the end of the line before, it is a line.
    assert!(!is_reached(&[&[(1, "a\n"), (7, "piece\n")]], &[&[(1, "a\n"), (2, "other piece\n")]]));
}

#[test]
fn a_read_since_a_time_may_leave_an_end_out() {
    let end = LogEnd::behind(None, &records(&[(2_500_000_000, "a\n")])).unwrap();
    let since = |nanoseconds| Timestamp::from_nanosecond(nanoseconds).unwrap();
    assert!(end.is_before(since(3_000_000_000)) && end.is_before(since(3_900_000_000)));
    // Times are cut to seconds.
    assert!(!end.is_before(since(2_999_999_999)));
}

/// Gives its parts, then an end, or breaks off.
struct Given(std::vec::IntoIter<Result<Records, LogError>>, u64);

impl RecordReader for Given {
    fn poll_records(&mut self, _cx: &mut Context<'_>) -> Poll<Read> {
        let next = self.0.next();
        self.1 += u64::from(next.is_some());
        Poll::Ready(next)
    }

    fn bytes_read(&self) -> u64 {
        self.1
    }
}

fn given(parts: Vec<Result<Records, LogError>>) -> Box<dyn RecordReader> {
    Box::new(Given(parts.into_iter(), 0))
}

#[test]
fn a_read_behind_another_begins_where_that_has_properly_ended() {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let part = |text| Ok(records(&[(1, text)]));
    let texts = |chained: &mut Chained, cx: &mut Context<'_>| {
        let mut texts = Vec::new();
        while let Poll::Ready(Some(read)) = chained.poll_records(cx) {
            let told = read.map(|records| String::from_utf8_lossy(&records.buf).into_owned());
            texts.push(told.unwrap_or_else(|error| error.to_string()));
        }
        texts
    };
    let first = given(vec![part("a"), part("b")]);
    let mut chained = Chained { first: Some(first), second: given(vec![part("c")]), read: 0 };
    assert_eq!(texts(&mut chained, &mut cx), ["a", "b", "c"]);
    assert_eq!(chained.bytes_read(), 3);
    let mut none = Chained { first: None, second: given(vec![part("c")]), read: 0 };
    assert_eq!(texts(&mut none, &mut cx), ["c"]);
    let broken = || LogError::Disconnected(io::ErrorKind::ConnectionReset.into());
    let mut cut = Chained { first: Some(given(vec![part("a"), Err(broken())])), second: given(vec![]), read: 0 };
    assert_eq!(texts(&mut cut, &mut cx), ["a".to_owned(), broken().to_string()]);
}
