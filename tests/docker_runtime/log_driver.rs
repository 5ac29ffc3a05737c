//! Which log driver the containers have that are made.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{collections::HashMap, future::poll_fn};

use opensandbox_gateway::{
    error::{Family, Kind},
    logs::LogQuery,
    runtime::{
        Runtime,
        docker::{Docker, DockerOptions, endpoint::Endpoint},
    },
    secret::Secret,
};

use crate::{
    fixture::{Fixture, eventually, options, request, socket},
    sidecar::{filtered, with_sidecar},
};

fn keeping(driver: Option<&str>, opts: &[(&str, &str)], options: DockerOptions) -> DockerOptions {
    let opts = opts.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    DockerOptions { log_driver: driver.map(str::to_owned), log_opts: opts, ..options }
}

/// The engine's words for a container's driver, and its options.
async fn of(fixture: &Fixture, name: &str) -> (String, HashMap<String, String>) {
    let host = fixture.engine.inspect_container(name, None).await.unwrap().host_config.unwrap();
    let log = host.log_config.unwrap();
    (log.typ.unwrap(), log.config.unwrap_or_default())
}

/// All that a sandbox has printed.
async fn printed(fixture: &Fixture, id: &str) -> String {
    let mut log = fixture.docker.open_logs(id, &LogQuery::ALL).await.unwrap().into_text(&LogQuery::ALL);
    let mut text = String::new();
    while let Some(chunk) = poll_fn(|cx| log.as_mut().poll_chunk(cx)).await {
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_and_its_sidecar_have_the_log_driver_that_was_asked_for() {
    let opts = [("max-size", "1m"), ("max-file", "2")];
    for driver in ["local", "json-file"] {
        let fixture = Fixture::start_with(keeping(Some(driver), &opts, with_sidecar())).await;
        let id = fixture.docker.create(filtered(&["sh", "-c", "echo hello; sleep 1000"])).await.unwrap().id;
        for name in [format!("sandbox-{id}"), format!("sandbox-egress-{id}")] {
            let (found, config) = of(&fixture, &name).await;
            assert_eq!((found.as_str(), config.len()), (driver, 2), "{name}");
            assert!(opts.iter().all(|(key, value)| config[*key] == *value), "{name}: {config:?}");
        }
        eventually("the log is read", async || printed(&fixture, &id).await == "hello\n").await;
        fixture.docker.delete(&id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_driver_it_is_the_engine_s_with_the_options_over_its_own() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let engine_s = of(&fixture, &format!("sandbox-{id}")).await;
    assert_eq!(Some(&engine_s.0), fixture.engine.info().await.unwrap().logging_driver.as_ref());
    fixture.docker.delete(&id).await.unwrap();
    let fixture = Fixture::start_with(keeping(None, &[("max-size", "3m")], options())).await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let (driver, config) = of(&fixture, &format!("sandbox-{id}")).await;
    assert_eq!((&driver, config["max-size"].as_str()), (&engine_s.0, "3m"));
    fixture.docker.delete(&id).await.unwrap();
}

/// What the options promise holds: the log stays small on the engine's disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_log_keeps_its_end() {
    let opts = [("max-size", "64k"), ("max-file", "2")];
    let fixture = Fixture::start_with(keeping(Some("json-file"), &opts, options())).await;
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; sleep 1000";
    let id = fixture.docker.create(request(&["sh", "-c", script])).await.unwrap().id;
    eventually("the last line is there", async || printed(&fixture, &id).await.ends_with("line 20000\n")).await;
    let text = printed(&fixture, &id).await;
    assert!(text.len() < 128 * 1024 && !text.contains("line 1\n"), "{} bytes", text.len());
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_keeps_nothing_says_so_when_the_log_is_asked_for() {
    let fixture = Fixture::start_with(keeping(Some("none"), &[], options())).await;
    let id = fixture.docker.create(request(&["sh", "-c", "echo hello; sleep 1000"])).await.unwrap().id;
    assert_eq!(of(&fixture, &format!("sandbox-{id}")).await.0, "none");
    let error = fixture.docker.open_logs(&id, &LogQuery::ALL).await.err().unwrap();
    assert_eq!(error.key(), (Family::Logs, Kind::Unsupported));
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_does_not_have_stops_the_start() {
    let state = tempfile::tempdir().unwrap();
    for (driver, opts, parts) in [
        (Some("jsonfile"), &[][..], &["docker.log_driver", "no log driver 'jsonfile'", "json-file"][..]),
        (Some("local"), &[("labels", "x")], &["docker.log_opts.labels", "'local'", "max-size, max-file, compress"]),
        // The engine's default driver here is json-file.
        (None, &[("compress", "true")], &["docker.log_opts.compress", "'json-file'", "max-size"]),
    ] {
        let options = DockerOptions { state_dir: state.path().to_owned(), ..keeping(driver, opts, options()) };
        let error = Docker::connect(Endpoint::Unix(socket()), options).await.err().unwrap();
        assert_eq!(error.key(), (Family::Startup, Kind::Failed));
        assert!(parts.iter().all(|part| error.message.contains(part)), "{error}");
    }
}

/// The engine looks at these when a container is made, and none is made for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_refuses_when_a_container_is_made_stops_the_start() {
    let state = tempfile::tempdir().unwrap();
    for (driver, opts, part) in [
        ("gelf", &[][..], "gelf-address"),
        ("awslogs", &[], "awslogs-group"),
        ("syslog", &[("syslog-facility", "nonsense")], "syslog facility"),
        // Every engine repeats the value.
        ("fluentd", &[("fluentd-address", "nonsense-that-may-be-secret:x")], "fluentd-address"),
    ] {
        let options = DockerOptions { state_dir: state.path().to_owned(), ..keeping(Some(driver), opts, options()) };
        let error = Docker::connect(Endpoint::Unix(socket()), options).await.err().unwrap();
        assert_eq!(error.key(), (Family::Startup, Kind::Failed));
        assert!(
            ["docker.log_driver", "docker.log_opts", part].iter().all(|part| error.message.contains(part)),
            "{error}"
        );
        assert!(!error.message.contains("nonsense"), "{error}");
    }
}

/// What shows only when a container starts: the error says whose fault it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_its_log_driver_keeps_from_starting_says_so() {
    for (opts, part) in [(("env-regex", "("), "missing closing"), (("tag", "{{.Nope}}"), "can't evaluate field")] {
        let fixture = Fixture::start_with(keeping(Some("json-file"), &[opts], options())).await;
        let error = fixture.docker.create(request(&["sleep", "1000"])).await.err().unwrap();
        assert_eq!(error.key(), (Family::Creation, Kind::Failed));
        for part in ["failed to initialize logging driver", part, "change log_driver and log_opts of [docker]"] {
            assert!(error.message.contains(part), "{error}");
        }
    }
}
