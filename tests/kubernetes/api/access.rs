//! Who may do what, quotas, and what is not there (kubernetes-api.md §11, T2, T5).

use serde_json::json;

use super::{
    BATCH, PODS, batch, pod, replay,
    wire::{Request, Wire},
};
use crate::support::kube::{
    Resource, Rule, Server,
    resource::{ALL, BATCH_SANDBOXES, NAMESPACES, POOLS},
};

#[tokio::test]
async fn refusals_are_answered_as_the_real_server_does() {
    let server = Server::start_tls();
    for user in ["limited-user", "admin"] {
        server.token(user, user);
    }
    server.create(&NAMESPACES, "", json!({"metadata": {"name": "dying"}, "status": {"phase": "Terminating"}}));
    for number in 0..17 {
        server.create(&crate::cluster::PODS, "default", pod(number));
    }
    for name in ["w-1", "w-2"] {
        server.create(&BATCH_SANDBOXES, "default", batch(name, &json!({})));
    }
    let count = "count/batchsandboxes.sandbox.opensandbox.io";
    server.quota("default", "rq", &[("requests.cpu", 1), ("pods", 1), (count, 1)]);
    replay::replay(&server, include_str!("access.txt")).await;
}

#[tokio::test]
async fn what_is_not_there_is_answered_as_the_real_server_does() {
    let server = Server::start();
    let group = |resource: &&&'static Resource| resource.group == "sandbox.opensandbox.io";
    ALL.iter().filter(group).for_each(|resource| server.set_there(resource, false));
    replay::replay(&server, include_str!("absent.txt")).await;
}

#[tokio::test]
async fn a_rule_allows_its_verbs_on_its_resources_in_its_namespaces_and_nothing_else() {
    let server = Server::start();
    server.token("t", "limited-user");
    server.rules("limited-user", vec![Rule::new("get,list", "pods", "default")]);
    let ask = async |method: &str, target: &str| {
        let request = Request::new(method, target).header("Authorization", "Bearer t");
        Wire::connect(&server, None).await.json(&request).await
    };
    assert_eq!(ask("GET", PODS).await.0, 200);
    for (target, verb, resource, place) in [
        (format!("{PODS}?watch=true"), "watch", "pods", "in the namespace \"default\""),
        (format!("{PODS}/x/log"), "get", "pods/log", "in the namespace \"default\""),
        ("/api/v1/namespaces/osb/pods".to_owned(), "list", "pods", "in the namespace \"osb\""),
        ("/api/v1/pods".to_owned(), "list", "pods", "at the cluster scope"),
    ] {
        let (status, answer) = ask("GET", &target).await;
        let message = answer["message"].as_str().unwrap();
        let wanted = format!("User \"limited-user\" cannot {verb} resource \"{resource}\" in API group \"\" {place}");
        assert!(status == 403 && message.ends_with(&wanted), "{target}: {message}");
    }
}

#[tokio::test]
async fn over_tls_a_certificate_says_who_asks_and_one_of_another_ca_is_a_401_after_the_handshake() {
    let server = Server::start_tls();
    server.token("t", "limited-user");
    server.rules("limited-user", vec![Rule::new("*", "pods", "*")]);
    for (user, token, expected) in [
        (Some("admin"), None, 200),
        (Some("limited-user"), None, 200),
        (Some("foreign-user"), None, 401),
        (None, None, 403),
        (None, Some("t"), 200),
        (None, Some("other"), 401),
        // The token counts, not the certificate.
        (Some("admin"), Some("other"), 401),
    ] {
        let mut request = Request::new("GET", PODS);
        if let Some(token) = token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        let mut wire = Wire::connect(&server, user).await;
        assert_eq!(wire.whole(&request).await.0.status, expected, "{user:?} {token:?}");
    }
    server.revoke("t");
    let request = Request::new("GET", PODS).header("Authorization", "Bearer t");
    assert_eq!(Wire::connect(&server, None).await.whole(&request).await.0.status, 401);
}

#[tokio::test]
async fn every_answer_has_an_audit_id_and_those_of_priority_and_fairness_its_headers() {
    let server = Server::start_tls();
    let mut wire = Wire::connect(&server, Some("admin")).await;
    let (head, _) = wire.whole(&Request::new("GET", PODS).header("Audit-ID", "my-own-id-1")).await;
    let names: Vec<_> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["Audit-Id", "Cache-Control", "Content-Type", "Date"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(head.header("Audit-Id"), "my-own-id-1");
    assert_eq!(head.header("Cache-Control"), "no-cache, private");
    assert_eq!(head.header("X-Kubernetes-Pf-Flowschema-Uid").len(), 36);
    assert_eq!((head.header("Server"), head.header("Connection")), ("", ""));
    // The same connection goes on; a log is exempt, and so is a 401.
    let (head, _) = wire.whole(&Request::new("GET", &format!("{PODS}/nope/log"))).await;
    assert_eq!((head.status, head.header("X-Kubernetes-Pf-Flowschema-Uid")), (404, ""));
    let (head, _) = wire.whole(&Request::new("GET", BATCH).header("Authorization", "Bearer x")).await;
    assert_eq!((head.status, head.header("X-Kubernetes-Pf-Flowschema-Uid")), (401, ""));
}

#[tokio::test]
async fn plain_http_to_the_tls_port_is_told_so() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start_tls();
    let mut io = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 76];
    io.read_exact(&mut answer).await.unwrap();
    let expected = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    assert_eq!(String::from_utf8_lossy(&answer), expected[..76]);
}

#[tokio::test]
async fn a_watch_of_a_crd_that_is_removed_ends_cleanly() {
    let server = Server::start();
    let mut wire = Wire::connect(&server, None).await;
    let target = POOLS.path("default", "");
    let head =
        wire.ask(&Request::new("GET", &format!("{target}?watch=true&resourceVersion={}", server.version()))).await;
    assert_eq!(head.status, 200);
    server.set_there(&POOLS, false);
    assert!(wire.rest().await.is_empty());
    let (head, body) = wire.whole(&Request::new("GET", &target)).await;
    assert_eq!((head.status, body.as_str()), (404, "404 page not found\n"));
}
