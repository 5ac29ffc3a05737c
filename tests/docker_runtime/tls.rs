//! The engine over TCP and TLS. The certificates in `tls/` are for these tests alone and last a hundred years.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{path::PathBuf, sync::Arc};

use opensandbox_gateway::{
    error::{Family, Kind},
    runtime::{
        Runtime,
        docker::{Docker, endpoint::Endpoint},
    },
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, UnixStream},
};
use tokio_rustls::TlsAcceptor;

use crate::fixture::{options, socket};

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_is_reached_over_plain_tcp() {
    let port = engine_over_tcp(None).await;
    let endpoint = Endpoint::parse(&format!("tcp://127.0.0.1:{port}"), false, None).unwrap();
    Docker::connect(endpoint, options()).await.unwrap().list().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_is_reached_over_tls_with_a_client_certificate() {
    let port = engine_over_tcp(Some(acceptor())).await;
    let endpoint = Endpoint::parse(&format!("tcp://localhost:{port}"), true, Some(folder())).unwrap();
    Docker::connect(endpoint, options()).await.unwrap().list().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_of_another_name_is_not_trusted() {
    let port = engine_over_tcp(Some(acceptor())).await;
    let endpoint = Endpoint::parse(&format!("tcp://127.0.0.2:{port}"), true, Some(folder())).unwrap();
    let error = Docker::connect(endpoint, options()).await.err().unwrap();
    assert_eq!(error.key(), (Family::Startup, Kind::Failed));
    assert!(error.message.contains("certificate"), "{error}");
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/docker_runtime/tls")
}

fn acceptor() -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder().join("ca.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let certificate = CertificateDer::from_pem_file(folder().join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder().join("server-key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A port behind which the engine is.
async fn engine_over_tcp(acceptor: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => carry(client).await,
                    Some(acceptor) => {
                        if let Ok(client) = acceptor.accept(client).await {
                            carry(client).await;
                        }
                    }
                }
            });
        }
    });
    port
}

async fn carry(mut client: impl AsyncRead + AsyncWrite + Unpin) {
    let mut engine = UnixStream::connect(socket()).await.unwrap();
    // Either side may leave at any time.
    let _ = copy_bidirectional(&mut client, &mut engine).await;
}
