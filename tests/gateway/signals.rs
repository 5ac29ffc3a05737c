//! Signals besides the first SIGTERM: log files and keys are read again, nothing kills in silence, and nothing that hangs holds
//! up the end.

use std::{
    ffi::CString,
    fs::{self, File},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::support::executable::executable;
use crate::{
    Pair, Setup,
    support::{
        client::{get_once, request},
        engine::Script,
        eventually,
        gateway::{Gateway, states},
        program::{self, Home},
    },
};

pub(crate) async fn says(gateway: &Gateway, count: usize, part: &str) {
    let said = || gateway.output().matches(part).count() >= count;
    eventually(&format!("{count} times {part:?}"), Duration::from_secs(5), said).await;
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    let line = format!("OPEN-SANDBOX-API-KEY: {key}");
    request(gateway.address(), "GET", "/v1/sandboxes", &[&line], "").await.status()
}

/// Puts `new` in place of `old` in the configuration, as an editor does: by renaming another file.
fn edit(gateway: &Gateway, old: &str, new: &str) {
    let (path, next) = (gateway.home().join("config.toml"), gateway.home().join("config.next"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(&next, text.replace(old, new)).unwrap();
    fs::rename(next, path).unwrap();
}

fn fifo(path: &Path) {
    // One may stand there already.
    let _ = fs::remove_file(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A file that hangs whoever opens it, as one on a server that is gone: a file system that nobody answers for.
pub(crate) struct Hanging {
    path: PathBuf,
    _fuse: File,
}

impl Hanging {
    pub(crate) fn over(path: &Path) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: run the tests as root");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::options().append(true).create(true).open(path).unwrap();
        let fuse = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=100644,user_id=0,group_id=0", fuse.as_raw_fd());
        let options = CString::new(options).unwrap();
        mount("hangs", path, "fuse", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Self { path: path.to_owned(), _fuse: fuse }
    }

    /// Takes it away; who waits for it goes on waiting.
    fn unmount(&self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.unmount();
    }
}

#[tokio::test]
async fn sighup_opens_moved_log_files_again() {
    let files = "[log]\nfile_enabled = true\nfile_path = '~/server.log'\naccess_file_path = '~/access.log'";
    let mut gateway = Setup::process().section(files).start();
    let path = |name: &str| gateway.home().join(name);
    for name in ["server.log", "access.log"] {
        fs::rename(path(name), path(&format!("{name}.old"))).unwrap();
    }
    request(gateway.address(), "GET", "/v1/before", &[], "").await;
    // Lines are written in the background.
    let is_written = || fs::read_to_string(path("access.log.old")).unwrap().contains("/v1/before");
    eventually("the first line", Duration::from_secs(5), is_written).await;
    gateway.signal("HUP");
    says(&gateway, 1, "SIGHUP: the keys are read again").await;
    request(gateway.address(), "GET", "/v1/after", &[], "").await;
    gateway.terminate();
    assert!(gateway.wait(Duration::from_secs(10)).success());
    let read = |name: &str| fs::read_to_string(gateway.home().join(name)).unwrap();
    let (old, new) = (read("access.log.old"), read("access.log"));
    assert!(old.contains("/v1/before") && !old.contains("/v1/after"), "{old}");
    assert!(new.contains("/v1/after") && !new.contains("/v1/before"), "{new}");
    assert!(read("server.log").contains("SIGTERM") && !read("server.log.old").contains("SIGTERM"));
}

#[tokio::test]
async fn other_signals_do_not_kill_and_say_so() {
    let mut gateway = Setup::process().start();
    for signal in ["USR1", "USR2"] {
        gateway.signal(signal);
        says(&gateway, 1, &format!("SIG{signal} means nothing here")).await;
    }
    gateway.signal("HUP");
    says(&gateway, 1, "there is no API key, as before").await;
    assert_eq!(get_once(gateway.address(), "/health").await.status(), 200);
    gateway.terminate();
    assert!(gateway.wait(Duration::from_secs(10)).success());
}

#[tokio::test]
async fn a_key_is_replaced_without_an_outage() {
    let gateway = Setup::process().server("api_keys = ['k-old']").start();
    assert_eq!((status(&gateway, "k-old").await, status(&gateway, "k-new").await), (200, 401));
    for (turn, (from, to, old, new)) in
        [("['k-old']", "['k-old', 'k-new']", 200, 200), ("['k-old', 'k-new']", "['k-new']", 401, 200)]
            .into_iter()
            .enumerate()
    {
        edit(&gateway, from, to);
        gateway.signal("HUP");
        says(&gateway, turn + 1, "SIGHUP: the keys are read again").await;
        assert_eq!((status(&gateway, "k-old").await, status(&gateway, "k-new").await), (old, new));
    }
    assert!(gateway.output().contains("the 2 API keys are api_keys[0], api_keys[1]"), "{}", gateway.output());
    assert!(!gateway.output().contains("k-new") && !gateway.output().contains("k-old"), "{}", gateway.output());
}

#[tokio::test]
async fn a_key_file_is_read_again_and_a_bad_one_changes_nothing() {
    let gateway = Setup::process().server("api_key_file = '~/keys'");
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    fs::write(&keys, "k-1\r\n").unwrap();
    let gateway =
        gateway.server(&format!("# {}", home.path().display())).env("HOME", home.path().to_str().unwrap()).start();
    assert_eq!((status(&gateway, "k-1").await, status(&gateway, "k-2").await), (200, 401));
    assert!(gateway.output().contains("chmod 600"), "{}", gateway.output());
    fs::write(&keys, "k-1\nci k-2\n").unwrap();
    gateway.signal("HUP");
    says(&gateway, 1, "the 2 API keys are api_key_file:1, ci").await;
    assert_eq!((status(&gateway, "k-1").await, status(&gateway, "k-2").await), (200, 200));
    for (turn, bad) in ["", "# none\n", "k-3 k-4 k-5\n"].into_iter().enumerate() {
        fs::write(&keys, bad).unwrap();
        gateway.signal("HUP");
        says(&gateway, turn + 1, "SIGHUP: the keys stay as they were").await;
        assert_eq!(
            (status(&gateway, "k-1").await, status(&gateway, "k-2").await, status(&gateway, "").await),
            (200, 200, 401)
        );
    }
    fs::remove_file(&keys).unwrap();
    gateway.signal("HUP");
    says(&gateway, 4, "SIGHUP: the keys stay as they were").await;
    // A configuration that is no TOML, or has no keys any more, opens nothing either.
    for (turn, (from, to)) in [("[server]", "[server"), ("[server\n", "[server]\n"), ("api_key_file", "# api_key_file")]
        .into_iter()
        .enumerate()
    {
        edit(&gateway, from, to);
        gateway.signal("HUP");
        says(&gateway, 5 + turn, "SIGHUP: the keys stay as they were").await;
        assert_eq!((status(&gateway, "k-2").await, status(&gateway, "").await), (200, 401));
    }
    assert!(!gateway.output().contains("k-3"), "{}", gateway.output());
}

#[tokio::test]
async fn a_line_end_behind_a_key_is_no_part_of_it() {
    let gateway = Setup::process().env("OPENSANDBOX_SERVER_API_KEY", "k-env\r\n").start();
    assert_eq!((status(&gateway, "k-env").await, status(&gateway, "k").await), (200, 401));
    // What the environment gave stays.
    gateway.signal("HUP");
    says(&gateway, 1, "the API key is api_key").await;
    assert_eq!(status(&gateway, "k-env").await, 200);
}

#[tokio::test]
async fn a_file_that_hangs_does_not_hold_up_the_end() {
    let mut gateway = Setup::process().server("timeout_graceful_shutdown = 1").start();
    let _hangs = Hanging::over(&gateway.home().join("config.toml"));
    gateway.signal("HUP");
    gateway.hangs().await;
    assert_eq!(get_once(gateway.address(), "/health").await.status(), 200);
    let start = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait(Duration::from_secs(10)).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(gateway.output().contains("all connections have ended"), "what was logged is written");
}

#[tokio::test]
async fn a_file_that_is_no_file_or_hangs_during_one_sighup_does_not_hold_up_the_next() {
    let gateway = Setup::process().server("api_keys = ['k-old']").start();
    let config = gateway.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fifo(&config);
    gateway.signal("HUP");
    says(&gateway, 1, "config.toml: cannot be read: it is not a regular file").await;
    fs::remove_file(&config).unwrap();
    fs::write(&config, &text).unwrap();
    let hangs = Hanging::over(&config);
    gateway.signal("HUP");
    let told = || gateway.output().contains("the keys stay as they were: their files hang");
    eventually("it is told", Duration::from_secs(20), told).await;
    // As a file server that stays away.
    hangs.unmount();
    edit(&gateway, "k-old", "k-new");
    gateway.signal("HUP");
    says(&gateway, 1, "SIGHUP: the keys are read again").await;
    assert_eq!((status(&gateway, "k-old").await, status(&gateway, "k-new").await), (401, 200));
}

#[test]
fn a_start_without_regular_files_is_refused_at_once() {
    let home = Home::with("");
    let pipe = home.path().join("pipe");
    fifo(&pipe);
    let ended = home.run_args(&["--config", pipe.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.ends_with("pipe: cannot be read: it is not a regular file\n"), "{ended:?}");
    let certificates = [("SSL_CERT_FILE", pipe.to_str().unwrap())];
    let ended = program::end(home.command(&["dev"], &certificates).spawn().unwrap(), Duration::from_secs(10));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.ends_with("pipe: it is not a regular file\n"), "{ended:?}");
}

#[tokio::test]
async fn a_sandboxes_file_that_hangs_does_not_hold_up_the_end_and_a_second_signal_ends_at_once() {
    for (grace, expected) in [(1, 0), (60, 143)] {
        let mut pair = Pair::with(|setup| setup.server(&format!("timeout_graceful_shutdown = {grace}")));
        let id = pair.engine.log(Script::silent());
        // Where the gateway keeps what was changed of a sandbox.
        let folder = pair.gateway.home().join(".opensandbox/metadata");
        let files = [folder.clone(), folder.join("_expiration")].map(|folder| folder.join(format!("{id}.json")));
        let _hang = files.map(|file| Hanging::over(&file));
        let address = pair.address();
        let asked = tokio::spawn(async move {
            let mut client = crate::support::client::Client::connect(address).await;
            client.send_get(&format!("/v1/sandboxes/{id}"), &[]).await;
            client.is_closed().await
        });
        pair.gateway.hangs().await;
        let start = Instant::now();
        pair.gateway.terminate();
        if expected == 143 {
            pair.gateway.says("no new connections").await;
            pair.gateway.terminate();
        }
        let code = pair.gateway.wait(Duration::from_secs(10)).code();
        assert_eq!(code, Some(expected));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        asked.abort();
    }
}

#[tokio::test]
async fn a_log_file_that_hangs_does_not_hold_up_the_end() {
    let files = "[log]\nfile_enabled = true\nfile_path = '~/server.log'\naccess_file_path = '~/access.log'";
    let mut gateway = Setup::process().section(files).start();
    let _hang = ["server.log", "access.log"].map(|name| Hanging::over(&gateway.home().join(name)));
    gateway.signal("HUP");
    says(&gateway, 1, "SIGHUP: the keys are read again").await;
    assert_eq!(get_once(gateway.address(), "/v1/sandboxes").await.status(), 200);
    let start = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait(Duration::from_secs(10)).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_start_that_hangs_ends_by_a_signal() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let home = Home::with("");
        let config = home.config();
        let _hangs = Hanging::over(&config);
        let mut command = home.command(&["--config", config.to_str().unwrap()], &[]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let due = Instant::now() + Duration::from_secs(10);
        while !states(child.id()).contains(&'D') {
            assert!(Instant::now() < due, "nothing hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
        let kill = |signal: &str| Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        // These do not: neither in silence nor otherwise.
        assert!(kill("HUP").success() && kill("USR1").success());
        // Until it has said why nothing happens.
        std::thread::sleep(Duration::from_secs(4));
        assert!(kill(signal).success());
        let ended = program::end(child, Duration::from_secs(5));
        assert_eq!(ended.code, Some(code));
        assert!(ended.stderr.contains("a file of the configuration hangs"), "{ended:?}");
    }
}

#[test]
fn dev_ends_when_its_terminal_goes() {
    let home = Home::with("");
    let port = crate::support::gateway::free_port().to_string();
    let child = home.command(&["dev", "--port", &port], &[("TMPDIR", home.path().to_str().unwrap())]).spawn().unwrap();
    let due = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < due);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-s", "HUP", &child.id().to_string()]).status().unwrap().success());
    let ended = program::end(child, Duration::from_secs(10));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("SIGHUP: ending"), "{ended:?}");
}

/// A gateway in which the creation of a sandbox hangs in a volume's tool that ignores signals.
struct Hung {
    pair: Pair,
    created: tokio::task::JoinHandle<()>,
    tools: tempfile::TempDir,
}

impl Hung {
    async fn start() -> Self {
        let tools = tempfile::tempdir().unwrap();
        let pid = tools.path().join("pid");
        let script = format!(
            "#!/bin/sh\ntrap '' TERM INT HUP\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 1000\n",
            pid.display()
        );
        for name in ["ossfs", "ossfs2"] {
            let path = tools.path().join(name);
            executable(&path, &script);
        }
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
        let root = format!("[storage]\nossfs_mount_root = '{}'", tools.path().join("mnt").display());
        let pair = Pair::with(|setup| setup.env("PATH", &path).section(&root));
        let address = pair.address();
        let created = tokio::spawn(async move {
            let body = r#"{"image":{"uri":"osb-test/busybox:1"},"resourceLimits":{},"timeout":60,"entrypoint":["sh"],"volumes":[{"name":"a",
                "mountPath":"/a","ossfs":{"bucket":"abc","endpoint":"e.example","accessKeyId":"i","accessKeySecret":"s"}}]}"#;
            request(address, "POST", "/v1/sandboxes", &["Content-Type: application/json"], body).await;
        });
        eventually("the tool", Duration::from_secs(10), || pid.exists()).await;
        Self { pair, created, tools }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.created.abort();
        // It may have gone with the gateway.
        if let Ok(tool) = fs::read_to_string(self.tools.path().join("pid")) {
            let _ = Command::new("kill").args(["-s", "KILL", tool.trim()]).stderr(Stdio::null()).status();
        }
    }
}

#[tokio::test]
async fn a_volumes_tool_that_ignores_signals_does_not_hold_up_the_second_one() {
    let mut hung = Hung::start().await;
    hung.pair.gateway.terminate();
    hung.pair.gateway.says("no new connections").await;
    let start = Instant::now();
    hung.pair.gateway.terminate();
    assert_eq!(hung.pair.gateway.wait(Duration::from_secs(10)).code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_volumes_tool_that_hangs_holds_up_the_end_no_longer_than_the_grace() {
    let mut hung = Hung::start().await;
    let start = Instant::now();
    hung.pair.gateway.terminate();
    assert_eq!(hung.pair.gateway.wait(Duration::from_secs(20)).code(), Some(0));
    // The default grace is 5 s; a creation that has made something on the engine would have 30.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
}
