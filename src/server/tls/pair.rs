//! A certificate and its key, as two files have them.

use std::{fmt, fs::Permissions, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use jiff::Timestamp;
use ring::digest::{Context, SHA256};
use rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::ring::{Ticketer, default_provider},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::validity::Validity;
use crate::{config::TlsFiles, regular_file};

/// The protocols that a client may choose from, the liked ones first (RFC 7301 §6).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Largest file of certificates or of a key, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What the two files hold. Two are equal if the files are.
#[derive(Default)]
pub struct Content {
    cert: Vec<u8>,
    key: Vec<u8>,
    is_public: bool,
    digest: Vec<u8>,
}

/// A certificate and its key that belong together, ready to serve connections.
pub(super) struct Pair {
    pub(super) config: Arc<ServerConfig>,
    /// How long the certificate is valid, as far as it tells.
    pub(super) until: Option<Timestamp>,
    /// What is odd, and no reason not to serve.
    pub(super) warnings: Vec<String>,
}

impl Content {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// A text for a person: one of them cannot be read.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, String> {
        let (cert, _) = read("server.tls_cert", &files.cert)?;
        let (key, permissions) = read("server.tls_key", &files.key)?;
        let mut context = Context::new(&SHA256);
        for part in [&(cert.len() as u64).to_be_bytes(), cert.as_slice(), &key] {
            context.update(part);
        }
        let digest = context.finish().as_ref().to_vec();
        Ok(Self { cert, key, is_public: permissions.mode() & 0o004 != 0, digest })
    }

    /// What others are compared with, without the key itself.
    pub(super) fn digest_only(self) -> Self {
        Self { digest: self.digest, ..Self::default() }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").finish_non_exhaustive()
    }
}

fn read(name: &str, path: &Path) -> Result<(Vec<u8>, Permissions), String> {
    let content = regular_file::open(path)
        .and_then(|(file, metadata)| Ok((regular_file::read_all(file, MAX_FILE)?, metadata.permissions())));
    content.map_err(|error| format!("{name}: {}: {error}", path.display()))
}

impl Pair {
    /// Makes a pair of what `files` hold.
    ///
    /// # Errors
    ///
    /// A text for a person: what is wrong with which file, and what helps. Nothing of the key is in it.
    pub(super) fn of(content: &Content, files: &TlsFiles) -> Result<Self, String> {
        let (cert_path, key_path) = (files.cert.display(), files.key.display());
        let in_cert = |why: &str| format!("server.tls_cert: {cert_path}: {why}");
        let in_key = |why: &str| format!("server.tls_key: {key_path}: {why}");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&content.cert)
            .collect::<Result<_, _>>()
            .map_err(|_| in_cert("it is not PEM, or only a part of it; write the whole chain again"))?;
        let Some(first) = chain.first() else {
            return Err(in_cert(
                "there is no certificate in it; it must be PEM (`-----BEGIN CERTIFICATE-----`), the server's own first, then \
                 those of the authorities between it and the root",
            ));
        };
        let validity = Validity::of(first);
        let provider = default_provider();
        let key = provider.key_provider.load_private_key(private_key(&content.key).map_err(|why| in_key(&why))?);
        let key = key.map_err(|_| {
            in_key("this key cannot be used; it must be RSA of 2048 to 8192 bits, ECDSA of P-256 or P-384, or Ed25519")
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that does not tell its public half is found out by the first client.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(format!(
                    "server.tls_cert, server.tls_key: the key in {key_path} is not that of the first certificate in {cert_path}; \
                     both must be of the same issue, and the server's own certificate stand before those of its authorities"
                ));
            }
            Err(error) => return Err(in_cert(&format!("its first certificate cannot be used: {error}"))),
        }
        let mut warnings = Vec::new();
        if content.is_public {
            warnings.push(in_key("other users of this machine may read it; chmod 600"));
        }
        warnings.extend(validity.as_ref().and_then(|it| it.fault(Timestamp::now())).map(|fault| in_cert(&fault)));
        let config = config(provider, certified).map_err(|error| format!("TLS cannot be set up: {error}"))?;
        Ok(Self { config, until: validity.map(|validity| validity.until), warnings })
    }
}

/// The first key of a file.
fn private_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let is_encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| memchr::memmem::find(content, mark).is_some());
    if is_encrypted {
        return Err("the key is encrypted, and nobody is there to be asked for its password; decrypt it with `openssl pkey -in \
                    ENCRYPTED -out KEY`, and let nobody but the gateway read it"
            .to_owned());
    }
    // The error may quote a line of the file.
    PrivateKeyDer::from_pem_slice(content).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "there is no private key in it; it must be PEM: `-----BEGIN PRIVATE KEY-----` (PKCS#8), \
                                     `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE KEY` (SEC1)"
                .to_owned()
        }
        _ => "it is not PEM, or only a part of it; write the whole key again".to_owned(),
    })
}

fn config(provider: rustls::crypto::CryptoProvider, certified: CertifiedKey) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    // Its keys are of this pair alone: who is to be kept out by a new one does not come in by an old session.
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}
