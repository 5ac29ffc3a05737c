//! Follows that are interrupted.

use std::time::Duration;

use super::{
    Records, check_order,
    fixture::{Sandbox, World},
    number, records,
};
use crate::support::{
    client::Client,
    eventually,
    gateway::Gateway,
    kube::logs::{Ending, Fault, Reach},
};

/// Longer than it takes to come back to a stream that was cut.
const PATIENCE: Duration = Duration::from_secs(60);

fn print(sandbox: &Sandbox<'_>, lines: std::ops::Range<u64>) {
    for line in lines {
        sandbox.container.out(format!("line-{line}\n"));
    }
}

async fn ndjson(sandbox: &Sandbox<'_>, gateway: &Gateway) -> Records {
    Records::new(sandbox.follow(gateway, "format=ndjson").await)
}

/// Waits until the gateway reads the log of the sandbox with follow for the `count`th time.
async fn is_followed(world: &World, count: usize) {
    let followed = || world.logs.requests().iter().filter(|seen| seen.value("follow").is_some()).count() >= count;
    eventually("another follow", PATIENCE, followed).await;
}

#[tokio::test]
async fn rotations_lose_nothing() {
    let world = World::start();
    let sandbox = world.sandbox();
    sandbox.container.rotate_at(1 << 20);
    let gateway = world.gateway("");
    let mut stream = ndjson(&sandbox, &gateway).await;
    let text = "x".repeat(1000);
    for line in 0..3000 {
        sandbox.container.out(format!("{line} {text}\n"));
        // A reader that keeps up: what a late one loses inside the kubelet nobody can tell.
        let record = stream.next().await.unwrap();
        assert!(record["log"].as_str().unwrap().starts_with(&format!("{line} ")), "{line}: {record}");
    }
    assert!(sandbox.container.rotations() >= 2);
}

