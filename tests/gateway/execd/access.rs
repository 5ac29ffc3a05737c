//! Who may call, and where.

use super::*;
use crate::support::client::get_once;

#[tokio::test]
async fn the_endpoint_of_execds_port_is_the_gateway_and_tells_a_token() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let other = Sandbox::create(&gateway).await;
    assert!(sandbox.token.len() >= 32 && sandbox.token != other.token, "{}", sandbox.token);
    for (query, mount) in [("", "/v1"), ("?use_server_proxy=true", "/v1"), ("", "")] {
        let path = format!("{mount}/sandboxes/{}/endpoints/44772{query}", sandbox.id);
        let told = request(gateway.address(), "GET", &path, &[KEY], "").await.json();
        let expected = format!("localhost{mount}/sandboxes/{}/proxy/44772", sandbox.id);
        assert_eq!(
            (told["endpoint"].as_str(), told["headers"]["X-EXECD-ACCESS-TOKEN"].as_str()),
            (Some(&*expected), Some(&*sandbox.token))
        );
    }
    // Other ports are the machine's own.
    let told =
        request(gateway.address(), "GET", &format!("/v1/sandboxes/{}/endpoints/8000", sandbox.id), &[KEY], "").await;
    assert_eq!(told.json(), json!({"endpoint": "127.0.0.1:8000"}));
    assert_eq!(sandbox.get("/ping").await.status(), 200);
    assert_eq!(sandbox.ask("HEAD", "/ping", "").await.status(), 200);
}

#[tokio::test]
async fn nobody_runs_anything_without_the_token() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let other = Sandbox::create(&gateway).await;
    let others = other.lines();
    let body = json!({"command": "touch hacked"}).to_string();
    for lines in [&[][..], &["X-EXECD-ACCESS-TOKEN:"], &[&others], &[KEY], &["Origin: http://localhost:3000"]] {
        let lines: Vec<&str> = lines.iter().copied().chain([JSON]).collect();
        for mount in ["/v1", ""] {
            for (method, path, body) in [
                ("GET", "/ping", ""),
                ("POST", "/command", &*body),
                ("GET", "/files/download?path=/etc/passwd", ""),
                ("GET", "/nothing", ""),
                ("OPTIONS", "/command", ""),
            ] {
                let target = format!("{mount}/sandboxes/{}/proxy/44772{path}", sandbox.id);
                let refused = request(gateway.address(), method, &target, &lines, body).await;
                assert_eq!(
                    (refused.status(), &*refused.code()),
                    (401, "EXECD::UNAUTHORIZED"),
                    "{method} {path} {refused}"
                );
            }
        }
    }
    assert!(!sandbox.work().await.join("hacked").exists());
    assert!(!gateway.output().contains(&sandbox.token), "the token is in the log");
}

/// Whatever way the port is written: what is answered here is never looked for on the machine's own port of that number.
#[tokio::test]
async fn every_spelling_of_the_port_asks_for_the_token() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    for port in ["44772", "044772", "%34%34772", "+44772", "44772.0", "4_4772"] {
        let target = format!("/v1/sandboxes/{}/proxy/{port}/ping", sandbox.id);
        let refused = request(gateway.address(), "GET", &target, &[], "").await;
        assert!([400, 401, 404, 422].contains(&refused.status()), "{port} {refused}");
        let answered = request(gateway.address(), "GET", &target, &[KEY, &sandbox.lines()], "").await;
        assert!([200, 400, 404, 422].contains(&answered.status()), "{port} {answered}");
    }
}

/// Also with the token, which a page cannot know: what the process runtime answers it answers to this machine alone.
#[tokio::test]
async fn foreign_pages_and_names_reach_no_execd() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    for line in ["Origin: https://evil.example", "Origin: null", "Host: evil.example"] {
        let mut client = Client::connect(gateway.address()).await;
        let host = if line.starts_with("Host") { "" } else { "Host: localhost\r\n" };
        client.send(format!("GET {}/ping HTTP/1.1\r\n{host}{line}\r\n{}\r\n\r\n", sandbox.base, sandbox.lines())).await;
        assert_eq!(client.head().await.status, 403, "{line}");
    }
    let page = request(
        gateway.address(),
        "GET",
        &format!("{}/ping", sandbox.base),
        &[&sandbox.lines(), "Origin: http://localhost:3000"],
        "",
    )
    .await;
    assert_eq!((page.status(), page.head.field("access-control-allow-origin")), (200, "http://localhost:3000"));
}

