//! What clients write into the gateway's own log: no line that is not the gateway's, nothing that a terminal obeys, and
//! nothing that fills a disk.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::{
    Pair, Setup, logs,
    proxy::Proxied,
    support::{
        backend::Backend,
        client::{Client, request},
        engine::{Action, Engine, Head, Script},
        eventually,
        gateway::Gateway,
    },
};

/// Bytes that a header or a path may hold on the wire and that must not stand in a log as they are: ESC is refused by HTTP.
const HOSTILE: &str = "\u{202e}\u{2028}\u{2029}\u{85}\u{9b}31m\u{2066}\u{feff}\u{200f}";

fn is_clean(line: &str) -> bool {
    let hostile = |char: char| char.is_control() || HOSTILE.contains(char) && !char.is_ascii();
    !line.chars().any(hostile)
}

/// Waits until a line has this in it, and gives the line.
async fn line_with(gateway: &Gateway, part: &str) -> String {
    let find = || gateway.output().lines().find(|line| line.contains(part)).map(str::to_owned);
    eventually(&format!("a line with {part}"), Duration::from_secs(5), || find().is_some()).await;
    find().unwrap()
}

fn gateway(format: &str) -> Gateway {
    Setup::process().section(&format!("[log]\nformat = '{format}'\nlevel = 'DEBUG'")).start()
}

#[tokio::test]
async fn a_request_id_forges_no_line_and_is_echoed() {
    let id = format!("x] access: 6.6.6.6:1 - \"GET /admin HTTP/1.1\" 200 \\ {HOSTILE} end");
    for format in ["text", "json"] {
        let gateway = gateway(format);
        let mut client = Client::connect(gateway.address()).await;
        client.send(format!("GET /v1/marker HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {id}\r\n\r\n")).await;
        assert_eq!(client.head().await.headers["x-request-id"].as_bytes(), id.as_bytes());
        let line = line_with(&gateway, "/v1/marker").await;
        assert!(is_clean(&line), "{line:?}");
        if format == "text" {
            assert_eq!(line.matches("] access: ").count(), 1, "{line}");
            assert!(line.contains("x\\u{5d}\\u{20}access:") && !line.contains("\"GET /admin"), "{line}");
        } else {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["span"]["request_id"], id);
            assert_eq!(line["spans"][0]["name"], "request");
        }
    }
}

#[tokio::test]
async fn a_request_id_has_a_bounded_length() {
    let gateway = gateway("text");
    let kept = "k".repeat(256);
    for (id, is_kept) in [(kept.clone(), true), ("l".repeat(257), false), ("m".repeat(40_000), false)] {
        let line = format!("X-Request-ID: {id}");
        let answer = request(gateway.address(), "GET", "/v1/marker", &[&line], "").await;
        let echoed = answer.head.field("x-request-id");
        assert_eq!(echoed == id, is_kept, "{}", id.len());
        assert!(is_kept || echoed.len() == 32, "{echoed}");
    }
    let line = line_with(&gateway, "kkkk").await;
    assert!(line.contains("kkk…]") && line.len() < 400, "{line}");
}

#[tokio::test]
async fn a_path_forges_no_line_and_fills_no_disk() {
    for format in ["text", "json"] {
        let gateway = gateway(format);
        for (mark, path) in [
            ("a-1", format!("/a-1\"200\\{HOSTILE}")),
            ("b-2", format!("/b-2{}", "x".repeat(46_000))),
            ("c-3", format!("/c-3{}", "\u{202e}".repeat(9_000))),
            ("d-4", format!("/v1/sandboxes/d-4{}/logs", "%0a%1b".repeat(5_000))),
        ] {
            let mut client = Client::connect(gateway.address()).await;
            client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            assert_eq!(client.head().await.status, 404);
            let line = line_with(&gateway, mark).await;
            assert!(is_clean(&line), "{line:?}");
            assert!(line.contains("HTTP/1.1") && line.contains(" 404"), "the rest of the line has its room: {line}");
            if format == "text" {
                assert_eq!(line.matches('"').count(), 2, "{line}");
                assert!(line.len() < 1_300, "{} {line}", line.len());
            } else {
                let line: Value = serde_json::from_str(&line).unwrap();
                let is_short = |value: &Value| value.as_str().is_none_or(|text| text.len() <= 1_024);
                assert!(line.as_object().unwrap().values().all(is_short), "{line}");
                assert!(line["span"].as_object().unwrap().values().all(is_short), "{line}");
                assert!(line["span"]["path"].as_str().unwrap().contains(mark), "{line}");
            }
        }
        let mut client = Client::connect(gateway.address()).await;
        client.send(format!("{} /e-5 HTTP/1.1\r\nHost: localhost\r\n\r\n", "M".repeat(20_000))).await;
        assert_eq!(client.head().await.status, 404);
        assert!(line_with(&gateway, "MMMM").await.len() < 4_000);
    }
}

