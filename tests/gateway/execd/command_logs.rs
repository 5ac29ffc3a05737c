//! `command=<id>` of a log request: what a command in the background prints, as a log.

use super::*;

impl Sandbox<'_> {
    fn log_of(&self, command: &str, query: &str) -> String {
        format!("/v1/sandboxes/{}/logs?command={command}{query}", self.id)
    }

    async fn log(&self, command: &str, query: &str) -> Response {
        request(self.gateway.address(), "GET", &self.log_of(command, query), &[KEY], "").await
    }

    async fn records(&self, command: &str, query: &str) -> Vec<Value> {
        let response = self.log(command, &format!("&format=ndjson{query}")).await;
        assert_eq!(response.status(), 200, "{response}");
        let text = String::from_utf8(response.body.to_vec()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Prints a line a step, from 1 to 5, and ends with 3.
const STEPS: &str = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; echo oops >&2; exit 3";

#[tokio::test]
async fn a_command_in_the_background_is_followed_to_its_exit_code() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let id = sandbox.start(STEPS).await;
    let records = sandbox.records(&id, "&follow=true").await;
    let (end, lines) = records.split_last().unwrap();
    let text: String = lines.iter().map(|line| line["log"].as_str().unwrap()).collect();
    assert_eq!(text, "line 1\nline 2\nline 3\nline 4\nline 5\noops\n");
    assert!(lines.iter().all(|line| line["time_source"] == "gateway" && line["stream"] == "stdout"), "{lines:?}");
    assert_eq!(
        (&end["event"], &end["reason"], &end["exit_code"]),
        (&json!("end"), &json!("exited"), &json!(3)),
        "{end}"
    );
    assert!(end["finished_at"].is_string(), "{end}");
    // Whoever comes back gets exactly the rest, and behind the end nothing.
    for (at, line) in lines.iter().enumerate() {
        let again = sandbox.records(&id, &format!("&after={}", line["id"].as_str().unwrap())).await;
        let logs = |lines: &[Value]| lines.iter().map(|line| line["log"].clone()).collect::<Vec<_>>();
        assert_eq!(logs(&again[..again.len() - 1]), logs(&lines[at + 1..]), "{at}");
    }
    let gone = sandbox.log(&id, &format!("&format=sse&after={}", end["id"].as_str().unwrap())).await;
    assert_eq!((gone.status(), gone.body.len()), (204, 0), "{gone}");
    // As text, and chosen.
    let text = |response: Response| String::from_utf8(response.body.to_vec()).unwrap();
    assert_eq!(text(sandbox.log(&id, "&tail=2").await), "line 5\noops\n");
    assert_eq!(text(sandbox.log(&id, "&search=line&tail=1").await), "line 5\n");
    assert_eq!(text(sandbox.log(&id, "&grep=%5Eline&grep=%5B24%5D").await), "line 2\nline 4\n");
}

#[tokio::test]
async fn lines_come_as_they_are_printed_and_what_is_not_followed_ends() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let id = sandbox.start("echo first; sleep 30").await;
    let mut client = Client::connect(gateway.address()).await;
    client.send_get(&sandbox.log_of(&id, "&follow=true"), &[KEY]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.piece().await.unwrap().unwrap(), "first\n");
    assert!(client.is_silent_for(Duration::from_millis(300)).await);
    let records = sandbox.records(&id, "").await;
    assert_eq!((&records[0]["log"], &records[1]["reason"]), (&json!("first\n"), &json!("complete")), "{records:?}");
    // The token of an end that was none goes on.
    let again = sandbox.records(&id, &format!("&after={}", records[1]["id"].as_str().unwrap())).await;
    assert_eq!(again[0]["reason"], "complete", "{again:?}");
}

#[tokio::test]
async fn who_comes_back_to_a_sandbox_that_is_gone_is_told_so() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let id = sandbox.start("echo first; exec sleep 100").await;
    let mut client = Client::connect(gateway.address()).await;
    client.send_get(&sandbox.log_of(&id, "&follow=true&format=ndjson"), &[KEY]).await;
    assert_eq!(client.head().await.status, 200);
    assert!(client.piece().await.unwrap().is_some());
    let begun = sandbox.records(&id, "").await;
    let path = format!("/v1/sandboxes/{}", sandbox.id);
    assert_eq!(request(gateway.address(), "DELETE", &path, &[KEY], "").await.status(), 204);
    // The processes of a local sandbox are killed one by one, and the end of this one is seen.
    let body = String::from_utf8(client.body().await.unwrap().to_vec()).unwrap();
    let end: Value = serde_json::from_str(body.lines().last().unwrap()).unwrap();
    assert_eq!((&end["reason"], &end["exit_code"]), (&json!("exited"), &json!(137)), "{body}");
    let after = |record: &Value| format!("&after={}", record["id"].as_str().unwrap());
    let records = sandbox.records(&id, &after(&begun[0])).await;
    let words: Vec<_> = records.iter().map(|record| (&record["event"], &record["reason"])).collect();
    assert_eq!(words, [(&json!("gap"), &json!("cursor_expired")), (&json!("end"), &json!("removed"))], "{records:?}");
    for end in [&end, &records[1]] {
        let over = sandbox.log(&id, &format!("&format=sse{}", after(end))).await;
        assert_eq!((over.status(), over.body.len()), (204, 0), "{over}");
        let other = sandbox.log("other", &after(end)).await;
        assert_eq!(other.status(), 404, "the token of another command: {other}");
    }
    let text = sandbox.log(&id, &after(&begun[0])).await;
    assert_eq!((text.status(), text.body.len()), (200, 0), "{text}");
    let gone = sandbox.log(&id, "").await;
    assert_eq!((gone.status(), gone.code()), (404, "DOCKER::SANDBOX_NOT_FOUND".to_owned()), "{gone}");
}

#[tokio::test]
async fn what_is_no_command_is_refused() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let unknown = sandbox.log("no-such", "").await;
    assert_eq!((unknown.status(), unknown.code()), (404, "LOGS::COMMAND_NOT_FOUND".to_owned()), "{unknown}");
    let foreground = sandbox.run("true").await[0]["text"].as_str().unwrap().to_owned();
    let foreground = sandbox.log(&foreground, "").await;
    assert_eq!((foreground.status(), foreground.code()), (400, "LOGS::COMMAND_NOT_IN_BACKGROUND".to_owned()));
    for query in ["since=1s", "until=1s", "stdout=true", "stderr=0", "restarts=true", "container=sandbox"] {
        let refused = sandbox.log("x", &format!("&{query}")).await;
        assert_eq!(refused.status(), 422, "{query}: {refused}");
    }
    for id in ["", ".", "..", "a%2Fb", "a%20b", &"x".repeat(129)] {
        let refused = sandbox.log(id, "").await;
        assert_eq!(refused.status(), 422, "{id}: {refused}");
    }
    let nobody = request(gateway.address(), "GET", "/v1/sandboxes/none/logs?command=x", &[KEY], "").await;
    assert_eq!((nobody.status(), nobody.code()), (404, "DOCKER::SANDBOX_NOT_FOUND".to_owned()), "{nobody}");
}
