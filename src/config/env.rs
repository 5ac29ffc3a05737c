//! The environment: where the file is, and the keys it overrides
//! (contract `config.md` §1).

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::report::{ConfigError, Report};
use crate::peer::trusted::TrustedProxies;

/// Names the configuration file when the command line does not.
pub const CONFIG_PATH: &str = "SANDBOX_CONFIG_PATH";
/// Replaces `server.api_key`, even by nothing.
pub const API_KEY: &str = "OPENSANDBOX_SERVER_API_KEY";
/// Replaces `store.postgresql.dsn`.
pub const POSTGRESQL_DSN: &str = "OPENSANDBOX_STORE_POSTGRESQL_DSN";
/// Replaces `ingress.secure_access.keys`, as `id=base64,id=base64`.
pub const SECURE_ACCESS_KEYS: &str = "OPENSANDBOX_SECURE_ACCESS_KEYS";
/// Replaces `ingress.secure_access.active_key`.
pub const SECURE_ACCESS_ACTIVE_KEY: &str = "OPENSANDBOX_SECURE_ACCESS_ACTIVE_KEY";
/// Names the file of tenants; `~/.opensandbox/tenants.toml` without it.
pub const TENANTS_CONFIG_PATH: &str = "SANDBOX_TENANTS_CONFIG_PATH";
/// Allows a start without an API key when it is exactly `YES`.
pub const INSECURE_SERVER: &str = "OPENSANDBOX_INSECURE_SERVER";

/// Names the proxies that are believed what they say of their clients, as
/// uvicorn reads it: addresses and networks, or `*`.
pub const FORWARDED_ALLOW_IPS: &str = "FORWARDED_ALLOW_IPS";

/// Looks up a variable of the environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process. A value that is not Unicode counts as none.
pub fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether the environment acknowledges that a server without an API key is open to all.
pub fn insecure_server_acknowledged(env: Lookup<'_>) -> bool {
    env(INSECURE_SERVER).is_some_and(|value| value == "YES")
}

/// The file to read: the one named on the command line, else the one the
/// environment names, else `~/.sandbox.toml`.
pub(super) fn source(path: Option<&Path>, env: Lookup<'_>) -> Result<PathBuf, ConfigError> {
    let named = match path {
        Some(path) => path.to_owned(),
        None => set(CONFIG_PATH, env).unwrap_or_else(|| "~/.sandbox.toml".to_owned()).into(),
    };
    // A name that is not Unicode is taken as it is.
    let Some(text) = named.to_str() else {
        return Ok(named);
    };
    expand_home(text, home(env).as_deref())
        .ok_or_else(|| ConfigError::single(format!("{text}: `~` cannot be expanded: no home directory is known")))
}

/// Where the file of tenants is.
pub(super) fn tenants_file(env: Lookup<'_>) -> PathBuf {
    let home = home(env);
    let named = set(TENANTS_CONFIG_PATH, env);
    let expanded = named.and_then(|named| expand_home(&named, home.as_deref()));
    expanded.unwrap_or_else(|| home.unwrap_or_default().join(".opensandbox/tenants.toml"))
}

/// The home directory: `HOME`, else what the system says of the user.
pub(crate) fn home(env: Lookup<'_>) -> Option<PathBuf> {
    let named = set("HOME", env).map(PathBuf::from);
    named.or_else(std::env::home_dir)
}

/// Replaces a leading `~` by the home directory. `None` when there is a `~`
/// and no home directory.
pub(crate) fn expand_home(text: &str, home: Option<&Path>) -> Option<PathBuf> {
    match text.strip_prefix('~') {
        Some("") => home.map(Path::to_owned),
        Some(rest) if rest.starts_with('/') => home.map(|home| home.join(rest.trim_start_matches('/'))),
        _ => Some(PathBuf::from(text)),
    }
}

/// The proxies that are trusted. Set to nothing, the variable means nobody.
pub(super) fn trusted_proxies(env: Lookup<'_>, report: &Report) -> TrustedProxies {
    let Some(text) = env(FORWARDED_ALLOW_IPS) else { return TrustedProxies::default() };
    let (proxies, warnings) = TrustedProxies::parse(&text);
    warnings.iter().for_each(|warning| report.warn_environment(FORWARDED_ALLOW_IPS, warning));
    proxies
}

/// Puts what the environment says into the tables, in place of what the file says.
pub(super) fn apply(root: &mut Table, env: Lookup<'_>, report: &Report) {
    if let Some(key) = env(API_KEY) {
        put(root, &["server"], "api_key", Value::String(key));
        report.overridden("server.api_key", API_KEY);
    }
    if let Some(dsn) = set(POSTGRESQL_DSN, env) {
        put(root, &["store", "postgresql"], "dsn", Value::String(dsn));
        report.overridden("store.postgresql.dsn", POSTGRESQL_DSN);
    }
    apply_secure_access(root, env, report);
}

fn apply_secure_access(root: &mut Table, env: Lookup<'_>, report: &Report) {
    let key = "ingress.secure_access";
    let (keys, active) = match (set(SECURE_ACCESS_KEYS, env), set(SECURE_ACCESS_ACTIVE_KEY, env)) {
        (Some(keys), Some(active)) => (keys, active),
        (None, None) => return,
        _ => {
            return report.fail_environment(
                key,
                format_args!("{SECURE_ACCESS_KEYS} and {SECURE_ACCESS_ACTIVE_KEY} must be set together."),
            );
        }
    };
    if !gateway_mode(root) {
        return report.fail_environment(
            key,
            format_args!("{SECURE_ACCESS_KEYS} requires ingress.mode = 'gateway' in the config file."),
        );
    }
    let Some(keys) = key_tables(&keys) else {
        return report
            .fail_environment(key, format_args!("{SECURE_ACCESS_KEYS} must be a comma-separated list of id=base64"));
    };
    let access =
        Table::from_iter([("active_key".to_owned(), Value::String(active)), ("keys".to_owned(), Value::Array(keys))]);
    put(root, &["ingress"], "secure_access", Value::Table(access));
    report.overridden("ingress.secure_access.active_key", SECURE_ACCESS_ACTIVE_KEY);
    report.overridden("ingress.secure_access", SECURE_ACCESS_KEYS);
}

fn gateway_mode(root: &Table) -> bool {
    let mode = root.get("ingress").and_then(|ingress| ingress.get("mode"));
    mode.and_then(Value::as_str) == Some("gateway")
}

/// `a=AAAA,b=BBBB` as the tables that the file would have.
fn key_tables(text: &str) -> Option<Vec<Value>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let (id, key) = entry.split_once('=')?;
            Some(Value::Table(Table::from_iter([
                ("key_id".to_owned(), Value::String(id.trim().to_owned())),
                ("key".to_owned(), Value::String(key.trim().to_owned())),
            ])))
        })
        .collect()
}

/// Sets a key, making the tables above it. Where the file has something else
/// than a table, that is left for its reader to refuse.
fn put(root: &mut Table, tables: &[&str], key: &str, value: Value) {
    let mut table = root;
    for name in tables {
        let below = table.entry((*name).to_owned()).or_insert_with(|| Value::Table(Table::new()));
        match below.as_table_mut() {
            Some(below) => table = below,
            None => return,
        }
    }
    table.insert(key.to_owned(), value);
}

/// A variable that is set to more than blanks.
fn set(name: &str, env: Lookup<'_>) -> Option<String> {
    env(name).filter(|value| !value.trim().is_empty())
}
