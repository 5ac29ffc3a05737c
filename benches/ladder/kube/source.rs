//! The source: an API server with TLS whose logs come as fast as they are taken. Everything but logs the test API server answers,
//! to which it passes connections on.

use std::{
    io::{self, Read},
    sync::Arc,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;

use super::{
    NAMESPACE,
    load::{LOADS, Load, Writes},
    objects,
};
use crate::support::kube::{
    Credentials, Server,
    logs::{PodLogs, Status},
    resource::{BATCH_SANDBOXES, PODS},
    tls,
};

/// The sandbox that prints nothing.
pub const SILENT: &str = "silent";

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Serves until the standard input ends. Says the path of a kubeconfig file.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = Server::start();
    let logs = PodLogs::new();
    server.logs(logs.clone());
    for id in LOADS.iter().map(|load| load.id()).chain([SILENT.to_owned()]) {
        let container = logs.container();
        server.create(&BATCH_SANDBOXES, NAMESPACE, objects::sandbox(&id));
        server.create(&PODS, NAMESPACE, objects::pod(&id, &Status::running(&container)));
    }
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut config = server.config(Credentials::Certificate("admin"));
    let cluster = &mut config["clusters"][0]["cluster"];
    cluster["server"] = url.into();
    cluster["certificate-authority-data"] = Value::from(objects::base64(tls::CA));
    let path = server.write_config(&config);
    runtime.spawn(accept(listener, server.address()));
    println!("{}", path.display());
    let _ = io::stdin().read(&mut [0]);
}

async fn accept(listener: TcpListener, behind: std::net::SocketAddr) {
    // Not HTTP/2: what is passed on is looked at by its first line.
    let acceptor = tls::acceptor_for(&[b"http/1.1"]);
    loop {
        let (io, _) = listener.accept().await.unwrap();
        io.set_nodelay(true).unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Who leaves in the middle has left.
            if let Ok(io) = acceptor.accept(io).await {
                let _ = serve(io, behind).await;
            }
        });
    }
}

async fn serve(mut io: TlsStream<TcpStream>, behind: std::net::SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if io.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let target = text.split(' ').nth(1).unwrap_or_default();
    let Some((path, query)) = target.split_once("/log?") else {
        let mut server = TcpStream::connect(behind).await?;
        server.set_nodelay(true)?;
        server.write_all(&head).await?;
        return copy_bidirectional(&mut io, &mut server).await.map(drop);
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    let load = LOADS.iter().find(|load| name == objects::pod_name(&load.id()));
    let follows = query.contains("follow=true");
    io.write_all(HEAD).await?;
    io.flush().await?;
    if let Some(load) = load {
        send(&mut io, *load, query).await?;
    }
    io.flush().await?;
    if follows {
        // The container runs and prints nothing more: until the client leaves.
        let _ = io.read(&mut [0]).await?;
        return Ok(());
    }
    io.write_all(b"0\r\n\r\n").await?;
    io.shutdown().await
}

async fn send(io: &mut TlsStream<TcpStream>, load: Load, query: &str) -> io::Result<()> {
    let tail = query.split('&').find_map(|part| part.strip_prefix("tailLines="));
    if let Some(count) = tail.and_then(|count| count.parse().ok()) {
        return io.write_all(&load.tail(count)).await;
    }
    let load = if query.contains("follow=true") { load } else { Load { writes: Writes::Plain, ..load } };
    let mut blocks = load.blocks();
    while let Some(block) = blocks.next() {
        io.write_all(block).await?;
    }
    Ok(())
}

/// A configuration for clients of the source that do not go through kube.
pub fn client_config() -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(tls::CA.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}
