//! The comparison: what one would write with the libraries alone, bollard's `logs()` as a stream body of hyper.

use std::convert::Infallible;

use bollard::{BollardRequest, Docker, query_parameters::LogsOptions};
use bytes::Bytes;
use futures_util::{FutureExt, TryStreamExt};
use http_body_util::StreamBody;
use hyper::{Request, Response, body::Frame, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, UnixStream};

/// Serves the logs of the engine at the unix socket until it is killed.
pub fn run(socket: &str) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let docker = engine(socket.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (io, _) = listener.accept().await.unwrap();
            io.set_nodelay(true).unwrap();
            let docker = docker.clone();
            tokio::spawn(async move {
                let service = service_fn(|req: Request<_>| logs(docker.clone(), req));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
            });
        }
    });
}

/// bollard over hyper's client, a connection a request, as its own transports do it.
fn engine(socket: String) -> Docker {
    let transport = move |mut request: BollardRequest| {
        let socket = socket.clone();
        let target = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        *request.uri_mut() = target;
        request.headers_mut().insert("host", "docker".parse().unwrap());
        async move {
            let io = TokioIo::new(UnixStream::connect(socket).await?);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        }
        .boxed()
    };
    Docker::connect_with_custom_transport(transport, Some("http://docker"), 120, bollard::API_DEFAULT_VERSION).unwrap()
}

async fn logs(
    docker: Docker,
    req: Request<hyper::body::Incoming>,
) -> Result<
    Response<StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, bollard::errors::Error>>>>,
    Infallible,
> {
    let id = req.uri().path().trim_start_matches('/').to_owned();
    let options = LogsOptions { stdout: true, stderr: true, ..LogsOptions::default() };
    let lines = docker.logs(&id, Some(options)).map_ok(|line| Frame::data(line.into_bytes()));
    Ok(Response::new(StreamBody::new(lines)))
}