/// A sandbox's user chooses names that the engine repeats in its words.
#[tokio::test]
async fn the_engines_words_forge_no_line() {
    let words = format!("no\r\n\u{1b}[31mINFO:      forged {HOSTILE} {}", "w".repeat(2_000));
    let engine = Engine::start();
    let gateway = Setup::docker(engine.docker_host()).start();
    let failing = Script { head: Head::Error(500, words.leak()), ..Script::silent() };
    let target = logs(&engine.log(failing), "");
    let answer = request(gateway.address(), "GET", &target, &[], "").await;
    assert_eq!(answer.status(), 500, "{answer}");
    let line = line_with(&gateway, "no\\r\\n\\u{1b}[31mINFO:      forged").await;
    assert!(is_clean(&line) && line.len() < 1_300, "{} {line:?}", line.len());
    assert!(!gateway.output().lines().any(|line| line.starts_with("\u{1b}") || line.contains("\u{1b}[31m")));
}

#[tokio::test]
async fn files_hold_no_more_than_the_standard_output() {
    let mut pair = Pair::with(|setup| {
        setup.section("[log]\nfile_enabled = true\nfile_path = '~/s.log'\naccess_file_path = '~/a.log'")
    });
    let mut client = Client::connect(pair.address()).await;
    client.send(format!("GET /{HOSTILE}{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(46_000))).await;
    client.head().await;
    pair.gateway.terminate();
    assert!(pair.gateway.wait(Duration::from_secs(10)).success());
    let text = fs::read_to_string(pair.gateway.home().join("a.log")).unwrap();
    assert!(text.len() < 1_300 && text.lines().all(is_clean), "{text}");
}

/// Who has no key can ask for a sandbox's server again and again.
#[tokio::test]
async fn a_failing_engine_has_one_line_of_each_kind_however_often_it_is_asked() {
    let pair = Pair::with(|setup| setup.api_key("k-test"));
    let id = pair.engine.log(Script::silent());
    pair.engine.fault("GET", "/json", Action::Fail(500, "the disk is gone"));
    let mut client = Client::connect(pair.address()).await;
    for _ in 0..30 {
        let answer = client.request("GET", &format!("/v1/sandboxes/{id}/proxy/8080/"), &[], "").await;
        assert_eq!(answer.status(), 500, "{answer}");
    }
    let count = |parts: [&str; 2]| {
        pair.gateway.output().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    };
    let is_all = || count(["access: ", "/proxy/8080/"]) == 30;
    eventually("all access lines", Duration::from_secs(5), is_all).await;
    for parts in [["ERROR", "DOCKER::SANDBOX_QUERY_FAILED"], ["WARNING", "the engine could not be asked"]] {
        assert_eq!(count(parts), 1, "{parts:?}\n{}", pair.gateway.output());
    }
}

#[tokio::test]
async fn bodies_that_break_off_have_one_line_where_access_lines_are_off() {
    let backend = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx").await;
    })
    .await;
    for (level, lines) in [("INFO", 20), ("WARNING", 1)] {
        let proxied = Proxied::with(|setup| setup.section(&format!("[log]\nlevel = '{level}'"))).await;
        let target = proxied.target(backend.port, "/");
        for _ in 0..20 {
            let mut client = proxied.connect().await;
            assert_eq!(client.get(&target).await.status, 200);
            assert!(client.body().await.is_err());
        }
        let count = || proxied.gateway.output().lines().filter(|line| line.contains(&target)).count();
        eventually("the lines", Duration::from_secs(5), || count() >= lines).await;
        assert_eq!(count(), lines, "{level}\n{}", proxied.gateway.output());
    }
}