#[tokio::test]
async fn without_a_key_there_is_no_token() {
    let gateway = Setup::process().start();
    let body = json!({"image": {"uri": "any"}, "resourceLimits": {}, "entrypoint": ["sleep", "1000"]}).to_string();
    let id = request(gateway.address(), "POST", "/v1/sandboxes", &[JSON], &body).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = get_once(gateway.address(), &format!("/v1/sandboxes/{id}/endpoints/44772")).await.json();
    assert_eq!(told, json!({"endpoint": format!("localhost/v1/sandboxes/{id}/proxy/44772")}));
    assert_eq!(get_once(gateway.address(), &format!("/v1/sandboxes/{id}/proxy/44772/ping")).await.status(), 200);
}

/// Nobody needs to start the gateway again for the first key, and no sandbox is left open by that.
#[tokio::test]
async fn with_the_first_key_every_sandbox_has_a_token() {
    let gateway = Setup::process().server("api_keys = []").start();
    let body = json!({"image": {"uri": "any"}, "resourceLimits": {}, "entrypoint": ["sleep", "1000"]}).to_string();
    let created = request(gateway.address(), "POST", "/v1/sandboxes", &[JSON], &body).await.json();
    let id = created["id"].as_str().unwrap();
    let ping = format!("/v1/sandboxes/{id}/proxy/44772/ping");
    assert_eq!(get_once(gateway.address(), &ping).await.status(), 200);
    let path = gateway.home().join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("api_keys = []", "api_keys = ['the-key']")).unwrap();
    gateway.signal("HUP");
    let says = || gateway.output().contains("the API key is api_keys[0]");
    eventually("the key is valid", Duration::from_secs(10), says).await;
    let path = format!("/v1/sandboxes/{id}/proxy/44772/command");
    let refused =
        request(gateway.address(), "POST", &path, &[JSON], &json!({"command": "touch hacked"}).to_string()).await;
    assert_eq!((refused.status(), &*refused.code()), (401, "EXECD::UNAUTHORIZED"), "{refused}");
    let path = format!("/v1/sandboxes/{id}/endpoints/44772");
    let told = request(gateway.address(), "GET", &path, &[KEY], "").await.json();
    let token = format!("X-EXECD-ACCESS-TOKEN: {}", told["headers"]["X-EXECD-ACCESS-TOKEN"].as_str().unwrap());
    assert_eq!(request(gateway.address(), "GET", &ping, &[&token], "").await.status(), 200);
}

#[tokio::test]
async fn what_there_is_not_is_said_so() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/", 404),
        ("GET", "", 404),
        ("PUT", "/command", 405),
        ("POST", "/ping", 405),
        ("POST", "/code", 501),
        ("DELETE", "/code?id=x", 501),
        ("POST", "/code/context", 501),
        ("GET", "/code/contexts?language=python", 501),
        ("POST", "/v1/isolated/session", 501),
        ("GET", "/v1/filesystem/12345/12345/files/info?path=/tmp", 501),
        ("GET", "/v1/isolated/capabilities", 200),
    ] {
        let response = sandbox.ask(method, path, "").await;
        assert_eq!(response.status(), status, "{method} {path} {response}");
        if status != 200 {
            assert!(response.json()["code"].is_string() && response.json()["message"].is_string(), "{response}");
        }
    }
    assert_eq!(sandbox.ask("PUT", "/command", "").await.head.field("allow"), "DELETE, POST");
    assert!(sandbox.ask("POST", "/code", "").await.json()["message"].as_str().unwrap().contains("Code contexts"));
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert_eq!(sandbox.get(&format!("/v1/filesystem/{uid}/{gid}/files/info?path=/tmp")).await.status(), 200);
    let gone = sandbox.base.replace(&sandbox.id, "nobody");
    assert_eq!(request(gateway.address(), "GET", &format!("{gone}/ping"), &[&sandbox.lines()], "").await.status(), 404);
}

