//! What is bounded, and who gives way.

use super::*;

/// As a program on a dead file server does: whoever opens a file under a lease waits for its holder.
#[tokio::test]
async fn a_program_that_hangs_at_its_start_holds_up_nobody_else() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let lease = "cp /bin/sleep leased && exec perl -e '$SIG{IO} = \"IGNORE\"; open(my $f, \"<\", \"leased\") or die; \
                 fcntl($f, 1024, 1) or die \"lease: $!\"; open(my $r, \">\", \"ready\"); sleep 1000'";
    let holder = sandbox.start(lease).await;
    let ready = sandbox.work().await.join("ready");
    eventually("the lease is held", Duration::from_secs(10), || ready.exists()).await;
    let body = json!({"argv": ["./leased", "1000"], "background": true}).to_string();
    let mut client = Client::connect(gateway.address()).await;
    let head =
        format!("POST {}/command HTTP/1.1\r\nHost: localhost\r\n{}\r\n{JSON}\r\n", sandbox.base, sandbox.lines());
    client.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
    lease_is_waited_for(&ready.with_file_name("leased")).await;
    for _ in 0..8 {
        let answered = tokio::time::timeout(Duration::from_secs(20), sandbox.get("/ping")).await;
        assert_eq!(answered.expect("the API waits for the program").status(), 200);
    }
    // Paused meanwhile, it stops as soon as it is there, and goes on with the sandbox.
    let change = async |what: &str| {
        let path = format!("/v1/sandboxes/{}/{what}", sandbox.id);
        assert_eq!(request(gateway.address(), "POST", &path, &[KEY], "").await.status(), 202);
    };
    change("pause").await;
    change("resume").await;
    sandbox.ask("DELETE", &format!("/command?id={holder}"), "").await;
    assert_eq!(tokio::time::timeout(Duration::from_secs(30), client.head()).await.unwrap().status, 200);
}

/// What happens to the sandbox while a program starts happens to the program too.
#[tokio::test]
async fn a_program_that_starts_while_its_sandbox_is_paused_stands_still() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let mut program = Hanging::new("while :; do date +%s%N > ticks; sleep 0.01; done");
    let ticks = sandbox.work().await.join("ticks");
    let mut client = program.start(&sandbox).await;
    let start = std::time::Instant::now();
    assert_eq!(sandbox.lifecycle("POST", "/pause").await.status(), 202);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(!program.runs());
    program.release();
    assert_eq!(client.head().await.status, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = fs::read(&ticks).unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(program.runs() && fs::read(&ticks).unwrap_or_default() == before, "it runs in a paused sandbox");
    assert_eq!(sandbox.lifecycle("POST", "/resume").await.status(), 202);
    eventually("it goes on", Duration::from_secs(5), || fs::read(&ticks).unwrap_or_default() != before).await;
}

/// The kernel would let the program start after 45 s.
#[tokio::test]
async fn a_sandbox_whose_program_hangs_at_its_start_is_removed_all_the_same() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let mut program = Hanging::new("sleep 1000");
    let mut client = program.start(&sandbox).await;
    let start = std::time::Instant::now();
    assert_eq!(sandbox.lifecycle("DELETE", "").await.status(), 204);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(!program.runs());
    program.release();
    assert_eq!(client.head().await.status, 409);
    eventually("it does not outlive its sandbox", Duration::from_secs(5), || !program.runs()).await;
}

#[tokio::test]
async fn what_a_forgotten_command_left_behind_is_paused_too() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    sandbox.run("(while :; do date +%s%N > ticks; sleep 0.01; done) >/dev/null 2>&1 &").await;
    for _ in 0..101 {
        sandbox.run("true").await;
    }
    let ticks = sandbox.work().await.join("ticks");
    eventually("it runs", Duration::from_secs(5), || ticks.exists()).await;
    assert_eq!(sandbox.lifecycle("POST", "/pause").await.status(), 202);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = fs::read(&ticks).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::read(&ticks).unwrap(), before);
}

