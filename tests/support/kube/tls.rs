//! The server's certificate and those of its users. They are for tests alone and last a hundred years.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio_rustls::TlsAcceptor;

use super::access::Certificate;

/// The CA of the server and of its users.
pub const CA: &str = include_str!("tls/ca.pem");
/// A CA that the server does not know.
pub const FOREIGN_CA: &str = include_str!("tls/foreign-ca.pem");

/// The certificate and key of `admin`, `limited-user`, or `foreign-user`, which the foreign CA has signed.
///
/// # Panics
///
/// For another name.
pub fn user(name: &str) -> (&'static str, &'static str) {
    match name {
        "admin" => (include_str!("tls/admin.pem"), include_str!("tls/admin-key.pem")),
        "limited-user" => (include_str!("tls/limited-user.pem"), include_str!("tls/limited-user-key.pem")),
        "foreign-user" => (include_str!("tls/foreign-user.pem"), include_str!("tls/foreign-user-key.pem")),
        other => panic!("no certificate for {other}"),
    }
}

pub(super) fn acceptor() -> TlsAcceptor {
    acceptor_for(&[b"h2", b"http/1.1"])
}

/// Accepts TLS as the server does, with its certificate and any of a client or none, for these protocols.
pub fn acceptor_for(protocols: &[&[u8]]) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server-key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(Arc::new(AnyClient(provider)));
    let mut config = config.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Whose certificate it is that the handshake took.
pub(super) fn identify(chain: Option<&[CertificateDer<'static>]>) -> Certificate {
    let Some((own, others)) = chain.and_then(<[_]>::split_first) else { return Certificate::None };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    match verifier.verify_client_cert(own, others, UnixTime::now()) {
        Ok(_) => Certificate::Known(common_name(own)),
        Err(_) => Certificate::Foreign,
    }
}

/// The last common name in the certificate, which is the subject's: the issuer's stands before it.
fn common_name(certificate: &[u8]) -> String {
    const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
    let at = certificate.windows(5).rposition(|window| window == COMMON_NAME).expect("a common name");
    let text = &certificate[at + 7..];
    let length = usize::from(certificate[at + 6]);
    String::from_utf8_lossy(&text[..length]).into_owned()
}

/// Takes every certificate, as the API server does: one that it does not know is a 401, not a failed handshake.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
