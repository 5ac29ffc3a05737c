use proptest::prelude::*;

use super::*;

/// A key, a wrong value, and the reason.
const WRONG: &[(&str, &str, &str)] = &[
    ("server.host", "''", "must not be empty"),
    ("server.host", "3", "must be a string"),
    ("server.port", "0", "must be 1 to 65535, not 0"),
    ("server.port", "65536", "must be 1 to 65535, not 65536"),
    ("server.port", "'x'", "must be a whole number"),
    ("server.port", "80.5", "must be a whole number"),
    ("server.timeout_keep_alive", "0", "must be 1 to 4294967295, not 0"),
    ("server.limit_concurrency", "-1", "must be 0 to 4294967295, not -1"),
    ("server.max_connections", "0", "must be 1 to 4294967295, not 0"),
    ("server.max_connections_per_address", "-1", "must be 0 to 4294967295, not -1"),
    ("server.timeout_graceful_shutdown", "0", "must be 1 to 4294967295, not 0"),
    ("server.backlog", "0", "must be 1 to 2147483647, not 0"),
    ("server.api_key", "3", "must be a string"),
    ("server.shutdown_delay_seconds", "-1", "must be 0 to 4294967295, not -1"),
    ("server.max_sandbox_timeout_seconds", "59", "must be at least 60, not 59"),
    ("proxy.resolve_internal", "'perhaps'", "must be true or false"),
    ("log.level", "'verbose'", "must be one of CRITICAL, ERROR, WARNING, INFO, DEBUG, TRACE"),
    ("log.format", "'xml'", "must be one of 'text', 'json'"),
    ("log.file_max_bytes", "0", "must be at least 1, not 0"),
    ("log.file_backup_count", "-1", "must be 0 to 4294967295, not -1"),
    ("logs.max_streams", "-1", "must be 0 to 4294967295, not -1"),
    ("logs.max_streams_per_sandbox", "-1", "must be 0 to 4294967295, not -1"),
    ("logs.write_stall_timeout_seconds", "0", "must be more than 0, not 0"),
    ("logs.write_stall_timeout_seconds", "inf", "must be a finite number"),
    ("logs.write_stall_timeout_seconds", "1e12", "must be at most 4294967295"),
    ("logs.reconnect_seconds", "-1", "must be at least 0, not -1"),
    ("logs.reconnect_seconds", "1e12", "must be at most 4294967295"),
    ("logs.buffer_bytes", "4095", "must be 4096 to 1048576, not 4095"),
    ("logs.buffer_bytes", "1048577", "must be 4096 to 1048576, not 1048577"),
    ("log.access_health_checks", "'perhaps'", "must be true or false"),
    ("metrics.listen", "9090", "must be a string"),
    ("metrics.listen", "'9090'", "must be a host and a port of 1 to 65535, such as '127.0.0.1:9090' or '[::1]:9090'"),
    ("ui.listen", "':8081'", "must be a host and a port of 1 to 65535, such as '127.0.0.1:8081' or '[::1]:8081'"),
    ("ui.hosts", "'logs.example.com'", "must be a list of strings"),
    ("renew_intent.min_interval_seconds", "0", "must be 1 to 4294967295, not 0"),
    ("renew_intent.redis.queue_key", "''", "must not be empty"),
    ("renew_intent.redis.consumer_concurrency", "0", "must be 1 to 4294967295, not 0"),
    ("otel.export_interval_millis", "999", "must be 1000 to 4294967295, not 999"),
    ("otel.traces_sample_ratio", "1.5", "must be a number from 0 to 1"),
    ("otel.traces_sample_ratio", "-0.1", "must be a number from 0 to 1"),
    ("otel.traces_sample_ratio", "nan", "must be a number from 0 to 1"),
    ("docker.api_timeout", "0", "must be 1 to 4294967295, not 0"),
    ("docker.drop_capabilities", "'ALL'", "must be a list of strings"),
    ("docker.drop_capabilities", "[1]", "must be a list of strings"),
    ("docker.port_range_min", "1023", "must be 1024 to 65535, not 1023"),
    ("docker.port_range_max", "65536", "must be 1024 to 65535, not 65536"),
    ("docker.publish_host", "'::1'", "must be an IPv4 address"),
    ("docker.pids_limit", "0", "must be at least 1, not 0"),
    ("docker.sandbox_env", "3", "must be a table of strings"),
    ("docker.sandbox_env.'A B'", "3", "must be a string"),
    ("storage.allowed_host_paths", "'/x'", "must be a list of strings"),
    ("store.type", "'mysql'", "must be one of 'sqlite', 'postgresql'"),
    ("store.snapshot_recovery_interval_seconds", "0", "must be more than 0, not 0"),
    ("store.postgresql.min_pool_size", "-1", "must be 0 to 4294967295, not -1"),
    ("store.postgresql.min_pool_size", "11", "must be at most max_pool_size (10), not 11"),
    ("store.postgresql.max_pool_size", "0", "must be 1 to 4294967295, not 0"),
    ("ingress.mode", "'x'", "must be one of 'direct', 'gateway'"),
    ("egress.image", "''", "must not be empty"),
    ("egress.image", "3", "must be a string"),
    ("egress.mode", "'nft'", "must be one of 'dns', 'dns+nft'"),
    ("egress.otlp_endpoint", "'collector:1'", "must be an http or https URL with a host"),
    ("egress.readiness_timeout_seconds", "0", "must be more than 0, not 0"),
    ("egress.requests.disk", "'1'", "is not the name of a container resource"),
    ("storage.volume_default_size", "'much'", "must be a Kubernetes quantity above zero, such as 1Gi"),
    ("egress.limits.cpu", "'much'", "must be a Kubernetes quantity such as 500m or 1Gi"),
    ("secure_runtime.type", "'x'", "must be one of '', 'gvisor', 'kata', 'firecracker'"),
];