/// Nobody can end it by its group, but it holds a pipe of the gateway's.
#[tokio::test]
async fn what_has_left_its_group_counts_as_long_as_it_holds_the_output() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let (mut ids, mut pids) = (Vec::new(), Vec::new());
    for _ in 0..64 {
        let events = sandbox.run("setsid sleep 60 & echo $!").await;
        ids.push(events[0]["text"].as_str().unwrap().to_owned());
        pids.push(text(&events, "stdout").trim().to_owned());
    }
    let refused = sandbox.post("/command", json!({"command": "true"})).await;
    assert_eq!((refused.status(), &*refused.code()), (429, "EXECD::LIMIT_REACHED"), "{refused}");
    // Whoever interrupts the command lets go of the pipe, and the program goes on without.
    assert_eq!(sandbox.ask("DELETE", &format!("/command?id={}", ids[0]), "").await.status(), 200);
    assert_eq!(sandbox.output("echo there is room").await, "there is room\n");
    assert!(lives(&pids[0]));
    for pid in &pids {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    assert_eq!(sandbox.output("echo there is more").await, "there is more\n");
}

#[tokio::test]
async fn so_many_commands_may_run_and_be_remembered() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let mut ids = Vec::new();
    for _ in 0..63 {
        ids.push(sandbox.start("sleep 1000").await);
    }
    // What was left behind counts as well.
    let pid = sandbox.output("sleep 1000 >/dev/null 2>&1 & echo $!").await;
    for background in [true, false] {
        let refused = sandbox.post("/command", json!({"command": "true", "background": background})).await;
        assert_eq!((refused.status(), &*refused.code()), (429, "EXECD::LIMIT_REACHED"), "{refused}");
    }
    assert_eq!(sandbox.get("/files/info?path=/tmp").await.status(), 200);
    sandbox.ask("DELETE", &format!("/command?id={}", ids[0]), "").await;
    sandbox.ended(&ids[0]).await;
    assert_eq!(sandbox.output("echo there is room").await, "there is room\n");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    // Room for one more: a command's place is free a moment after its output has ended.
    sandbox.ask("DELETE", &format!("/command?id={}", ids[1]), "").await;
    sandbox.ended(&ids[1]).await;
    let first = sandbox.run("true").await[0]["text"].as_str().unwrap().to_owned();
    for _ in 0..100 {
        sandbox.run("true").await;
    }
    let forgotten = async {
        // Nothing must be left of the last one.
        while sandbox.get(&format!("/command/status/{first}")).await.status() != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    bounded("the oldest is forgotten", forgotten).await;
    assert_eq!(sandbox.status(&ids[5]).await["running"], true, "one that runs is not");
}

#[tokio::test]
async fn so_many_sessions_and_paths_may_be() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let asked = futures_util::future::join_all((0..40).map(|_| sandbox.post("/session", json!({})))).await;
    let statuses = |status| asked.iter().filter(|answer| answer.status() == status).count();
    assert_eq!((statuses(200), statuses(429)), (32, 8));
    assert_eq!(sandbox.post("/session", json!({})).await.status(), 429);
    let kept = sandbox.work().await.parent().unwrap().join("sessions");
    assert_eq!(fs::read_dir(kept).unwrap().count(), 32, "nothing is left of those that were refused");
    let many: serde_json::Map<String, Value> = (0..1001).map(|n| (n.to_string(), json!({}))).collect();
    assert_eq!(sandbox.post("/directories", many.into()).await.status(), 400);
    let long = json!({"command": "x".repeat(2 << 20)}).to_string();
    assert_eq!(sandbox.ask("POST", "/command", &long).await.status(), 413);
}

