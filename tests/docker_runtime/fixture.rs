//! A runtime on the machine's engine, with a client of the test's own beside it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bollard::query_parameters::ListContainersOptions;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use opensandbox_gateway::{
    config::ExpiryScope,
    model::create::{CreateRequest, ImageSource},
    runtime::docker::{Docker, DockerOptions, endpoint::Endpoint},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::proxy::Proxy;

/// The machine's engine, or the one that `DOCKER_HOST` names.
pub(crate) fn socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    PathBuf::from(host.strip_prefix("unix://").expect("these tests need an engine on a unix socket"))
}

/// A runtime and what surrounds it. It sees only what was made through it or with [`Fixture::scope`], whatever else is on the
/// engine: tests run beside each other.
pub(crate) struct Fixture {
    pub(crate) docker: Docker,
    /// The test's own client, past any proxy.
    pub(crate) engine: bollard::Docker,
    pub(crate) state: TempDir,
    /// Unlike that of any other test.
    pub(crate) run: String,
    /// Between the runtime and the engine.
    pub(crate) proxy: Proxy,
    /// The same without any fault, for all that is started later.
    plain: Proxy,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(options()).await
    }

    pub(crate) async fn start_with(options: DockerOptions) -> Self {
        let run = uuid::Uuid::new_v4().to_string();
        Self::start_at(Proxy::start(&scope_of(&run)), options, run).await
    }

    /// The engine says that it is of API 1.45. What only such engines know of a request it passes over.
    pub(crate) async fn start_with_newer_engine() -> Self {
        let run = uuid::Uuid::new_v4().to_string();
        Self::start_at(Proxy::start_newer(&scope_of(&run)), options(), run).await
    }

    async fn start_at(proxy: Proxy, options: DockerOptions, run: String) -> Self {
        let state = tempfile::tempdir().unwrap();
        let docker = start(&proxy.path(), options, state.path()).await;
        let engine = client().await;
        for image in ["osb-test/busybox:1", "osb-test/execd:stub"] {
            let found = engine.inspect_image(image).await;
            found.unwrap_or_else(|error| panic!("these tests need the image {image}: {error}"));
        }
        let plain = Proxy::start(&scope_of(&run));
        Self { docker, engine, state, run, proxy, plain }
    }

    /// The label that makes a container or volume one of this fixture's.
    pub(crate) fn scope(&self) -> String {
        scope_of(&self.run)
    }

    /// The engine as this fixture's runtimes see it, without the proxy's faults.
    pub(crate) fn socket(&self) -> PathBuf {
        self.plain.path()
    }

    /// A runtime with files of its own beside this one's, on the engine behind `socket`.
    pub(crate) async fn beside(socket: &Path, options: DockerOptions, state: &Path) -> Docker {
        start(socket, options, state).await
    }

    /// The same with files that go with it.
    pub(crate) async fn newcomer(&self, options: DockerOptions) -> (Docker, TempDir) {
        let state = tempfile::tempdir().unwrap();
        (start(&self.socket(), options, state.path()).await, state)
    }

    /// Another runtime with the same files, as after a restart.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(options()).await;
    }

    pub(crate) async fn restart_with(&mut self, options: DockerOptions) {
        self.docker = start(&self.socket(), options, self.state.path()).await;
    }

    /// What there still is of all sandboxes that the runtime tried to create through the proxy.
    pub(crate) async fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        for id in self.proxy.created_ids() {
            for name in [format!("sandbox-{id}"), format!("sandbox-egress-{id}")] {
                left.extend(self.engine.inspect_container(&name, None).await.ok().map(|_| name));
            }
            for name in [format!("opensandbox-runtime-{id}"), format!("opensandbox-win-oem-{id}")] {
                left.extend(self.engine.inspect_volume(&name).await.ok().map(|_| name));
            }
        }
        left
    }

    /// Whether the engine has a volume of this name.
    pub(crate) async fn has_volume(&self, name: &str) -> bool {
        self.engine.inspect_volume(name).await.is_ok()
    }

    pub(crate) async fn containers_with(&self, label: &str) -> usize {
        self.listed(label).await.len()
    }

    /// The engine's ids of the sandboxes' containers that there are.
    pub(crate) async fn container_ids(&self, ids: &[String]) -> Vec<String> {
        let mut containers = Vec::new();
        for id in ids {
            containers.extend(self.listed(&format!("opensandbox.io/id={id}")).await);
        }
        containers
    }

    async fn listed(&self, label: &str) -> Vec<String> {
        let filters = Some([("label".to_owned(), vec![label.to_owned()])].into());
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        let summaries = self.engine.list_containers(Some(options)).await.unwrap();
        summaries.into_iter().filter_map(|summary| summary.id).collect()
    }
}

fn scope_of(run: &str) -> String {
    format!("opensandbox.io/test-scope={run}")
}

async fn start(socket: &Path, options: DockerOptions, state: &Path) -> Docker {
    let options = DockerOptions { state_dir: state.to_owned(), ..options };
    let docker = Docker::connect(Endpoint::Unix(socket.to_owned()), options).await;
    docker.unwrap_or_else(|error| panic!("these tests need a Docker engine at {socket:?}: {error}"))
}

/// A client of the engine past the runtime, over the crate's own connections.
async fn client() -> bollard::Docker {
    let transport = |mut request: bollard::BollardRequest| {
        let call: Call = Box::pin(async move {
            let path = request.uri().path_and_query().unwrap().as_str();
            *request.uri_mut() = path.parse().unwrap();
            request.headers_mut().insert("host", http::HeaderValue::from_static("docker"));
            let io = Endpoint::Unix(socket()).connect().await?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        });
        call
    };
    let version = bollard::API_DEFAULT_VERSION;
    let client = bollard::Docker::connect_with_custom_transport(transport, Some("http://docker"), 60, version);
    client.unwrap()
}

type Call = BoxFuture<'static, Result<http::Response<hyper::body::Incoming>, bollard::errors::Error>>;

/// A runtime that publishes ports on the loopback.
pub(crate) fn options() -> DockerOptions {
    DockerOptions {
        network_mode: "bridge".to_owned(),
        publish_host: [127, 0, 0, 1].into(),
        execd_image: "osb-test/execd:stub".to_owned(),
        // None that the kernel gives to whoever connects, nor of the tests' own servers.
        port_range: 22_000..=31_999,
        // Others' sandboxes are on this engine, and no mark is to stay on it.
        expiry: Some(ExpiryScope::Own),
        ..Default::default()
    }
}

/// A request for busybox, for ten minutes at most. Empty words are left out.
pub(crate) fn request(entrypoint: &[&str]) -> CreateRequest {
    let words = entrypoint.iter().filter(|word| !word.is_empty());
    CreateRequest {
        image: Some(ImageSource { uri: "osb-test/busybox:1".to_owned(), auth: None }),
        entrypoint: words.map(|word| (*word).to_owned()).collect(),
        timeout: Some(600),
        ..Default::default()
    }
}

/// Waits at most a minute: other tests may keep the engine busy.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(Instant::now() < end, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The whole answer to a GET request on the loopback.
pub(crate) async fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}
