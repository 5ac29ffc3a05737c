use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use tracing::Level;

use super::*;
use crate::config::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn server_and_proxy() {
    let Config { server, proxy, .. } = docker("");
    assert_eq!(server.host, "0.0.0.0");
    assert_eq!(server.port, 8080);
    assert_eq!(server.timeout_keep_alive, seconds(30));
    assert_eq!(server.limit_concurrency, NonZeroU32::new(1024));
    assert_eq!(server.max_connections, 16_384);
    assert_eq!(server.max_connections_per_address, NonZeroU32::new(8_192));
    assert_eq!(server.timeout_graceful_shutdown, seconds(5));
    assert_eq!(server.backlog, 2048);
    assert!(server.keys.is_empty());
    assert_eq!(server.shutdown_delay, seconds(0));
    assert_eq!(server.trusted_proxies, crate::peer::trusted::TrustedProxies::default());
    assert_eq!(server.eip, None);
    assert_eq!(server.max_sandbox_timeout, None);
    assert!(proxy.resolve_internal);
    assert_eq!((proxy.max_connections, proxy.max_connections_per_sandbox), (None, None));
    assert_eq!(proxy.upload_stall_timeout, seconds(60));
}

#[test]
fn log_and_logs() {
    let Config { log, logs, metrics, .. } = docker("");
    assert_eq!(log.level, Level::INFO);
    assert_eq!(log.format, LogFormat::Text);
    assert!(log.file.is_none());
    assert_eq!(logs.max_streams, NonZeroU32::new(10_000));
    assert_eq!(logs.max_streams_per_sandbox, NonZeroU32::new(8_000));
    assert_eq!(logs.write_stall_timeout, seconds(60));
    assert_eq!(logs.buffer_bytes, 131_072);
    assert_eq!(logs.reconnect, seconds(30));
    assert!(log.access_health_checks);
    assert!(metrics.listen.is_none());
    let Config { ui, .. } = docker("");
    assert!(ui.listen.is_none() && ui.hosts.is_empty());
    let ui = docker("[ui]\nlisten = '[::1]:1'\nhosts = ['a.example', '[::1]:8443']").ui;
    assert_eq!((ui.listen.unwrap().port, ui.hosts.len()), (1, 2));

    let file = docker("[log]\nfile_enabled = 'yes'").log.file.unwrap();
    assert_eq!(file.path, Path::new("/home/me/logs/opensandbox/server.log"));
    assert_eq!(file.access_path, Path::new("/home/me/logs/opensandbox/access.log"));
    assert_eq!(file.max_bytes, 104_857_600);
    assert_eq!(file.backup_count, 5);
}

#[test]
fn docker_section() {
    let config = docker("");
    assert_eq!(config.runtime.kind, RuntimeKind::Docker);
    assert_eq!(config.runtime.execd_image, "execd");
    assert!(!config.runtime.execd_run_as_init);
    let docker = config.docker;
    assert_eq!(docker.network_mode, "host");
    assert_eq!(docker.api_timeout, seconds(180));
    assert_eq!(docker.host_ip, None);
    assert_eq!(docker.drop_capabilities.len(), 9);
    assert_eq!(docker.apparmor_profile, None);
    assert_eq!(docker.seccomp_profile, None);
    assert!(docker.no_new_privileges);
    assert_eq!((docker.port_range_min, docker.port_range_max), (40_000, 60_000));
    assert_eq!(docker.publish_host, Ipv4Addr::UNSPECIFIED);
    assert_eq!(docker.pids_limit, 4096);
    assert!(docker.sandbox_env.is_empty());
    assert!(docker.sandbox_binds.is_empty());
    assert!(!docker.allow_isolation_extension);
    assert_eq!(docker.expiry, None);
    assert!(docker.log_driver.is_none() && docker.log_opts.is_empty());
}