#[test]
fn every_wrong_value_is_one_line() {
    for (key, value, reason) in WRONG {
        let shown = key.replace('\'', "\"");
        let found = faults(&format!("{key} = {value}\n{DOCKER}"));
        assert_eq!(found, [format!("{shown}: {reason}")], "{key} = {value}");
    }
}

#[test]
fn wrong_values_of_the_kubernetes_sections() {
    for (key, value, reason) in [
        ("kubernetes.informer_resync_seconds", "-1", "must be 0 to 4294967295, not -1"),
        ("kubernetes.cache_max_age_seconds", "0", "must be more than 0, not 0"),
        (
            "kubernetes.namespace",
            "'a/../b'",
            "must be a namespace: at most 63 lower-case letters, digits and '-', which is neither first nor last",
        ),
        ("kubernetes.pod_networks", "['10.0.0.1/8']", "must be networks such as \"10.0.0.0/8\", not \"10.0.0.1/8\""),
        ("kubernetes.read_qps", "-0.5", "must be at least 0, not -0.5"),
        ("kubernetes.write_burst", "-1", "must be 0 to 4294967295, not -1"),
        ("kubernetes.fastpath_timeout_seconds", "0.9", "must be at least 1, not 0.9"),
        ("kubernetes.sandbox_create_poll_interval_seconds", "0", "must be more than 0, not 0"),
        ("kubernetes.execd_init_resources.limits.cpu", "1", "must be a string"),
        (
            "kubernetes.workload_provider",
            "'zzz'",
            "Invalid workload provider configuration: Unsupported workload provider type 'zzz'. \
             Available providers: batchsandbox, agent-sandbox",
        ),
        ("tenants.provider", "'ldap'", "must be one of 'file', 'http'"),
        ("tenants.timeout_seconds", "0", "must be more than 0, not 0"),
        ("tenants.max_stale_seconds", "-1", "must be at least 0, not -1"),
    ] {
        let found = faults(&format!("{key} = {value}\n{KUBERNETES}"));
        assert_eq!(found, [format!("{key}: {reason}")], "{key} = {value}");
    }
    let policy = "kubernetes.workload_provider = 'agent-sandbox'\nagent_sandbox.shutdown_policy = 'Keep'";
    assert_eq!(
        faults(&format!("{policy}\n{KUBERNETES}")),
        ["agent_sandbox.shutdown_policy: must be one of 'Delete', 'Retain'"]
    );
}

