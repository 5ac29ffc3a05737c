use super::*;
use crate::config::{StoreBackend, TenantProvider, env};

const GATEWAY: &str = "[ingress]\nmode = 'gateway'\n[ingress.gateway]\naddress = 'gw'\n\
    [ingress.gateway.route]\nmode = 'uri'\n";
const KEYS: &str = env::SECURE_ACCESS_KEYS;
const ACTIVE: &str = env::SECURE_ACCESS_ACTIVE_KEY;

#[test]
fn the_key_of_the_environment_wins_even_when_empty() {
    let file = format!("{DOCKER}[server]\napi_key = 'file'\n");
    for (variables, expected) in
        [(&[][..], Some("file")), (&[(env::API_KEY, "env")][..], Some("env")), (&[(env::API_KEY, "")][..], None)]
    {
        let (config, _) = read_with(&file, variables).unwrap();
        let keys = config.server.keys;
        assert_eq!(keys.is_empty(), expected.is_none(), "{variables:?}");
        assert!(expected.is_none_or(|key| keys.find(key.as_bytes()).is_some()), "{variables:?}");
    }
    let (config, _) = read_with(DOCKER, &[(env::API_KEY, "env")]).unwrap();
    assert!(config.server.keys.find(b"env").is_some());
}

#[test]
fn the_dsn_of_the_environment_wins() {
    for dsn in ["", "[store.postgresql]\ndsn = 'file'\n"] {
        let file = format!("{DOCKER}[store]\ntype = 'postgresql'\n{dsn}");
        let (config, _) = read_with(&file, &[(env::POSTGRESQL_DSN, "env")]).unwrap();
        let StoreBackend::Postgresql(server) = config.store.backend else {
            panic!("not a server");
        };
        assert_eq!(server.dsn.expose(), "env");
    }
}

#[test]
fn the_signing_keys_of_the_environment_win() {
    let file = format!(
        "{KUBERNETES}{GATEWAY}[ingress.secure_access]\nactive_key = 'f'\n\
         [[ingress.secure_access.keys]]\nkey_id = 'f'\nkey = 'AAAA'\n"
    );
    let variables = [(KEYS, "a=YWI=, b=YWJj"), (ACTIVE, "b")];
    let (config, _) = read_with(&file, &variables).unwrap();
    let access = config.ingress.gateway.unwrap().secure_access.unwrap();
    assert_eq!(access.active_key, 'b');
    let ids: String = access.keys.iter().map(|key| key.id).collect();
    assert_eq!(ids, "ab");
    assert_eq!(access.keys[0].key.expose(), b"ab");
}

#[test]
fn faults_of_the_signing_keys_name_the_variable() {
    let gateway = format!("{KUBERNETES}{GATEWAY}");
    for (file, variables, expected) in [
        (
            gateway.as_str(),
            &[(KEYS, "a=YWI=")][..],
            "environment: OPENSANDBOX_SECURE_ACCESS_KEYS and OPENSANDBOX_SECURE_ACCESS_ACTIVE_KEY must be set together.",
        ),
        (
            &gateway,
            &[(ACTIVE, "a"), (KEYS, " ")],
            "environment: OPENSANDBOX_SECURE_ACCESS_KEYS and OPENSANDBOX_SECURE_ACCESS_ACTIVE_KEY must be set together.",
        ),
        (
            DOCKER,
            &[(ACTIVE, "a"), (KEYS, "a=YWI=")],
            "environment: OPENSANDBOX_SECURE_ACCESS_KEYS requires ingress.mode = 'gateway' in the config file.",
        ),
        (
            &gateway,
            &[(ACTIVE, "a"), (KEYS, "hunter2")],
            "environment: OPENSANDBOX_SECURE_ACCESS_KEYS must be a comma-separated list of id=base64",
        ),
        (
            &gateway,
            &[(ACTIVE, "a"), (KEYS, "a=!hunter2!")],
            "environment OPENSANDBOX_SECURE_ACCESS_KEYS: ingress.secure_access.keys[0].key: must be base64 of at least one byte",
        ),
        (
            &gateway,
            &[(ACTIVE, "b"), (KEYS, "a=YWI=")],
            "environment OPENSANDBOX_SECURE_ACCESS_ACTIVE_KEY: ingress.secure_access.active_key: must be the key_id of one of the keys",
        ),
    ] {
        let error = read_with(file, variables).unwrap_err();
        assert_eq!(error.to_string(), expected, "{variables:?}");
    }
}

#[test]
fn a_section_that_is_no_table_is_told_despite_the_environment() {
    let error = read_with(&format!("server = 3\n{DOCKER}"), &[(env::API_KEY, "hunter2")]).unwrap_err();
    assert_eq!(error.to_string(), "t.toml: server: must be a table");
}

#[test]
fn the_tenants_file_is_named_by_the_environment() {
    let file = format!("{KUBERNETES}[tenants]\n");
    let (config, _) = read_with(&file, &[(env::TENANTS_CONFIG_PATH, "~/t.toml")]).unwrap();
    let TenantProvider::File(path) = config.tenants.unwrap().provider else {
        panic!("not a file");
    };
    assert_eq!(path, Path::new("/home/me/t.toml"));
}

#[test]
fn only_yes_acknowledges_an_open_server() {
    for (value, expected) in [(Some("YES"), true), (Some("yes"), false), (Some(""), false), (None, false)] {
        let lookup = |name: &str| value.filter(|_| name == env::INSECURE_SERVER).map(str::to_owned);
        assert_eq!(env::insecure_server_acknowledged(&lookup), expected, "{value:?}");
    }
}

#[test]
fn trusted_proxies_come_from_the_variable_that_uvicorn_reads() {
    let trusts = |value: Option<&str>, address: &str| {
        let variables: Vec<_> = value.map(|value| (env::FORWARDED_ALLOW_IPS, value)).into_iter().collect();
        let (config, warnings) = read_with(DOCKER, &variables).unwrap();
        (config.server.trusted_proxies.trusts(address.parse().unwrap()), warnings)
    };
    assert_eq!(trusts(None, "127.0.0.1"), (true, vec![]));
    assert_eq!(trusts(Some(""), "127.0.0.1"), (false, vec![]));
    assert_eq!(trusts(Some("10.0.0.0/8"), "10.1.2.3"), (true, vec![]));
    let (trusted, warnings) = trusts(Some("unix:/x,127.0.0.1"), "127.0.0.1");
    assert!(trusted && warnings.len() == 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("environment FORWARDED_ALLOW_IPS: the entry \"unix:/x\" is ignored"),
        "{warnings:?}"
    );
}
