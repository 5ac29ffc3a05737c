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
    error::{Family, Kind, VolumePart},
    model::{
        create::{CreateRequest, ImageSource},
        sandbox::State,
        volume::{Claim, Source, Volume},
    },
    runtime::{Runtime, docker::DockerOptions},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixture::{Fixture, eventually, options, request};

/// How long the exchanging goes on. What was bound by its text was won at the second to seventh try.
const ATTACK: Duration = Duration::from_secs(60);

pub(crate) fn volume(mount_path: &str, sub_path: Option<&str>, source: Source) -> Volume {
    let (mount_path, sub_path) = (mount_path.to_owned(), sub_path.map(str::to_owned));
    Volume { name: "v".to_owned(), mount_path, read_only: false, sub_path, source }
}

pub(crate) fn claim(name: &str) -> Source {
    Source::Claim(Claim { name: name.to_owned(), create_if_not_exists: true, ..Default::default() })
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
    let write = "echo hit > /x/hit; echo hit > /x/b/hit; echo hit > /x";
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
            eventually("it has written", async || {
                !matches!(fixture.docker.get(&sandbox.id).await.unwrap().status.state, State::Running)
            })
            .await;
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
        let fixture = Fixture::start().await;
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

/// The engine follows the links of the image to where it mounts.
#[tokio::test(flavor = "multi_thread")]
async fn no_link_of_an_image_leads_a_mount_to_where_the_server_writes() {
    let fixture = Fixture::start().await;
    let deep = format!("/deep{}", "/d".repeat(300));
    let script = "mkdir -p /opt/here /data; ln -s /opt /lnk; ln -s nowhere/../opt/opensandbox /gone; ln -s lnk /chain; \
                  ln -s /dev /ld; ln -s / /root-link; ln -s / /data/up; ln -s loop /loop; ln -s /opt/here /fine";
    let image = linked_image(&fixture.run, &format!("{script}; mkdir -p {deep}"));
    let name = format!("osb-test-{}", fixture.run);
    let wanted = |path: &str| CreateRequest {
        image: Some(ImageSource { uri: image.clone(), auth: None }),
        volumes: vec![
            Volume { name: "w".to_owned(), ..volume("/data/x", None, claim(&format!("{name}-2"))) },
            volume(path, None, claim(&name)),
        ],
        ..request(&["sleep", "100"])
    };
    for path in [
        "/lnk/opensandbox",
        "/lnk",
        "/gone",
        "/gone/execd",
        "/chain/opensandbox/x",
        "/ld/x",
        "/root-link",
        "/root-link/opt",
        "/data/up/data/up/lnk/opensandbox",
    ] {
        let error = fixture.docker.create(wanted(path)).await.unwrap_err();
        assert_eq!(error.key(), (Family::Volume(VolumePart::MountPath), Kind::Invalid), "{path}: {error}");
        assert!(error.message.starts_with(&format!("Mount path '{path}' leads by links of the image to")), "{error}");
    }
    let error = fixture.docker.create(wanted("/loop/x")).await.unwrap_err();
    assert_eq!(error.key(), (Family::Creation, Kind::Failed), "{error}");
    for path in ["/fine/x", "/lnk/other/new", "/new/deep"] {
        let id = fixture.docker.create(wanted(path)).await.unwrap().id;
        fixture.docker.delete(&id).await.unwrap();
    }
    // Many steps of an image are not walked for one request.
    let error = fixture.docker.create(wanted(&deep)).await.unwrap_err();
    assert_eq!(error.message, "The mount paths lead through more than 256 directories of the image.");
    assert!(fixture.left_behind().await.is_empty());
    for name in [name.clone(), format!("{name}-2")] {
        let _ = fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await;
    }
    docker(&["rmi", "-f", &image]);
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
    let fixture = Fixture::start().await;
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
        assert_eq!(error.key(), (Family::Volume(VolumePart::MountPath), Kind::Invalid), "{path}: {error}");
    }
    assert!(!fixture.has_volume(&name).await);
    assert_eq!(fixture.proxy.count("POST", "/containers/create"), 0);
    for path in ["/opt/opensandbox2", "/optional", "/dev/shm", "/home/opt/opensandbox"] {
        let wanted = CreateRequest { volumes: vec![volume(path, None, claim(&name))], ..request(&["sleep", "100"]) };
        let id = fixture.docker.create(wanted).await.unwrap().id;
        fixture.docker.delete(&id).await.unwrap();
    }
    fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await.unwrap();
}

/// While the engine fills an empty volume it follows links in it: another sandbox's would lead it anywhere on the host.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_volume_that_nobody_has_is_filled_from_the_image() {
    let fixture = Fixture::start().await;
    let image = linked_image(&fixture.run, "mkdir -p /seed; echo seed > /seed/file");
    let name = format!("osb-test-{}", fixture.run);
    let wanted = |path: &str| CreateRequest {
        image: Some(ImageSource { uri: image.clone(), auth: None }),
        volumes: vec![volume(path, None, claim(&name))],
        ..request(&["sleep", "1000"])
    };
    let first = fixture.docker.create(wanted("/seed")).await.unwrap().id;
    let root = PathBuf::from(fixture.engine.inspect_volume(&name).await.unwrap().mountpoint);
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "seed\n");
    fs::remove_file(root.join("file")).unwrap();
    // Emptied by a sandbox that still has it.
    let second = fixture.docker.create(wanted("/seed")).await.unwrap().id;
    assert!(!root.join("file").exists());
    for id in [first, second] {
        fixture.docker.delete(&id).await.unwrap();
    }
    let third = fixture.docker.create(wanted("/seed")).await.unwrap().id;
    assert!(root.join("file").exists(), "nobody has it any more");
    fixture.docker.delete(&third).await.unwrap();
    fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await.unwrap();
    docker(&["rmi", "-f", &image]);
}

