//! Ids that mean other paths: none reaches the API server as one.

use crate::{
    cluster::{AGENT, BATCH, Cluster, NAMESPACE},
    fixture::{ID, ask, batch},
    support::kube::Recorded,
};

/// What a client may write in the place of an id, percent-encoded as it goes over the wire.
const IDS: [&str; 22] = [
    "..",
    ".",
    "%2e%2e",
    "%2E%2E%2Fpods",
    "..%2F..%2Fsecrets%2Fs",
    "a%2F..%2Fb",
    "x%2Fstatus",
    "x%3Fwatch=true",
    "x%23y",
    "x%3BlabelSelector",
    "x%25",
    "x%2500",
    "x%00",
    "x%0d%0aHost:%20evil",
    "x%20y",
    "x%5Cy",
    "%C3%A4",
    "%E2%80%AE",
    "%FF%FE",
    "a,b=c",
    "a%3Db,opensandbox.io%2Fid",
    "-a",
];

#[tokio::test]
async fn no_id_is_another_path() {
    for lines in ["", "workload_provider = \"agent-sandbox\""] {
        let cluster = Cluster::start();
        cluster.put(&BATCH, batch(ID, |_| {}));
        let gateway = cluster.gateway(lines).start();
        cluster.server.wait_asked("watch=true").await;
        let long = ["a".repeat(64), "a".repeat(254), "a".repeat(7000)];
        let ids = IDS.into_iter().chain(long.iter().map(String::as_str));
        let mut asked = 0;
        for id in ids {
            for (method, path, body) in [
                ("GET", "", ""),
                ("DELETE", "", ""),
                ("PATCH", "/metadata", r#"{"a":"b"}"#),
                ("POST", "/renew-expiration", r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#),
                ("POST", "/pause", ""),
                ("POST", "/resume", ""),
                ("POST", "/snapshots", "{}"),
                ("GET", "/endpoints/80", ""),
                ("GET", "/proxy/80/", ""),
                ("GET", "/networkpolicy", ""),
                ("GET", "/logs", ""),
                ("GET", "/logs?container=..%2Fx&previous=true", ""),
                ("GET", "/diagnostics/inspect", ""),
                ("GET", "/diagnostics/events", ""),
                ("GET", "/diagnostics/logs", ""),
                ("GET", "/diagnostics/summary", ""),
            ] {
                let answer = ask(&gateway, method, &format!("/v1/sandboxes/{id}{path}"), body).await;
                asked += 1;
                let status = answer.status();
                assert!((400..500).contains(&status) || status == 501, "{method} {id}{path}: {answer:?}");
            }
        }
        assert!(asked > 300);
        let resource = if lines.is_empty() { &BATCH } else { &AGENT };
        let lists = format!("/{}", resource.plural);
        // A name that is none, a subresource, another kind: nothing but lists and watches was asked for.
        let is_fine = |request: &Recorded| {
            request.path == "/version"
                || (request.method == "GET"
                    && request.path.contains(&format!("/namespaces/{NAMESPACE}/"))
                    && (request.path.ends_with(&lists) || request.path.ends_with("/pods"))
                    && request.query.text("labelSelector") == "opensandbox.io/id")
        };
        let odd: Vec<_> = cluster.server.requests().into_iter().filter(|request| !is_fine(request)).collect();
        assert!(odd.is_empty(), "{odd:?}");
    }
}