#[test]
fn the_runtime_is_required() {
    for (text, expected) in [
        ("", "runtime: Field required"),
        ("runtime = 'docker'", "runtime: must be a table"),
        ("[runtime]", "runtime.type: Field required"),
        ("[runtime]\ntype = 'podman'", "runtime.type: must be one of 'docker', 'kubernetes', 'process'"),
        ("[runtime]\ntype = 'docker'", "runtime.execd_image: Field required"),
        ("[runtime]\ntype = 'kubernetes'\nexecd_image = ''", "runtime.execd_image: must not be empty"),
        ("[runtime]\ntype = 'docker'\nexecd_image = 3", "runtime.execd_image: must be a string"),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "[server]\nport = 0\nbacklog = 'x'\n[docker]\npids_limit = 0\n[runtime]\ntype = 'dokcer'";
    assert_eq!(
        faults(text),
        [
            "server.port: must be 1 to 65535, not 0",
            "server.backlog: must be a whole number",
            "runtime.type: must be one of 'docker', 'kubernetes', 'process'",
            "docker.pids_limit: must be at least 1, not 0",
        ]
    );
}

#[test]
fn a_fault_comes_with_the_warnings_that_may_explain_it() {
    let error = read("[runtime]\ntyp = 'docker'").unwrap_err();
    assert_eq!(error.lines(), ["t.toml: runtime.type: Field required"]);
    assert_eq!(error.warnings(), ["t.toml: runtime.typ: unknown key, ignored; did you mean `type`?"]);
}

#[test]
fn broken_toml_is_one_line_with_its_place_and_without_its_text() {
    for (text, place) in [
        ("[server]\napi_key = \"hunter2", "line 2, column "),
        ("[server]\napi_key = hunter2\n", "line 2, column 11"),
        ("[server]\napi_key \"hunter2\"\n", "line 2, column "),
        ("[server]\napi_key = \"hunter2\" hunter2\n", "line 2, column "),
        ("[server]\napi_key = \"hunter2\"\napi_key = \"hunter2\"\n", "line 3, column 1"),
        ("[server\nport = 1", "line 1, column "),
        ("[server]\napi_key = \"hunter2\\q\"\n", "line 2, column "),
        ("[server]\napi_key = '''\nhunter2", "line "),
    ] {
        let error = read(text).unwrap_err();
        let line = error.to_string();
        assert!(line.starts_with(&format!("t.toml: {place}")), "{line}");
        assert!(line.contains(": not valid TOML: ") && line.len() > 45, "{line}");
        assert!(!line.contains('\n'), "{line}");
        assert!(!format!("{line}{error:?}").contains("hunter2"), "{line}");
    }
}

/// Everything that may be a secret, with a value that is easy to find.
const SECRETS: &str = "
[server]\napi_key = 'hunter2'
[renew_intent.redis]\nenabled = true\ndsn = 'redis://:hunter2@r'
[otel]\nendpoint = 'https://u:hunter2@o'\ntraces_endpoint = 'https://u:hunter2@t'
[docker.sandbox_env]\nTOKEN = 'hunter2'
[store]\ntype = 'postgresql'\n[store.postgresql]\ndsn = 'postgres://u:hunter2@db'
[egress]\nmode = 'dns+nft'\notlp_endpoint = 'https://u:hunter2@c'
[egress.upstream_proxy]\nurl = 'http://p'\nauthorization = 'Basic hunter2'
";

#[test]
fn no_secret_is_printed() {
    let config = docker(SECRETS);
    assert!(config.server.keys.find(b"hunter2").is_some());
    let shown = format!("{config:?}{config:#?}");
    assert!(!shown.contains("hunter2"), "{shown}");

    let tenants = "[tenants]\nprovider = 'http'\nendpoint = 'https://u:hunter2@t'\nauth_header = 'X'\nauth_token = 'hunter2'\n\
        [ingress]\nmode = 'gateway'\n[ingress.gateway]\naddress = 'gw'\n[ingress.gateway.route]\nmode = 'uri'\n\
        [ingress.secure_access]\nactive_key = 'a'\n[[ingress.secure_access.keys]]\nkey_id = 'a'\nkey = 'aHVudGVyMg'\n";
    let (config, _) = read(&format!("{KUBERNETES}{tenants}")).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("aHVu") && !shown.contains("104, 117"), "{shown}");
}

