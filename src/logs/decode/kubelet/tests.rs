use proptest::prelude::*;

use super::*;

const TIME: &str = "2026-11-23T02:01:21.821916123Z ";
const AT: i64 = 1_795_399_281_821_916_123;

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    framed(body.chunks(size))
}

/// As who follows gets it.
fn a_chunk_a_line(body: &[u8]) -> Vec<u8> {
    framed(body.split_inclusive(|byte| *byte == b'\n'))
}

fn framed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let chunk = |data: &[u8]| [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
    pieces.map(chunk).chain([b"0\r\n\r\n".to_vec()]).flatten().collect()
}

type Read = (i64, u32, Vec<u8>);

/// The records of `wire`, read in pieces of these sizes, and how it ends.
fn read(wire: &[u8], last_line: LastLine, cuts: &[usize]) -> (Vec<Read>, Result<(), String>) {
    let mut decoder = KubeletDecoder::new(BodyDecoder::chunked(), Stream::Stdout, last_line);
    let (mut out, mut buf, mut at, mut turn) = (Vec::new(), BytesMut::new(), 0, 0);
    let mut take = |records: Option<Records>| {
        for records in records.iter() {
            assert!(!records.index.is_empty());
            out.extend(records.iter().map(|(record, bytes)| (record.place.time, record.place.ordinal, bytes.to_vec())));
        }
    };
    while at < wire.len() {
        let end = (at + cuts[turn % cuts.len()]).min(wire.len());
        let kept = buf.len();
        buf.extend_from_slice(&wire[at..end]);
        let (records, decoded) = decoder.decode(&mut buf, kept);
        take(records);
        if let Err(error) = decoded {
            return (out, Err(error.to_string()));
        }
        (at, turn) = (end, turn + 1);
    }
    let finished = decoder.finish(&buf).map(take).map_err(|error| error.to_string());
    (out, finished)
}

/// The text of each record, for which each cut of the wire gives the same.
fn texts(body: &str, last_line: LastLine) -> (Vec<String>, Result<(), String>) {
    let whole = read(&chunked(body.as_bytes(), usize::MAX), last_line, &[usize::MAX]);
    let wires = [1, 7, 33, 2048].map(|size| chunked(body.as_bytes(), size));
    for (size, wire) in wires.into_iter().chain([a_chunk_a_line(body.as_bytes())]).enumerate() {
        for cuts in [&[1][..], &[5, 31, 2], &[100], &[4096]] {
            assert_eq!(read(&wire, last_line, cuts), whole, "{size} {cuts:?}");
        }
    }
    (whole.0.into_iter().map(|(.., bytes)| String::from_utf8_lossy(&bytes).into_owned()).collect(), whole.1)
}

#[test]
fn each_line_is_a_record_with_its_time_whatever_the_zone() {
    let zoned = "2026-11-23T03:01:21.821916123+01:00 ";
    let body = format!("{TIME}one\n{zoned}two\n{zoned}three\n{TIME}\n{TIME}{TIME}fake\n");
    let wire = chunked(body.as_bytes(), 2048);
    let (records, end) = read(&wire, LastLine::Kept, &[usize::MAX]);
    let expected = ["one\n", "two\n", "three\n", "\n", &format!("{TIME}fake\n")];
    let expected: Vec<_> =
        expected.iter().zip(0..).map(|(text, ordinal)| (AT, ordinal, text.as_bytes().to_vec())).collect();
    assert_eq!((records, end), (expected, Ok(())));
    assert_eq!(texts(&body, LastLine::Kept).0.len(), 5);
}

#[test]
fn a_long_line_is_cut_at_the_same_places_in_every_read() {
    let long = "x".repeat(2 * PIECE + 5);
    let exact = "y".repeat(PIECE);
    let (records, end) = texts(&format!("{TIME}{long}\n{TIME}{exact}\n{TIME}end\n"), LastLine::LeftOut);
    let lengths: Vec<_> = records.iter().map(String::len).collect();
    assert_eq!((lengths, end), (vec![PIECE, PIECE, 6, PIECE, 1, 4], Ok(())));
}

#[test]
fn a_piece_of_a_line_under_way_is_given_before_its_end() {
    let body = format!("{TIME}{}", "x".repeat(PIECE));
    let mut decoder = KubeletDecoder::new(BodyDecoder::chunked(), Stream::Stdout, LastLine::LeftOut);
    let mut buf = BytesMut::from(&chunked(body.as_bytes(), usize::MAX)[..]);
    let (records, decoded) = decoder.decode(&mut buf, 0);
    assert!(decoded.is_ok() && buf.is_empty());
    assert_eq!(records.unwrap().index.len(), 1);
}