/// It stops its command at its pipe, and costs the gateway nothing more.
#[tokio::test]
async fn a_client_that_takes_nothing_costs_no_memory() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let before = gateway.resident();
    let mut slow = Vec::new();
    for _ in 0..10 {
        slow.push(sandbox.begin("yes").await);
        slow.push(sandbox.begin("yes ''").await);
    }
    gateway.rests().await;
    assert!(gateway.resident() < before + (100 << 20), "{} MiB", (gateway.resident() - before) >> 20);
    assert_eq!(sandbox.get("/ping").await.status(), 200);
    // Time is over for them all the same.
    let body = json!({"command": "echo $$ > pid; exec yes", "timeout": 300}).to_string();
    let mut client = Client::connect(gateway.address()).await;
    let head =
        format!("POST {}/command HTTP/1.1\r\nHost: localhost\r\n{}\r\n{JSON}\r\n", sandbox.base, sandbox.lines());
    client.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
    let file = sandbox.work().await.join("pid");
    eventually("it runs", Duration::from_secs(5), || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')))
        .await;
    dies(fs::read_to_string(&file).unwrap().trim()).await;
}

/// The deadline of all answers holds for these too, and what was made for nobody ends.
#[tokio::test]
async fn a_client_that_takes_nothing_for_long_is_cut_off_and_its_command_ends() {
    let stall = "[logs]\nwrite_stall_timeout_seconds = 1\n";
    let gateway = Setup::process().api_key("the-key").section(stall).start();
    let sandbox = Sandbox::create(&gateway).await;
    let (id, _client) = sandbox.begin("echo $$ > pid; exec yes").await;
    let file = sandbox.work().await.join("pid");
    eventually("it runs", Duration::from_secs(5), || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')))
        .await;
    dies(fs::read_to_string(&file).unwrap().trim()).await;
    assert_eq!(sandbox.ended(&id).await["exit_code"], 137);
    let line =
        || gateway.output().lines().any(|line| line.contains("/command HTTP/1.1") && line.contains("end=slow_client"));
    eventually("the access log says so", Duration::from_secs(5), line).await;
}

#[tokio::test]
async fn the_background_keeps_the_last_of_its_output() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let before = gateway.resident();
    let id = sandbox.start("seq 3000000").await;
    sandbox.ended(&id).await;
    assert!(gateway.resident() < before + (32 << 20));
    let kept = sandbox.get(&format!("/command/{id}/logs?cursor=10")).await;
    let text = String::from_utf8(kept.body.to_vec()).unwrap();
    assert!(text.ends_with("\n3000000\n") && text.len() <= 1 << 20);
    assert_eq!(kept.head.field("execd-commands-tail-cursor"), "2999999");
    let lost: usize = kept.head.field("execd-commands-lost-lines").parse().unwrap();
    assert_eq!(lost + text.lines().count(), 3_000_000 - 11);
}

#[tokio::test]
async fn of_much_output_less_is_remembered() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(sandbox.start("head -c 2000000 /dev/zero").await);
        sandbox.ended(ids.last().unwrap()).await;
    }
    let logs = async |id: &str| sandbox.get(&format!("/command/{id}/logs")).await;
    let kept = logs(&ids[39]).await;
    assert!(kept.status() == 200 && kept.body.len() > 900_000, "{}", kept.body.len());
    assert_eq!((logs(&ids[0]).await.status(), logs(&ids[20]).await.status()), (404, 200));
}

/// A drain does not wait for a command: it ends, and its client is told.
#[tokio::test]
async fn streams_end_when_the_gateway_ends() {
    let mut gateway = gateway();
    let (mut command, mut watch) = {
        let sandbox = Sandbox::create(&gateway).await;
        let (_, command) = sandbox.begin("sleep 1000").await;
        let mut watch = Client::connect(gateway.address()).await;
        watch.send_get(&format!("{}/metrics/watch", sandbox.base), &[&sandbox.lines()]).await;
        watch.head().await;
        (command, watch)
    };
    let start = std::time::Instant::now();
    gateway.terminate();
    let events = events(&command.body().await.expect("a proper end"));
    assert_eq!(events.last().unwrap()["type"], "error");
    watch.body().await.expect("a proper end");
    gateway.wait(Duration::from_secs(10));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}
