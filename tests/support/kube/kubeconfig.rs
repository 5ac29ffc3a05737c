//! kubeconfig files for the server. They are JSON, which is YAML too.

use std::{fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Server, tls};

/// With what a client proves who it is.
#[derive(Debug, Clone, Copy)]
pub enum Credentials<'a> {
    /// Nothing.
    None,
    /// A bearer token; [`Server::token`] makes it known.
    Token(&'a str),
    /// The certificate of this user, see [`tls::user`].
    Certificate(&'a str),
}

impl Server {
    /// The content of a kubeconfig file, for a test to change.
    pub fn config(&self, credentials: Credentials<'_>) -> Value {
        let user = match credentials {
            Credentials::None => json!({}),
            Credentials::Token(token) => json!({"token": token}),
            Credentials::Certificate(name) => {
                let (certificate, key) = tls::user(name);
                json!({"client-certificate-data": STANDARD.encode(certificate), "client-key-data": STANDARD.encode(key)})
            }
        };
        let mut cluster = json!({"server": self.url()});
        if self.has_tls {
            cluster["certificate-authority-data"] = STANDARD.encode(tls::CA).into();
        }
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}}]})
    }

    /// A kubeconfig file with these credentials. It lasts as long as the server.
    pub fn kubeconfig(&self, credentials: Credentials<'_>) -> PathBuf {
        self.write_config(&self.config(credentials))
    }

    /// A kubeconfig file with this content.
    pub fn write_config(&self, config: &Value) -> PathBuf {
        let path = self.dir.path().join(format!("kubeconfig-{}", uuid::Uuid::new_v4().simple()));
        fs::write(&path, config.to_string()).unwrap();
        path
    }
}
