//! The API server behind a proxy that the kubeconfig names.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use crate::{
    cluster::{BATCH, Cluster, NAMESPACE},
    fixture::{ID, batch, get},
    support::{backend::Backend, gateway::Setup, kube::Credentials},
};

type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy that takes CONNECT, and the heads that it was sent.
async fn http_proxy() -> (Backend, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let proxy = Backend::start(move |mut conn| {
        let seen = seen.clone();
        async move {
            let Some(head) = conn.head().await else { return };
            let to = head.split(' ').nth(1).unwrap().to_owned();
            seen.lock().unwrap().push(head);
            let mut server = TcpStream::connect(to).await.unwrap();
            conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
            let _ = copy_bidirectional(&mut conn.io, &mut server).await;
        }
    })
    .await;
    (proxy, asked)
}

/// A SOCKS 5 proxy (RFC 1928) that wants a user and a password (RFC 1929), and where it was asked to connect to, as whom.
async fn socks_proxy() -> (Backend, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let proxy = Backend::start(move |mut conn| {
        let seen = seen.clone();
        async move {
            let io = &mut conn.io;
            let text = async |io: &mut TcpStream| {
                let length = io.read_u8().await.unwrap();
                let mut text = vec![0; length.into()];
                io.read_exact(&mut text).await.unwrap();
                String::from_utf8(text).unwrap()
            };
            assert_eq!(io.read_u8().await.unwrap(), 5);
            let methods = io.read_u8().await.unwrap();
            let mut offered = vec![0; methods.into()];
            io.read_exact(&mut offered).await.unwrap();
            assert!(offered.contains(&2), "{offered:?}");
            io.write_all(&[5, 2]).await.unwrap();
            assert_eq!(io.read_u8().await.unwrap(), 1);
            let user = format!("{}:{}", text(io).await, text(io).await);
            io.write_all(&[1, 0]).await.unwrap();
            let mut head = [0; 4];
            io.read_exact(&mut head).await.unwrap();
            let host = match head {
                [5, 1, 0, 1] => {
                    let mut ip = [0; 4];
                    io.read_exact(&mut ip).await.unwrap();
                    std::net::Ipv4Addr::from(ip).to_string()
                }
                [5, 1, 0, 3] => text(io).await,
                other => panic!("{other:?}"),
            };
            let to = format!("{host}:{}", io.read_u16().await.unwrap());
            seen.lock().unwrap().push(format!("{user}@{to}"));
            let mut server = TcpStream::connect(to).await.unwrap();
            io.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            let _ = copy_bidirectional(io, &mut server).await;
        }
    })
    .await;
    (proxy, asked)
}

#[tokio::test]
async fn a_proxy_url_is_gone_through_by_everything() {
    for scheme in ["http", "socks5"] {
        let cluster = Cluster::start();
        cluster.put(&BATCH, batch(ID, |_| {}));
        let (proxy, asked) = if scheme == "http" { http_proxy().await } else { socks_proxy().await };
        let mut config = cluster.server.config(Credentials::Certificate("admin"));
        let address = cluster.server.address();
        config["clusters"][0]["cluster"]["proxy-url"] = json!(format!("{scheme}://me:p%40ss@127.0.0.1:{}", proxy.port));
        let gateway = Setup::kubernetes(&cluster.server.write_config(&config), NAMESPACE).start();
        assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}")).await.status(), 200, "{}", gateway.output());
        cluster.server.wait_asked("watch=true").await;
        let before = asked.lock().unwrap().len();
        // Logs have connections of their own. There is no such pod, which only the API server can know.
        get(&gateway, &format!("/v1/sandboxes/{ID}/logs")).await;
        let asked = asked.lock().unwrap().clone();
        assert!(before >= 1 && !asked.is_empty(), "{asked:?}");
        for one in &asked {
            if scheme == "http" {
                assert!(one.starts_with(&format!("CONNECT {address} HTTP/1.1\r\n")), "{one}");
                let lower = one.to_ascii_lowercase();
                assert!(lower.contains("proxy-authorization: basic bwu6cebzcw=="), "{one}");
            } else {
                assert_eq!(*one, format!("me:p@ss@{address}"));
            }
        }
        assert!(!gateway.output().contains("p%40ss") && !gateway.output().contains("p@ss"));
    }
}

#[tokio::test]
async fn a_proxy_that_is_away_is_told_as_such() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let mut config = cluster.server.config(Credentials::Certificate("admin"));
    let port = crate::support::gateway::free_port();
    config["clusters"][0]["cluster"]["proxy-url"] = json!(format!("http://me:s3cret@127.0.0.1:{port}"));
    let gateway = Setup::kubernetes(&cluster.server.write_config(&config), NAMESPACE).start();
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}")).await.status(), 503);
    assert!(!gateway.output().contains("s3cret"), "{}", gateway.output());
    assert_eq!(cluster.requests().len(), 0);
}
