//! The limit: a relay from TLS to TCP that reads none of the bytes. And the comparison: what one would write with kube alone.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

use super::source;

const BUFFER: usize = 64 * 1024;

fn serve(role: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(role);
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    listener
}

/// Relays connections to the source at this address until it is killed.
pub fn plain(to: &str) {
    serve(async {
        let (listener, connector) = (listen().await, TlsConnector::from(source::client_config()));
        loop {
            let (client, _) = listener.accept().await.unwrap();
            client.set_nodelay(true).unwrap();
            let server = TcpStream::connect(to).await.unwrap();
            server.set_nodelay(true).unwrap();
            tokio::spawn(relay(client, server, connector.clone()));
        }
    });
}

async fn relay(mut client: TcpStream, server: TcpStream, connector: TlsConnector) {
    let mut server = connector.connect("127.0.0.1".try_into().unwrap(), server).await.unwrap();
    let mut buf = vec![0; BUFFER];
    let request = client.read(&mut buf).await.unwrap();
    server.write_all(&buf[..request]).await.unwrap();
    server.flush().await.unwrap();
    loop {
        match server.read(&mut buf).await {
            Ok(0) | Err(_) => return,
            Ok(n) if client.write_all(&buf[..n]).await.is_err() => return,
            Ok(_) => {}
        }
    }
}

/// Passes the answers of kube's client on, frame by frame, until it is killed.
pub fn client_send(kubeconfig: &str) {
    serve(async {
        let kubeconfig = Kubeconfig::read_from(PathBuf::from(kubeconfig)).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let (listener, client) = (listen().await, Client::try_from(config).unwrap());
        let client = Arc::new(client);
        loop {
            let (io, _) = listener.accept().await.unwrap();
            io.set_nodelay(true).unwrap();
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| logs(Arc::clone(&client), request));
                // Who has read enough leaves.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
            });
        }
    });
}

async fn logs(client: Arc<Client>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let request = Request::get(request.uri().path_and_query().unwrap().as_str()).body(Body::empty()).unwrap();
    let answer = client.send(request).await.unwrap();
    Ok(Response::new(answer.into_body()))
}
