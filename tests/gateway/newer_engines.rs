//! Logs as engines newer than 20.10 send them, in the bytes that 26.1.5, 28.5.2 and one of API 1.56 were seen to send. What an
//! engine is shows in these alone; nothing asks for its version.

use serde_json::Value;

use crate::{
    Pair, logs,
    support::{
        client::get_once,
        engine::{Head, Sandbox, Script, Step, frame},
    },
};

/// Sent at once, with the type that tells frames from a terminal's bytes, which engine 20.10 does not send. An engine that is
/// asked by an API version below 1.42 calls frames `raw` too.
fn head(kind: &str) -> Head {
    let head = format!(
        "HTTP/1.1 200 OK\r\nApi-Version: 1.56\r\nContent-Type: application/vnd.docker.{kind}-stream\r\n\
         Docker-Experimental: false\r\nOstype: linux\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    Head::Raw(head.into())
}

/// The log of a container that has ended and had the driver `local`: a line that the engine kept in two pieces, and a short one.
struct Local {
    tty: bool,
    /// Engine 23.0 and newer give the newline of a line of pieces back; 20.10 does not.
    keeps_newline: bool,
}

impl Local {
    fn end_of_line(&self) -> &'static str {
        if self.tty { "\r\n" } else { "\n" }
    }

    /// The lines as they were printed.
    fn lines(&self) -> [String; 2] {
        let end = self.end_of_line();
        [format!("{}A{end}", "x".repeat(16_384)), format!("end{end}")]
    }

    fn sandbox(&self, head: Head) -> Sandbox {
        const TIMES: [&str; 2] = ["2026-11-27T04:50:55.598085639Z ", "2026-11-27T04:50:55.598897278Z "];
        let [long, short] = self.lines();
        let kept = long.len() - usize::from(!self.keeps_newline);
        let pieces = [(0, &long[..16_384]), (0, &long[16_384..kept]), (1, &short[..])];
        let pieces = pieces.map(|(at, text)| format!("{}{text}", TIMES[at]).into_bytes());
        let steps = pieces.map(|piece| Step::Chunk(if self.tty { piece.into() } else { frame(1, &piece).into() }));
        let script = Script::new(steps.into_iter().chain([Step::End])).with_head(head);
        Sandbox { tty: self.tty, log_driver: "local".into(), state: "exited".into(), ..Sandbox::new(script) }
    }
}

#[tokio::test]
async fn a_cut_line_is_whole_whether_the_driver_keeps_its_newline_or_not() {
    let pair = Pair::start();
    for (tty, keeps_newline, head) in [
        (false, false, Head::Withheld),
        (false, true, head("multiplexed")),
        (false, true, head("raw")),
        (true, false, Head::Withheld),
        (true, true, head("raw")),
    ] {
        let local = Local { tty, keeps_newline };
        let id = pair.engine.sandbox(local.sandbox(head));
        let what = format!("tty {tty}, newline {keeps_newline}");
        for tail in 1..=3 {
            let records = get_once(pair.address(), &logs(&id, &format!("format=ndjson&tail={tail}"))).await;
            let records = String::from_utf8(records.body.to_vec()).unwrap();
            let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let told: Vec<_> = records.filter_map(|record| Some(record["log"].as_str()?.to_owned())).collect();
            assert!(
                told == local.lines()[2_usize.saturating_sub(tail)..],
                "{what}, tail {tail}: {} records",
                told.len()
            );
        }
        if keeps_newline {
            let text = get_once(pair.address(), &logs(&id, "tail=1")).await;
            assert_eq!(String::from_utf8_lossy(&text.body), local.lines()[1], "{what}");
        }
    }
}

#[tokio::test]
async fn the_type_of_a_newer_engine_s_answer_changes_no_byte() {
    let pair = Pair::start();
    // What a terminal prints may look like a frame.
    let printed = [&frame(2, b"abcd")[..], b"\r\nend\r\n"].concat();
    let steps = |bytes: Vec<u8>| Script::new([Step::Chunk(bytes.into()), Step::Present, Step::Open]);
    for (tty, bytes, kind, expected) in [
        (true, printed.clone(), "raw", printed),
        (false, [frame(1, b"one\n"), frame(2, b"two\n")].concat(), "multiplexed", b"one\ntwo\n".to_vec()),
        (false, [frame(1, b"one\n"), frame(2, b"two\n")].concat(), "raw", b"one\ntwo\n".to_vec()),
    ] {
        let id = pair.engine.sandbox(Sandbox { tty, ..Sandbox::new(steps(bytes).with_head(head(kind))) });
        for query in ["", "tail=9"] {
            let text = get_once(pair.address(), &logs(&id, query)).await;
            assert_eq!(&text.body[..], &expected[..], "{kind}, tty {tty}, {query}");
        }
    }
}
