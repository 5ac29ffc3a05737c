//! Commands and sessions.

use std::time::Instant;

use super::*;

#[tokio::test]
async fn a_command_is_streamed_event_by_event() {
    let gateway = gateway();
    let sandbox = Sandbox::with(&gateway, json!({"GREETING": "hi"})).await;
    let events = sandbox.run("echo $GREETING; echo oops >&2; printf 'a\\n\\nb'").await;
    assert_eq!(text(&events, "stdout"), "hi\na\n\nb");
    assert_eq!(text(&events, "stderr"), "oops\n");
    let kinds = kinds(&events);
    assert_eq!((kinds[0], *kinds.last().unwrap(), kinds.len()), ("init", "execution_complete", 7));
    let now = jiff::Timestamp::now().as_millisecond();
    assert!(events.iter().all(|event| (now - event["timestamp"].as_i64().unwrap()).abs() < 60_000), "{events:?}");
    assert!(events.last().unwrap()["execution_time"].as_i64().unwrap() >= 0);
    let id = events[0]["text"].as_str().unwrap();
    let status = sandbox.status(id).await;
    assert_eq!((&status["id"], &status["running"], &status["exit_code"]), (&json!(id), &json!(false), &json!(0)));
    assert!(status["started_at"].as_str().unwrap().ends_with('Z') && status["finished_at"].is_string(), "{status}");
    assert!(status.get("error").is_none(), "{status}");
}

#[tokio::test]
async fn a_command_that_fails_tells_its_exit_code() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    for (line, code) in [("exit 3", "3"), ("kill -9 $$", "137"), ("no-such-program", "127"), ("exit 255", "255")] {
        let events = sandbox.run(line).await;
        let last = events.last().unwrap();
        assert_eq!((&last["type"], &last["error"]["evalue"]), (&json!("error"), &json!(code)), "{line}");
        assert!(last["error"]["ename"].is_string() && last["error"]["traceback"][0].is_string(), "{last}");
        let status = sandbox.status(events[0]["text"].as_str().unwrap()).await;
        assert_eq!(status["exit_code"].to_string(), code, "{status}");
        assert!(status["error"].is_string(), "{status}");
    }
    let events = sandbox.run_with(json!({"argv": ["no-such-program"]})).await;
    assert_eq!((kinds(&events), &events[1]["error"]["evalue"]), (vec!["init", "error"], &json!("127")));
    let events = sandbox.run_with(json!({"argv": ["/etc/passwd"]})).await;
    assert_eq!(events[1]["error"]["evalue"], "126");
}

#[tokio::test]
async fn where_and_with_what_a_command_runs_can_be_said() {
    let gateway = gateway();
    let sandbox = Sandbox::with(&gateway, json!({"A": "sandbox", "B": "sandbox", "C": "sandbox"})).await;
    assert_eq!(
        sandbox.output("test \"$PWD\" = \"$HOME\" && test -d $TMPDIR && echo $OPENSANDBOX_ID").await.trim(),
        sandbox.id
    );
    let ran = async |body| text(&sandbox.run_with(body).await, "stdout");
    sandbox.run("printf \"B='file it'\\nC=\\\"file \\$A\\\"\\n\" > $EXECD_ENVS").await;
    assert_eq!(ran(json!({"command": "echo $A,$B,$C", "envs": {"C": "request"}})).await, "sandbox,file it,request\n");
    assert_eq!(sandbox.output("echo $C").await, "file sandbox\n");
    sandbox.run("mkdir -p sub/deep").await;
    for (cwd, end) in [
        ("sub", "/work/sub\n"),
        ("$HOME/sub/deep", "/work/sub/deep\n"),
        ("~/sub", "/work/sub\n"),
        ("", "/work\n"),
        ("/usr", "/usr\n"),
        ("${TMPDIR}/../work", "/work\n"),
    ] {
        let text = ran(json!({"command": "pwd -P", "cwd": cwd})).await;
        assert!(text.ends_with(end), "{cwd}: {text}");
    }
    assert_eq!(ran(json!({"argv": ["printf", "%s|", "$A", "", "it's"]})).await, "$A||it's|");
    sandbox.run("printf '#!/bin/sh\\necho script\\n' > sub/x; chmod +x sub/x").await;
    assert_eq!(ran(json!({"argv": ["./x"], "cwd": "sub"})).await, "script\n");
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert_eq!(ran(json!({"command": "id -u", "uid": uid, "gid": gid})).await, format!("{uid}\n"));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    for body in [
        json!({}),
        json!({"command": ""}),
        json!({"command": " \n"}),
        json!({"command": "a\u{0}b"}),
        json!({"command": 5}),
        json!({"command": "true", "argv": ["true"]}),
        json!({"argv": []}),
        json!({"argv": [""]}),
        json!({"argv": ["a", "b\u{0}"]}),
        json!({"command": "true", "cwd": "/nowhere"}),
        json!({"command": "true", "cwd": "/etc/passwd"}),
        json!({"command": "true", "cwd": "$NOTHING/x"}),
        json!({"command": "true", "cwd": "a\u{0}"}),
        json!({"command": "true", "timeout": -1}),
        json!({"command": "true", "timeout": "soon"}),
        json!({"command": "true", "uid": 12_345}),
        json!({"command": "true", "gid": rustix::process::getegid().as_raw()}),
        json!({"command": "true", "uid": -1}),
        json!({"command": "true", "envs": {"": "x"}}),
        json!({"command": "true", "envs": {"a=b": "x"}}),
        json!({"command": "true", "envs": {"a": "x\u{0}"}}),
        json!(["true"]),
    ] {
        let response = sandbox.post("/command", body.clone()).await;
        assert_eq!((response.status(), &*response.code()), (400, "EXECD::INVALID_REQUEST"), "{body} {response}");
    }
    assert_eq!(sandbox.ask("POST", "/command", "{").await.status(), 400);
    assert_eq!(sandbox.ask("POST", "/command", "").await.status(), 400);
    // More than a program may be started with.
    let long = json!({"argv": ["true", "x".repeat(500_000)]});
    assert_eq!(kinds(&sandbox.run_with(long).await), ["init", "error"]);
}

