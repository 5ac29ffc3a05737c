use super::*;

const PROCESS: &str = "[server]\nhost = 'localhost'\n[runtime]\ntype = 'process'\n";
const GATEWAY: &str = "ingress = { mode = 'gateway', gateway = { address = 'gw', route = { mode = 'uri' } } }\n";
const PROXY: &str = "egress.upstream_proxy.url = 'http://p'\n";

/// One fault, with its key.
fn fault(text: &str, expected: &str) {
    assert_eq!(faults(text), [expected], "{text}");
}

#[test]
fn the_kubernetes_sections_need_kubernetes() {
    fault(
        &format!("kubernetes = {{}}\n{DOCKER}"),
        "kubernetes: Kubernetes block must be omitted when runtime.type = 'docker'.",
    );
    fault(
        &format!("agent_sandbox = {{}}\n{DOCKER}"),
        "agent_sandbox: agent_sandbox block must be omitted when runtime.type = 'docker'.",
    );
    fault(&format!("{GATEWAY}{DOCKER}"), "ingress.mode: ingress.mode must be 'direct' when runtime.type = 'docker'.");
    fault(
        &format!("kubernetes = {{}}\n{PROCESS}"),
        "kubernetes: Kubernetes block must be omitted when runtime.type = 'process'.",
    );
    for kubernetes in ["", "kubernetes = {}\n"] {
        fault(
            &format!("agent_sandbox = {{}}\n{kubernetes}{KUBERNETES}"),
            "agent_sandbox: agent_sandbox block requires kubernetes.workload_provider = 'agent-sandbox'.",
        );
    }
}

#[test]
fn secure_runtimes() {
    for (text, expected) in [
        (
            "type = 'firecracker'\nk8s_runtime_class = 'fc'",
            "secure_runtime.type: secure_runtime.type 'firecracker' is only compatible with runtime.type='kubernetes'.",
        ),
        ("docker_runtime = 'runsc'", "secure_runtime.docker_runtime: must be omitted when secure_runtime.type is ''"),
        ("k8s_runtime_class = 'x'", "secure_runtime.k8s_runtime_class: must be omitted when secure_runtime.type is ''"),
        ("type = 'gvisor'", "secure_runtime.type: needs docker_runtime or k8s_runtime_class to be set"),
        ("type = 'kata'", "secure_runtime.type: needs docker_runtime or k8s_runtime_class to be set"),
    ] {
        fault(&format!("{DOCKER}[secure_runtime]\n{text}"), expected);
    }
    fault(
        &format!("{KUBERNETES}[secure_runtime]\ntype = 'firecracker'"),
        "secure_runtime.k8s_runtime_class: must be set when secure_runtime.type is 'firecracker'",
    );
    fault(
        &format!("{PROCESS}[secure_runtime]\ntype = 'gvisor'\ndocker_runtime = 'runsc'"),
        "secure_runtime.type: must be '' when runtime.type = 'process', which gives no isolation",
    );
    let gvisor = "[secure_runtime]\ntype = 'gvisor'\ndocker_runtime = 'runsc'";
    assert_eq!(docker(gvisor).secure_runtime.docker_runtime.as_deref(), Some("runsc"));
}

