//! §7: faults of the kubelet, of the runtime and of the way.

use std::time::Duration;

use tokio::time::Instant;

use super::{Case, Piece, chunk, is_silent, whole};
use crate::support::kube::logs::{Ending, Fault, Inotify, Reach, Runtime};

#[tokio::test]
async fn f1_f2_a_kubelet_that_dies_ends_cleanly_and_comes_back_in_three_steps() {
    let case = Case::new("tk");
    case.main.out("tick-1\n");
    let mut body = case.open("follow=true").await;
    assert_eq!(chunk(&mut body).await.as_deref(), Some("tick-1\n"));
    case.main.out("tick-2\n");
    case.main.node().restart([Reach::Down, Reach::Down, Reach::Starting]);
    assert_eq!(chunk(&mut body).await, None);
    let whole = case.whole("tailLines=1").await;
    let text = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Get \"https://127.0.0.1:10250/containerLogs/default/tk/main?tailLines=1\": dial tcp 127.0.0.1:10250: connect: connection refused","code":500}"#;
    assert_eq!((whole.status, whole.text()), (500, format!("{text}\n")));
    assert_eq!(case.refusal("follow=true").await.0, 500);
    assert_eq!(case.refusal("follow=true").await.0, 404);
    assert_eq!(case.text("").await, "tick-1\ntick-2\n");
}

#[tokio::test(start_paused = true)]
async fn f3_a_frozen_kubelet_is_an_error_after_ten_seconds() {
    let case = Case::new("tk");
    case.main.node().set_reach(Reach::Frozen);
    let start = Instant::now();
    let text =
        "Get \"https://127.0.0.1:10250/containerLogs/default/tk/main?tailLines=1\": net/http: TLS handshake timeout";
    assert_eq!(case.refusal("tailLines=1").await, (500, text.to_owned(), String::new()));
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test]
async fn f6_a_kubelet_that_is_not_trusted() {
    let case = Case::new("tk");
    case.main.node().set_reach(Reach::Untrusted);
    let text = "Get \"https://127.0.0.1:10250/containerLogs/default/tk/main\": tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(case.refusal("").await, (500, text.to_owned(), String::new()));
    assert_eq!(case.text("insecureSkipTLSVerifyBackend=true").await, "");
}

#[tokio::test]
async fn f7_a_node_without_an_address_or_with_a_wrong_one() {
    let case = Case::new("tk");
    let node = case.main.node();
    node.set_reach(Reach::NoAddress);
    let text = "no preferred addresses found; known addresses: [{Hostname node1}]";
    assert_eq!(case.refusal("").await, (500, text.to_owned(), String::new()));
    node.set_reach(Reach::Down);
    node.set_address("127.0.0.99:10250");
    let text = "Get \"https://127.0.0.99:10250/containerLogs/default/tk/main?follow=true&sinceTime=2026-11-26T12%3A55%3A44Z&timestamps=true\": dial tcp 127.0.0.99:10250: connect: connection refused";
    let query = "timestamps=1&sinceTime=2026-11-26T12:55:44.5Z&follow";
    assert_eq!(case.refusal(query).await.1, text);
}

#[tokio::test]
async fn f8_a_frozen_runtime_holds_the_body_but_not_the_head() {
    let case = Case::new("frozen");
    case.main.out("up\n");
    case.main.node().set_runtime(Runtime::Frozen);
    let mut body = case.open("").await;
    assert!(is_silent(&mut body).await);
    case.main.node().set_runtime(Runtime::Up);
    assert_eq!(chunk(&mut body).await.as_deref(), Some("up\n"));
}

#[tokio::test]
async fn f9_a_runtime_that_is_gone_leaves_follows_open() {
    let case = Case::new("gone");
    case.main.out("up\n");
    let mut body = case.open("follow=true").await;
    assert_eq!(chunk(&mut body).await.as_deref(), Some("up\n"));
    case.main.node().set_runtime(Runtime::Down);
    assert!(is_silent(&mut body).await);
    // E2.
    let text = format!("unable to retrieve container logs for {}", case.main.id());
    for query in ["", "follow=true", "timestamps=true"] {
        assert_eq!(case.text(query).await, text, "{query}");
    }
    assert_eq!(case.refusal("container=nope").await.0, 400);
    case.main.node().set_runtime(Runtime::Up);
    case.main.out("later\n");
    assert_eq!(chunk(&mut body).await.as_deref(), Some("later\n"));
}

