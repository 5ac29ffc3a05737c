//! Several tenants on one server (`[tenants]`, http-api.md §4): a request is the tenant's whose key it presents.
//!
//! Where tenants and their keys come from are two providers: a file that is read again when it changes (`file`), and a service
//! that is asked for each key and remembered for as long as it says (`http`). Keys are kept and looked for by a digest under a
//! key of this process alone, so that neither the memory nor the time that a search takes tells anything of them.

mod file;
mod http;

use std::{fmt, sync::Arc};

use ring::{
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};

use self::{file::File, http::Http};
use crate::{
    config::{self, TenantProvider},
    keys::MAX_LENGTH,
    model::tenant::Tenant,
};

/// The longest name of a tenant and of a namespace, in bytes: that of a label's value, and of a DNS label.
const MAX_NAME: usize = 63;

/// The tenants of this server.
#[derive(Debug)]
pub struct Tenants {
    digester: Digester,
    provider: Provider,
}

#[derive(Debug)]
enum Provider {
    File(Arc<File>),
    Http(Box<Http>),
}

/// The provider cannot tell now whose a key is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(String);

/// What a key is known by.
type Digest = [u8; 32];

/// Makes digests of keys.
#[derive(Clone)]
struct Digester(Arc<hmac::Key>);

impl Tenants {
    /// Reads the file of tenants, and goes on to watch it for as long as this lives; or makes what asks the service.
    ///
    /// # Errors
    ///
    /// A text for a person: the file cannot be read or is wrong, or the service's address cannot be used.
    pub async fn start(config: &config::Tenants) -> Result<Self, String> {
        let digester = Digester::new()?;
        let provider = match &config.provider {
            TenantProvider::File(path) => Provider::File(File::start(path.clone(), digester.clone()).await?),
            TenantProvider::Http { endpoint, auth } => {
                Provider::Http(Box::new(Http::new(endpoint, auth.as_ref(), config.timeout, config.max_stale)?))
            }
        };
        Ok(Self { digester, provider })
    }

    /// Whose a key is; nobody's if that is certain.
    ///
    /// # Errors
    ///
    /// The provider cannot tell now.
    pub async fn find(&self, key: &[u8]) -> Result<Option<Arc<Tenant>>, Unavailable> {
        let Some(digest) = self.digest(key) else { return Ok(None) };
        match &self.provider {
            Provider::File(file) => Ok(file.find(&digest)),
            Provider::Http(http) => http.find(digest, key).await,
        }
    }

    /// Whose a key is, as far as that is known without asking anyone.
    pub fn find_at_hand(&self, key: &[u8]) -> Option<Arc<Tenant>> {
        let digest = self.digest(key)?;
        match &self.provider {
            Provider::File(file) => file.find(&digest),
            Provider::Http(http) => http.fresh(&digest),
        }
    }

    /// The tenants that are known: all of a file; of a service those whose keys were presented of late.
    pub fn known(&self) -> Vec<Arc<Tenant>> {
        match &self.provider {
            Provider::File(file) => file.all(),
            Provider::Http(http) => http.all(),
        }
    }

    /// Whether [`Self::known`] are all, so that their namespaces can be looked for at the start.
    pub fn is_complete(&self) -> bool {
        matches!(self.provider, Provider::File(_))
    }

    fn digest(&self, key: &[u8]) -> Option<Digest> {
        (1..=MAX_LENGTH).contains(&key.len()).then(|| self.digester.digest(key))
    }
}

impl Digester {
    fn new() -> Result<Self, String> {
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new());
        Ok(Self(Arc::new(key.map_err(|_| "the system gives no random bytes")?)))
    }

    fn digest(&self, key: &[u8]) -> Digest {
        let tag = hmac::sign(&self.0, key);
        let mut digest = Digest::default();
        digest.copy_from_slice(tag.as_ref());
        digest
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester")
    }
}

/// A tenant, if its name can be a label's value and its namespace one's name: both become parts of requests.
fn tenant(name: &str, namespace: &str) -> Result<Tenant, String> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_framed = |text: &str| {
        let ends = [text.bytes().next(), text.bytes().next_back()];
        text.len() <= MAX_NAME && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
    };
    if !is_framed(name) || !name.bytes().all(is_inner) {
        return Err(format!(
            "the name {name:?} cannot be a label's value: at most {MAX_NAME} letters, digits, '-', '_' and '.', the first and the \
             last one a letter or a digit"
        ));
    }
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !is_framed(namespace) || !namespace.bytes().all(is_label) {
        return Err(format!(
            "the namespace {namespace:?} of tenant '{name}' cannot be one: at most {MAX_NAME} lower-case letters, digits and '-', \
             which is neither first nor last"
        ));
    }
    Ok(Tenant { name: name.into(), namespace: namespace.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_labels_and_paths() {
        assert!(tenant("Team_a.1", "team-a").is_ok() && tenant("a", "0").is_ok());
        for name in ["", " ", "-a", "a-", "a b", "a,b", "a=b", "ä", "a\n", &"a".repeat(64)] {
            assert!(tenant(name, "ns").unwrap_err().starts_with("the name"), "{name:?}");
        }
        for namespace in ["", "A", "a.b", "a_b", "../x", "a/b", "-a", "a-", "a b", &"a".repeat(64)] {
            assert!(tenant("a", namespace).unwrap_err().starts_with("the namespace"), "{namespace:?}");
        }
    }

    #[test]
    fn digests_are_this_process_s_alone() {
        let (one, other) = (Digester::new().unwrap(), Digester::new().unwrap());
        assert_eq!(one.digest(b"k"), one.digest(b"k"));
        assert!(one.digest(b"k") != one.digest(b"K") && one.digest(b"k") != other.digest(b"k"));
    }
}
