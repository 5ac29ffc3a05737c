//! The configuration file of Docker's command line, `config.json`: credentials of `docker login` and the proxies of
//! containers, as docker-py reads them for the existing server (docker-runtime.md §3.1).
//!
//! It is read anew for each pull and each container, so that a login counts at once. What cannot be used of it is a
//! warning and counts as absent: it must not keep public images from being pulled. No value of it is ever logged.

mod helper;

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bollard::auth::DockerCredentials;
use serde_json::{Map, Value};

use crate::regular_file;

/// The longest file that is read, in bytes; real ones have a few kilobytes.
const LONGEST: u64 = 1024 * 1024;

/// How long reading the file may take: a home directory may be on a file system that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a credential helper may take: some ask a service of the cloud.
const HELPER_TIMEOUT: Duration = Duration::from_secs(20);

/// The key of Docker Hub's credentials, in files and for helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Docker Hub as a registry's name.
const HUB: &str = "docker.io";

/// The members of `proxies` and the variables that they become, as docker-py has them.
const PROXIES: [(&str, [&str; 2]); 4] = [
    ("httpProxy", ["http_proxy", "HTTP_PROXY"]),
    ("httpsProxy", ["https_proxy", "HTTPS_PROXY"]),
    ("ftpProxy", ["ftp_proxy", "FTP_PROXY"]),
    ("noProxy", ["no_proxy", "NO_PROXY"]),
];

/// Where the file is, and for which engine it is read.
#[derive(Debug, Clone, Default)]
pub struct ClientConfig {
    /// The first that is there counts.
    files: Vec<PathBuf>,
    /// `DOCKER_HOST` as it is written; its own proxies go before those of all engines.
    host: Option<String>,
    /// Where the credential helpers are; on the process's own `PATH` when absent.
    helpers: Option<PathBuf>,
}

/// What of the file is used. Without a `Debug` form: it holds credentials.
#[derive(Default)]
struct File {
    path: PathBuf,
    auths: Map<String, Value>,
    creds_store: Option<String>,
    cred_helpers: Map<String, Value>,
    proxies: Map<String, Value>,
}