#[test]
fn a_last_line_without_a_newline_is_the_program_s_once_that_has_ended() {
    let body = format!("{TIME}one\n{TIME}no newline");
    assert_eq!(texts(&body, LastLine::Kept), (vec!["one\n".to_owned(), "no newline".to_owned()], Ok(())));
    assert_eq!(texts(&body, LastLine::LeftOut), (vec!["one\n".to_owned()], Ok(())));
    let long = format!("{TIME}{}", "x".repeat(PIECE + 1));
    assert_eq!(texts(&long, LastLine::Kept).0.len(), 2);
    assert_eq!(texts(&long, LastLine::LeftOut).0.len(), 1);
}

#[test]
fn what_the_kubelet_reports_is_no_line() {
    let id = "0".repeat(64);
    let path = "/var/log/pods/ns_pod_uid/main/0.log";
    for report in [
        format!("failed to try resolving symlinks in path \"{path}\": lstat {path}: no such file or directory"),
        format!("unable to retrieve container logs for containerd://{id}"),
        "failed to create fsnotify watcher: too many open files".to_owned(),
        format!("failed to watch directory \"{path}\": no space left on device"),
        "failed to get parse function: unsupported log format: \"no record\\n\"".to_owned(),
        "what a later version says instead of a log".to_owned(),
    ] {
        for last_line in [LastLine::Kept, LastLine::LeftOut] {
            let told = Err(format!("the log backend cannot go on: {report}"));
            assert_eq!(texts(&report, last_line), (vec![], told.clone()));
            assert_eq!(texts(&format!("{TIME}one\n{report}"), last_line), (vec!["one\n".to_owned()], told));
        }
        // A program may print the same.
        let printed = format!("{TIME}{report}\n{TIME}{report}");
        assert_eq!(texts(&printed, LastLine::Kept).0, [format!("{report}\n"), report]);
    }
    // Behind lines that may lack their time it is the program's, unless it is known for none.
    let one = (AT, "one\n".to_owned());
    let (records, end) = read_part(&chunked(format!("{TIME}one\nrest").as_bytes(), 2048), LastLine::Kept, 4096);
    assert_eq!((records, end), (vec![one.clone(), (AT, "rest".to_owned())], Ok(())));
    for report in ["context cancelled", "failed to open log file \"/x\"", "failed to read log file \"/x\": gone"] {
        let (records, end) = read_part(&chunked(format!("{TIME}one\n{report}").as_bytes(), 2048), LastLine::Kept, 4096);
        assert_eq!((records, end), (vec![one.clone()], Err(format!("the log backend cannot go on: {report}"))));
    }
}

#[test]
fn a_report_behind_a_line_under_way_is_told_too() {
    let report = "failed to create fsnotify watcher: too many open files";
    let body = format!("{TIME}{}{report}", "x".repeat(PIECE));
    let (records, end) = texts(&body, LastLine::LeftOut);
    assert_eq!((records.len(), end), (1, Err(format!("the log backend cannot go on: {report}"))));
}

#[test]
fn text_of_the_other_stream_within_a_line_is_passed_on_as_it_is() {
    let body = format!("{TIME}{}ERR\n{TIME}rest\n", "x".repeat(PIECE + 8));
    let (records, end) = texts(&body, LastLine::LeftOut);
    assert_eq!((records.concat(), end), (format!("{}ERR\nrest\n", "x".repeat(PIECE + 8)), Ok(())));
    let body = format!("{TIME}one\nno time\n{TIME}two\n");
    assert_eq!(texts(&body, LastLine::LeftOut).0, ["one\n", "no time\n", "two\n"]);
}

#[test]
fn what_is_no_log_is_an_error() {
    assert!(texts("<html>\n", LastLine::Kept).1.unwrap_err().contains("no time"));
    // Not at every cut as the others: each looks at all that came before.
    for cut in [100, 4096, usize::MAX] {
        let wire = chunked("x".repeat(MAX_REPORT + 1).as_bytes(), 2048);
        assert!(read(&wire, LastLine::Kept, &[cut]).1.unwrap_err().contains("no time"));
    }
    for cut in [&TIME[..5], &TIME[..30]] {
        assert!(texts(&format!("{TIME}a\n{cut}"), LastLine::Kept).1.unwrap_err().contains("broke off"));
    }
    let cut = &chunked(format!("{TIME}a\n").as_bytes(), 9)[..30];
    assert!(read(cut, LastLine::Kept, &[7]).1.unwrap_err().contains("broke off"));
}