#[tokio::test]
async fn output_is_told_while_it_is_printed_and_whatever_it_is() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let (_, mut client) = sandbox.begin("echo first; sleep 1000").await;
    assert_eq!(text(&next_events(&mut client).await, "stdout"), "first\n");
    client.close();
    let events =
        sandbox.run("printf 'a\\377b\\n'; printf '10%%\\r20%%\\r\\n'; head -c 100000 /dev/zero | tr '\\0' x").await;
    let lines: Vec<&str> = events.iter().filter_map(|event| event["text"].as_str()).skip(1).collect();
    assert_eq!(lines[..3], ["a\u{fffd}b\n", "10%\r", "20%\r\n"]);
    assert_eq!(lines[3..].concat(), "x".repeat(100_000));
    assert!(lines.iter().all(|line| line.len() <= 16 * 1024));
    // Nothing of much is lost.
    let events = sandbox.run("seq 200000").await;
    let all = text(&events, "stdout");
    assert!(all.lines().count() == 200_000 && all.ends_with("\n200000\n"), "{}", all.len());
}

#[tokio::test]
async fn a_commands_time_is_limited_with_all_that_it_started() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let start = Instant::now();
    let events =
        sandbox.run_with(json!({"command": "trap '' TERM INT; sleep 1000 & echo $!; wait", "timeout": 300})).await;
    assert!(start.elapsed() > Duration::from_millis(300) && start.elapsed() < Duration::from_secs(20));
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["error"]["evalue"]), (&json!("error"), &json!("137")));
    assert!(last["error"]["traceback"][0].as_str().unwrap().contains("timeout of 300 ms"), "{last}");
    dies(text(&events, "stdout").trim()).await;
    assert_eq!(sandbox.run_with(json!({"command": "echo in time", "timeout": 60_000})).await.len(), 3);
    assert_eq!(sandbox.run_with(json!({"command": "echo no limit", "timeout": 0})).await.len(), 3);
}

#[tokio::test]
async fn a_command_is_interrupted_and_killed_if_it_does_not_end() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let interrupt = async |id: &str| sandbox.ask("DELETE", &format!("/command?id={id}"), "").await.status();
    let (id, mut client) = sandbox.begin("sleep 1000").await;
    assert_eq!(interrupt(&id).await, 200);
    let events = events(&client.body().await.unwrap());
    assert_eq!((&events[0]["type"], &events[0]["error"]["evalue"]), (&json!("error"), &json!("143")));
    assert_eq!(interrupt(&id).await, 200, "one that has ended is no error");
    let stubborn = sandbox.start("trap '' TERM; sleep 1000 & echo $! > pid; wait").await;
    let file = sandbox.work().await.join("pid");
    eventually("it runs", Duration::from_secs(5), || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')))
        .await;
    let pid = fs::read_to_string(&file).unwrap();
    assert_eq!(interrupt(&stubborn).await, 200);
    assert_eq!(sandbox.ended(&stubborn).await["exit_code"], 137);
    dies(pid.trim()).await;
    assert_eq!((interrupt("nobody").await, interrupt("").await), (404, 400));
    assert_eq!(sandbox.ask("DELETE", "/command", "").await.status(), 400);
}