#[test]
fn kubernetes_and_agent_sandbox() {
    let absent = read(KUBERNETES).unwrap().0;
    assert!(absent.kubernetes.is_none() && absent.agent_sandbox.is_none());

    let text = "[kubernetes]\nworkload_provider = 'agent-sandbox'\n[agent_sandbox]\n";
    let config = read(&format!("{KUBERNETES}{text}")).unwrap().0;
    let kubernetes = config.kubernetes.unwrap();
    assert_eq!(kubernetes.kubeconfig_path, None);
    assert!(!kubernetes.insecure_skip_tls_verify);
    assert_eq!(kubernetes.informer_resync, seconds(300));
    assert_eq!(kubernetes.informer_watch_timeout, seconds(60));
    assert_eq!(kubernetes.cache_max_age, seconds(10));
    assert!(!kubernetes.allow_windows);
    assert!(kubernetes.pod_networks.is_empty());
    assert_eq!((kubernetes.read_qps, kubernetes.read_burst), (0.0, 0));
    assert_eq!((kubernetes.write_qps, kubernetes.write_burst), (0.0, 0));
    assert_eq!(kubernetes.namespace, None);
    let fastpath = kubernetes.fastpath;
    assert_eq!(fastpath.endpoint, "fast-sandbox-fastpath.opensandbox.svc:9090");
    assert_eq!((fastpath.timeout, fastpath.wait_ready), (seconds(30), seconds(30)));
    assert_eq!(fastpath.resource_pool, "default-pool");
    assert_eq!(kubernetes.template_s3_publish_secret, "sandbox-oss-credentials");
    assert_eq!(kubernetes.workload_provider, WorkloadProvider::AgentSandbox);
    assert_eq!(kubernetes.batchsandbox_template_file, None);
    assert_eq!(kubernetes.sandbox_create_timeout, seconds(60));
    assert_eq!(kubernetes.pool_acquisition_timeout, seconds(30));
    assert_eq!(kubernetes.sandbox_create_poll_interval, seconds(1));
    assert_eq!(kubernetes.image_pull_policy, "IfNotPresent");
    assert!(kubernetes.execd_init_resources.limits.is_empty());
    let agent = config.agent_sandbox.unwrap();
    assert_eq!(agent.template_file, None);
    assert_eq!(agent.shutdown_policy, ShutdownPolicy::Delete);

    let plain = read(&format!("{KUBERNETES}[kubernetes]\n")).unwrap().0;
    let provider = plain.kubernetes.unwrap().workload_provider;
    assert_eq!(provider, WorkloadProvider::BatchSandbox);
}

#[test]
fn ingress_storage_and_store() {
    let Config { ingress, storage, store, .. } = docker("");
    assert!(ingress.gateway.is_none());
    assert!(storage.allowed_host_paths.is_empty());
    assert_eq!(storage.volume_default_size, "1Gi");
    assert_eq!(storage.ossfs_mount_root, Path::new("/mnt/ossfs"));
    assert_eq!(store.snapshot_recovery_interval, seconds(15));
    let StoreBackend::Sqlite { path } = store.backend else {
        panic!("not a file");
    };
    assert_eq!(path, Path::new("/home/me/.opensandbox/opensandbox.db"));

    let text = "[store]\ntype = 'postgresql'\n[store.postgresql]\ndsn = 'postgres://db'\nsnapshot_recovery_interval_seconds = 3";
    let store = docker(text).store;
    assert_eq!(store.snapshot_recovery_interval, seconds(3));
    let StoreBackend::Postgresql(server) = store.backend else {
        panic!("not a server");
    };
    assert_eq!(server.dsn.expose(), "postgres://db");
    assert_eq!((server.min_pool_size, server.max_pool_size), (1, 10));
    assert_eq!((server.connect_timeout, server.pool_timeout), (seconds(5), seconds(5)));
}

#[test]
fn egress_and_secure_runtime() {
    let Config { egress, secure_runtime, .. } = docker("");
    assert_eq!(egress.image, None);
    assert_eq!(egress.mode, EgressMode::Dns);
    assert!(egress.disable_ipv6);
    assert!(egress.otlp_endpoint.is_none() && egress.upstream_proxy.is_none());
    assert_eq!(egress.readiness_timeout, seconds(30));
    assert!(egress.resources.requests.is_empty() && egress.resources.limits.is_empty());
    assert_eq!(secure_runtime.kind, None);
    assert_eq!(secure_runtime.docker_runtime, None);
    assert_eq!(secure_runtime.k8s_runtime_class, None);
}

#[test]
fn tenants_renew_intent_and_otel() {
    let Config { tenants, renew_intent, otel, .. } = docker("");
    assert!(tenants.is_none());
    assert!(!renew_intent.enabled && renew_intent.redis.is_none());
    assert_eq!(renew_intent.min_interval, seconds(60));
    assert!(!otel.enabled && otel.endpoint.is_none());
    assert_eq!(otel.service_name, "opensandbox-server");
    assert_eq!(otel.export_interval, seconds(60));

    let redis = docker("[renew_intent.redis]\nenabled = true\ndsn = 'redis://r'").renew_intent.redis.unwrap();
    assert_eq!(redis.queue_key, "opensandbox:renew:intent");
    assert_eq!(redis.consumer_concurrency, 8);

    let tenants = read(&format!("{KUBERNETES}[tenants]\n")).unwrap().0.tenants.unwrap();
    assert_eq!((tenants.max_stale, tenants.timeout), (seconds(300), seconds(5)));
    let TenantProvider::File(path) = tenants.provider else {
        panic!("not a file");
    };
    assert_eq!(path, Path::new("/home/me/.opensandbox/tenants.toml"));
}

