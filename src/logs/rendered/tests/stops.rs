//! How much is sent at once, and what stops it: a limit, silence, a lost backend, the gateway itself.

use super::*;

#[tokio::test]
async fn a_limit_ends_it_behind_the_line_that_reaches_it() {
    let steps = || [records([(O, 1, "1234\n"), (O, 2, "5678\n"), (O, 3, "9\n")]), Step::Hang];
    let limited = |format, limit| Rendering { format, limit_bytes: NonZeroU64::new(limit), ..Rendering::default() };
    for (limit, expected) in [(1, "1234\n"), (5, "1234\n"), (6, "1234\n5678\n"), (11, "1234\n5678\n9\n")] {
        assert_eq!(text(steps(), &LogQuery::ALL, limited(Format::Text, limit)).await, expected, "{limit}");
    }
    let scripted = source(steps());
    let alive = Arc::downgrade(&scripted.alive);
    let mut log = Log::new(scripted, &LogQuery::ALL, limited(Format::Ndjson, 1));
    let lines = parsed(log.text().await.as_bytes());
    let told = parsed(log.text().await.as_bytes());
    assert_eq!(alive.strong_count(), 0, "the backend is released");
    assert_eq!((lines.len(), &told[0]["reason"], &told[0]["id"]), (1, &"limit".into(), &lines[0]["id"]));
    assert!(log.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_pings() {
    let steps = || [Step::Wait(7 * SECOND), records([(O, 1, "a\n")]), Step::Wait(25 * SECOND), end(Reason::Exited)];
    let of = |format| Rendering { format, heartbeat: 10 * SECOND, ..Rendering::default() };
    let all = text(steps(), &LogQuery::ALL, of(Format::Ndjson)).await;
    let events: Vec<_> = all.lines().map(|line| &line[..12]).collect();
    assert_eq!(events, ["{\"log\":\"a\\n\"", "{\"event\":\"pi", "{\"event\":\"pi", "{\"event\":\"en"]);
    assert_eq!(all.matches("{\"event\":\"ping\"}\n").count(), 2);
    let all = text(steps(), &LogQuery::ALL, of(Format::Sse)).await;
    assert!(all.starts_with("retry: 2000\n\n") && all.matches(": ping\n\n").count() == 2, "{all}");
    assert_eq!(text(steps(), &LogQuery::ALL, of(Format::Text)).await, "a\n");
    // Lines that are left out are silence too.
    let busy = (0..30).flat_map(|at| [Step::Wait(SECOND), records([(O, at, "a\n")])]);
    let all = text(busy, &with_search("b"), of(Format::Ndjson)).await;
    assert_eq!(all.matches("ping").count(), 2, "{all}");
}

#[tokio::test]
async fn a_log_that_is_searched_in_vain_lets_others_have_their_turn() {
    let long = "x".repeat(MAX_TURN / 2) + "\n";
    let steps = (0..9).map(|at| records([(O, at, &long)]));
    let mut log = Log::new(source(steps), &with_search("y"), Rendering::default());
    assert!((0..3).all(|_| log.is_pending()));
    assert_eq!(log.all().await, (Vec::new(), false));
}

#[tokio::test]
async fn chunks_are_short_also_of_many_short_lines() {
    let steps = [records((0..20_000).map(|at| (O, at, "\n"))), end(Reason::Exited)];
    let mut log = Log::new(source(steps), &LogQuery::ALL, of(Format::Ndjson));
    let mut count = 0;
    while let Some(chunk) = log.next().await {
        let chunk = chunk.unwrap();
        assert!(chunk.len() < CHUNK + SLACK);
        count += parsed(&chunk).len();
    }
    assert_eq!(count, 20_001);
}

#[tokio::test]
async fn a_lost_backend_is_told_and_broken_off_besides() {
    for last in [|| end(Reason::BackendLost), || Step::Fail(LogError::Protocol("bad"))] {
        for (format, expected) in
            [(Format::Text, "ahalf"), (Format::Ndjson, "backend_lost"), (Format::Sse, "backend_lost")]
        {
            let steps = [records([(O, 1, "a"), (E, 2, "half")]), last()];
            let (all, is_broken) = Log::new(source(steps), &LogQuery::ALL, of(format)).all().await;
            let all = String::from_utf8(all).unwrap();
            assert!(is_broken && all.contains(expected) && (format == Format::Text || !all.contains("half")), "{all}");
        }
    }
}

#[tokio::test]
async fn a_farewell_tells_where_the_client_is() {
    for (how, word) in [
        (EndReason::Drained, "drain"),
        (EndReason::SlowClient, "slow_client"),
        (EndReason::EndedByAdmin, "ended_by_admin"),
    ] {
        let scripted = source([records([(O, 1, "a\n"), (E, 2, "half")]), Step::Hang]);
        let alive = Arc::downgrade(&scripted.alive);
        let mut log = Log::new(scripted, &LogQuery::ALL, of(Format::Ndjson));
        let first = parsed(log.text().await.as_bytes());
        assert!(log.is_pending());
        let Farewell { bytes, is_told } = log.0.as_mut().farewell(how);
        let told = parsed(&bytes);
        assert!(is_told && alive.strong_count() == 0);
        assert_eq!((&told[0]["reason"], &told[0]["id"]), (&word.into(), &first[0]["id"]));
    }
    let mut log = Log::new(source([Step::Hang]), &LogQuery::ALL, Rendering::default());
    let Farewell { bytes, is_told } = log.0.as_mut().farewell(EndReason::Drained);
    assert!(bytes.is_empty() && !is_told);
}
