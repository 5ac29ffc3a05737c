//! What the log says of those who follow, and of those who look whether the gateway lives.

use std::time::Duration;

use crate::{
    Pair, Setup,
    support::{
        client::{Client, get_once, request},
        engine::Script,
        eventually,
    },
};

#[tokio::test]
async fn a_follow_has_a_line_when_it_begins_and_one_that_says_so_when_it_ends() {
    let pair = Pair::start();
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    let lines = ["X-Request-Id: the-follower", "User-Agent: probe/1 \u{202e}\"x"];
    client.send_get(&target, &lines).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    let begun = || {
        let output = pair.gateway.output();
        output.lines().find(|line| line.contains("follows a log")).map(str::to_owned)
    };
    eventually("a line", Duration::from_secs(5), || begun().is_some()).await;
    let line = begun().unwrap();
    let id = target.split('/').nth(3).unwrap();
    assert!(line.contains("[the-follower]") && line.contains(id), "{line}");
    assert!(line.contains(&format!("client={}", client.local_addr())), "{line}");
    assert!(line.contains("user_agent=\"probe/1 ") && !line.contains('\u{202e}'), "{line}");
    client.close();
    let line = pair.access_line("the-follower").await;
    assert!(line.contains("end=client_gone follow=true"), "{line}");
}

#[tokio::test]
async fn a_log_that_is_not_followed_has_one_line_and_no_follow() {
    let pair = Pair::start();
    let target = pair.log(Script::texts(["a\n"]), "");
    request(pair.address(), "GET", &target, &["X-Request-Id: the-reader"], "").await;
    let line = pair.access_line("the-reader").await;
    assert!(line.contains("end=complete") && !line.contains("follow"), "{line}");
    assert!(!pair.gateway.output().contains("follows a log"), "{}", pair.gateway.output());
}

#[tokio::test]
async fn health_checks_can_be_left_out() {
    for (section, lines) in [("", true), ("[log]\naccess_health_checks = false", false)] {
        let gateway = Setup::process().section(section).start();
        for _ in 0..3 {
            assert_eq!(get_once(gateway.address(), "/health").await.status(), 200);
        }
        // What goes wrong is told, and so is all else.
        request(gateway.address(), "PUT", "/health", &["X-Request-Id: refused"], "").await;
        request(gateway.address(), "GET", "/version", &["X-Request-Id: another"], "").await;
        // Each connection's line comes when that is done with.
        let said = || ["[another] access", "[refused] access"].iter().all(|line| gateway.output().contains(line));
        eventually("the last lines", Duration::from_secs(5), said).await;
        let output = gateway.output();
        assert_eq!(output.contains("GET /health HTTP/1.1\" 200"), lines, "{output}");
        assert!(output.contains("PUT /health HTTP/1.1\" 405"), "{output}");
    }
}