/// A configured bind below an allowed path could be exchanged as well, by a sandbox that mounts that path.
#[tokio::test(flavor = "multi_thread")]
async fn a_configured_bind_below_an_allowed_path_is_mounted_as_it_was_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (allowed, outside) = (folder.path().join("allowed"), folder.path().join("outside"));
    fs::create_dir_all(allowed.join("x")).unwrap();
    fs::create_dir(&outside).unwrap();
    let bind = format!("{}:/conf:ro", allowed.join("x").display());
    let options = DockerOptions {
        allowed_host_paths: vec![allowed.to_str().unwrap().to_owned()],
        sandbox_binds: vec![bind],
        ..options()
    };
    let fixture = Fixture::start_with(options).await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    let binds = container.host_config.unwrap().binds.unwrap();
    assert!(binds[0].starts_with("/run/opensandbox-gateway/mounts/") && binds[0].ends_with("/0:/conf:ro"), "{binds:?}");
    fixture.docker.delete(&id).await.unwrap();
    fs::remove_dir(allowed.join("x")).unwrap();
    symlink(&outside, allowed.join("x")).unwrap();
    let error = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::HostPath), Kind::Denied), "{error}");
    assert!(fixture.left_behind().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_a_bind_below_an_allowed_path_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let allowed = folder.path().join("allowed");
    fs::create_dir_all(allowed.join("x")).unwrap();
    let options = DockerOptions { allowed_host_paths: vec![allowed.to_str().unwrap().to_owned()], ..options() };
    let fixture = Fixture::start_with(options).await;
    let name = format!("osb-test-{}", fixture.run);
    let device = format!("device={}", allowed.join("x").display());
    docker(&["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", &device, &name]);
    let wanted = CreateRequest { volumes: vec![volume("/x", None, claim(&name))], ..request(&["true"]) };
    let error = fixture.docker.create(wanted).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::Mount), Kind::Unsupported), "{error}");
    fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await.unwrap();
}

/// What a sandbox had mounted outlives a restart of the server, and goes when the next one finds its sandbox gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_sandbox_has_mounted_goes_when_it_is_gone_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let options = DockerOptions { allowed_host_paths: vec![folder.path().to_str().unwrap().to_owned()], ..options() };
    let mut fixture = Fixture::start_with(options.clone()).await;
    let source = Source::Host(folder.path().join("x").to_str().unwrap().to_owned());
    let script = "echo $RANDOM >> /x/starts; sleep 1000";
    let wanted = CreateRequest { volumes: vec![volume("/x", None, source)], ..request(&["/bin/sh", "-c", script]) };
    let mut stages = Vec::new();
    for _ in 0..2 {
        let id = fixture.docker.create(wanted.clone()).await.unwrap().id;
        let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
        let source = container.host_config.unwrap().mounts.unwrap().remove(0).source.unwrap();
        stages.push((id, Path::new(&source).parent().unwrap().to_owned()));
    }
    let (gone, kept) = (&stages[0], &stages[1]);
    docker(&["rm", "-f", &format!("sandbox-{}", gone.0)]);
    // Its directory is exchanged, and it is started again: it has what it had.
    fs::rename(folder.path().join("x"), folder.path().join("old")).unwrap();
    symlink("/etc", folder.path().join("x")).unwrap();
    docker(&["restart", "-t", "0", &format!("sandbox-{}", kept.0)]);
    eventually("it has started thrice", async || {
        fs::read_to_string(folder.path().join("old/starts")).is_ok_and(|text| text.lines().count() == 3)
    })
    .await;
    fixture.restart_with(options).await;
    eventually("what is gone is unmounted", async || !gone.1.exists()).await;
    assert!(kept.1.join("0/starts").exists());
    fixture.docker.delete(&kept.0).await.unwrap();
    assert!(!kept.1.exists());
    docker(&["volume", "rm", "-f", &format!("opensandbox-runtime-{}", gone.0)]);
}

/// Engines of API 1.45 and newer open the part themselves, so that no link leads out of the volume. Where the
/// machine's engine is older, only what it is asked can be seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_engine_is_asked_for_the_part_by_its_volume() {
    let fixture = Fixture::start_with_newer_engine().await;
    let version = fixture.docker.api_version();
    assert!(version.strip_prefix("1.").unwrap().parse::<u32>().unwrap() >= 45, "{version}");
    let name = format!("osb-test-{}", fixture.run);
    let mut part = volume("/x", Some("a/./b//c"), claim(&name));
    part.read_only = true;
    let wanted = CreateRequest { volumes: vec![part], ..request(&["sleep", "1000"]) };
    let id = fixture.docker.create(wanted).await.unwrap().id;
    let bodies = fixture.proxy.bodies();
    let body = bodies.iter().find(|body| body["Labels"]["opensandbox.io/id"] == id.as_str()).unwrap();
    let expected = serde_json::json!([{
        "Target": "/x", "Source": name, "Type": "volume", "ReadOnly": true,
        "VolumeOptions": {"NoCopy": true, "Subpath": "a/b/c"},
    }]);
    assert_eq!(body["HostConfig"]["Mounts"], expected);
    let root = PathBuf::from(fixture.engine.inspect_volume(&name).await.unwrap().mountpoint);
    assert!(root.join("a/b/c").is_dir(), "what is missing is made");
    symlink("/etc", root.join("evil")).unwrap();
    let wanted = CreateRequest { volumes: vec![volume("/x", Some("evil"), claim(&name))], ..request(&["true"]) };
    let error = fixture.docker.create(wanted).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::SubPath), Kind::Invalid), "{error}");
    fixture.docker.delete(&id).await.unwrap();
    fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await.unwrap();
}
