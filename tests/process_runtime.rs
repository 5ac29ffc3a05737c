//! The process runtime, driven through the runtime's trait.

#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, but not in their helpers")]

use std::{
    collections::BTreeMap,
    fs,
    future::poll_fn,
    num::NonZeroU64,
    path::Path,
    pin::Pin,
    time::{Duration, Instant},
};

use opensandbox_gateway::{
    error::{Family, Kind},
    logs::{LogQuery, LogSource},
    model::{
        create::{CreateRequest, ImageSource},
        sandbox::State,
    },
    runtime::{
        LocalExecd, Pausing, Runtime,
        process::{Process, ProcessOptions},
    },
};

const QUERY: LogQuery = LogQuery::ALL;
const FOLLOW: LogQuery = LogQuery { follow: true, ..QUERY };

type Source = Pin<Box<dyn LogSource>>;

struct Fixture {
    process: Process,
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let options = ProcessOptions { state_dir: Some(root.path().to_owned()), ..ProcessOptions::default() };
        Self { process: Process::start(options).unwrap(), root }
    }

    /// Starts a shell script and gives its id.
    async fn shell(&self, script: &str) -> String {
        self.process.create(request(&["sh", "-c", script])).await.unwrap().id
    }

    async fn logs(&self, id: &str, query: &LogQuery) -> Source {
        self.process.open_logs(id, query).await.unwrap().into_text(query)
    }

    async fn read(&self, id: &str, query: &LogQuery) -> Vec<u8> {
        let source = self.logs(id, query).await;
        read_all(source).await
    }

    /// Runs a script to its end and gives its id.
    async fn ended(&self, script: &str) -> String {
        let id = self.shell(script).await;
        self.read(&id, &FOLLOW).await;
        self.exit(&id).await;
        id
    }

    /// Waits until the sandbox has exited and gives its state.
    async fn exit(&self, id: &str) -> State {
        let status = async || self.process.get(id).await.unwrap().status.state;
        let start = Instant::now();
        while status().await == State::Running {
            assert!(start.elapsed() < Duration::from_mins(1), "it goes on running");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        status().await
    }

    fn files(&self) -> usize {
        fs::read_dir(self.root.path()).unwrap().count()
    }
}

fn request(entrypoint: &[&str]) -> CreateRequest {
    CreateRequest {
        image: Some(ImageSource { uri: "any:1".to_owned(), auth: None }),
        entrypoint: entrypoint.iter().map(ToString::to_string).collect(),
        ..CreateRequest::default()
    }
}

async fn next(source: &mut Source) -> Option<Vec<u8>> {
    let chunk = poll_fn(|cx| source.as_mut().poll_chunk(cx));
    let chunk = tokio::time::timeout(Duration::from_mins(1), chunk).await.expect("a chunk in time")?.unwrap();
    assert!(!chunk.is_empty());
    Some(chunk.to_vec())
}

async fn read_all(mut source: Source) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = next(&mut source).await {
        all.extend(chunk);
    }
    all
}

/// Reads until the text so far contains `needle`.
async fn read_until(source: &mut Source, needle: &str) -> String {
    let (mut all, start) = (String::new(), Instant::now());
    while !all.contains(needle) {
        assert!(start.elapsed() < Duration::from_mins(1), "{needle} does not come");
        all.push_str(&String::from_utf8(next(source).await.expect("more output")).unwrap());
    }
    all
}

/// Whether a process exists and is not a zombie.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

