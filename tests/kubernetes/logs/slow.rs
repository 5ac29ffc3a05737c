//! Clients that do not keep up: what they miss is told, with its exact number where the gateway left it out, and exactly where
//! numbers are missing where the kubelet did.

use std::{pin::pin, time::Duration};

use serde_json::Value;

use super::{
    Records, check_order,
    fixture::{Sandbox, World},
    number,
};
use crate::support::{client::Client, gateway::Gateway};

/// Longer than a stream may be unread before it is not gone on with, which is 3 s.
const UNREAD: Duration = Duration::from_secs(4);

/// A follow in records that nobody reads; its connection takes little.
async fn unread(sandbox: &Sandbox<'_>, gateway: &Gateway, query: &str) -> Records {
    let mut client = Client::connect_with_window(gateway.address(), 4096).await;
    let target = sandbox.target(&format!("follow=true&format=ndjson{query}"));
    assert_eq!(client.get(&target).await.status, 200);
    Records::new(client)
}

/// Prints numbered lines of about 4,000 bytes. A pause after each 64 KiB lets the kubelet's reader keep up: what a late one loses
/// nobody can see (kubernetes-api.md R2).
async fn print(sandbox: &Sandbox<'_>, lines: std::ops::Range<u64>) {
    let text = "x".repeat(4000);
    for line in lines {
        sandbox.container.out(format!("line-{line} {text}\n"));
        if line % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// How often the sandbox's log was followed.
fn follows(world: &World) -> usize {
    world.logs.requests().iter().filter(|seen| seen.value("follow").is_some()).count()
}

/// Ends the sandbox and reads on to the end.
async fn rest(sandbox: &Sandbox<'_>, mut stream: Records) -> Vec<Value> {
    sandbox.exit(0);
    stream.until(|record| record["event"] == "end").await
}

#[tokio::test]
async fn what_is_left_out_for_a_slow_client_is_told_with_its_exact_number() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let mut stream = unread(&sandbox, &gateway, "&on_slow=drop").await;
    print(&sandbox, 0..4000).await;
    tokio::time::sleep(UNREAD).await;
    // The client reads. What it has missed is told in front of the next line that it gets.
    let mut printed = 4000;
    let mut seen = {
        let mut told = pin!(stream.until(|record| record["event"] == "gap"));
        loop {
            tokio::select! {
                seen = &mut told => break seen,
                () = tokio::time::sleep(Duration::from_millis(50)) => print(&sandbox, printed..printed + 1).await,
            }
            printed += 1;
        }
    };
    // It falls behind again.
    let total = printed + 4000;
    print(&sandbox, printed..total).await;
    tokio::time::sleep(UNREAD).await;
    seen.extend(rest(&sandbox, stream).await);
    let (mut expected, mut gaps, mut left_out) = (0, 0, 0);
    for record in &seen {
        if record["event"] == "gap" {
            let lines = record["lines"].as_u64();
            assert_eq!(record["reason"], "overrun", "{record}");
            expected += lines.unwrap_or_else(|| panic!("no number: {record}"));
            (gaps, left_out) = (gaps + 1, left_out + lines.unwrap_or_default());
        } else if let Some(number) = number(record) {
            assert_eq!(number, expected, "after {gaps} gaps");
            expected += 1;
        }
    }
    let end = seen.last().unwrap();
    assert!(gaps >= 2 && left_out > 0, "{gaps} gaps");
    assert_eq!((expected, end["reason"].as_str()), (total, Some("exited")));
    assert_eq!((end["lines_read"].as_u64(), end["lines_sent"].as_u64()), (Some(total), Some(total - left_out)));
    // It was read on at full speed: nothing was to be opened again.
    assert_eq!(follows(&world), 1);
}

#[tokio::test]
async fn a_stream_that_was_not_read_is_gone_on_with_by_position_and_loses_nothing() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let mut stream = unread(&sandbox, &gateway, "").await;
    print(&sandbox, 0..5000).await;
    tokio::time::sleep(UNREAD).await;
    let mut seen = stream.until(|record| number(record) == Some(4999)).await;
    assert!(follows(&world) >= 2, "it was read on");
    print(&sandbox, 5000..5010).await;
    seen.extend(rest(&sandbox, stream).await);
    assert_eq!(check_order(&seen), (0, 5010));
}

#[tokio::test]
async fn what_was_rotated_away_while_a_stream_was_not_read_is_a_gap_exactly_where_lines_are_missing() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.rotate_at(4 << 20);
    let mut stream = unread(&sandbox, &gateway, "").await;
    print(&sandbox, 0..10_000).await;
    tokio::time::sleep(UNREAD).await;
    assert!(sandbox.container.rotations() >= 8);
    let mut seen = stream.until(|record| number(record) == Some(9999)).await;
    seen.extend(rest(&sandbox, stream).await);
    let (gaps, lines) = check_order(&seen);
    assert!(gaps >= 1 && lines < 10_000, "{gaps} gaps, {lines} lines");
    let told: Vec<_> = seen.iter().filter(|record| record["event"] == "gap").collect();
    // How many these were, nobody knows.
    assert!(told.iter().all(|gap| gap["reason"] == "rotated" && gap["lines"].is_null()), "{told:?}");
}