#[test]
fn the_gateway_and_its_keys() {
    let access = "ingress.secure_access.active_key = 'a'\n";
    let route = "ingress.mode = 'gateway'\ningress.gateway.address = 'gw'\ningress.gateway.route.mode = 'uri'\n";
    let key = |id: &str, key: &str| format!("[[ingress.secure_access.keys]]\nkey_id = '{id}'\nkey = '{key}'\n");
    let missing = "gateway block must be provided when ingress.mode = 'gateway'.";
    fault(&format!("ingress.mode = 'gateway'\n{KUBERNETES}"), &format!("ingress.gateway: {missing}"));
    fault(
        &format!("{}{KUBERNETES}", route.replace("'gateway'", "'direct'")),
        "ingress.gateway: gateway block must be omitted unless ingress.mode = 'gateway'.",
    );
    fault(
        &format!("[ingress.secure_access]\nactive_key = 'a'\n{}{DOCKER}", key("a", "YWI")),
        "ingress.secure_access: secure_access block requires ingress.mode = 'gateway'.",
    );
    fault(
        &format!("ingress.mode = 'gateway'\ningress.gateway.route.mode = 'uri'\n{KUBERNETES}"),
        "ingress.gateway.address: Field required",
    );
    fault(
        &format!("ingress.mode = 'gateway'\ningress.gateway.address = 'gw'\n{KUBERNETES}"),
        "ingress.gateway.route.mode: Field required",
    );
    fault(
        &format!("{}{KUBERNETES}", route.replace("'gw'", "'http://gw'")),
        "ingress.gateway.address: must not contain a scheme",
    );
    fault(
        &format!("{route}{access}{KUBERNETES}"),
        "ingress.secure_access.active_key: must be the key_id of one of the keys",
    );
    fault(
        &format!("{route}ingress.secure_access.active_key = 'A'\n{KUBERNETES}"),
        "ingress.secure_access.active_key: must be one character of 0-9 or a-z",
    );
    let with_keys = |keys: &str| {
        let table = "[ingress]\nmode = 'gateway'\n[ingress.gateway]\naddress = 'gw'\nroute = { mode = 'uri' }\n";
        format!("{table}[ingress.secure_access]\nactive_key = 'a'\n{keys}{KUBERNETES}")
    };
    fault(
        &with_keys(&format!("{}{}", key("a", "YWI"), key("a", "YWJj"))),
        "ingress.secure_access.keys: every key_id must be unique",
    );
    fault(
        &with_keys(&format!("{}{}", key("a", "YWI"), key("bb", "YWJj"))),
        "ingress.secure_access.keys[1].key_id: must be one character of 0-9 or a-z",
    );
    fault(&with_keys(&key("a", "!")), "ingress.secure_access.keys[0].key: must be base64 of at least one byte");
    fault(&with_keys("keys = 3\n"), "ingress.secure_access.keys: must be a list of tables");
    fault(&with_keys("keys = [3]\n"), "ingress.secure_access.keys[0]: must be a table");
}

#[test]
fn the_upstream_proxy() {
    let with = |text: &str| format!("egress.mode = 'dns+nft'\n{PROXY}{text}\n");
    fault(
        &format!("{PROXY}{DOCKER}"),
        "egress.upstream_proxy: egress.upstream_proxy requires egress.mode = \"dns+nft\"",
    );
    fault(
        &format!("{}{DOCKER}", with("egress.upstream_proxy.ca_secret_name = 'ca'")),
        "egress.upstream_proxy.ca_secret_name: egress.upstream_proxy.ca_secret_name requires runtime.type = 'kubernetes'",
    );
    fault(
        &format!("{}{KUBERNETES}", with("egress.upstream_proxy.ca_cert_path = '/ca'")),
        "egress.upstream_proxy.ca_cert_path: egress.upstream_proxy.ca_cert_path requires runtime.type = 'docker'",
    );
    for (key, value, reason) in [
        ("ca_cert_path", "'ca'", "must be an absolute path without `:`"),
        ("ca_cert_path", "'/c:a'", "must be an absolute path without `:`"),
        ("authorization", "\"a\\nb\"", "must not contain a line break"),
    ] {
        let text = with(&format!("egress.upstream_proxy.{key} = {value}"));
        fault(&format!("{text}{DOCKER}"), &format!("egress.upstream_proxy.{key}: {reason}"));
    }
    fault(
        &format!("{}{KUBERNETES}", with("egress.upstream_proxy.ca_secret_name = 'C_A'")),
        "egress.upstream_proxy.ca_secret_name: must be a DNS-1123 name",
    );
    fault(
        &format!("egress.mode = 'dns+nft'\negress.upstream_proxy = {{}}\n{DOCKER}"),
        "egress.upstream_proxy.url: Field required",
    );
    fault(
        &format!("{DOCKER}[egress]\nrequests.cpu = '2'\nlimits.cpu = '1500m'"),
        "egress.requests.cpu: must not be above its limit",
    );
}

