use super::*;

#[test]
fn what_nothing_reads_is_told_by_its_full_name() {
    for (text, expected) in [
        ("[docker]\nnetwork_mod = 'x'", "docker.network_mod: unknown key, ignored; did you mean `network_mode`?"),
        ("[dokcer]\nx = 1", "dokcer: unknown section, ignored; did you mean `docker`?"),
        ("[weather]\nx = 1", "weather: unknown section, ignored"),
        ("colour = 1", "colour: unknown key, ignored"),
        ("[server.tls]\nx = 1", "server.tls: unknown section, ignored"),
        ("[renew_intent.redis]\ncolour = 1", "renew_intent.redis.colour: unknown key, ignored"),
        ("[server]\n'a b' = 1", "server.\"a b\": unknown key, ignored"),
        ("[server]\n\"a\\nb\" = 1", "server.\"a\\nb\": unknown key, ignored"),
    ] {
        assert_eq!(warnings(&format!("{text}\n{DOCKER}")), [expected], "{text}");
    }
}

#[test]
fn keys_of_older_versions() {
    let text = "[kubernetes]\ninformer_enabled = true\nservice_account = 'x'\nsnapshot_create_timeout_seconds = 1\n";
    let found = warnings(&format!("{text}{KUBERNETES}"));
    for key in ["informer_enabled", "service_account", "snapshot_create_timeout_seconds"] {
        let line = format!("kubernetes.{key}: this key was removed from the server and is ignored");
        assert!(found.contains(&line), "{found:?}");
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn keys_without_effect_are_checked_and_told() {
    for (key, value) in [("thread_pool_size", "20"), ("loop", "'uvloop'"), ("http", "'h11'")] {
        assert_eq!(
            warnings(&format!("[server]\n{key} = {value}\n{DOCKER}")),
            [format!("server.{key}: this key has no effect in this server")]
        );
    }
    for (key, value, reason) in [
        ("thread_pool_size", "0", "must be at least 1, not 0"),
        ("loop", "'x'", "must be one of 'auto', 'uvloop', 'asyncio'"),
        ("http", "'h2'", "must be one of 'auto', 'httptools', 'h11'"),
    ] {
        let found = faults(&format!("[server]\n{key} = {value}\n{DOCKER}"));
        assert_eq!(found, [format!("server.{key}: {reason}")]);
    }
}

#[test]
fn combinations_without_effect() {
    for (text, expected) in [
        (format!("{KUBERNETES}[docker]\npids_limit = 1"), "docker: has no effect when runtime.type = 'kubernetes'"),
        (
            format!("{KUBERNETES}[tenants]\nauth_token = 'x'"),
            "tenants.auth_header: has no effect unless auth_token is set too, and the reverse",
        ),
        (
            format!("{DOCKER}[server]\nmax_connections = 5000"),
            "logs.max_streams: 10000 is not below server.max_connections (5000): log streams alone can take every connection",
        ),
    ] {
        assert_eq!(warnings(&text), [expected], "{text}");
    }
}