#[test]
fn no_wrong_secret_is_echoed() {
    let wrong = SECRETS
        .replace("'hunter2'", "['hunter2']")
        .replace("'redis://:hunter2@r'", "{ a = 'hunter2' }")
        .replace("'https://u:hunter2@c'", "'hunter2'")
        .replace("'http://p'", "'http://u:hunter2@p'")
        .replace("'Basic hunter2'", "\"hunter2\\n\"");
    let error = read(&format!("{wrong}{DOCKER}")).unwrap_err();
    assert_eq!(error.lines().len(), 6, "{error}");
    assert!(!format!("{error}{error:?}{:?}", error.warnings()).contains("hunter2"), "{error}");
}

/// The keys of the table above, with any value, and now and then a key of no meaning.
fn any_setting() -> impl Strategy<Value = String> {
    let known = proptest::sample::select(WRONG).prop_map(|(key, ..)| key.to_owned());
    let other = "\\PC{1,8}".prop_map(|key| toml::Value::String(key).to_string());
    let number = any::<i64>().prop_map(toml::Value::Integer);
    let fraction = any::<f64>().prop_map(toml::Value::Float);
    let text = any::<String>().prop_map(toml::Value::String);
    let leaf = prop_oneof![number, fraction, text, any::<bool>().prop_map(toml::Value::Boolean)];
    let value = prop_oneof![leaf.clone(), prop::collection::vec(leaf, 0..3).prop_map(toml::Value::Array)];
    (prop_oneof![9 => known, 1 => other], value).prop_map(|(key, value)| format!("{key} = {value}\n"))
}

proptest! {
    #[test]
    fn whatever_the_file_says_every_finding_is_one_line(setting in any_setting(), broken in any::<String>()) {
        for text in [format!("{setting}{DOCKER}"), format!("{setting}{KUBERNETES}"), broken] {
            let findings = match read(&text) {
                Ok((_, warnings)) => warnings,
                Err(error) => [error.lines(), error.warnings()].concat(),
            };
            for line in findings {
                prop_assert!(line.starts_with("t.toml: ") && !line.contains(['\n', '\r']), "{line:?}");
            }
        }
    }
}

#[test]
fn hosts_of_the_viewer_are_names_and_no_patterns() {
    for host in ["*.example.com", "http://a.example", "a b", "", "u@a.example", "a.example:", "a.example:0", "a/b"] {
        let found = faults(&format!("[ui]\nlisten = '127.0.0.1:1'\nhosts = ['{host}']\n{DOCKER}"));
        assert!(found.len() == 1 && found[0].starts_with("ui.hosts[0]: must be a name"), "{host}: {found:?}");
    }
    // Browsers leave the two out: such a name would match nothing.
    for (host, name) in [("a.example:443", "a.example"), ("a.example:80", "a.example"), ("[::1]:443", "[::1]")] {
        let found = faults(&format!("[ui]\nlisten = '127.0.0.1:1'\nhosts = ['b.example', '{host}']\n{DOCKER}"));
        assert_eq!(
            found,
            [format!(
                "ui.hosts[1]: must be '{name}', without the port: browsers leave out 80 and 443, and a name without a port is meant with any"
            )]
        );
    }
    let many = "'a.example',".repeat(65);
    assert_eq!(
        faults(&format!("[ui]\nlisten = '127.0.0.1:1'\nhosts = [{many}]\n{DOCKER}")),
        ["ui.hosts: there are more than 64"]
    );
}

#[test]
fn the_viewer_of_local_processes_is_this_machines_alone() {
    let process = "[server]\nhost = 'localhost'\n[runtime]\ntype = 'process'\n[ui]\n";
    for (lines, key) in
        [("listen = '0.0.0.0:1'", "ui.listen"), ("listen = '[::1]:1'\nhosts = ['a.example']", "ui.hosts")]
    {
        let found = faults(&format!("{process}{lines}"));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{key}: the process runtime")), "{found:?}");
    }
}
