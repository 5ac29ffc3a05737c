//! The gateway as a process: the built program with a configuration of the test's.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A gateway that is to be started.
pub struct Setup {
    port: u16,
    server: String,
    sections: String,
    env: Vec<(String, String)>,
    has_session: bool,
    program: PathBuf,
}

/// A running gateway; it is killed when this is dropped.
pub struct Gateway {
    child: Child,
    address: SocketAddr,
    output: Arc<Mutex<String>>,
    home: tempfile::TempDir,
}

/// The pods of tests are on this machine.
const TEST_NETWORKS: &str = "\"0.0.0.0/0\", \"::/0\"";

impl Setup {
    /// A gateway for Docker sandboxes on the engine at `docker_host`, without an API key.
    pub fn docker(docker_host: &str) -> Self {
        let runtime = "[runtime]\ntype = \"docker\"\nexecd_image = \"osb-test/execd:stub\"\n";
        Self::new(runtime).env("DOCKER_HOST", docker_host)
    }

    /// A gateway for sandboxes that are processes of its own.
    pub fn process() -> Self {
        Self::new("[runtime]\ntype = \"process\"\nexecd_image = \"unused\"\n")
    }

    /// A gateway for the sandboxes of a namespace of the cluster that the kubeconfig file names.
    pub fn kubernetes(kubeconfig: &Path, namespace: &str) -> Self {
        let runtime = "[runtime]\ntype = \"kubernetes\"\nexecd_image = \"osb-test/execd:stub\"\n";
        let kubeconfig = kubeconfig.display();
        let networks = format!("pod_networks = [{TEST_NETWORKS}]");
        let cluster = format!("kubeconfig_path = \"{kubeconfig}\"\nnamespace = \"{namespace}\"\n{networks}\n");
        Self::new(&format!("{runtime}[kubernetes]\n{cluster}"))
    }

    /// The same for one that runs in a pod: `sections` are the rest of its configuration.
    pub fn in_cluster(sections: &str) -> Self {
        Self::new(&format!("[runtime]\ntype = \"kubernetes\"\nexecd_image = \"osb-test/execd:stub\"\n{sections}"))
    }

    fn new(runtime: &str) -> Self {
        let setup = Self {
            port: free_port(),
            server: String::new(),
            sections: runtime.to_owned(),
            env: Vec::new(),
            has_session: false,
            // Cargo builds a test's or a benchmark's program with the features that the tests ask of its dependencies, such as
            // tokio's clock that can be paused: what is measured is what is installed.
            program: std::env::var_os("GATEWAY_PROGRAM")
                .map_or_else(|| env!("CARGO_BIN_EXE_opensandbox-gateway").into(), PathBuf::from),
        };
        setup.env("OPENSANDBOX_INSECURE_SERVER", "YES")
    }

    /// The networks of a cluster's pods, as TOML has them; without them the gateway reaches no pod on this machine.
    pub fn networks(mut self, networks: &str) -> Self {
        self.sections = self.sections.replace(TEST_NETWORKS, networks);
        self
    }

    /// The image of execd on a cluster.
    pub fn execd(mut self, image: &str) -> Self {
        self.sections = self.sections.replace("\"osb-test/execd:stub\"", &format!("\"{image}\""));
        self
    }

    /// Adds lines to `[server]`.
    pub fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    /// Listens on this port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Requires an API key.
    pub fn api_key(self, key: &str) -> Self {
        self.server(&format!("api_key = \"{key}\""))
    }

    /// Adds a section with its header.
    pub fn section(mut self, text: &str) -> Self {
        self.sections.push_str(text);
        self.sections.push('\n');
        self
    }

    /// Starts it in a session of its own, as an init system does.
    #[allow(dead_code, reason = "the ladder does, the tests do not")]
    pub fn in_session(mut self) -> Self {
        self.has_session = true;
        self
    }

    /// Takes this program instead of the one under test.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the program and waits until it answers.
    ///
    /// # Panics
    ///
    /// With the program's output, if it ends or does not answer within [`super::LONGEST`].
    pub fn start(self) -> Gateway {
        let levels = ["'WARNING'", "\"WARNING\"", "'ERROR'", "\"ERROR\""];
        let tells = !levels.iter().any(|level| self.sections.contains(&format!("level = {level}")));
        let mut gateway = self.spawn();
        gateway.wait_until(|gateway| is_healthy(gateway.address));
        // What it says of its start comes by a writer of its own, which may be later than the first response.
        gateway.wait_until(|gateway| !tells || gateway.output().contains(" listens on "));
        gateway
    }