#[tokio::test]
async fn a_kubelet_that_restarts_costs_nothing() {
    let world = World::start();
    let sandbox = world.sandbox();
    let gateway = world.gateway("");
    print(&sandbox, 0..10);
    let mut stream = ndjson(&sandbox, &gateway).await;
    let mut seen = stream.until(|record| number(record) == Some(9)).await;
    print(&sandbox, 10..12);
    sandbox.container.node().restart([Reach::Down, Reach::Starting, Reach::Down]);
    print(&sandbox, 12..20);
    seen.extend(stream.until(|record| number(record) == Some(19)).await);
    print(&sandbox, 20..25);
    sandbox.exit(3);
    seen.extend(stream.until(|record| record["event"] == "end").await);
    assert_eq!(check_order(&seen), (0, 25));
    let end = seen.last().unwrap();
    assert_eq!((end["reason"].as_str(), end["exit_code"].as_i64()), (Some("exited"), Some(3)));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn an_api_server_that_restarts_costs_nothing() {
    let mut world = World::start();
    let gateway = world.gateway("");
    let (id, container) = {
        let sandbox = world.sandbox();
        print(&sandbox, 0..10);
        (sandbox.target("follow=true&format=ndjson"), sandbox.container.clone())
    };
    let mut client = Client::connect(gateway.address()).await;
    assert_eq!(client.get(&id).await.status, 200);
    let mut stream = Records::new(client);
    let mut seen = stream.until(|record| number(record) == Some(9)).await;
    world.server.kill();
    for line in 10..20 {
        container.out(format!("line-{line}\n"));
    }
    world.server.up();
    seen.extend(stream.until(|record| number(record) == Some(19)).await);
    assert_eq!(check_order(&seen), (0, 20));
}

#[tokio::test]
async fn the_line_that_the_limit_of_a_kubelet_swallows_comes_again() {
    let world = World::start();
    let sandbox = world.sandbox();
    sandbox.container.node().set_stream_limit(Duration::from_millis(300));
    let gateway = world.gateway("");
    print(&sandbox, 0..1);
    let mut stream = ndjson(&sandbox, &gateway).await;
    let mut seen = stream.until(|record| number(record) == Some(0)).await;
    for line in 1..4 {
        let opened = world.logs.opened();
        tokio::time::sleep(Duration::from_millis(350)).await;
        print(&sandbox, line..line + 1);
        seen.extend(stream.until(|record| number(record) == Some(line)).await);
        assert!(world.logs.opened() > opened, "it was not cut");
    }
    assert_eq!(check_order(&seen), (0, 4));
}

#[tokio::test]
async fn what_was_rotated_away_while_the_kubelet_was_gone_is_a_gap() {
    let world = World::start();
    let sandbox = world.sandbox();
    let gateway = world.gateway("");
    print(&sandbox, 0..10);
    let mut stream = ndjson(&sandbox, &gateway).await;
    let mut seen = stream.until(|record| number(record) == Some(9)).await;
    sandbox.container.node().kill();
    print(&sandbox, 10..20);
    sandbox.container.rotate();
    print(&sandbox, 20..30);
    sandbox.container.node().set_reach(Reach::Up);
    seen.extend(stream.until(|record| number(record) == Some(29)).await);
    assert_eq!(check_order(&seen), (1, 20));
    let gap = seen.iter().find(|record| record["event"] == "gap").unwrap();
    assert_eq!((gap["reason"].as_str(), gap["lines"].is_null()), (Some("rotated"), true), "{gap}");
}

#[tokio::test]
async fn a_log_that_is_cut_at_any_byte_is_complete() {
    let world = World::start();
    let gateway = world.gateway("");
    let text = "line-0\nline-1\nline-2\n";
    // The longest form in which it goes over the wire.
    let wire = text.len() + 3 * 31;
    for ending in [Ending::Clean, Ending::Abort] {
        for after in 0..=wire {
            let sandbox = world.sandbox();
            sandbox.container.out(text);
            world.logs.fault(Fault::cut(after, ending).of(&sandbox.pod()).follows());
            let mut stream = ndjson(&sandbox, &gateway).await;
            let mut seen = stream.until(|record| number(record) == Some(2)).await;
            sandbox.exit(0);
            seen.extend(stream.until(|record| record["event"] == "end").await);
            assert_eq!(check_order(&seen), (0, 3), "{ending:?} after {after}: {seen:?}");
            world.logs.heal();
        }
    }
}

#[tokio::test]
async fn a_plain_read_that_is_cut_is_complete() {
    let world = World::start();
    let gateway = world.gateway("");
    let lines: String = (0..40).map(|line| format!("line-{line}\n")).collect();
    let wire = lines.len() + 40 * 31;
    for ending in [Ending::Clean, Ending::Abort] {
        for after in (0..=wire).step_by(37) {
            let sandbox = world.sandbox();
            sandbox.container.out(&lines);
            world.logs.fault(Fault::cut(after, ending).of(&sandbox.pod()));
            let seen = records(&sandbox.read(&gateway, "format=ndjson").await);
            assert_eq!(check_order(&seen), (0, 40), "{ending:?} after {after}: {seen:?}");
            assert_eq!(seen.last().unwrap()["reason"], "complete", "{ending:?} after {after}");
            world.logs.heal();
        }
    }
}

#[tokio::test]
async fn a_restart_ends_a_log_or_is_told_in_it() {
    let world = World::start();
    let mut sandbox = world.sandbox();
    let gateway = world.gateway("");
    print(&sandbox, 0..3);
    let mut one = ndjson(&sandbox, &gateway).await;
    let mut all = Records::new(sandbox.follow(&gateway, "format=ndjson&restarts=true").await);
    for stream in [&mut one, &mut all] {
        stream.until(|record| number(record) == Some(2)).await;
    }
    sandbox.restart(1);
    print(&sandbox, 3..5);
    let seen = one.until(|record| record["event"] == "end").await;
    assert_eq!(seen.last().unwrap()["reason"], "restarted", "{seen:?}");
    let seen = all.until(|record| number(record) == Some(4)).await;
    assert!(seen.iter().any(|record| record["event"] == "restart"), "{seen:?}");
    assert!(number(&seen[seen.len() - 2]) == Some(3));
    let previous = sandbox.read(&gateway, "previous=true").await;
    assert_eq!(previous.body, "line-0\nline-1\nline-2\n");
    assert_eq!(sandbox.read(&gateway, "").await.body, "line-3\nline-4\n");
}

#[tokio::test]
async fn a_sandbox_that_is_deleted_is_told_as_removed() {
    let world = World::start();
    let sandbox = world.sandbox();
    let gateway = world.gateway("");
    print(&sandbox, 0..3);
    let mut stream = ndjson(&sandbox, &gateway).await;
    stream.until(|record| number(record) == Some(2)).await;
    print(&sandbox, 3..4);
    sandbox.remove();
    let seen = stream.until(|record| record["event"] == "end").await;
    assert_eq!(check_order(&seen), (0, 1));
    assert_eq!(seen.last().unwrap()["reason"], "removed");
}

#[tokio::test]
async fn texts_of_the_kubelet_are_never_the_sandboxs() {
    let world = World::start();
    let gateway = world.gateway("");
    for text in [
        "failed to create fsnotify watcher: too many open files",
        "failed to watch directory \"/var/log/pods/x\": no space left on device",
        "failed to try resolving symlinks in path \"/var/log/pods/x/sandbox/0.log\": lstat /var/log/pods/x: no such file or directory",
        "unable to retrieve container logs for containerd://09062cf2bf2b4c85bdfd111f5b22a6957bcf8a545dbd458684090ccee7eaa3f5",
        "failed to get parse function: unsupported log format: \"x\\n\"",
    ] {
        let sandbox = world.sandbox();
        print(&sandbox, 0..1);
        // After the record with its time.
        world.logs.fault(Fault::text("line-0\n".len() + 31, text).of(&sandbox.pod()).follows().times(3));
        let mut stream = ndjson(&sandbox, &gateway).await;
        let mut seen = stream.until(|record| number(record) == Some(0)).await;
        print(&sandbox, 1..3);
        seen.extend(stream.until(|record| number(record) == Some(2)).await);
        assert_eq!(check_order(&seen), (0, 3), "{seen:?}");
        let told = serde_json::Value::from(seen).to_string();
        assert!(!told.contains(&text[..14]), "{told}");
        world.logs.heal();
    }
}

#[tokio::test]
async fn a_follow_that_falls_silent_is_found() {
    let world = World::start();
    let sandbox = world.sandbox();
    let gateway = world.gateway("");
    print(&sandbox, 0..3);
    world.logs.fault(Fault::cut("line-0\nline-1\nline-2\n".len() + 3 * 31, Ending::Silence).follows());
    let mut stream = ndjson(&sandbox, &gateway).await;
    let mut seen = stream.until(|record| number(record) == Some(2)).await;
    print(&sandbox, 3..6);
    seen.extend(stream.until(|record| number(record) == Some(5)).await);
    assert_eq!(check_order(&seen), (0, 6));
}

#[tokio::test]
async fn a_token_goes_on_after_its_record() {
    let world = World::start();
    let sandbox = world.sandbox();
    let gateway = world.gateway("");
    let time = "2026-11-26T12:55:44.991392536Z".parse().unwrap();
    // All of one nanosecond: the ordinal counts.
    for line in 0..10 {
        sandbox.container.print_at(time, crate::support::kube::logs::Stream::Stdout, format!("line-{line}\n"));
    }
    let all = records(&sandbox.read(&gateway, "format=ndjson").await);
    let lines: Vec<_> = all.iter().filter(|record| number(record).is_some()).collect();
    assert_eq!(lines.len(), 10);
    for (at, record) in lines.iter().enumerate() {
        let after = record["id"].as_str().unwrap();
        let rest = records(&sandbox.read(&gateway, &format!("format=ndjson&after={after}")).await);
        let numbers: Vec<_> = rest.iter().filter_map(number).collect();
        assert_eq!(numbers, (at as u64 + 1..10).collect::<Vec<_>>(), "after {at}");
        assert!(!rest.iter().any(|record| record["event"] == "gap"));
    }
    // Rotated away: a gap, and then what there is.
    sandbox.container.rotate();
    print(&sandbox, 10..12);
    let after = lines[9]["id"].as_str().unwrap();
    let rest = records(&sandbox.read(&gateway, &format!("format=ndjson&after={after}")).await);
    assert_eq!((rest[0]["event"].as_str(), number(&rest[1])), (Some("gap"), Some(10)), "{rest:?}");
    is_followed(&world, 0).await;
}

#[tokio::test]
async fn a_last_line_without_an_end_comes_though_the_pod_tells_late_of_the_exit() {
    let world = World::start();
    let sandbox = world.sandbox();
    let gateway = world.gateway("");
    sandbox.container.out("line-0\nno end");
    let mut stream = ndjson(&sandbox, &gateway).await;
    stream.until(|record| number(record) == Some(0)).await;
    // The kubelet ends the follow before the API server says that the container has ended (kubernetes-api.md §5).
    sandbox.container.exit();
    is_followed(&world, 2).await;
    sandbox.exit(0);
    let ended = tokio::time::timeout(PATIENCE, stream.until(|record| record["event"] == "end"));
    let seen = ended.await.expect("the follow ends");
    assert_eq!((seen[0]["log"].as_str(), seen.len()), (Some("no end"), 2), "{seen:?}");
}