/// A command that nobody waits for any more ends, with all that it started; one in the background does not.
#[tokio::test]
async fn a_command_ends_when_its_client_leaves() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    for with_reset in [true, false] {
        let (id, mut client) = sandbox.begin("sleep 1000 & echo $!; wait").await;
        let pid = text(&next_events(&mut client).await, "stdout");
        client.leave(with_reset);
        assert_eq!(sandbox.ended(&id).await["exit_code"], 137);
        dies(pid.trim()).await;
    }
    // What is left by a command that has ended stays, though its client has gone.
    let pid = sandbox.output("sleep 1000 & echo $!").await;
    let background = sandbox.start("sleep 1000").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(lives(pid.trim()) && sandbox.status(&background).await["running"] == true);
}

#[tokio::test]
async fn what_a_command_leaves_behind_does_not_hold_its_stream() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let start = Instant::now();
    let events = sandbox.run("(sleep 10; echo late > late; echo printed) & echo at once").await;
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert_eq!(
        (text(&events, "stdout"), *kinds(&events).last().unwrap()),
        ("at once\n".to_owned(), "execution_complete")
    );
    let late = sandbox.work().await.join("late");
    eventually("it goes on, and its output has somewhere to go", Duration::from_secs(60), || late.exists()).await;
    // All that was printed before the exit is told, however much it is.
    let events = sandbox.run("sleep 5 & head -c 60000 /dev/zero | tr '\\0' y").await;
    assert_eq!(text(&events, "stdout").len(), 60_000);
}

#[tokio::test]
async fn the_output_of_the_background_is_read_on_from_a_cursor() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    // Both outputs together, in their order.
    let id = sandbox.start("echo a; echo b >&2; printf c").await;
    let logs = async |query: &str| {
        let response = sandbox.get(&format!("/command/{id}/logs{query}")).await;
        assert_eq!((response.status(), response.head.field("content-type")), (200, "text/plain; charset=utf-8"));
        (
            String::from_utf8(response.body.to_vec()).unwrap(),
            response.head.field("execd-commands-tail-cursor").to_owned(),
        )
    };
    sandbox.ended(&id).await;
    assert_eq!(logs("").await, ("a\nb\nc".to_owned(), "2".to_owned()));
    assert_eq!(logs("?cursor=0").await, ("b\nc".to_owned(), "2".to_owned()));
    assert_eq!(logs("?cursor=2").await, (String::new(), "2".to_owned()));
    assert_eq!(logs("?cursor=99").await, (String::new(), "2".to_owned()));
    // A page of this machine can read on too.
    let path = format!("{}/command/{id}/logs", sandbox.base);
    let page = "Origin: http://localhost:3000";
    let seen = request(gateway.address(), "GET", &path, &[&sandbox.lines(), page], "").await;
    assert_eq!(
        seen.head.field("access-control-expose-headers"),
        "OPEN-SANDBOX-ORIGIN, EXECD-COMMANDS-TAIL-CURSOR, EXECD-COMMANDS-LOST-LINES"
    );
    let seen = request(gateway.address(), "GET", "/v1/sandboxes", &[KEY, page], "").await;
    assert_eq!(seen.head.field("access-control-expose-headers"), "OPEN-SANDBOX-ORIGIN");
    let silent = sandbox.start("sleep 1000").await;
    let nothing = sandbox.get(&format!("/command/{silent}/logs")).await;
    assert_eq!((nothing.status(), nothing.head.field("execd-commands-tail-cursor"), nothing.body.len()), (200, "", 0));
    for cursor in ["x", "-1", "1.5", "", "99999999999999999999"] {
        assert_eq!(sandbox.get(&format!("/command/{id}/logs?cursor={cursor}")).await.status(), 400, "{cursor}");
    }
    assert_eq!(sandbox.get("/command/nobody/logs").await.status(), 404);
    assert_eq!(sandbox.get("/command/status/nobody").await.status(), 404);
    let foreground = sandbox.run("echo x").await[0]["text"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.get(&format!("/command/{foreground}/logs")).await.status(), 400);
    let failed = sandbox.start("echo why >&2; exit 4").await;
    assert_eq!(sandbox.ended(&failed).await["exit_code"], 4);
}

