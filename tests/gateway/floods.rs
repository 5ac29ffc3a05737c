//! Frames of HTTP/2 that only make work: what hyper and h2 bound, seen from outside.

use std::time::Duration;

use crate::{
    Pair,
    support::{
        client::get_once,
        engine::Script,
        raw_h2::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, RawH2, SETTINGS, frame},
    },
};

const MB: u64 = 1 << 20;

/// Answers that nobody reads: the gateway stops to read, and holds little.
#[tokio::test]
async fn pings_and_settings_whose_answers_nobody_reads_are_not_taken_for_ever() {
    let pair = Pair::with(|setup| setup.section("[logs]\nwrite_stall_timeout_seconds = 2"));
    let before = pair.gateway.resident();
    for frame in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])] {
        let mut client = RawH2::connect(pair.address(), 65_535, 4_096).await;
        let taken = client.flood(&frame.repeat(1_000), Duration::from_secs(4)).await;
        assert!(taken < 64 << 20, "{taken} bytes");
        let grown = pair.gateway.resident().saturating_sub(before);
        assert!(grown < 8 * MB, "{grown} bytes more");
        // It ends as any client that takes nothing, and its socket with it.
        let mut seen = Vec::new();
        client.until_reset(0, &mut seen).await;
    }
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
}

/// h2 has a warning for each.
#[tokio::test]
async fn answers_to_pings_that_nobody_sent_fill_no_log() {
    let pair = Pair::start();
    let mut client = RawH2::connect(pair.address(), 65_535, 0).await;
    for number in 0..100_u64 {
        // The flag is that of an acknowledgement, too.
        assert!(client.send(PING, END_STREAM, 0, &number.to_be_bytes()).await);
    }
    client.get(1, "/version").await;
    while client.frame().await.expect("an answer").stream != 1 {}
    let said = || pair.gateway.output().contains("/version");
    crate::support::eventually("an access line", Duration::from_secs(5), said).await;
    assert!(!pair.gateway.output().contains("PING"), "{}", pair.gateway.output());
}

#[tokio::test]
async fn a_head_without_an_end_is_not_taken_for_ever() {
    let pair = Pair::start();
    let before = pair.gateway.resident();
    let mut client = RawH2::connect(pair.address(), 65_535, 0).await;
    client.send(HEADERS, END_STREAM, 1, &raw_h2::head("GET", "/health")).await;
    let mut field = vec![0x10, 1, b'x', 100];
    field.extend([b'y'; 100]);
    let flood = frame(CONTINUATION, 0, 1, &field.repeat(100)).repeat(20);
    let taken = client.flood(&flood, Duration::from_secs(4)).await;
    assert!(taken < 16 << 20, "{taken} bytes");
    let grown = pair.gateway.resident().saturating_sub(before);
    assert!(grown < 8 * MB, "{grown} bytes more");
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
}

/// Rapid reset (CVE-2023-44487): requests that are reset as soon as they are sent.
#[tokio::test]
async fn requests_that_are_reset_at_once_end_their_connection() {
    let pair = Pair::start();
    let target = pair.log(Script::silent(), "follow=true");
    let before = pair.gateway.resident();
    let mut client = RawH2::connect(pair.address(), 65_535, 0).await;
    let head = raw_h2::head("GET", &target);
    let mut taken = 0;
    for turn in 0..1_000_u32 {
        let mut bytes = Vec::new();
        for number in 0..100 {
            let stream = 2 * (turn * 100 + number) + 1;
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        let length = bytes.len();
        let count = client.flood_once(&bytes).await;
        taken += count;
        if count < length {
            break;
        }
    }
    let grown = pair.gateway.resident().saturating_sub(before);
    assert!(grown < 16 * MB, "{grown} bytes more");
    assert!(pair.engine.opened_logs() < 20_000, "{} of {taken} bytes", pair.engine.opened_logs());
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
    crate::support::eventually("all released", Duration::from_secs(5), || pair.engine.open_logs() == 0).await;
}
