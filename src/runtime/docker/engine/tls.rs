//! The TLS configuration that `DOCKER_CERT_PATH` describes.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::regular_file;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// Trusts `ca.pem` alone and shows `cert.pem` with `key.pem` if there are any. The engine's name is always checked.
pub(in crate::runtime::docker) fn client_config(folder: &Path) -> io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(authorities(&folder.join("ca.pem"))?);
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if !cert.exists() && !key.exists() {
        return Ok(builder.with_no_client_auth());
    }
    let key_der = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(|error| unreadable(&key, error))?;
    builder.with_client_auth_cert(certificates(&cert)?, key_der).map_err(|error| unreadable(&cert, error))
}

fn authorities(path: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unreadable(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<_, _>>().map_err(|error| unreadable(path, error))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    regular_file::read(path, LONGEST).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("cannot use {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_certificate_that_is_a_pipe_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        mkfifoat(CWD, folder.path().join("ca.pem"), Mode::RUSR).unwrap();
        let error = client_config(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("ca.pem: it is not a regular file"), "{error}");
    }
}
