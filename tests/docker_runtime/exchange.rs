//! Hostile volumes: directories that a sandbox exchanges with links while others are created, and mounts that stand in the
//! way of what the server itself writes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bollard::query_parameters::RemoveVolumeOptions;
use futures_util::future::join_all;
use opensandbox_gateway::{
    model::{
        create::{CreateRequest, ImageSource},
        volume::{Claim, Source, Volume, VolumeFault},
    },
    runtime::{ErrorKind, Runtime, docker::DockerOptions},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixture::{Fixture, options, request};

/// How long the exchanging goes on. What was bound by its text was won at the second to seventh try.
const ATTACK: Duration = Duration::from_secs(60);

pub(crate) fn volume(mount_path: &str, sub_path: Option<&str>, source: Source) -> Volume {
    let (mount_path, sub_path) = (mount_path.to_owned(), sub_path.map(str::to_owned));
    Volume { name: "v".to_owned(), mount_path, read_only: false, sub_path, source }
}

pub(crate) fn claim(name: &str) -> Source {
    Source::Claim(Claim { name: name.to_owned(), create_if_not_exists: true, delete_on_termination: false })
}

/// Everything that is exchanged, in pairs of a thing and a link to the like outside.
struct Bait {
    pairs: Vec<(PathBuf, PathBuf)>,
}

impl Bait {
    /// In `folder`: the directory `x`, the directory `a/x` with `b` in it, the directory `m` for new ones, the file `f`.
    fn lay(folder: &Path, outside: &Path) -> Self {
        fs::create_dir_all(folder.join("a/x/b")).unwrap();
        fs::create_dir_all(folder.join("x")).unwrap();
        fs::create_dir_all(folder.join("m")).unwrap();
        fs::write(folder.join("f"), "inside").unwrap();
        let link = |name: &str, target: PathBuf| {
            let other = folder.join(format!("{name}-link"));
            symlink(target, &other).unwrap();
            (folder.join(name), other)
        };
        let pairs = vec![
            link("x", outside.to_owned()),
            link("a/x", outside.to_owned()),
            link("m", outside.to_owned()),
            link("f", outside.join("file")),
        ];
        Self { pairs }
    }

    fn exchange(&self) {
        for (one, other) in &self.pairs {
            let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
        }
    }
}

/// What the outside looks like, so that nothing may be added or changed.
fn picture(outside: &Path) -> Vec<(PathBuf, Option<String>)> {
    let mut all = Vec::new();
    let mut left = vec![outside.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path.clone());
            }
            all.push((path.clone(), fs::read_to_string(&path).ok()));
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_exchange_in_a_minute_leads_a_mount_outside() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts: run the tests as root");
    let folder = tempfile::tempdir().unwrap();
    let (outside, allowed) = (folder.path().join("outside"), folder.path().join("allowed"));
    fs::create_dir_all(outside.join("b")).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    fs::create_dir(&allowed).unwrap();
    let options = DockerOptions { allowed_host_paths: vec![allowed.to_str().unwrap().to_owned()], ..options() };
    let fixture = Fixture::start_with(options).await;

    // The attacker is a sandbox that mounts the whole volume, and a thread that is faster than it.
    let name = format!("osb-test-{}", fixture.run);
    let script = "cd /v; while :; do mv x y; mv x-link x; mv x x-link; mv y x; done";
    let attacker = CreateRequest {
        volumes: vec![volume("/v", None, claim(&name))],
        ..request(&["/bin/sh", "-c", "sleep 1; exec 2>/dev/null; sh -c \"$0\"", script])
    };
    let attacker = fixture.docker.create(attacker).await.unwrap().id;
    let root = PathBuf::from(fixture.engine.inspect_volume(&name).await.unwrap().mountpoint);
    let baits = [Bait::lay(&root, &outside), Bait::lay(&allowed, &outside)];
    let before = picture(&outside);
    let stop = Arc::new(AtomicBool::new(false));
    let exchanging = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                baits.iter().for_each(Bait::exchange);
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    });

    let (created, end) = (AtomicUsize::new(0), Instant::now() + ATTACK);
    // A write at every place, and to the mount itself where it is a file.
    let write = "sleep 0.1; echo hit > /x/hit; echo hit > /x/b/hit; echo hit > /x; sleep 1000";
    let host = |part: &str| Source::Host(allowed.join(part).to_str().unwrap().to_owned());
    let tries = [
        (Some("x"), claim(&name)),
        (Some("a/x/b"), claim(&name)),
        (Some("m/new/deep"), claim(&name)),
        (Some("f"), claim(&name)),
        (None, host("x")),
        (Some("x/b"), host("a")),
        (None, host("m/new/deep")),
        (None, host("f")),
    ];
    let tries = tries.into_iter().map(async |(sub_path, source)| {
        while Instant::now() < end {
            let volumes = vec![volume("/x", sub_path, source.clone())];
            let wanted = CreateRequest { volumes, ..request(&["/bin/sh", "-c", write]) };
            // Most are refused: the directory is a link just then.
            let Ok(sandbox) = fixture.docker.create(wanted).await else { continue };
            created.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(150)).await;
            fixture.docker.delete(&sandbox.id).await.unwrap();
            assert_eq!(picture(&outside), before, "{sub_path:?} of {source:?} was outside");
        }
    });
    join_all(tries).await;
    stop.store(true, Ordering::Relaxed);
    exchanging.join().unwrap();
    assert_eq!(picture(&outside), before);
    assert!(created.into_inner() > 0, "all were refused, so nothing was tried");
    fixture.docker.delete(&attacker).await.unwrap();
    fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await.unwrap();
}