#[tokio::test]
async fn a_session_remembers_what_its_shell_did() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let session = sandbox.ask("POST", "/session", "").await.json()["session_id"].as_str().unwrap().to_owned();
    let run = async |body: Value| {
        let response = sandbox.post(&format!("/session/{session}/run"), body).await;
        assert_eq!(response.status(), 200, "{response}");
        let events = events(&response.body);
        (text(&events, "stdout"), events.last().unwrap()["error"]["evalue"].as_str().map(str::to_owned))
    };
    let line = async |line: &str| run(json!({"command": line})).await;
    assert_eq!(
        line("mkdir -p a/b; cd a; X='it'\\''s @LINE@ {x}'; export Y=2; f() { echo f-$1; }; arr=(1 '2 3')").await,
        (String::new(), None)
    );
    assert_eq!(
        line("echo $X; sh -c 'echo $Y $X'; f 3; echo ${#arr[@]} \"${arr[1]}\"; basename $PWD").await.0,
        "it's @LINE@ {x}\n2\nf-3\n2 2 3\na\n"
    );
    // A line that fails or exits does not end the session, and what it did before counts.
    assert_eq!(line("Z=kept; exit 7").await, (String::new(), Some("7".to_owned())));
    assert_eq!(line("false").await.1.as_deref(), Some("1"));
    assert_eq!(line("trap 'echo bye' EXIT; W=trapped").await.0, "bye\n");
    assert_eq!(line("echo $Z $W; cd b; cd - >/dev/null; cd -").await.0.lines().next(), Some("kept trapped"));
    assert!(line("pwd").await.0.ends_with("/a/b\n"));
    // A directory for one line alone.
    assert_eq!(run(json!({"command": "pwd; V=1", "cwd": "/usr"})).await.0, "/usr\n");
    assert!(line("pwd").await.0.ends_with("/a/b\n"));
    assert_eq!(run(json!({"command": "cd /tmp", "cwd": "/usr"})).await.1, None);
    assert_eq!(line("pwd; echo $V").await.0, "/tmp\n1\n");
    // What was killed changes nothing.
    assert_eq!(run(json!({"command": "X=lost; sleep 1000", "timeout": 200})).await.1.as_deref(), Some("137"));
    assert_eq!(line("set -u -o pipefail; echo $X").await.0, "it's @LINE@ {x}\n");
    let (printed, code) = line("false | true; echo $?; echo $UNSET").await;
    assert!(printed == "1\n" && code.is_some(), "{printed} {code:?}");
    assert_eq!(line("echo 'unbalanced").await.0, "");
    assert_eq!(line("set -e; false; echo never").await, (String::new(), Some("1".to_owned())));
    assert_eq!(line("set +e; false; echo on").await.0, "on\n");
    let deleted = sandbox.ask("DELETE", &format!("/session/{session}"), "").await;
    assert_eq!(deleted.status(), 200);
    for (method, path) in [("DELETE", format!("/session/{session}")), ("POST", format!("/session/{session}/run"))] {
        assert_eq!(sandbox.ask(method, &path, r#"{"command":"true"}"#).await.status(), 404, "{method}");
    }
}

/// Where there is no bash, any shell does, for what it can write down.
#[tokio::test]
async fn a_session_of_another_shell_remembers_variables_and_the_directory() {
    let gateway = gateway();
    let programs = tempfile::tempdir().unwrap();
    for program in ["sh", "mv", "cat", "tail", "mkdir", "sleep", "basename", "false"] {
        let path = ["/usr/bin", "/bin"].map(|place| std::path::Path::new(place).join(program));
        let path = path.into_iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(path, programs.path().join(program)).unwrap();
    }
    let sandbox = Sandbox::with(&gateway, json!({"PATH": programs.path()})).await;
    let session = sandbox.ask("POST", "/session", "").await.json()["session_id"].as_str().unwrap().to_owned();
    let run = async |body: Value| {
        let events = events(&sandbox.post(&format!("/session/{session}/run"), body).await.body);
        (text(&events, "stdout"), events.last().unwrap()["error"]["evalue"].as_str().map(str::to_owned))
    };
    let line = async |line: &str| run(json!({"command": line})).await;
    assert_eq!(line("command -v bash").await.0, "");
    assert_eq!(line("mkdir -p a/b; cd a; X=\"it's \\\"x\\\"\"; export Y='2  3'").await, (String::new(), None));
    assert_eq!(
        line("echo $X; sh -c 'echo \"$Y\"'; basename \"$PWD\"; exit 6").await,
        ("it's \"x\"\n2  3\na\n".to_owned(), Some("6".to_owned()))
    );
    assert_eq!(line("Z=1; false").await.1.as_deref(), Some("1"));
    assert_eq!(run(json!({"command": "echo $Z; pwd", "cwd": "/usr"})).await.0, "1\n/usr\n");
    assert!(line("pwd").await.0.ends_with("/a\n"));
}

#[tokio::test]
async fn a_sessions_lines_wait_for_each_other_and_its_end_for_none() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let body = json!({"cwd": "/usr"});
    let session = sandbox.post("/session", body).await.json()["session_id"].as_str().unwrap().to_owned();
    let (path, work) = (format!("/session/{session}/run"), sandbox.work().await);
    let run = async |line: String| sandbox.post(&path, json!({"command": line})).await;
    // The line that says that another has begun.
    let begins = |name: &str| format!("touch {}", work.join(name).display());
    let begun = async |name: &str| eventually(name, Duration::from_secs(10), || work.join(name).exists()).await;
    let (first, second) = tokio::join!(run(format!("{}; sleep 0.3; N=1", begins("first"))), async {
        begun("first").await;
        run("pwd; echo $N".to_owned()).await
    });
    assert_eq!((first.status(), text(&events(&second.body), "stdout").as_str()), (200, "/usr\n1\n"));
    let (running, deleted) = tokio::join!(run(format!("{}; sleep 1000", begins("last"))), async {
        begun("last").await;
        sandbox.ask("DELETE", &format!("/session/{session}"), "").await
    });
    assert_eq!(deleted.status(), 200);
    assert_eq!(events(&running.body).last().unwrap()["type"], "error");
    for cwd in ["/nowhere", "/etc/passwd", "$NOTHING"] {
        assert_eq!(sandbox.post("/session", json!({"cwd": cwd})).await.status(), 400, "{cwd}");
    }
}