#[test]
fn what_a_choice_makes_necessary() {
    fault(
        &format!("renew_intent.redis.enabled = true\n{DOCKER}"),
        "renew_intent.redis.dsn: [renew_intent] redis.dsn must be set when redis.enabled is true.",
    );
    fault(
        &format!("tenants.provider = 'http'\n{KUBERNETES}"),
        "tenants.endpoint: [tenants] endpoint must be set when provider='http'.",
    );
    fault(
        &format!("store.type = 'postgresql'\n{DOCKER}"),
        "store.postgresql.dsn: store.postgresql.dsn or OPENSANDBOX_STORE_POSTGRESQL_DSN must be set when store.type is 'postgresql'.",
    );
}

#[test]
fn port_ranges() {
    fault(
        &format!("docker = {{ port_range_min = 50000, port_range_max = 50000 }}\n{DOCKER}"),
        "docker.port_range_min: docker.port_range_min (50000) must be less than docker.port_range_max (50000).",
    );
    fault(
        &format!("docker = {{ port_range_min = 50000, port_range_max = 50099 }}\n{DOCKER}"),
        "docker.port_range_min: Port range (50000-50099) is too narrow. Need at least 100 ports for reliable allocation.",
    );
    docker("docker = { port_range_min = 50000, port_range_max = 50100 }");
}

#[test]
fn tenants() {
    fault(
        &format!("tenants = {{}}\n{DOCKER}"),
        "tenants: [tenants] configured but runtime.type='docker'. Multi-tenancy requires Kubernetes namespaces.",
    );
    fault(
        &format!("tenants = {{}}\nserver.api_key = 'k'\n{KUBERNETES}"),
        "server.api_key: server.api_key must be removed from server.toml when using [tenants]. \
         Tenant API keys are managed by the tenant provider.",
    );
    fault(
        &format!("tenants = {{}}\nserver.keys = [{{ name = 'ci', role = 'admin', key = 'k' }}]\n{KUBERNETES}"),
        "server: the API key 'ci' must be removed when using [tenants], as must all of api_keys, api_key_file and \
         [[server.keys]]. Tenant API keys are managed by the tenant provider.",
    );
    read(&format!("tenants = {{}}\nserver.api_key = ' '\n{KUBERNETES}")).unwrap();
}

#[test]
fn the_process_runtime_stays_on_this_machine() {
    let with = |host: &str| format!("[server]\nhost = '{host}'\n[runtime]\ntype = 'process'\n");
    for host in ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"] {
        read(&with(host)).expect(host);
    }
    let refused = "server.host: the process runtime gives no isolation and refuses a non-loopback bind: \
        set it to an address of 127.0.0.0/8, ::1 or localhost";
    for host in ["0.0.0.0", "::", "10.0.0.1", "example.com", "128.0.0.1", "localhost.evil"] {
        fault(&with(host), refused);
    }
    fault("[runtime]\ntype = 'process'", refused);
}

#[test]
fn gaps() {
    assert_eq!(read(&format!("tenants = {{}}\n{KUBERNETES}")).unwrap().0.fatal_gaps(), [""; 0]);
    let secure = docker("secure_runtime = { type = 'gvisor', docker_runtime = 'runsc' }");
    assert_eq!(secure.fatal_gaps(), [""; 0]);
    let unnamed = docker("secure_runtime = { type = 'gvisor', k8s_runtime_class = 'gvisor' }");
    assert!(unnamed.fatal_gaps()[0].starts_with("secure_runtime.type without secure_runtime.docker_runtime"));
    assert!(docker("").fatal_gaps().is_empty());
}