    /// Starts the program without waiting.
    pub fn spawn(self) -> Gateway {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("config.toml");
        let Self { port, server, sections, env, has_session, program } = self;
        let sections = as_visitor(sections);
        let text = format!("[server]\nhost = \"127.0.0.1\"\nport = {port}\n{server}\n{sections}");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(if has_session { Path::new("setsid") } else { &program });
        command
            .args(has_session.then_some(&program))
            .arg("--config")
            .arg(&config)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home.path()).envs(env);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the built program starts");
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("piped"), output.clone());
        collect(child.stderr.take().expect("piped"), output.clone());
        Gateway { child, address: SocketAddr::from(([127, 0, 0, 1], port)), output, home }
    }
}

/// The sections for a gateway that ends only its own sandboxes, unless they say otherwise: its home is gone after the test,
/// and so would be the owner of the engine.
fn as_visitor(mut sections: String) -> String {
    if sections.contains("type = \"docker\"") && !sections.contains("\nexpiry = ") {
        let header = "[docker]\n";
        match sections.find(header) {
            Some(at) => sections.insert_str(at + header.len(), "expiry = \"own\"\n"),
            None => sections.push_str("[docker]\nexpiry = \"own\"\n"),
        }
    }
    sections
}

impl Gateway {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its home directory, with `config.toml`.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// All that it has written to its outputs so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("no holder of the lock panics").clone()
    }

    /// How many descriptors it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.status_field("VmRSS:") * 1024
    }

    /// The most resident memory that it has had, in bytes.
    pub fn peak(&self) -> u64 {
        self.status_field("VmHWM:") * 1024
    }

    /// How many threads it has.
    pub fn threads(&self) -> u64 {
        self.status_field("Threads:")
    }

    /// The processor time it has used, in user and system mode together.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The second field is the program's name in parentheses and may hold spaces; utime and stime are 14 and 15.
        let after = stat.rsplit_once(')').expect("a name in parentheses").1;
        let fields: Vec<u64> = after.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap()).collect();
        Duration::from_millis((fields[0] + fields[1]) * 10)
    }

    /// Waits until it has written `text` to one of its outputs.
    pub async fn says(&self, text: &str) {
        super::eventually(text, super::LONGEST, || self.output().contains(text)).await;
    }

    /// Waits until it has nothing to do: all its threads sleep, and go on doing so.
    pub async fn rests(&self) {
        let (start, mut before, mut times) = (Instant::now(), Duration::MAX, 0);
        while times < 10 {
            assert!(start.elapsed() < super::LONGEST, "the gateway does not come to rest");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.cpu();
            times = if now == before && self.states().iter().all(|state| *state == 'S') { times + 1 } else { 0 };
            before = now;
        }
    }

    /// Waits until one of its threads hangs in the kernel, where no signal reaches it.
    pub async fn hangs(&self) {
        super::eventually("a hanging thread", super::LONGEST, || self.states().contains(&'D')).await;
    }

    /// The states of its threads, by the kernel's letters.
    fn states(&self) -> Vec<char> {
        states(self.pid())
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the program's end.
    ///
    /// # Panics
    ///
    /// If it has not ended within `time`.
    pub fn wait(&mut self, time: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.hear_out();
                return status;
            }
            assert!(start.elapsed() < time, "still running after {time:?}: {}", self.output());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all that was written is in [`Gateway::output`]; not for long, since what it started may hold its outputs.
    fn hear_out(&self) {
        let start = Instant::now();
        while Arc::strong_count(&self.output) > 1 && start.elapsed() < Duration::from_millis(500) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn status_field(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel has the field");
        line.split_whitespace().next().expect("a value").parse().expect("a number")
    }

    fn wait_until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}: {}", self.output());
            }
            assert!(start.elapsed() < super::LONGEST, "the gateway does not start: {}", self.output());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already ended is as well; without the wait it would stay behind as a zombie.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("---- the gateway's output ----\n{}", self.output());
        }
    }
}

/// The configuration takes no port 0, so one is drawn here. It is none that the kernel gives to whoever connects or asks for any
/// (from 32768 on); other test programs begin elsewhere. The port behind it is drawn by nobody in this program: `dev` takes it.
pub fn free_port() -> u16 {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(811).wrapping_add(DRAWN.fetch_add(2, Ordering::Relaxed));
        let port = u16::try_from(10_000 + number % 12_000).expect("below 22,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The states of a process's threads, by the kernel's letters.
pub fn states(pid: u32) -> Vec<char> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    // A thread may end in between.
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // The letter comes after the name in parentheses, which may hold anything.
    stats.filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}

fn is_healthy(address: SocketAddr) -> bool {
    let Ok(mut io) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    io.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let sent = io.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    sent.is_ok() && io.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            into.lock().expect("no holder of the lock panics").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}
