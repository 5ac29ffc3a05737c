//! Behind a proxy: whom the gateway believes what it says of its clients (`FORWARDED_ALLOW_IPS`).

use crate::{
    Setup,
    proxy::Proxied,
    support::{
        backend::Backend,
        client::{Client, request},
        eventually,
        gateway::Gateway,
    },
};

const TOLD: [&str; 2] = ["X-Forwarded-For: 6.6.6.6, 7.7.7.7", "X-Forwarded-Proto: https"];

async fn proxied(trusted: &str) -> Proxied {
    let trusted = trusted.to_owned();
    Proxied::with(|setup| setup.env("FORWARDED_ALLOW_IPS", &trusted)).await
}

/// The client as the access line of the request with this id names it.
async fn logged(gateway: &Gateway, id: &str) -> String {
    let mark = format!("[{id}] access: ");
    let find = || gateway.output().split_once(&mark).map(|(_, rest)| rest.split(' ').next().unwrap().to_owned());
    eventually("an access line", std::time::Duration::from_secs(5), || find().is_some()).await;
    find().unwrap()
}

#[tokio::test]
async fn a_trusted_proxy_names_scheme_and_client_to_sandboxes_and_the_access_log() {
    for trusted in ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "*"] {
        let (proxied, backend) = (proxied(trusted).await, Backend::mirror().await);
        let client = if trusted == "*" { "6.6.6.6" } else { "7.7.7.7" };
        let lines = [TOLD[0], TOLD[1], "X-Request-ID: named"];
        let mirrored = request(proxied.address(), "GET", &proxied.target(backend.port, "/"), &lines, "").await;
        let text = mirrored.to_string().to_ascii_lowercase();
        assert!(text.contains(&format!("x-forwarded-for: {client}\r\n")), "{text}");
        assert!(text.contains("x-forwarded-proto: https\r\n"), "{text}");
        assert_eq!(logged(&proxied.gateway, "named").await, format!("{client}:0"));
        let moved = request(proxied.address(), "GET", "/v1/sandboxes/", &TOLD, "").await;
        assert_eq!(moved.head.field("location"), "/v1/sandboxes", "which keeps the client's scheme");
    }
}

#[tokio::test]
async fn what_others_say_of_their_clients_changes_nothing() {
    for trusted in ["", "10.0.0.1", "unix:/run/nginx.sock", "127.0.0.1/8", "*, 10.0.0.1"] {
        let (proxied, backend) = (proxied(trusted).await, Backend::mirror().await);
        let lines = [TOLD[0], TOLD[1], "X-Request-ID: stranger"];
        let mut client = Client::connect(proxied.address()).await;
        let local = client.local_addr();
        let mirrored = client.request("GET", &proxied.target(backend.port, "/"), &lines, "").await;
        let text = mirrored.to_string().to_ascii_lowercase();
        assert!(text.contains("x-forwarded-for: 127.0.0.1\r\n"), "{trusted}: {text}");
        assert!(text.contains("x-forwarded-proto: http\r\n"), "{trusted}: {text}");
        assert_eq!(logged(&proxied.gateway, "stranger").await, local.to_string());
    }
}

#[tokio::test]
async fn an_entry_that_is_no_address_is_told_at_the_start() {
    let gateway = Setup::process().env("FORWARDED_ALLOW_IPS", "unix:/run/nginx.sock,10.0.0.1/8").start();
    let told = || {
        let output = gateway.output();
        ["unix:/run/nginx.sock", "10.0.0.1/8"].iter().all(|entry| {
            output
                .lines()
                .any(|line| line.starts_with("WARNING") && line.contains("FORWARDED_ALLOW_IPS") && line.contains(entry))
        })
    };
    eventually("two warnings", std::time::Duration::from_secs(5), told).await;
}