#[tokio::test]
async fn a_sandbox_that_is_paused_or_has_ended_runs_nothing() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let id = sandbox.start("while :; do date +%s%N > ticks; sleep 0.01; done").await;
    let ticks = sandbox.work().await.join("ticks");
    eventually("the command runs", Duration::from_secs(5), || ticks.exists()).await;
    assert_eq!(sandbox.lifecycle("POST", "/pause").await.status(), 202);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = fs::read(&ticks).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::read(&ticks).unwrap(), before, "the command is paused too");
    assert_eq!(sandbox.get("/ping").await.status(), 409);
    assert_eq!(sandbox.post("/command", json!({"command": "true"})).await.code(), "DOCKER::SANDBOX_NOT_RUNNING");
    assert_eq!(sandbox.lifecycle("POST", "/resume").await.status(), 202);
    eventually("the command goes on", Duration::from_secs(5), || fs::read(&ticks).unwrap_or_default() != before).await;
    assert_eq!(sandbox.status(&id).await["running"], true);
    // As in a container, nothing outlives the main process.
    let pid = sandbox.output("echo $PPID; pgrep -f 'tail -f /dev/null' | head -1").await;
    assert!(!pid.is_empty());
    sandbox.run(&format!("for p in /proc/[0-9]*; do grep -qz 'OPENSANDBOX_ID={}' $p/environ && grep -qz tail $p/cmdline && kill ${{p#/proc/}}; done 2>/dev/null; sleep 5", sandbox.id)).await;
    // Its end is noticed a moment later on a busy machine.
    let ended = async {
        while sandbox.get("/ping").await.status() != 409 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    bounded("its end", ended).await;
    let before = fs::read(&ticks).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::read(&ticks).unwrap(), before, "the command has ended with the sandbox");
}

#[tokio::test]
async fn commands_end_with_their_sandbox_and_with_the_gateway() {
    let mut gateway = gateway();
    let (deleted, left) = {
        let (first, second) = (Sandbox::create(&gateway).await, Sandbox::create(&gateway).await);
        let mut pids = Vec::new();
        for sandbox in [&first, &second] {
            sandbox.start("sleep 1000 & echo $! > pid; echo $$ >> pid; wait").await;
            let file = sandbox.work().await.join("pid");
            eventually("both run", Duration::from_secs(5), || {
                fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 2)
            })
            .await;
            // What a command that has exited left behind is the sandbox's too.
            let left = sandbox.output("sleep 1000 >/dev/null 2>&1 & echo $!").await;
            pids.push(fs::read_to_string(&file).unwrap() + &left);
        }
        assert_eq!(first.lifecycle("DELETE", "").await.status(), 204);
        let second = pids.pop().unwrap();
        (pids.pop().unwrap(), second)
    };
    // A process that was killed ends when it is its turn.
    eventually("none outlives its sandbox", Duration::from_secs(5), || !deleted.lines().any(lives)).await;
    assert!(left.lines().count() == 3 && left.lines().all(lives), "{left}");
    gateway.terminate();
    gateway.wait(Duration::from_secs(10));
    for pid in left.lines() {
        assert!(!lives(pid), "{pid} outlives the gateway");
    }
}

/// A gateway that is killed leaves its commands behind; the next one ends them.
#[tokio::test]
async fn the_next_gateway_ends_what_a_killed_one_left() {
    let home = tempfile::tempdir().unwrap();
    let setup = || Setup::process().api_key("the-key").env("TMPDIR", home.path().to_str().unwrap());
    let gateway = setup().start();
    let sandbox = Sandbox::create(&gateway).await;
    sandbox.start("echo $$ > pid; exec sleep 1000").await;
    let file = sandbox.work().await.join("pid");
    eventually("it runs", Duration::from_secs(5), || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')))
        .await;
    let pid = fs::read_to_string(&file).unwrap().trim().to_owned();
    drop(gateway);
    assert!(lives(&pid));
    let _next = setup().start();
    dies(&pid).await;
}
