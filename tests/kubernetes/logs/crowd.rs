//! Many followers, followers that leave, and followers that read slowly.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{
    Records,
    fixture::{NAMESPACE, World},
    number,
};
use crate::support::{LONGEST, client::Client, eventually, gateway::Setup, kube::Credentials};

#[tokio::test]
async fn the_log_is_let_go_when_the_client_leaves() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.out("up\n");
    for leave in [Client::close as fn(Client), Client::reset as fn(Client)] {
        let mut times: Vec<Duration> = Vec::new();
        // A machine that is busy with other tests may be late: one that is soon is enough.
        while times.iter().all(|time| *time >= Duration::from_millis(100)) {
            assert!(times.len() < 20, "{times:?}");
            let mut client = sandbox.follow(&gateway, "").await;
            assert_eq!(client.body_of(3).await, "up\n");
            let left = Instant::now();
            leave(client);
            eventually("the release", Duration::from_secs(4), || world.logs.open() == 0).await;
            assert!(left.elapsed() < Duration::from_secs(4), "{:?}", left.elapsed());
            times.push(left.elapsed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_followers_of_two_hundred_pods() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandboxes: Vec<_> = (0..200).map(|_| world.sandbox()).collect();
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.extend(join_all(sandboxes.iter().map(|sandbox| sandbox.follow(&gateway, ""))).await);
    }
    assert_eq!(clients.len(), 2000);
    for (number, sandbox) in sandboxes.iter().enumerate() {
        sandbox.container.out(format!("line-{number:04}\n"));
    }
    let read = clients.iter_mut().enumerate().map(async |(at, client)| {
        assert_eq!(client.body_of(10).await, format!("line-{:04}\n", at % 200));
    });
    join_all(read).await;
    drop(clients);
    eventually("all are let go", Duration::from_secs(20), || world.logs.open() == 0).await;
}

#[tokio::test]
async fn a_log_may_be_limited_in_bytes_and_time() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let at = |second: i8| format!("2026-11-26T12:55:0{second}.500000000Z").parse().unwrap();
    for second in 0..5 {
        let text = format!("line-{second}\n");
        sandbox.container.print_at(at(second), crate::support::kube::logs::Stream::Stdout, text);
    }
    for (query, text) in [
        ("limit_bytes=8", "line-0\nline-1\n"),
        ("since=2026-11-26T12:55:02.5Z", "line-2\nline-3\nline-4\n"),
        ("since=2026-11-26T12:55:02.500000001Z", "line-3\nline-4\n"),
        ("until=2026-11-26T12:55:01.499999999Z", "line-0\n"),
        ("tail=2&until=2026-11-26T12:55:02.6Z", "line-1\nline-2\n"),
        ("grep=3&follow=true&until=2026-11-26T12:55:09Z", "line-3\n"),
    ] {
        assert_eq!(sandbox.read(&gateway, query).await.body, text, "{query}");
    }
}

#[tokio::test]
async fn followers_come_back_however_few_calls_are_allowed() {
    let mut world = World::start();
    let kubeconfig = world.server.kubeconfig(Credentials::Certificate("admin"));
    let limits = "read_qps = 4\nread_burst = 1\n[logs]\nreconnect_seconds = 5";
    let gateway = Setup::kubernetes(&kubeconfig, NAMESPACE).section(limits).start();
    let (targets, containers): (Vec<_>, Vec<_>) = (0..20)
        .map(|_| {
            let sandbox = world.sandbox();
            (sandbox.target("follow=true&format=ndjson"), sandbox.container.clone())
        })
        .unzip();
    let open = targets.iter().map(async |target| {
        let mut client = Client::connect(gateway.address()).await;
        assert_eq!(client.get(target).await.status, 200);
        Records::new(client)
    });
    let mut streams = join_all(open).await;
    eventually("all are followed", LONGEST, || world.logs.open() == containers.len()).await;
    world.server.kill();
    world.server.up();
    for container in &containers {
        container.out("line-0\n");
    }
    // Each asks for its pod, more than once. That takes longer than a backend may be lost, at four calls a second.
    for stream in &mut streams {
        let record = stream.next().await.expect("it goes on");
        assert_eq!(number(&record), Some(0), "{record}");
    }
}