#[tokio::test]
async fn e1_a_log_file_that_is_missing() {
    let case = Case::new("gone");
    case.main.lose_file();
    let path = format!("/var/log/pods/default_gone_{}/main/0.log", case.pod["metadata"]["uid"].as_str().unwrap());
    let text = format!("failed to try resolving symlinks in path \"{path}\": lstat {path}: no such file or directory");
    assert_eq!(text.len(), 226);
    for query in ["", "follow=true&timestamps=true"] {
        assert_eq!(case.text(query).await, text, "{query}");
    }
}

#[tokio::test]
async fn e4_no_watch_is_left() {
    let case = Case::new("gone");
    case.main.out("up\n");
    case.main.node().set_inotify(Inotify::NoWatches);
    let whole = case.whole("follow=true").await;
    assert_eq!(whole.sizes(), [3, 121]);
    let uid = case.pod["metadata"]["uid"].as_str().unwrap();
    let text =
        format!("up\nfailed to watch directory \"/var/log/pods/default_gone_{uid}/main\": no space left on device");
    assert_eq!(whole.text(), text);
}

#[tokio::test]
async fn e5_a_file_of_an_unknown_format() {
    let case = Case::new("gone");
    case.main.garbage("this is not a CRI record");
    let text = "failed to get parse function: unsupported log format: \"this is not a CRI record\\n\"";
    assert_eq!((case.text("").await.as_str(), text.len()), (text, 82));
    // Later ones are skipped without a word.
    let case = Case::new("gone");
    case.main.out("up\n");
    case.main.garbage("this is not a CRI record");
    case.main.out("after-garbage\n");
    assert_eq!(case.text("").await, "up\nafter-garbage\n");
}

#[tokio::test]
async fn a_body_is_cut_after_any_byte() {
    let text = "out-1\nerr-1\n";
    for after in 0..=text.len() {
        for (ending, piece) in [(Ending::Clean, Piece::End), (Ending::Abort, Piece::Abort)] {
            let case = Case::new("cut");
            case.main.out(text);
            case.logs.fault(Fault::cut(after, ending).follows());
            let whole = case.whole("follow=true").await;
            assert_eq!((whole.text(), whole.end), (text[..after].to_owned(), piece), "{after} {ending:?}");
            assert_eq!(case.text("").await, text);
        }
    }
}

#[tokio::test]
async fn a_body_falls_silent_without_an_end() {
    let case = Case::new("still");
    case.main.out("1\n2\n");
    case.logs.fault(Fault::cut(2, Ending::Silence));
    let mut body = case.open("follow=true").await;
    assert_eq!(chunk(&mut body).await.as_deref(), Some("1\n"));
    assert!(is_silent(&mut body).await);
    case.main.out("3\n");
    assert!(is_silent(&mut body).await);
    assert_eq!(case.text("").await, "1\n2\n3\n");
}

#[tokio::test(start_paused = true)]
async fn other_faults_fit_the_requests_that_they_are_for() {
    let case = Case::new("one");
    case.main.out("1\n2\n");
    case.logs.fault(Fault::text(2, "failed to open log file").times(2));
    case.logs.fault(Fault::refuse(502, "text/html", "<html>").of("another"));
    case.logs.fault(Fault::late_head(Duration::from_secs(3)));
    let start = Instant::now();
    let late = case.whole("follow=true").await;
    assert_eq!((late.sizes(), late.text()), (vec![2, 23], "1\nfailed to open log file".to_owned()));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!(case.text("follow=true").await, "1\nfailed to open log file");
    assert_eq!(case.text("").await, "1\n2\n");
    case.logs.fault(Fault::refuse(502, "text/html", "<html>").of("one"));
    let answer = case.answer("").await;
    assert_eq!(answer.content_type.as_deref(), Some("text/html"));
    assert_eq!(whole(answer).await.status, 502);
    case.logs.fault(Fault::no_head().always());
    assert!(futures_util::FutureExt::now_or_never(case.answer("")).is_none());
    case.logs.heal();
    assert_eq!(case.text("").await, "1\n2\n");
    let seen = case.logs.requests();
    assert_eq!((seen.len(), seen[0].value("follow")), (6, Some("true")));
}