async fn assert_dead(pid: &str) {
    let start = Instant::now();
    while is_alive(pid) {
        assert!(start.elapsed() < Duration::from_mins(1), "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_sandbox_is_shown_as_it_was_asked_for() {
    let fixture = Fixture::new();
    let request = CreateRequest {
        timeout: Some(600),
        metadata: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..request(&["sleep 1000"])
    };
    let created = fixture.process.create(request).await.unwrap();
    assert_eq!(created.status.message.as_deref(), Some("Sandbox container started successfully."));
    assert_eq!(created.entrypoint, ["sleep 1000"]);
    let shown = fixture.process.get(&created.id).await.unwrap();
    assert_eq!(shown.status.message.as_deref(), Some("Sandbox container is running."));
    assert_eq!(shown.entrypoint, ["sleep", "1000"]);
    assert_eq!(shown.image.as_ref().unwrap().uri, "any:1");
    assert_eq!((&shown.metadata, shown.expires_at), (&created.metadata, created.expires_at));
    assert_eq!(fixture.process.list().await.unwrap(), [shown]);
    assert_eq!(fixture.process.get("nobody").await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
}

#[tokio::test]
async fn the_environment_is_clean() {
    let fixture = Fixture::new();
    let env = [("A", Some("1")), ("LANG", None), ("OPENSANDBOX_ID", Some("other"))];
    let env = env.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).to_vec();
    let created = fixture.process.create(CreateRequest { env, ..request(&["env"]) }).await.unwrap();
    let text = String::from_utf8(fixture.read(&created.id, &FOLLOW).await).unwrap();
    let mut names: Vec<_> = text.lines().map(|line| line.split_once('=').unwrap().0).collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "EXECD_ENVS", "HOME", "OPENSANDBOX_ID", "PATH", "TMPDIR"]);
    assert!(text.contains(&format!("OPENSANDBOX_ID={}\n", created.id)));
    let id = fixture.shell("test \"$PWD\" = \"$HOME\" && touch $TMPDIR/x ~/y && readlink /proc/self/fd/0").await;
    assert_eq!(fixture.read(&id, &FOLLOW).await, b"/dev/null\n");
}

