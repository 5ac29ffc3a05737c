//! Connections to the server.

use std::{env, io, path::Path, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore, crypto::ring, pki_types::ServerName,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::server::Server;
use crate::regular_file;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Names a file of certificates to trust instead of the system's.
const TRUSTED: &str = "SSL_CERT_FILE";

/// A connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Connects to one server.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    /// Reads the certificates that the system trusts, if the server is one with TLS.
    ///
    /// # Errors
    ///
    /// A text for a person.
    pub(super) fn new(server: &Server) -> Result<Self, String> {
        let tls = if server.is_tls {
            let name = ServerName::try_from(server.host.clone())
                .map_err(|_| format!("{} is not a name that a certificate can have", server.host))?;
            Some((TlsConnector::from(Arc::new(tls()?)), name))
        } else {
            None
        };
        Ok(Self { host: server.host.clone(), port: server.port, tls })
    }

    /// A new connection, at most ten seconds from now.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let connected = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            Ok(match &self.tls {
                Some((tls, name)) => {
                    Box::new(tls.connect(name.clone(), stream).await.map_err(explained)?) as Box<dyn Io>
                }
                None => Box::new(stream),
            })
        };
        timeout(CONNECT_TIMEOUT, connected).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn tls() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read would be passed over where SSL_CERT_DIR has others; one that is empty would be all that is trusted;
    // and a pipe would be waited for without end.
    if let Some(path) = env::var_os(TRUSTED) {
        let path = Path::new(&path);
        if path.as_os_str().is_empty() {
            return Err(format!("{TRUSTED} is empty: it must name a file with trusted certificates, or not be set"));
        }
        regular_file::open(path).map_err(|error| format!("{TRUSTED}: {}: {error}", path.display()))?;
    }
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("there are no trusted certificates, so no server with https can be asked{why}"));
    }
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A handshake's failure with what can be done about it, where the library's words do not say that.
fn explained(error: io::Error) -> io::Error {
    let text = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS; its address may be one with http".to_owned()
        }
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => format!(
            "its certificate comes from an authority that is not trusted; {TRUSTED} can name a file with the authority's"
        ),
        // webpki's error, whose type rustls hides.
        Some(Error::InvalidCertificate(CertificateError::Other(other)))
            if other.0.to_string() == "CaUsedAsEndEntity" =>
        {
            "its certificate is one of an authority (CA:TRUE), and a server needs one with CA:FALSE".to_owned()
        }
        _ => return error,
    };
    io::Error::new(error.kind(), text)
}