/// What the server itself writes must not land in a client's volume, wherever the image's links lead.
#[tokio::test(flavor = "multi_thread")]
async fn execd_never_lands_in_a_client_s_volume() {
    for (index, link) in
        ["ln -s /x /opt", "mkdir -p /opt; ln -s /x /opt/opensandbox", "ln -s x/../x/ /opt"].iter().enumerate()
    {
        let fixture = Fixture::start_behind_proxy().await;
        let image = linked_image(&format!("{}-{index}", fixture.run), link);
        let name = format!("osb-test-{}-{index}", fixture.run);
        let wanted = CreateRequest {
            image: Some(ImageSource { uri: image.clone(), auth: None }),
            volumes: vec![volume("/x", None, claim(&name))],
            ..request(&["sleep", "1000"])
        };
        let created = fixture.docker.create(wanted).await;
        let root = PathBuf::from(fixture.engine.inspect_volume(&name).await.map(|v| v.mountpoint).unwrap_or_default());
        let found = if root.exists() { picture(&root) } else { Vec::new() };
        assert!(found.iter().all(|(_, content)| content.is_none()), "{link}: {found:?}");
        if let Ok(sandbox) = created {
            fixture.docker.delete(&sandbox.id).await.unwrap();
        }
        let _ = fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await;
        docker(&["rmi", "-f", &image]);
        assert!(fixture.left_behind().await.is_empty(), "{link}");
    }
}

/// An image of busybox in which this was run.
fn linked_image(run: &str, script: &str) -> String {
    let (name, image) = (format!("osb-test-linked-{run}"), format!("osb-test/linked:{run}"));
    docker(&["run", "--name", &name, "osb-test/busybox:1", "/bin/sh", "-c", script]);
    docker(&["commit", &name, &image]);
    docker(&["rm", &name]);
    image
}

fn docker(args: &[&str]) {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mount_stands_where_the_server_writes() {
    let fixture = Fixture::start_behind_proxy().await;
    let name = format!("osb-test-{}", fixture.run);
    for path in [
        "/opt/opensandbox",
        "//opt/./opensandbox/",
        "/x/../opt/opensandbox",
        "/opt/opensandbox/..",
        "/opt",
        "/opt/",
        "/",
        "/..",
        "/.",
        "/opt/opensandbox/bootstrap.sh",
        "/opt/opensandbox/execd",
        "/proc",
        "/proc/sys/kernel",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/../dev//console",
        "/x\0y",
    ] {
        let wanted = CreateRequest { volumes: vec![volume(path, None, claim(&name))], ..request(&["true"]) };
        let error = fixture.docker.create(wanted).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Volume(VolumeFault::InvalidMountPath), "{path}: {error}");
    }
    assert!(!fixture.has_volume(&name).await);
    assert_eq!(fixture.proxy.as_ref().unwrap().count("POST", "/containers/create"), 0);
    for path in ["/opt/opensandbox2", "/optional", "/dev/shm", "/home/opt/opensandbox"] {
        let wanted = CreateRequest { volumes: vec![volume(path, None, claim(&name))], ..request(&["sleep", "100"]) };
        let id = fixture.docker.create(wanted).await.unwrap().id;
        fixture.docker.delete(&id).await.unwrap();
    }
    fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await.unwrap();
}
