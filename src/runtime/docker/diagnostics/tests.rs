use bollard::models::{ContainerConfig, ContainerStateStatusEnum, EndpointSettings, HealthStatusEnum};

use super::*;

/// As the engine answers; the texts below are what the existing server makes of it (transcript 05, and seen on one).
fn container(config: ContainerConfig, state: ContainerState) -> ContainerInspectResponse {
    let bound = |ip: &str, port: &str| PortBinding { host_ip: Some(ip.to_owned()), host_port: Some(port.to_owned()) };
    let network = |ip: &str| EndpointSettings { ip_address: Some(ip.to_owned()), ..Default::default() };
    ContainerInspectResponse {
        id: Some("3323c8176fa6aaaaaaaaaaaaaaaa".to_owned()),
        name: Some("/sandbox-x".to_owned()),
        created: Some("2026-11-23T02:01:21.828350388Z".to_owned()),
        state: Some(state),
        config: Some(config),
        host_config: Some(HostConfig {
            nano_cpus: Some(1_255_000_000),
            memory: Some(1_072_693_248),
            pids_limit: Some(4096),
            ..Default::default()
        }),
        network_settings: Some(NetworkSettings {
            networks: Some(HashMap::from([
                ("diag-net".to_owned(), network("172.19.0.2")),
                ("bridge".to_owned(), network("172.17.0.4")),
            ])),
            ports: Some(HashMap::from([
                ("8080/tcp".to_owned(), Some(vec![bound("0.0.0.0", "41003"), bound("::", "41003")])),
                ("44772/tcp".to_owned(), Some(vec![bound("127.0.0.1", "41232")])),
                ("9000/tcp".to_owned(), None),
            ])),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn running() -> ContainerState {
    ContainerState {
        status: Some(ContainerStateStatusEnum::RUNNING),
        running: Some(true),
        exit_code: Some(0),
        started_at: Some("2026-11-23T02:01:24.11152871Z".to_owned()),
        finished_at: Some("0001-01-01T00:00:00Z".to_owned()),
        ..Default::default()
    }
}

fn config(env: &[&str], labels: &[(&str, &str)]) -> ContainerConfig {
    ContainerConfig {
        image: Some("busybox:1".to_owned()),
        env: Some(env.iter().map(ToString::to_string).collect()),
        labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        ..Default::default()
    }
}

#[test]
fn an_inspection_looks_like_the_existing_servers() {
    let config = config(&["A=1", "C=", "X=a\nb"], &[("project", "Apollo"), ("opensandbox.io/id", "x")]);
    assert_eq!(
        inspect(&container(config, running())),
        "Container ID:   3323c8176fa6\n\
         Name:           sandbox-x\n\
         Image:          busybox:1\n\
         Status:         running\n\
         Running:        True\n\
         Paused:         False\n\
         OOMKilled:      False\n\
         Exit Code:      0\n\
         Started At:     2026-11-23T02:01:24.11152871Z\n\
         Finished At:    0001-01-01T00:00:00Z\n\
         \n\
         Resources:\n\
         \x20 CPU:          1.25 cores\n\
         \x20 Memory:       1023 MiB\n\
         \x20 PIDs Limit:   4096\n\
         \n\
         Network:\n\
         \x20 bridge: 172.17.0.4\n\
         \x20 diag-net: 172.19.0.2\n\
         \n\
         Ports:\n\
         \x20 44772/tcp -> 127.0.0.1:41232\n\
         \x20 8080/tcp -> 0.0.0.0:41003\n\
         \x20 8080/tcp -> :::41003\n\
         \x20 9000/tcp (not bound)\n\
         \n\
         Labels:\n\
         \x20 opensandbox.io/id=x\n\
         \x20 project=Apollo\n\
         \n\
         Environment:\n\
         \x20 A=1\n\
         \x20 C=\n\
         \x20 X=a\nb"
    );
}

#[test]
fn what_a_container_lacks_is_left_out() {
    let bare = ContainerInspectResponse {
        id: Some("short".to_owned()),
        state: Some(ContainerState { error: Some("no such file".to_owned()), ..Default::default() }),
        ..Default::default()
    };
    let text = inspect(&bare);
    assert!(text.starts_with("Container ID:   short\nName:           \n"), "{text}");
    assert!(text.ends_with("Error:          no such file\n\nResources:\n\nNetwork:"), "{text}");
}

#[test]
fn secrets_are_not_shown() {
    let env = [
        "API_KEY=k",
        "db_pass=k",
        "DSN=k",
        "Authorization=k",
        "MY_CREDENTIALS=k",
        "A_TOKEN=k",
        "URL=postgres://u:k/k@h/d",
        "OPEN=https://h:80/x",
    ];
    let labels = [("opensandbox.io/egress-auth-token", "k"), ("my.secret", "k"), ("keyboard", "qwerty")];
    let text = inspect(&container(config(&env, &labels), running()));
    assert!(!text.contains("=k") && !text.contains("k@h"), "{text}");
    for shown in
        ["  API_KEY=***", "  OPEN=https://h:80/x", "  opensandbox.io/egress-auth-token=***", "  keyboard=qwerty"]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[test]
fn nothing_notable_is_said() {
    let head = "Container:  3323c8176fa6 (sandbox-x)\n";
    let created = "Created:    2026-11-23T02:01:21.828350388Z\n";
    let state = ContainerState {
        status: Some(ContainerStateStatusEnum::CREATED),
        started_at: Some("0001-01-01T00:00:00Z".to_owned()),
        ..Default::default()
    };
    assert_eq!(
        events(&container(ContainerConfig::default(), state), 50),
        format!("{head}Status:     created\n{created}(no notable events)")
    );
    assert_eq!(
        events(&container(ContainerConfig::default(), running()), 50),
        format!("{head}Status:     running\n{created}Started:    2026-11-23T02:01:24.11152871Z")
    );
}

#[test]
fn an_end_has_its_reasons() {
    let state = ContainerState {
        status: Some(ContainerStateStatusEnum::EXITED),
        finished_at: Some("2026-11-23T02:05:43.884708302Z".to_owned()),
        oom_killed: Some(true),
        exit_code: Some(137),
        error: Some("no such file".to_owned()),
        ..running()
    };
    let text = events(&container(ContainerConfig::default(), state), 50);
    assert!(
        text.ends_with(
            "Finished:   2026-11-23T02:05:43.884708302Z\n\
             Event:      OOMKilled - container was killed due to out-of-memory\n\
             Event:      Exited with code 137\n\
             Event:      Error - no such file"
        ),
        "{text}"
    );
}

#[test]
fn the_last_health_checks_are_shown() {
    let check = |second: u8, output: &str| HealthcheckResult {
        start: Some(format!("2026-11-24T06:23:{second}Z")),
        exit_code: Some(1),
        output: Some(output.to_owned()),
        ..Default::default()
    };
    let long = format!("  {}\n", "é".repeat(300));
    let health = Health {
        status: Some(HealthStatusEnum::UNHEALTHY),
        log: Some(vec![check(10, "a"), check(11, "b\n"), check(12, &long)]),
        ..Default::default()
    };
    let state = ContainerState { health: Some(health), ..running() };
    let text = events(&container(ContainerConfig::default(), state), 2);
    let expected = format!(
        "Health:     unhealthy\n  [2026-11-24T06:23:11Z] exit=1 b\n  [2026-11-24T06:23:12Z] exit=1 {}",
        "é".repeat(200)
    );
    assert!(text.ends_with(&expected) && !text.contains("exit=1 a"), "{text}");
}

#[test]
fn what_the_engine_quotes_of_secrets_is_not_shown_either() {
    let config = ContainerConfig {
        env: Some(vec!["DB_PASSWORD=hunter22".to_owned(), "LANG=C.UTF-8".to_owned()]),
        labels: Some([("my-token".to_owned(), "l4bel-token".to_owned())].into()),
        ..Default::default()
    };
    let error = Some("cannot start with hunter22 and l4bel-token in C.UTF-8".to_owned());
    let state = Some(ContainerState { error, ..Default::default() });
    let container = ContainerInspectResponse { config: Some(config), state, ..Default::default() };
    for text in [inspect(&container), events(&container, 5)] {
        assert!(text.contains("cannot start with *** and *** in C.UTF-8"), "{text}");
        assert!(!text.contains("hunter22") && !text.contains("l4bel-token"), "{text}");
    }
}
