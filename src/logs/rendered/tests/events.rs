//! What is told beside lines: ends, gaps, restarts, times.

use super::*;

#[tokio::test]
async fn a_record_has_the_names_of_json_file() {
    let steps = [
        records([(O, 123_456_789, &b"hello \"\x01\"\n"[..]), (E, 123_456_790, b"\xff\xfe\n"), (O, 123_456_791, b"la")]),
        end(Reason::Complete),
    ];
    let all = text(steps, &LogQuery::ALL, of(Format::Ndjson)).await;
    let lines: Vec<_> = all.lines().collect();
    assert!(lines[0].starts_with(
        r#"{"log":"hello \"\u0001\"\n","stream":"stdout","time":"2026-01-31T08:00:00.123456789Z","id":"v1.0123456789abcdef.o"#
    ));
    assert!(
        lines[1]
            .starts_with(r#"{"log_base64":"//4K","stream":"stderr","time":"2026-01-31T08:00:00.123456790Z","id":"v1."#)
    );
    assert!(lines[2].starts_with(r#"{"log":"la","stream":"stdout","time":"2026-01-31T08:00:00.123456791Z","id":"v1."#));
    let last = cursor(&serde_json::from_str(lines[2]).unwrap());
    assert_eq!(
        lines[3],
        format!(r#"{{"event":"end","reason":"complete","lines_read":3,"lines_sent":3,"id":"{}"}}"#, last.token())
    );
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn ends_tell_what_is_known() {
    let exit = Exit { code: Some(137), oom: true, finished_at: Some(BASE) };
    let steps =
        || [records([(O, 1, "a\n"), (O, 2, "b\n")]), Step::Piece(Piece::End(End { reason: Reason::Exited, exit }))];
    let all = objects(steps(), &with_search("b")).await;
    assert_eq!(all.len(), 2);
    let token = Cursor { ended: true, ..cursor(&all[0]) }.token();
    assert!(token.starts_with("v1.end."));
    assert_eq!(
        all[1].to_string(),
        format!(
            r#"{{"event":"end","reason":"exited","exit_code":137,"oom":true,"finished_at":"2026-01-31T08:00:00.000000000Z","lines_read":2,"lines_sent":1,"id":"{token}"}}"#
        )
    );
    let rendering = Rendering { trailer: true, ..Rendering::default() };
    let mut log = Log::new(source(steps()), &LogQuery::ALL, rendering);
    assert_eq!(log.all().await, (b"a\nb\n".to_vec(), false));
    assert_eq!(log.0.ending().trailers.unwrap()[LOG_END], "exited; exit_code=137");
    let removed = objects([end(Reason::Removed)], &LogQuery::ALL).await;
    assert_eq!(removed[0]["id"], "v1.end.0123456789abcdef");
    assert!(removed[0].get("exit_code").is_none() && removed[0].get("oom").is_none());
}

#[tokio::test]
async fn events_have_tokens_and_stand_where_they_happened() {
    let steps = [
        gap(GapReason::CursorExpired, -5, Some(1)),
        records([(O, 1, "a\n"), (O, 2, "half")]),
        gap(GapReason::Rotated, 2, None),
        records([(O, 9, "b\n")]),
        Step::Piece(Piece::Restart { started_at: BASE + 10, run: run() }),
        end(Reason::Restarted),
    ];
    let after = Cursor { in_line: true, ..Cursor::parse("v1.0000456789abcdef.o000000ab.188fc1ec825ccd15.0").unwrap() };
    let query = LogQuery { after: Some(after), ..LogQuery::ALL };
    let all = objects(steps, &query).await;
    let kinds: Vec<_> = all.iter().map(|object| object["event"].as_str().or(object["log"].as_str()).unwrap()).collect();
    assert_eq!(kinds, ["gap", "a\n", "half", "gap", "b\n", "restart", "end"]);
    assert_eq!(
        all[0].to_string(),
        format!(
            r#"{{"event":"gap","reason":"cursor_expired","after":"2026-01-31T07:59:59.999999995Z","before":"2026-01-31T08:00:00.000000001Z","lines":null,"id":"{}"}}"#,
            after.token()
        )
    );
    assert_eq!((&all[3]["before"], &all[3]["id"]), (&Value::Null, &all[2]["id"]));
    assert_eq!(all[5]["started_at"], "2026-01-31T08:00:00.000000010Z");
    assert!(!cursor(&all[6]).ended);
}

#[tokio::test]
async fn text_tells_of_events_only_in_notes() {
    let exit = Exit { code: Some(1), oom: false, finished_at: Some(BASE) };
    let steps = || {
        [
            records([(O, 1, "a\n"), (O, 2, "half")]),
            gap(GapReason::Rotated, 2, Some(9)),
            records([(O, 9, "b\n")]),
            Step::Piece(Piece::Restart { started_at: BASE + 10, run: run() }),
            Step::Piece(Piece::End(End { reason: Reason::Exited, exit })),
        ]
    };
    assert_eq!(text(steps(), &LogQuery::ALL, Rendering::default()).await, "a\nhalfb\n");
    let notes = Rendering { notes: true, ..Rendering::default() };
    let expected = "a\nhalf\n-- gap: rotated, 2026-01-31T08:00:00.000000002Z to 2026-01-31T08:00:00.000000009Z --\nb\n\
                    -- restart: 2026-01-31T08:00:00.000000010Z --\n-- end: exited, exit code 1, 2026-01-31T08:00:00.000000000Z --\n";
    assert_eq!(text(steps(), &LogQuery::ALL, notes).await, expected);
}

#[tokio::test]
async fn a_command_s_times_are_told_to_be_the_gateway_s() {
    let source = Scripted { has_own_times: false, ..source([records([(O, 1, "a\n")])]) };
    let (all, _) = Log::new(source, &LogQuery::ALL, of(Format::Ndjson)).all().await;
    assert_eq!(parsed(&all)[0]["time_source"], "gateway");
}
