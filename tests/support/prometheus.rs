//! A real Prometheus that scrapes one target, and what its API says.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{client::get_once, gateway::free_port};

/// A running server; it ends with its files when this is dropped.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `target` four times a second.
    pub fn start(target: SocketAddr) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
             scrape_configs: [{{job_name: opensandbox-gateway, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("prometheus is installed: scripts/test");
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _dir: dir }
    }

    /// The sum of what a query finds now; nothing if it finds nothing.
    pub async fn value(&self, query: &str) -> Option<f64> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        // It may not listen yet.
        tokio::net::TcpStream::connect(self.address).await.ok()?;
        let answer = get_once(self.address, &format!("/api/v1/query?query={query}")).await;
        if answer.status() != 200 {
            return None;
        }
        let answer = answer.json();
        let found = answer["data"]["result"].as_array().filter(|found| !found.is_empty())?;
        Some(found.iter().map(|one| one["value"][1].as_str().unwrap().parse::<f64>().unwrap()).sum())
    }

    /// Checks that a query can be answered, if only with nothing.
    ///
    /// # Panics
    ///
    /// It cannot.
    pub async fn understands(&self, query: &str) {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = get_once(self.address, &format!("/api/v1/query?query={query}")).await;
        assert_eq!(answer.status(), 200, "{answer}");
    }

    /// Waits until a query's value is as wished; gives it.
    ///
    /// # Panics
    ///
    /// If it is not within 20 s.
    pub async fn wait_for(&self, query: &str, is_wished: impl Fn(f64) -> bool) -> f64 {
        let start = Instant::now();
        loop {
            let value = self.value(query).await;
            if let Some(value) = value.filter(|value| is_wished(*value)) {
                return value;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{query}: {value:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