/// As [`read`], of an answer that leaves out records in front of others.
fn read_part(wire: &[u8], last_line: LastLine, cut: usize) -> (Vec<(i64, String)>, Result<(), String>) {
    let mut decoder = KubeletDecoder::new(BodyDecoder::chunked(), Stream::Stdout, last_line).may_begin_in_line();
    let (mut out, mut buf) = (Vec::new(), BytesMut::new());
    let mut take = |records: Option<Records>| {
        let text = |(record, bytes): (&Record, &[u8])| (record.place.time, String::from_utf8_lossy(bytes).into_owned());
        out.extend(records.iter().flat_map(Records::iter).map(text));
    };
    for piece in wire.chunks(cut) {
        let kept = buf.len();
        buf.extend_from_slice(piece);
        let (records, decoded) = decoder.decode(&mut buf, kept);
        take(records);
        decoded.unwrap();
    }
    let finished = decoder.finish(&buf).map(take).map_err(|error| error.to_string());
    (out, finished)
}

#[test]
fn of_one_stream_alone_lines_may_lack_their_time() {
    let long = "y".repeat(2 * PIECE);
    for (body, last_line, expected) in [
        ("x\n".to_owned(), LastLine::Kept, vec![(UNKNOWN, "x\n".to_owned())]),
        (
            format!("a\nb\n{TIME}c\n"),
            LastLine::LeftOut,
            vec![(AT, "a\n".to_owned()), (AT, "b\n".to_owned()), (AT, "c\n".to_owned())],
        ),
        ("a\nrest".to_owned(), LastLine::LeftOut, vec![(UNKNOWN, "a\n".to_owned())]),
        (
            format!("{TIME}a\n{long}\n"),
            LastLine::Kept,
            vec![
                (AT, "a\n".to_owned()),
                (AT, long[..PIECE].to_owned()),
                (AT, long[..PIECE].to_owned()),
                (AT, "\n".to_owned()),
            ],
        ),
        // What looks like a time is no kubelet's: those have nine decimals.
        (
            format!("{TIME}a\n2001-01-01T00:00:00Z forged\n"),
            LastLine::Kept,
            vec![(AT, "a\n".to_owned()), (AT, "2001-01-01T00:00:00Z forged\n".to_owned())],
        ),
    ] {
        for (size, cut) in [(usize::MAX, usize::MAX), (1, 3), (100, 7), (2048, 5000)] {
            let wire = chunked(body.as_bytes(), size);
            assert_eq!(read_part(&wire, last_line, cut), (expected.clone(), Ok(())), "{size} {cut}");
        }
        for cut in [usize::MAX, 20] {
            let wire = a_chunk_a_line(body.as_bytes());
            assert_eq!(read_part(&wire, last_line, cut), (expected.clone(), Ok(())), "a chunk a line, {cut}");
        }
    }
    let many = "z".repeat(MAX_REPORT + 10);
    let wire = chunked(format!("{many}\n{TIME}a\n").as_bytes(), 2048);
    let (records, end) = read_part(&wire, LastLine::Kept, 4000);
    assert_eq!((records.len(), records[0].0, records[5].0, end), (6, UNKNOWN, AT, Ok(())));
}

#[test]
fn a_report_that_fills_a_piece_is_no_part_of_it() {
    let report = "failed to create fsnotify watcher: too many open files";
    for short in [10, 40, report.len()] {
        let body = format!("{TIME}{}{report}", "x".repeat(2 * PIECE - short));
        let (records, end) = texts(&body, LastLine::LeftOut);
        assert_eq!((records.len(), end), (1, Err(format!("the log backend cannot go on: {report}"))), "{short}");
    }
}

proptest! {
    #[test]
    fn any_cuts_give_the_same_records(
        lines in proptest::collection::vec(("[a-z \\x00\\n:]{0,40}", any::<bool>()), 0..12),
        long in 0usize..40_000,
        end in any::<bool>(),
        is_followed in any::<bool>(),
        size in 1usize..5000,
        cuts in proptest::collection::vec(1usize..3000, 1..9),
    ) {
        let mut body = String::new();
        for (text, has_time) in &lines {
            body += &format!("{}{text}\n", if *has_time { TIME } else { "" });
        }
        body += &format!("{TIME}{}{}", "x".repeat(long), if end { "\n" } else { "" });
        for last_line in [LastLine::Kept, LastLine::LeftOut] {
            let whole = read(&chunked(body.as_bytes(), usize::MAX), last_line, &[usize::MAX]);
            let wire = if is_followed { a_chunk_a_line(body.as_bytes()) } else { chunked(body.as_bytes(), size) };
            prop_assert_eq!(read(&wire, last_line, &cuts), whole);
        }
    }
}
