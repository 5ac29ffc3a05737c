//! However a client leaves, the API server's answer is let go at once: log-pitfalls.md, table A1, each on a sandbox that has printed
//! nothing and on one that has printed a line.

use std::time::Duration;

use tokio::time::Instant;

use super::fixture::World;
use crate::support::{client::Client, eventually};

/// How soon, at best: a machine that is busy with other tests may be late now and then.
const SOON: Duration = Duration::from_millis(100);

/// Opens a followed log with these bytes and leaves by `leave`.
async fn released(request: impl Fn(&str) -> Vec<u8>, leave: impl AsyncFn(Client)) {
    let world = World::start();
    let gateway = world.gateway("");
    for prints in [false, true] {
        let sandbox = world.sandbox();
        if prints {
            sandbox.container.out("hello\n");
        }
        let target = sandbox.target("follow=true");
        let mut times = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(gateway.address()).await;
            client.send(request(&target)).await;
            assert_eq!(client.head().await.status, 200);
            if prints {
                assert_eq!(client.body_of(6).await, "hello\n");
            }
            eventually("the backend's answer", Duration::from_secs(5), || world.logs.open() == 1).await;
            let left = Instant::now();
            leave(client).await;
            eventually("the release", Duration::from_secs(5), || world.logs.open() == 0).await;
            let closed = world.logs.closed();
            let closed = closed.last().unwrap();
            assert!(closed.by_peer);
            times.push(closed.at.saturating_duration_since(left));
        }
        assert!(times.iter().any(|time| *time < SOON), "{times:?}");
    }
    assert!(gateway.output().contains("end=client_gone"), "the access line says who ended it");
}

mod leaving {
    use super::released;
    use crate::support::leaving::ways_of_leaving;

    ways_of_leaving!(released);
}
