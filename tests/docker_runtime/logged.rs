//! Sandboxes made past the runtime that print, with a log driver and its options, and logs that were written by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{collections::HashMap, fmt::Write as _, path::PathBuf};

use bollard::{
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig},
    query_parameters::{CreateContainerOptions, LogsOptions},
};
use futures_util::StreamExt;
use jiff::Timestamp;
use opensandbox_gateway::{logs::LogQuery, runtime::Runtime};

use crate::{
    by_hand::{remove, state},
    fixture::{Fixture, eventually},
};

/// A sandbox whose process has run `script` and has ended.
pub(crate) struct Logged {
    pub(crate) fixture: Fixture,
    pub(crate) id: String,
}

/// How a sandbox is made.
#[derive(Default)]
pub(crate) struct Make<'a> {
    pub(crate) driver: Option<(&'a str, &'a [(&'a str, &'a str)])>,
    pub(crate) tty: bool,
}

impl Logged {
    pub(crate) async fn start(make: &Make<'_>, script: &str) -> Self {
        let fixture = Fixture::start().await;
        let id = uuid::Uuid::new_v4().to_string();
        let scope = fixture.scope();
        let labels = [("opensandbox.io/id", id.as_str())].into_iter().chain(scope.split_once('='));
        let log_config = make.driver.map(|(driver, opts)| {
            let opts = opts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            HostConfigLogConfig { typ: Some(driver.to_owned()), config: Some(opts.collect::<HashMap<_, _>>()) }
        });
        let body = ContainerCreateBody {
            image: Some("osb-test/busybox:1".to_owned()),
            cmd: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            tty: Some(make.tty),
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), log_config, ..Default::default() }),
            ..Default::default()
        };
        let options = CreateContainerOptions { name: Some(format!("sandbox-{id}")), ..Default::default() };
        fixture.engine.create_container(Some(options), body).await.unwrap();
        fixture.engine.start_container(&format!("sandbox-{id}"), None).await.unwrap();
        Self { fixture, id }
    }

    pub(crate) async fn ended(make: &Make<'_>, script: &str) -> Self {
        let logged = Self::start(make, script).await;
        logged.has_ended().await;
        logged
    }

    pub(crate) async fn has_ended(&self) {
        eventually("the process has ended", async || state(&self.fixture, &self.name()).await == "exited").await;
    }

    /// One whose json-file log was written by hand: (second, nanosecond, stream, text).
    pub(crate) async fn stamped(records: &[(u64, u32, &str, &str)]) -> Self {
        let logged = Self::ended(&Make::default(), "true").await;
        std::fs::write(logged.file().await, file(records)).unwrap();
        logged
    }

    pub(crate) fn name(&self) -> String {
        format!("sandbox-{}", self.id)
    }

    /// The json-file log.
    pub(crate) async fn file(&self) -> PathBuf {
        self.fixture.engine.inspect_container(&self.name(), None).await.unwrap().log_path.unwrap().into()
    }

    pub(crate) async fn remove(self) {
        remove(&self.fixture, &self.name()).await;
    }

    /// The log as the gateway gives it as text.
    pub(crate) async fn text(&self, query: &LogQuery) -> Vec<u8> {
        let mut log = self.fixture.docker.open_logs(&self.id, query).await.unwrap().into_text(query);
        let mut text = Vec::new();
        while let Some(chunk) = std::future::poll_fn(|cx| log.as_mut().poll_chunk(cx)).await {
            text.extend_from_slice(&chunk.unwrap());
        }
        text
    }

    /// The engine's own last records.
    pub(crate) async fn engine_s(&self, tail: usize) -> Vec<u8> {
        self.asked(LogsOptions { stdout: true, stderr: true, tail: tail.to_string(), ..Default::default() }).await
    }

    /// What the engine kept of one stream, or of both.
    pub(crate) async fn kept(&self, [stdout, stderr]: [bool; 2]) -> Vec<u8> {
        self.asked(LogsOptions { stdout, stderr, ..Default::default() }).await
    }

    async fn asked(&self, options: LogsOptions) -> Vec<u8> {
        let mut log = self.fixture.engine.logs(&self.name(), Some(options));
        let mut text = Vec::new();
        while let Some(output) = log.next().await {
            text.extend_from_slice(&output.unwrap().into_bytes());
        }
        text
    }
}

/// Records in json-file's form.
pub(crate) fn file(records: &[(u64, u32, &str, &str)]) -> String {
    records.iter().fold(String::new(), |mut file, (second, nanosecond, stream, text)| {
        let time = Timestamp::new(1_795_399_200 + i64::try_from(*second).unwrap(), i32::try_from(*nanosecond).unwrap());
        let text = text.replace('\n', "\\n");
        writeln!(file, r#"{{"log":"{text}","stream":"{stream}","time":"{}"}}"#, time.unwrap()).unwrap();
        file
    })
}

pub(crate) const O: &str = "stdout";
pub(crate) const E: &str = "stderr";
