//! Which lines are sent, and what they are made of.

use super::*;

#[tokio::test]
async fn text_without_a_filter_is_the_records_bytes() {
    let pieces = [(O, 1, "lo"), (E, 2, "e\n"), (O, 1, "ng"), (E, 3, "f"), (O, 1, "er\n"), (O, 4, "$ ")];
    let steps = || [records(pieces), end(Reason::Exited)];
    assert_eq!(text(steps(), &LogQuery::ALL, Rendering::default()).await, "loe\nngfer\n$ ");
    let stamp = |text: &str| text.replace('<', "2026-01-31T08:00:00.00000000").replace('>', "Z ");
    let times = LogQuery { timestamps: true, ..LogQuery::ALL };
    assert_eq!(text(steps(), &times, Rendering::default()).await, stamp("<1>lo<2>e\nng<3>fer\n<4>$ "));
    let stderr = LogQuery { stdout: false, ..LogQuery::ALL };
    assert_eq!(text(steps(), &stderr, Rendering::default()).await, "e\nf");
    let since = LogQuery { since: jiff::Timestamp::from_nanosecond(i128::from(BASE) + 3).ok(), ..LogQuery::ALL };
    assert_eq!(text(steps(), &since, Rendering::default()).await, "f$ ");
    let joined = LogQuery { timestamps: true, ..with_search("") };
    assert_eq!(text(steps(), &joined, Rendering::default()).await, stamp("<2>e\n<1>longer\n<3>f<4>$ "));
}

#[tokio::test]
async fn a_tail_of_text_begins_with_lines_and_goes_on_with_pieces() {
    let begin = Begin { fragment: [true, true], skip: 1, ..Begin::default() };
    let steps = || {
        [
            Step::Piece(Piece::Begin(begin)),
            records([(O, 1, "agment\n"), (O, 2, "skipped\n"), (O, 3, "op"), (O, 3, "en")]),
            records([(O, 3, " still")]),
            records([(E, 4, "fragment\n"), (E, 5, "e"), (O, 3, "\n"), (E, 5, "rr\n")]),
            end(Reason::Exited),
        ]
    };
    let mut log = Log::new(source(steps()), &LogQuery::ALL, Rendering::default());
    assert_eq!((log.text().await, log.text().await), ("open".to_owned(), " still".to_owned()));
    assert_eq!(log.all().await.0, b"e\nrr\n");
    let lines: Vec<_> = objects(steps(), &LogQuery::ALL).await.iter().filter_map(log_text).collect();
    assert_eq!(lines, ["open still\n", "err\n"]);
}

#[tokio::test]
async fn a_line_goes_on_that_was_begun_before() {
    let begin = Begin { in_line: [Some(BASE + 1), Some(BASE + 1)], ..Begin::default() };
    let steps =
        || [Step::Piece(Piece::Begin(begin)), records([(O, 1, "rest\n"), (E, 5, "new\n")]), end(Reason::Exited)];
    let times = LogQuery { timestamps: true, ..LogQuery::ALL };
    let all = text(steps(), &times, Rendering::default()).await;
    assert_eq!(all, "rest\n2026-01-31T08:00:00.000000005Z new\n");
    let lines: Vec<_> = objects(steps(), &times).await.iter().filter_map(log_text).collect();
    assert_eq!(lines, ["rest\n", "new\n"]);
}

#[tokio::test]
async fn filters_see_whole_lines_and_the_token_moves_on() {
    let steps =
        [records([(O, 1, "nee"), (O, 1, "dle\n"), (O, 2, "hay\n")]), records([(O, 3, "hay\n")]), end(Reason::Complete)];
    let all = objects(steps, &with_search("needle")).await;
    assert_eq!((log_text(&all[0]).unwrap(), all.len()), ("needle\n".to_owned(), 2));
    assert_eq!((&all[1]["lines_read"], &all[1]["lines_sent"]), (&3.into(), &1.into()));
    assert_eq!(cursor(&all[1]).mark.unwrap().place.time, BASE + 3);
}

#[tokio::test]
async fn the_parts_of_a_long_line_are_told_and_share_one_answer_of_a_filter() {
    let piece = "x".repeat(16 * 1024);
    let pieces = || {
        let parts = (0..MAX_LINE / piece.len() + 1)
            .map(|at| (O, 1, if at == 0 { format!("key{piece}") } else { piece.clone() }));
        [records(parts.chain([(O, 1, "\n".to_owned()), (O, 2, "next\n".to_owned())])), end(Reason::Complete)]
    };
    let all = objects(pieces(), &with_search("key")).await;
    assert_eq!(all.len(), 3);
    assert_eq!((all[0]["partial"].as_bool(), all[1].get("partial")), (Some(true), None));
    assert!(cursor(&all[0]).in_line && !cursor(&all[1]).in_line);
    assert_eq!((&all[2]["lines_read"], &all[2]["lines_sent"]), (&2.into(), &1.into()));
}

#[tokio::test]
async fn a_newline_that_the_backend_left_out_is_added_to_joined_lines() {
    let steps = || [records([(O, 1, "lo"), (O, 1, "ng"), (O, 2, "néxt\n")]), end(Reason::Exited)];
    let of = |query, rendering| {
        let source = Scripted { drops_newlines: true, ..source(steps()) };
        async move { String::from_utf8(Log::new(source, &query, rendering).all().await.0).unwrap() }
    };
    assert_eq!(of(LogQuery::ALL, Rendering::default()).await, "longnéxt\n");
    assert_eq!(of(with_search(""), Rendering::default()).await, "long\nnéxt\n");
    let objects = parsed(of(LogQuery::ALL, self::of(Format::Ndjson)).await.as_bytes());
    assert_eq!(log_text(&objects[0]).unwrap(), "long\n");
}