/// What is made piece by piece comes by the other protocol too, and a stream that is reset ends its command.
#[tokio::test]
async fn http_2_makes_no_difference() {
    use crate::support::h2::H2;
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let bytes = "0123456789\n".repeat(50_000);
    fs::write(sandbox.work().await.join("file"), &bytes).unwrap();
    let connection = H2::connect(gateway.address(), 65_535).await;
    let token = ("x-execd-access-token", &*sandbox.token);
    let mut stream = connection.get_with(&format!("{}/files/download?path=file", sandbox.base), &[token]).await;
    assert_eq!(stream.head.headers["content-length"], bytes.len().to_string());
    assert!(stream.body().await.unwrap() == bytes.as_bytes());
    let mut stream = connection.get_with(&format!("{}/metrics/watch", sandbox.base), &[token]).await;
    assert!(!stream.piece().await.unwrap().unwrap().is_empty());
    let request = http::Request::post(format!("http://localhost{}/command", sandbox.base)).header(token.0, token.1);
    let (answer, mut body) = connection.ready().await.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(r#"{"command": "sleep 1000 & echo $!; wait"}"#.into(), true).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    let mut seen = Vec::new();
    while events_of(&seen).len() < 2 {
        seen.extend_from_slice(&answer.data().await.unwrap().unwrap());
    }
    let seen = events_of(&seen);
    drop((answer, body));
    assert_eq!(sandbox.ended(seen[0]["text"].as_str().unwrap()).await["exit_code"], 137);
    dies(text(&seen, "stdout").trim()).await;
}

/// The events that have come whole.
fn events_of(seen: &[u8]) -> Vec<Value> {
    let whole = seen.windows(2).rposition(|two| two == b"\n\n").map_or(0, |at| at + 2);
    events(&seen[..whole])
}

#[tokio::test]
async fn the_machines_load_is_told_once_and_each_second() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let is_load = |load: &Value| {
        let number = |name: &str| load[name].as_f64().unwrap_or_else(|| panic!("{name}: {load}"));
        assert!(number("cpu_count") >= 1.0 && (0.0..=100.0).contains(&number("cpu_used_pct")));
        assert!(number("mem_total_mib") > number("mem_used_mib") && number("mem_used_mib") > 0.0);
        assert!((jiff::Timestamp::now().as_millisecond() - load["timestamp"].as_i64().unwrap()).abs() < 60_000);
    };
    is_load(&sandbox.get("/metrics").await.json());
    let mut client = Client::connect(gateway.address()).await;
    client.send_get(&format!("{}/metrics/watch", sandbox.base), &[&sandbox.lines()]).await;
    let head = client.head().await;
    assert_eq!(head.field("content-type"), "text/event-stream");
    for _ in 0..2 {
        is_load(&next_events(&mut client).await[0]);
    }
}