impl ClientConfig {
    /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`, else the old `~/.dockercfg`; for the engine that
    /// `DOCKER_HOST` names.
    pub fn from_env() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let home = env::home_dir();
        let files = [
            set("DOCKER_CONFIG").map(|folder| Path::new(&folder).join("config.json")),
            home.as_ref().map(|home| home.join(".docker/config.json")),
            home.as_ref().map(|home| home.join(".dockercfg")),
        ];
        let host = set("DOCKER_HOST").and_then(|host| host.into_string().ok());
        Self { files: files.into_iter().flatten().collect(), host, helpers: None }
    }

    /// The file `config.json` in a folder, for the engine `host`.
    pub fn at(folder: &Path, host: Option<&str>) -> Self {
        Self { files: vec![folder.join("config.json")], host: host.map(str::to_owned), helpers: None }
    }

    /// The same with credential helpers from a folder.
    pub fn with_helpers(self, folder: &Path) -> Self {
        Self { helpers: Some(folder.to_owned()), ..self }
    }

    /// The credentials for the registry of an image, if there are any.
    pub(in crate::runtime::docker) async fn credentials(&self, reference: &str) -> Option<DockerCredentials> {
        let file = self.read().await?;
        let registry = registry_of(reference);
        // Docker Hub is asked for by its address of old.
        let key = if registry == HUB { HUB_KEY } else { registry };
        let helper = file.cred_helpers.get(key).and_then(Value::as_str).filter(|name| !name.is_empty());
        if let Some(name) = helper.or(file.creds_store.as_deref()) {
            match helper::get(self.helpers.as_deref(), name, key, HELPER_TIMEOUT).await {
                Ok(Some(found)) => return Some(found),
                Ok(None) => {}
                Err(why) => {
                    tracing::warn!(registry, helper = name, "a credential helper cannot be used: {why}");
                }
            }
        }
        file.stored(registry)
    }

    /// The proxies of containers, as `NAME=value`.
    pub(super) async fn proxies(&self) -> Vec<String> {
        let Some(file) = self.read().await else { return Vec::new() };
        let own = self.host.as_ref().and_then(|host| file.proxies.get(host));
        let Some(proxies) = own.or_else(|| file.proxies.get("default")) else { return Vec::new() };
        let proxies = object(&file.path, "an entry of proxies", proxies.clone());
        let mut all = Vec::new();
        for (member, names) in PROXIES {
            let value = proxies.get(member).and_then(|value| text(&file.path, &format!("proxies.{member}"), value));
            let value = value.unwrap_or_default();
            if value.contains('\0') {
                tracing::warn!(path = %file.path.display(), member, "a proxy with a NUL character is left out");
            } else if !value.is_empty() {
                all.extend(names.map(|name| format!("{name}={value}")));
            }
        }
        all
    }

    /// The file's content; nothing when there is no file, or none that can be used.
    async fn read(&self) -> Option<File> {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || {
            files.into_iter().find(|path| path.exists()).map(|path| (regular_file::read(&path, LONGEST), path))
        });
        let (content, path) = match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => (Err(io::Error::other(error)), self.files.first().cloned().unwrap_or_default()),
            Err(_) => (Err(io::ErrorKind::TimedOut.into()), self.files.first().cloned().unwrap_or_default()),
        };
        match content.and_then(|bytes| File::parse(&bytes, path.clone())) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(
                    path = %path.display(),
                    %error,
                    "Docker's client configuration cannot be used: images are pulled without its credentials and \
                     containers get none of its proxies"
                );
                None
            }
        }
    }
}

/// A text that is not empty. A value of another type is logged, and treated as absent.
fn text<'v>(path: &Path, name: &str, value: &'v Value) -> Option<&'v str> {
    match value {
        Value::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
        Value::Null => None,
        _ => {
            tracing::warn!(path = %path.display(), "'{name}' is no text and is left out");
            None
        }
    }
}

/// The members of an object. A value of another type is logged, and treated as absent.
fn object(path: &Path, name: &str, value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null => Map::new(),
        _ => {
            tracing::warn!(path = %path.display(), "'{name}' is no object and is left out");
            Map::new()
        }
    }
}

impl File {
    /// Reads the file. Its errors name places, never what stands there.
    fn parse(bytes: &[u8], path: PathBuf) -> io::Result<Self> {
        let place = |error: serde_json::Error| {
            io::Error::other(format!("it is no JSON (line {}, column {})", error.line(), error.column()))
        };
        let Value::Object(mut all) = serde_json::from_slice(bytes).map_err(place)? else {
            return Err(io::Error::other("it is no JSON object"));
        };
        let mut member = |name: &str| all.remove(name).map(|value| object(&path, name, value)).unwrap_or_default();
        let (mut auths, helpers, proxies) = (member("auths"), member("credHelpers"), member("proxies"));
        let cred_helpers: Map<_, _> = helpers
            .into_iter()
            .filter(|(name, value)| text(&path, &format!("credHelpers.{name}"), value).is_some())
            .collect();
        let creds_store = all.remove("credsStore");
        let creds_store = creds_store.as_ref().and_then(|store| text(&path, "credsStore", store)).map(str::to_owned);
        // The old file has nothing but what now is below `auths`.
        if auths.is_empty() && cred_helpers.is_empty() && creds_store.is_none() {
            auths = all.into_iter().filter(|(_, entry)| entry.get("auth").is_some()).collect();
        }
        Ok(Self { path, auths, creds_store, cred_helpers, proxies })
    }

    /// What the file itself has for a registry.
    fn stored(&self, registry: &str) -> Option<DockerCredentials> {
        let exact = self.auths.get_key_value(registry);
        let (key, entry) = exact.or_else(|| self.auths.iter().find(|(key, _)| index_name(key) == registry))?;
        if !entry.is_object() && !entry.is_null() {
            tracing::warn!(path = %self.path.display(), registry, "the entry of 'auths' is no object and is left out");
        }
        // An empty entry tells that a helper has the credentials.
        let text = |name: &str| text(&self.path, &format!("auths.{registry}.{name}"), entry.get(name)?);
        if let Some(token) = text("identitytoken") {
            return Some(DockerCredentials {
                identitytoken: Some(token.to_owned()),
                serveraddress: Some(key.clone()),
                ..Default::default()
            });
        }
        let (username, password) = match text("auth") {
            Some(auth) => match decoded(auth) {
                Some(pair) => pair,
                None => {
                    tracing::warn!(path = %self.path.display(), registry, "'auth' is not base64 of a name and a password");
                    return None;
                }
            },
            None => (text("username")?.to_owned(), text("password")?.to_owned()),
        };
        Some(DockerCredentials {
            username: Some(username),
            password: Some(password),
            email: text("email").map(str::to_owned),
            serveraddress: Some(key.clone()),
            ..Default::default()
        })
    }
}

/// The name and the password in an entry's `auth`. Docker pads the password with NULs (docker/cli `decodeAuth`).
fn decoded(auth: &str) -> Option<(String, String)> {
    let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, padding).decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    (!username.is_empty()).then(|| (username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// The registry of a reference: its first part, if that can be no folder of Docker Hub's (distribution/reference).
fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => index_name(first),
        _ => HUB,
    }
}

/// A registry's name from a key of the file, which may be a URL.
fn index_name(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match key.split('/').next().unwrap_or_default() {
        "index.docker.io" => HUB,
        name => name,
    }
}

#[cfg(test)]
mod tests;