#[test]
fn development() {
    let (config, warnings) = Config::dev(&|name| (name == env::API_KEY).then(|| "k".to_owned()));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.runtime.kind, RuntimeKind::Process);
    assert_eq!((config.server.host.as_str(), config.server.port), ("127.0.0.1", 8080));
    assert!(config.server.keys.is_empty());
    assert!(config.fatal_gaps().is_empty());
    assert_eq!(config.metrics.listen.unwrap().to_string(), "127.0.0.1:9090");
}

#[test]
fn values_are_taken_leniently() {
    let config = docker(
        "[server]\nport = '9090'\nlimit_concurrency = 0\ntimeout_keep_alive = 7.0\nmax_sandbox_timeout_seconds = '3_600'\napi_key = '  '\n\
         [log]\nlevel = 'warning'\nformat = 'json'\nfile_enabled = 1\nfile_path = '~/x.log'\n\
         access_health_checks = 'off'\n[metrics]\nlisten = ' [::1]:9100 '\n\
         [logs]\nmax_streams = 0\nmax_streams_per_sandbox = '0'\nwrite_stall_timeout_seconds = '0.5'\n\
         [docker]\nnetwork_mode = 'BRIDGE'\nno_new_privileges = 'off'\npublish_host = ' '\n\
         [docker.sandbox_env]\nA = 'b'",
    );
    assert_eq!(config.server.port, 9090);
    assert_eq!(config.server.limit_concurrency, None);
    assert_eq!(config.server.timeout_keep_alive, seconds(7));
    assert_eq!(config.server.max_sandbox_timeout, Some(seconds(3600)));
    assert!(config.server.keys.is_empty());
    assert_eq!(config.log.level, Level::WARN);
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(!config.log.access_health_checks);
    assert_eq!(config.metrics.listen.unwrap().to_string(), "[::1]:9100");
    assert!(docker("[metrics]\nlisten = ' '").metrics.listen.is_none());
    assert_eq!(config.log.file.unwrap().path, Path::new("/home/me/x.log"));
    assert_eq!((config.logs.max_streams, config.logs.max_streams_per_sandbox), (None, None));
    assert_eq!(config.logs.write_stall_timeout, Duration::from_millis(500));
    assert_eq!(config.docker.network_mode, "bridge");
    assert!(!config.docker.no_new_privileges);
    assert_eq!(config.docker.publish_host, Ipv4Addr::UNSPECIFIED);
    assert_eq!(config.docker.sandbox_env["A"].expose(), "b");
    assert_eq!(docker("[docker]\nnetwork_mode = 'MyNet'").docker.network_mode, "MyNet");
}

#[test]
fn levels_of_the_python_server() {
    for (name, level) in [
        ("critical", Level::ERROR),
        ("FATAL", Level::ERROR),
        ("Error", Level::ERROR),
        ("WARN", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
        ("notset", Level::TRACE),
    ] {
        assert_eq!(docker(&format!("[log]\nlevel = '{name}'")).log.level, level, "{name}");
    }
}

#[test]
fn a_gateway_with_keys() {
    let text = "[ingress]\nmode = 'gateway'\n[ingress.gateway]\naddress = '*.example.com'\n\
        [ingress.gateway.route]\nmode = 'wildcard'\n[ingress.secure_access]\nactive_key = 'a'\n\
        [[ingress.secure_access.keys]]\nkey_id = 'a'\nkey = 'YWI'\n\
        [[ingress.secure_access.keys]]\nkey_id = '7'\nkey = 'YWI='\n";
    let gateway = read(&format!("{KUBERNETES}{text}")).unwrap().0.ingress.gateway.unwrap();
    assert_eq!((gateway.address.as_str(), gateway.route), ("*.example.com", RouteMode::Wildcard));
    let access = gateway.secure_access.unwrap();
    assert_eq!((access.active_key, access.keys.len()), ('a', 2));
    assert_eq!((access.keys[1].id, access.keys[1].key.expose()), ('7', &b"ab"[..]));
}
