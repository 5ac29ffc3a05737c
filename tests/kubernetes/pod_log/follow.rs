//! §5: how a follow begins and ends.

use std::time::Duration;

use tokio::time::{Instant, advance};

use super::{Case, chunk, is_silent};
use crate::support::kube::logs::Inotify;

#[tokio::test]
async fn the_head_comes_at_once_and_then_the_lines() {
    let case = Case::new("silent");
    let mut body = case.open("follow=true").await;
    assert!(is_silent(&mut body).await);
    case.main.out("one\n");
    assert_eq!(chunk(&mut body).await.as_deref(), Some("one\n"));
    let mut new_only = case.open("follow=true&tailLines=0").await;
    assert!(is_silent(&mut new_only).await);
    case.main.out("two\nthree\n");
    assert_eq!(chunk(&mut new_only).await.as_deref(), Some("two\n"));
    assert_eq!(chunk(&mut new_only).await.as_deref(), Some("three\n"));
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_some_time_after_the_last_lines() {
    let case = Case::new("exitlag");
    let mut body = case.open("follow=true").await;
    case.main.out("got-term\n");
    case.main.exit();
    let exit = Instant::now();
    assert_eq!(chunk(&mut body).await.as_deref(), Some("got-term\n"));
    assert_eq!(exit.elapsed(), Duration::ZERO);
    assert_eq!(chunk(&mut body).await, None);
    assert_eq!(exit.elapsed(), Duration::from_millis(800));
    assert_eq!(case.main.node().watching(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_printing_follow_is_cut_at_the_limit_of_the_kubelet() {
    let case = Case::new("printing");
    case.main.node().set_stream_limit(Duration::from_secs(40));
    let mut body = case.open("follow=true").await;
    for line in 0..80 {
        case.main.out(format!("{line}\n"));
        assert_eq!(chunk(&mut body).await, Some(format!("{line}\n")));
        advance(Duration::from_millis(500)).await;
    }
    advance(Duration::from_millis(500)).await;
    case.main.out("late\n");
    assert_eq!(chunk(&mut body).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_silent_follow_is_cut_by_the_first_line_after_the_limit_which_is_not_delivered() {
    let case = Case::new("quiet");
    case.main.node().set_stream_limit(Duration::from_secs(40));
    case.main.out("up\n");
    let mut body = case.open("follow=true").await;
    assert_eq!(chunk(&mut body).await.as_deref(), Some("up\n"));
    advance(Duration::from_secs(75)).await;
    assert!(is_silent(&mut body).await);
    case.main.out("late-1\nlate-2\n");
    assert_eq!(chunk(&mut body).await, None);
    assert_eq!(case.text("").await, "up\nlate-1\nlate-2\n");
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_at_once() {
    let case = Case::new("left");
    let body = case.open("follow=true").await;
    assert_eq!((case.logs.open(), case.logs.opened()), (1, 1));
    drop(body);
    assert_eq!(case.logs.open(), 0);
    let closed = case.logs.closed();
    assert_eq!((closed.len(), closed[0].by_peer, closed[0].pod.as_str()), (1, true, "left"));
    case.whole("").await;
    assert!(!case.logs.closed()[1].by_peer);
}

#[tokio::test]
async fn e3_too_many_follows_on_a_node() {
    let case = Case::new("crowd");
    case.main.out("up\n");
    case.main.node().set_inotify(Inotify::Instances(3));
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let mut body = case.open("follow=true").await;
        assert_eq!(chunk(&mut body).await.as_deref(), Some("up\n"));
        assert!(is_silent(&mut body).await);
        bodies.push(body);
    }
    assert_eq!(case.main.node().watching(), 3);
    let text = "failed to create fsnotify watcher: too many open files";
    let whole = case.whole("follow=true").await;
    assert_eq!((whole.sizes(), whole.text()), (vec![3, 54], format!("up\n{text}")));
    assert_eq!(case.text("follow=true&tailLines=0&timestamps=true").await, text);
    // No watcher is needed without follow.
    assert_eq!(case.text("").await, "up\n");
    bodies.pop();
    assert!(is_silent(&mut case.open("follow=true&tailLines=0").await).await);
}
