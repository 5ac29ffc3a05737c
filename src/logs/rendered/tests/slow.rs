//! A client that reads too slowly.

use tokio::time::sleep;

use super::*;

/// As many lines as do not fit into a queue, and what is printed later.
fn flood() -> Vec<Step> {
    let line = "x".repeat(999) + "\n";
    let mut steps: Vec<_> =
        (0..100).map(|batch| records((0..10).map(|at| (O, 10 * batch + at, line.clone())))).collect();
    steps.extend([Step::Wait(60 * SECOND), records([(O, 5_000, "last\n")]), end(Reason::Exited)]);
    steps
}

#[tokio::test(start_paused = true)]
async fn lines_are_left_out_for_a_slow_client_and_told_exactly() {
    for format in [Format::Ndjson, Format::Text] {
        let rendering =
            Rendering { on_slow: OnSlow::Drop, format, heartbeat: 300 * SECOND, notes: true, ..Rendering::default() };
        let mut log = Log::new(source(flood()), &LogQuery::ALL, rendering);
        sleep(SECOND).await;
        let (all, is_broken) = log.all().await;
        let all = String::from_utf8(all).unwrap();
        assert!(!is_broken);
        if format == Format::Text {
            let sent = all.lines().filter(|line| line.starts_with('x')).count();
            assert!(all.contains(&format!(", {} lines --\nlast\n", 1000 - sent)), "{sent} {}", &all[all.len() - 300..]);
            continue;
        }
        let objects = parsed(all.as_bytes());
        let sent: Vec<_> = objects.iter().filter(|object| log_text(object).is_some()).collect();
        let gaps: Vec<_> = objects.iter().filter(|object| object["event"] == "gap").collect();
        assert_eq!((gaps.len(), &gaps[0]["reason"]), (1, &"overrun".into()));
        assert_eq!(gaps[0]["lines"].as_u64().unwrap() as usize + sent.len(), 1001);
        assert_eq!(gaps[0]["after"], sent[sent.len() - 2]["time"]);
        assert_eq!(gaps[0]["before"], sent[sent.len() - 1]["time"]);
        assert!((200 * 1000..300 * 1024).contains(&all.len()), "{}", all.len());
        assert_eq!(objects.last().unwrap()["lines_read"], 1001);
    }
    let rendering = Rendering { on_slow: OnSlow::Drop, ..Rendering::default() };
    let mut log = Log::new(source(flood()), &LogQuery::ALL, rendering);
    sleep(SECOND).await;
    assert!(!String::from_utf8(log.all().await.0).unwrap().contains("--"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_up_misses_nothing() {
    for on_slow in [OnSlow::Drop, OnSlow::Cut] {
        let rendering = Rendering { on_slow, format: Format::Ndjson, heartbeat: 300 * SECOND, ..Rendering::default() };
        let mut log = Log::new(source(flood()), &LogQuery::ALL, rendering);
        let all = parsed(&log.all().await.0);
        assert_eq!((all.len(), &all[1001]["lines_sent"]), (1002, &1001.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_cut_off_where_it_is() {
    for format in [Format::Ndjson, Format::Text] {
        let rendering = Rendering { on_slow: OnSlow::Cut, format, ..Rendering::default() };
        let scripted = source(flood());
        let alive = Arc::downgrade(&scripted.alive);
        let mut log = Log::new(scripted, &LogQuery::ALL, rendering);
        let first = log.text().await;
        sleep(3 * SECOND).await;
        assert_eq!(alive.strong_count(), 0, "the backend is released");
        let (rest, is_broken) = log.all().await;
        assert_eq!((is_broken, log.0.ending().reason), (format == Format::Text, EndReason::SlowClient));
        if format == Format::Text {
            assert!(rest.is_empty());
        } else {
            let (first, told) = (parsed(first.as_bytes()), parsed(&rest));
            assert_eq!((told.len(), &told[0]["reason"]), (1, &"slow_client".into()));
            assert_eq!((&told[0]["id"], &told[0]["lines_sent"]), (&first.last().unwrap()["id"], &first.len().into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_s_task_ends_with_it() {
    let scripted = source([Step::Hang]);
    let alive = Arc::downgrade(&scripted.alive);
    let rendering = Rendering { on_slow: OnSlow::Drop, format: Format::Ndjson, ..Rendering::default() };
    let mut log = Log::new(scripted, &LogQuery::ALL, rendering);
    assert!(log.is_pending());
    sleep(SECOND).await;
    drop(log);
    sleep(SECOND).await;
    assert_eq!(alive.strong_count(), 0);
}