#[tokio::test]
async fn exit_codes_are_a_shells() {
    let fixture = Fixture::new();
    for (script, state, code) in
        [("true", State::Terminated, 0), ("exit 3", State::Failed, 3), ("kill -9 $$", State::Failed, 137)]
    {
        let id = fixture.shell(script).await;
        assert_eq!(fixture.exit(&id).await, state);
        let status = fixture.process.get(&id).await.unwrap().status;
        let failed = format!("Sandbox container exited with code {code}.");
        let expected = if code == 0 { "Sandbox container exited successfully." } else { &failed };
        assert_eq!(status.message.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_fails_with_127() {
    let fixture = Fixture::new();
    for program in ["no-such-program", "/", &"x".repeat(50_000)] {
        let id = fixture.process.create(request(&[program])).await.unwrap().id;
        let status = fixture.process.get(&id).await.unwrap().status;
        assert_eq!(status.message.as_deref(), Some("Sandbox container exited with code 127."));
        let text = fixture.read(&id, &LogQuery { stdout: false, ..FOLLOW }).await;
        assert!(text.starts_with(format!("cannot start {program:?}: ").as_bytes()));
        fixture.process.delete(&id).await.unwrap();
    }
}

#[tokio::test]
async fn bytes_are_exact() {
    let fixture = Fixture::new();
    let data: Vec<u8> = (0..700_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    fs::write(fixture.root.path().join("data"), &data).unwrap();
    let id = fixture.shell(&format!("cat {}/data", fixture.root.path().display())).await;
    assert!(fixture.read(&id, &FOLLOW).await == data);
    assert!(fixture.read(&id, &QUERY).await == data);
    let id = fixture.ended("printf 'a\\0b\\377\\r\\033[1m\"\\\\n'").await;
    assert_eq!(fixture.read(&id, &QUERY).await, b"a\0b\xff\r\x1b[1m\"\\n");
    let id = fixture.ended("true").await;
    assert_eq!(fixture.read(&id, &FOLLOW).await, b"");
}

#[tokio::test]
async fn streams_can_be_chosen() {
    let fixture = Fixture::new();
    let id = fixture.ended("for i in 1 2 3; do echo o$i; echo e$i >&2; done").await;
    assert_eq!(fixture.read(&id, &LogQuery { stderr: false, ..QUERY }).await, b"o1\no2\no3\n");
    assert_eq!(fixture.read(&id, &LogQuery { stdout: false, ..QUERY }).await, b"e1\ne2\ne3\n");
    assert_eq!(fixture.read(&id, &QUERY).await.len(), 18);
}

#[tokio::test]
async fn a_long_line_is_one_line() {
    let fixture = Fixture::new();
    let id = fixture.ended("echo first; head -c 40000 /dev/zero | tr '\\0' x; echo; printf end").await;
    let long = format!("{}\n", "x".repeat(40_000));
    let tail = |lines| LogQuery { tail: NonZeroU64::new(lines), ..QUERY };
    let text = async |query: LogQuery| String::from_utf8(fixture.read(&id, &query).await).unwrap();
    assert_eq!(text(tail(1)).await, "end");
    assert!(text(tail(2)).await == format!("{long}end"));
    assert!(text(tail(u64::MAX)).await == format!("first\n{long}end"));
    let stamped = text(LogQuery { timestamps: true, follow: true, ..tail(2) }).await;
    let lines: Vec<_> = stamped.split('\n').map(|line| line.split_once("Z ").unwrap()).collect();
    assert_eq!((lines.len(), lines[0].1.len(), lines[1].1), (2, 40_000, "end"));
    assert!(lines.iter().all(|(time, _)| time.len() == "2026-11-23T02:01:21.123456789".len()));
}

#[tokio::test]
async fn tail_and_then_follow() {
    let fixture = Fixture::new();
    let id = fixture.shell("echo 1; echo 2; echo 3; while ! test -e go; do sleep 0.01; done; echo 4; pwd").await;
    read_until(&mut fixture.logs(&id, &FOLLOW).await, "3\n").await;
    let mut source = fixture.logs(&id, &LogQuery { tail: NonZeroU64::new(1), ..FOLLOW }).await;
    assert_eq!(next(&mut source).await.unwrap(), b"3\n");
    let work = fs::read_dir(fixture.root.path()).unwrap().next().unwrap().unwrap().path().join(&id).join("work");
    fs::write(work.join("go"), "").unwrap();
    assert_eq!(read_all(source).await, format!("4\n{}\n", work.display()).as_bytes());
}

#[tokio::test]
async fn since_and_until_hold_to_the_nanosecond() {
    let fixture = Fixture::new();
    let id = fixture.ended("for i in 1 2 3 4; do echo $i; sleep 0.02; done").await;
    let text = String::from_utf8(fixture.read(&id, &LogQuery { timestamps: true, ..QUERY }).await).unwrap();
    let times: Vec<jiff::Timestamp> =
        text.lines().map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect();
    let (since, until) = (Some(times[1]), Some(times[2]));
    assert_eq!(fixture.read(&id, &LogQuery { since, until, ..QUERY }).await, b"2\n3\n");
    assert_eq!(fixture.read(&id, &LogQuery { since, until, follow: true, ..QUERY }).await, b"2\n3\n");
    let nanosecond = jiff::SignedDuration::from_nanos(1);
    let (since, until) = (Some(times[1] + nanosecond), Some(times[2] - nanosecond));
    assert_eq!(fixture.read(&id, &LogQuery { since, until, ..QUERY }).await, b"");
}

#[tokio::test]
async fn a_follower_leaves_at_until() {
    let fixture = Fixture::new();
    let id = fixture.shell("while :; do echo x; sleep 0.05; done").await;
    let start = Instant::now();
    let until = Some(jiff::Timestamp::now() + jiff::SignedDuration::from_millis(400));
    assert!(fixture.read(&id, &LogQuery { until, ..FOLLOW }).await.starts_with(b"x\nx\n"));
    assert!((380..20_000).contains(&start.elapsed().as_millis()));
}

#[tokio::test]
async fn a_removed_sandboxs_followers_end() {
    let fixture = Fixture::new();
    let id = fixture.shell("sleep 1000 & echo $!; echo $$; wait").await;
    let mut source = fixture.logs(&id, &FOLLOW).await;
    let mut pids = String::new();
    while pids.lines().count() < 2 {
        pids.push_str(&String::from_utf8(next(&mut source).await.unwrap()).unwrap());
    }
    let (deleted, end) = tokio::join!(fixture.process.delete(&id), next(&mut source));
    deleted.unwrap();
    assert_eq!(end, None);
    for pid in pids.lines() {
        assert_dead(pid).await;
    }
    assert_eq!(fixture.process.delete(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    assert!(fixture.process.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_log_ends_with_the_main_process() {
    let fixture = Fixture::new();
    let id = fixture.shell("sleep 1000 & echo $!").await;
    let pid = String::from_utf8(fixture.read(&id, &FOLLOW).await).unwrap();
    assert_dead(pid.trim()).await;
    assert_eq!(fixture.exit(&id).await, State::Terminated);
}

#[tokio::test]
async fn a_flood_is_complete() {
    let fixture = Fixture::new();
    let id = fixture.shell("seq 1 300000; seq 1 1000 >&2").await;
    let stdout = fixture.read(&id, &LogQuery { stderr: false, ..FOLLOW }).await;
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(stdout == expected.as_bytes());
    let tail = LogQuery { tail: NonZeroU64::new(2_000), stderr: false, ..QUERY };
    assert_eq!(fixture.read(&id, &tail).await.len(), 7 * 2_000);
}

#[tokio::test]
async fn expiry_removes_the_sandbox() {
    let fixture = Fixture::new();
    let request = CreateRequest { timeout: Some(1), ..request(&["sleep", "1000"]) };
    let id = fixture.process.create(request).await.unwrap().id;
    let exited = CreateRequest { timeout: Some(1), ..self::request(&["true"]) };
    fixture.process.create(exited).await.unwrap();
    assert_eq!(fixture.read(&id, &FOLLOW).await, b"");
    while !fixture.process.list().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn shutdown_leaves_nothing() {
    let fixture = Fixture::new();
    let mut pids = Vec::new();
    for _ in 0..10 {
        let id = fixture.shell("sleep 1000 & sleep 1000 & echo $$ $!; wait").await;
        let text = read_until(&mut fixture.logs(&id, &FOLLOW).await, "\n").await;
        pids.extend(text.split_whitespace().map(str::to_owned));
    }
    assert_eq!(fixture.files(), 1);
    fixture.process.shutdown().await;
    for pid in &pids {
        assert!(!Path::new(&format!("/proc/{pid}/fd/1")).exists(), "{pid}");
        assert_dead(pid).await;
    }
    assert_eq!(fixture.files(), 0);
    let refused = fixture.process.create(request(&["true"])).await.unwrap_err();
    assert_eq!(refused.key(), (Family::Creation, Kind::Failed));
}

#[tokio::test]
async fn dropping_the_runtime_ends_the_sandboxes() {
    let Fixture { process, root: _root } = Fixture::new();
    let id = process.create(request(&["sh", "-c", "echo $$; sleep 1000"])).await.unwrap().id;
    let mut source = process.open_logs(&id, &FOLLOW).await.unwrap().into_text(&FOLLOW);
    let pid = read_until(&mut source, "\n").await;
    drop(process);
    assert_eq!(next(&mut source).await, None);
    assert_dead(pid.trim()).await;
}

#[tokio::test]
async fn two_hundred_followers_of_a_silent_sandbox() {
    let fixture = Fixture::new();
    let id = fixture.shell("while ! test -e go; do sleep 0.05; done; echo now").await;
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let mut followers = Vec::new();
    for _ in 0..200 {
        let source = fixture.logs(&id, &FOLLOW).await;
        followers.push(tokio::spawn(read_all(source)));
    }
    assert!(descriptors() < before + 100, "a follower takes no descriptor");
    let gateway = fs::read_dir(fixture.root.path()).unwrap().next().unwrap().unwrap().path();
    fs::write(gateway.join(&id).join("work/go"), "").unwrap();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), b"now\n");
    }
}

#[tokio::test]
async fn a_paused_sandbox_stands_still_and_goes_on() {
    let fixture = Fixture::new();
    let id = fixture.shell("sleep 0.1 & wait; while :; do echo x; sleep 0.01; done").await;
    let mut source = fixture.logs(&id, &FOLLOW).await;
    read_until(&mut source, "x\n").await;
    fixture.process.pause(&id).await.unwrap();
    let status = fixture.process.get(&id).await.unwrap().status;
    assert_eq!((status.state, status.reason.as_deref()), (State::Paused, Some("CONTAINER_PAUSED")));
    assert_eq!(fixture.process.pause(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::Conflict));
    // What was on its way when it was stopped may still come.
    let quiet = async { while tokio::time::timeout(Duration::from_millis(300), next(&mut source)).await.is_ok() {} };
    tokio::time::timeout(Duration::from_mins(1), quiet).await.expect("a stopped process prints nothing");
    fixture.process.resume(&id).await.unwrap();
    read_until(&mut source, "x\n").await;
    assert_eq!(fixture.process.resume(&id).await.unwrap_err().key(), (Family::Resume, Kind::Conflict));
    fixture.process.pause(&id).await.unwrap();
    fixture.process.delete(&id).await.unwrap();
    assert_eq!(fixture.process.pause(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
}

/// Whoever comes last, a sandbox's own processes and its execd are both paused, or neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pauses_and_resumptions_at_once_leave_nothing_half_paused() {
    let fixture = std::sync::Arc::new(Fixture::new());
    let id = fixture.shell("sleep 100").await;
    for round in 0..500 {
        let asked = [true, false, true, false].map(|is_pause| {
            let (fixture, id) = (std::sync::Arc::clone(&fixture), id.clone());
            tokio::spawn(async move {
                let _ = if is_pause { fixture.process.pause(&id).await } else { fixture.process.resume(&id).await };
            })
        });
        for asked in asked {
            asked.await.unwrap();
        }
        let is_paused = fixture.process.get(&id).await.unwrap().status.state == State::Paused;
        let admitted = fixture.process.execd(&id).unwrap().admit(None);
        assert_eq!(admitted.is_err(), is_paused, "{round}: {admitted:?}");
    }
}

#[tokio::test]
async fn what_has_ended_is_neither_paused_nor_reached() {
    let fixture = Fixture::new();
    let id = fixture.ended("exit 3").await;
    assert_eq!(fixture.process.pause(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::Conflict));
    assert_eq!(fixture.process.resume(&id).await.unwrap_err().key(), (Family::Resume, Kind::Conflict));
    assert_eq!(fixture.process.backend(&id, 80).await.unwrap_err().key(), (Family::Sandbox, Kind::Conflict));
    assert_eq!(fixture.process.endpoint(&id, 80, None).await.unwrap().endpoint, "127.0.0.1:80");
}

#[tokio::test]
async fn a_renewal_moves_the_end_in_both_directions() {
    let fixture = Fixture::new();
    let in_millis = |millis| (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(millis)).into();
    let short = CreateRequest { timeout: Some(1), ..request(&["sleep", "100"]) };
    let id = fixture.process.create(short).await.unwrap().id;
    let later = in_millis(600_000);
    assert_eq!(fixture.process.renew(&id, later).await.unwrap(), later);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(fixture.process.get(&id).await.unwrap().expires_at, Some(later));
    assert_eq!(fixture.process.renew(&id, in_millis(-1)).await.unwrap_err().key(), (Family::Expiry, Kind::Invalid));
    let began = Instant::now();
    fixture.process.renew(&id, in_millis(300)).await.unwrap();
    while fixture.process.get(&id).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(290) && began.elapsed() < Duration::from_secs(30));
    let manual = fixture.shell("sleep 100").await;
    assert_eq!(fixture.process.renew(&manual, later).await.unwrap_err().key(), (Family::Expiry, Kind::Conflict));
    assert_eq!(fixture.process.renew_on_access(&manual).await.unwrap(), None);
}

#[tokio::test]
async fn use_extends_the_life_of_a_process_that_asked_for_it() {
    let fixture = Fixture::new();
    let mut asking = CreateRequest { timeout: Some(60), ..request(&["sleep", "100"]) };
    asking.extensions.insert("access.renew.extend.seconds".to_owned(), "7200".to_owned());
    let created = fixture.process.create(asking).await.unwrap();
    let moved = fixture.process.renew_on_access(&created.id).await.unwrap();
    assert!(moved > created.expires_at);
    let shown = fixture.process.get(&created.id).await.unwrap();
    assert_eq!(shown.expires_at, moved);
    fixture.process.pause(&created.id).await.unwrap();
    assert_eq!(fixture.process.renew_on_access(&created.id).await.unwrap(), None);
}

#[tokio::test]
async fn patches_of_one_process_at_once_lose_nothing() {
    let fixture = Fixture::new();
    let id = fixture.shell("sleep 100").await;
    let patch = |number: usize| {
        let patch = BTreeMap::from([(format!("k{number}"), Some("v".to_owned())), ("gone".to_owned(), None)]);
        fixture.process.patch_metadata(&id, patch)
    };
    for answer in futures_util::future::join_all((0..50).map(patch)).await {
        answer.unwrap();
    }
    assert_eq!(fixture.process.get(&id).await.unwrap().metadata.len(), 50);
    let bad = BTreeMap::from([("a b".to_owned(), Some("x".to_owned()))]);
    assert_eq!(fixture.process.patch_metadata(&id, bad).await.unwrap_err().key(), (Family::Metadata, Kind::Invalid));
}
