//! A log that the kubelet rotates under its readers.

use super::{stage::Real, tell};
use crate::{
    logs::{check_told, number},
    portable::{lines, reason, stream},
    support::kube::resource::{BATCH_SANDBOXES, NODES},
};

/// Bytes of a line, with its number.
const LINE: u64 = 1000;

/// Lines of a batch, of which there are five a second: 500 kB/s. A follower inside the kubelet loses lines of a container that
/// prints 3 MB/s (kubernetes-api.md, R2).
const BATCH: u64 = 100;

/// What the kubelet of this node has as its largest file, in bytes, and whether it said so itself.
async fn largest_file(stage: &Real, node: &str) -> (u64, bool) {
    let path = format!("{}/proxy/configz", NODES.path("", node));
    let config = stage.api.send("GET", &path, None).await.unwrap_or_default();
    let text = config["kubeletconfig"]["containerLogMaxSize"].as_str();
    match text.and_then(bytes) {
        Some(size) => (size, true),
        // Kubernetes' own default.
        None => (10 << 20, false),
    }
}

fn bytes(quantity: &str) -> Option<u64> {
    let digits = quantity.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &quantity[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn a_follow_goes_on_over_rotations_without_a_loss() {
    let stage = Real::start().await;
    // The node is known once something runs there.
    let probe = stage.create(&BATCH_SANDBOXES, stage.spec("exit 0", |_| {})).await;
    let pod = stage.started(&probe).await;
    let (size, is_told) = largest_file(&stage, pod["spec"]["nodeName"].as_str().unwrap()).await;
    if !is_told {
        tell("the kubelet's configuration may not be read: its files are taken to be of 10 MiB");
    }
    if size > 32 << 20 {
        tell(&format!(
            "the kubelet rotates at {size} bytes only, which is too much for a test: rotation was not tested"
        ));
        return;
    }
    // Two and a half files, and what is printed until the kubelet looks again.
    let total = (size * 5 / 2 / LINE).next_multiple_of(BATCH) + 6_000;
    let pad = usize::try_from(LINE).unwrap() - "line-00000 \n".len();
    let script = format!(
        "p=$(head -c {pad} /dev/zero | tr '\\0' p); i=0\nwhile [ $i -lt {total} ]; do echo line-$i $p; i=$((i + 1))\n\
         [ $((i % {BATCH})) -gt 0 ] || sleep 0.2; done; sleep 1"
    );
    let id = stage.create(&BATCH_SANDBOXES, stage.spec(&script, |_| {})).await;
    stage.started(&id).await;
    let (mut first, mut second) = (stream(&stage, &id, "").await, stream(&stage, &id, "").await);
    let (first, second) =
        tokio::join!(first.until(|record| record["event"] == "end"), second.until(|record| record["event"] == "end"),);
    for seen in [&first, &second] {
        assert_eq!((check_told(seen).1, reason(seen)), (usize::try_from(total).unwrap(), "exited"));
    }
    // A read that does not follow sees the newest file only (R4): so there were rotations.
    let left = lines(&stage, &id, "").await;
    let oldest = left.iter().find_map(number).unwrap_or(total);
    assert!(oldest > 0, "nothing was rotated away, though {total} lines of {LINE} bytes were printed");
    // A token of what was rotated away: a gap, and then what there is.
    let token = first[0]["id"].as_str().unwrap();
    let mut resumed = stream(&stage, &id, &format!("after={token}")).await;
    assert_eq!(resumed.next().await.unwrap()["event"], "gap");
}

#[test]
fn quantities_of_a_kubelet_are_read() {
    assert_eq!(
        [bytes("10Mi"), bytes("1Ki"), bytes("5M"), bytes("7"), bytes("x")],
        [Some(10 << 20), Some(1024), Some(5_000_000), Some(7), None]
    );
}
