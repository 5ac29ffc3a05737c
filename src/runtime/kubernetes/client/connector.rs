//! Makes connections to the API server: TCP that notices a peer that vanished, a proxy if the kubeconfig names one, TLS.
//!
//! kube's own connector has no keep-alive, so that a watch over a connection that a load balancer forgot would hang
//! (kubernetes.md C3). The calls and the logs go through the same one, with one TLS configuration, so that sessions are resumed.

use std::{
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri, uri::Scheme};
use hyper_util::{
    client::legacy::connect::{
        HttpConnector,
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;
use tower::{BoxError, Service, ServiceExt};

use super::{
    access::Access,
    socket::{Link, ReadAhead, Socket},
};
use crate::host::without_brackets;

/// The longest that a connection may take to be made, with the proxy's part and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time before the first keep-alive probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Time between keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How many probes are not answered by a peer that vanished.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long what was sent may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes connections to one API server.
#[derive(Clone)]
pub(super) struct Connector(Arc<Shared>);

struct Shared {
    /// With a port.
    server: Uri,
    route: Route,
    /// Not for a server that is reached without TLS, such as `kubectl proxy`.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

#[derive(Clone)]
enum Route {
    Direct(Dial),
    Tunnel(Tunnel<Dial>),
    Socks(SocksV5<Dial>),
}

/// A connection to the proxy, or to the server where there is none.
#[derive(Clone)]
struct Dial {
    tcp: HttpConnector,
    /// Of a proxy that is reached with TLS.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Connector {
    /// # Errors
    ///
    /// The server's or the proxy's address cannot be used.
    pub(super) fn new(access: &Access) -> Result<Self, String> {
        let config = &access.config;
        let server = with_port(&config.cluster_url)?;
        let route = match &config.proxy_url {
            None => Route::Direct(Dial { tcp: tcp(), tls: None }),
            Some(proxy) => Route::through(proxy, &access.proxy_tls)?,
        };
        let tls = if server.scheme() == Some(&Scheme::HTTPS) {
            let name = config.tls_server_name.as_deref().unwrap_or_else(|| server.host().unwrap_or_default());
            Some((TlsConnector::from(Arc::clone(&access.tls)), server_name(name)?))
        } else {
            None
        };
        Ok(Self(Arc::new(Shared { server, route, tls })))
    }

    /// A connection, at most ten seconds from now.
    pub(super) async fn connect(&self) -> io::Result<Socket> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect_at_leisure()).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting to the API server took too long")),
        }
    }

    async fn connect_at_leisure(&self) -> io::Result<Socket> {
        let Shared { server, route, tls } = &*self.0;
        let link = match route.clone() {
            Route::Direct(dial) => dial.oneshot(server.clone()).await.map_err(io::Error::other)?,
            Route::Tunnel(tunnel) => tunnel.oneshot(server.clone()).await.map_err(io::Error::other)?,
            Route::Socks(socks) => socks.oneshot(server.clone()).await.map_err(io::Error::other)?,
        };
        let link = link.into_inner();
        let Some((tls, name)) = tls else { return Ok(Socket::Plain(link)) };
        let stream = tls.connect(name.clone(), ReadAhead::new(link)).await?;
        Ok(Socket::Tls(Box::new(stream)))
    }

    /// The name or the address of the server, with its port.
    pub(super) fn authority(&self) -> &str {
        self.0.server.authority().map_or("", |authority| authority.as_str())
    }
}

impl Route {
    fn through(proxy: &Uri, tls: &Arc<ClientConfig>) -> Result<Self, String> {
        let plain = Dial { tcp: tcp(), tls: None };
        let user = proxy.authority().and_then(|authority| authority.as_str().rsplit_once('@')).map(|(user, _)| user);
        let to = with_port(proxy)?;
        match proxy.scheme_str() {
            Some("socks5" | "socks5h") => {
                let socks = SocksV5::new(to, plain);
                let Some(user) = user else { return Ok(Self::Socks(socks)) };
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
                Ok(Self::Socks(socks.with_auth(decoded(name), decoded(password))))
            }
            Some("http") => Ok(Self::Tunnel(authorized(Tunnel::new(to, plain), user)?)),
            Some("https") => {
                let name = server_name(to.host().unwrap_or_default())?;
                let dial = Dial { tls: Some((Arc::clone(tls), name)), ..plain };
                Ok(Self::Tunnel(authorized(Tunnel::new(to, dial), user)?))
            }
            scheme => Err(format!("a proxy-url of the scheme '{}' is not supported", scheme.unwrap_or_default())),
        }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Link>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.tcp.call(to);
        let tls = self.tls.clone();
        Box::pin(async move {
            let tcp = connecting.await?.into_inner();
            let Some((config, name)) = tls else { return Ok(TokioIo::new(Link::Tcp(tcp))) };
            let stream = TlsConnector::from(config).connect(name, ReadAhead::new(tcp)).await?;
            Ok(TokioIo::new(Link::Tls(Box::new(stream))))
        })
    }
}

/// For hyper's client, which names the server that it was asked for: there is only this one.
impl Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _to: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.authority()).finish()
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    tcp.set_tcp_user_timeout(Some(USER_TIMEOUT));
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

fn authorized(tunnel: Tunnel<Dial>, user: Option<&str>) -> Result<Tunnel<Dial>, String> {
    let Some(user) = user else { return Ok(tunnel) };
    let pair = STANDARD.encode(percent_decode_str(user).collect::<Vec<u8>>());
    let value = HeaderValue::try_from(format!("Basic {pair}")).map_err(|error| error.to_string())?;
    Ok(tunnel.with_auth(value))
}

/// The scheme, the host and the port alone. The port is the scheme's if none is named: what goes through a proxy must name one.
fn with_port(uri: &Uri) -> Result<Uri, String> {
    let host = uri.host().ok_or("the address of the API server or the proxy names no host")?;
    let scheme = uri.scheme_str().unwrap_or("http");
    let port = uri.port_u16().unwrap_or(match scheme {
        "https" => 443,
        "socks5" | "socks5h" => 1080,
        _ => 80,
    });
    let built = Uri::builder().scheme(scheme).authority(format!("{host}:{port}")).path_and_query("/").build();
    built.map_err(|error| format!("the address of the API server or the proxy cannot be used: {error}"))
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let name = without_brackets(host).to_owned();
    ServerName::try_from(name).map_err(|error| format!("'{host}' is no name that a certificate can have: {error}"))
}
