//! The way to a pod through the gateway.

use std::time::Duration;

use super::{stage::Real, tell};
use crate::{
    portable::{ask, ask_until},
    support::kube::resource::BATCH_SANDBOXES,
};

/// A server that says one word.
const SERVER: &str = "mkdir /www && echo hello >/www/index.html && exec httpd -f -p 8080 -h /www";

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn the_proxy_reaches_a_pod_or_says_that_it_cannot() {
    let stage = Real::start().await;
    let id = stage.create(&BATCH_SANDBOXES, stage.spec(SERVER, |_| {})).await;
    let pod = stage.started(&id).await;
    let target = format!("/v1/sandboxes/{id}");
    ask_until(&stage, &target, |answer| answer.json()["status"]["state"] == "Running").await;
    let address = format!("{}:8080", pod["status"]["podIP"].as_str().unwrap());
    let connected = async {
        loop {
            if tokio::net::TcpStream::connect(&address).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let is_reachable = tokio::time::timeout(Duration::from_secs(10), connected).await.is_ok();
    let through = ask(&stage, "GET", &format!("{target}/proxy/8080/"), "").await;
    if is_reachable {
        assert_eq!((through.status(), &*through.body), (200, &b"hello\n"[..]));
    } else {
        tell(&format!("pods cannot be reached from here ({address}), so only the proxy's refusal was tested"));
        assert!([502, 504].contains(&through.status()), "{through}");
    }
}
