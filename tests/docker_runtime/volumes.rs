//! Volumes of the host, of the engine and of an object store whose programs are stand-ins.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use bollard::query_parameters::RemoveVolumeOptions;
use opensandbox_gateway::{
    error::{Family, Kind, VolumePart},
    model::{
        create::{CreateRequest, ImageSource},
        volume::{Claim, Ossfs, OssfsVersion, Source, Volume},
    },
    runtime::{Runtime, docker::DockerOptions},
    secret::Secret,
};
use tempfile::TempDir;

use crate::executable::executable;
use crate::fixture::{Fixture, eventually, options, request};

fn volume(mount_path: &str, sub_path: Option<&str>, source: Source) -> Volume {
    Volume {
        name: mount_path.trim_matches('/').to_owned(),
        mount_path: mount_path.to_owned(),
        read_only: false,
        sub_path: sub_path.map(str::to_owned),
        source,
    }
}

fn host(path: &Path) -> Source {
    Source::Host(path.to_str().unwrap().to_owned())
}

fn claim(name: &str, create_if_not_exists: bool, delete_on_termination: bool) -> Source {
    Source::Claim(Claim { name: name.to_owned(), create_if_not_exists, delete_on_termination, ..Default::default() })
}

fn with(volumes: Vec<Volume>, script: &str) -> CreateRequest {
    CreateRequest { volumes, ..request(&["/bin/sh", "-c", script]) }
}

fn allowing(folder: &TempDir) -> DockerOptions {
    let allowed_host_paths = vec![folder.path().join("allowed").to_str().unwrap().to_owned()];
    fs::create_dir(folder.path().join("allowed")).unwrap();
    fs::create_dir(folder.path().join("secret")).unwrap();
    DockerOptions { allowed_host_paths, ..options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_the_host_is_made_and_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::start_with(allowing(&folder)).await;
    let path = folder.path().join("allowed/new/deep");
    let mut read_only = volume("/ro", None, host(&path));
    read_only.read_only = true;
    let volumes = vec![volume("/x", Some("a/./b"), host(&path)), read_only];
    let id = fixture.docker.create(with(volumes, "echo hi > /x/f; echo no > /ro/f; sleep 1000")).await.unwrap().id;
    eventually("the file is there", async || path.join("a/b/f").exists()).await;
    assert!(!path.join("f").exists());
    let container = fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.unwrap();
    // What the engine is told to mount is the object itself, in a folder that only root can enter.
    let mounts = container.host_config.unwrap().mounts.unwrap();
    let told = mounts.iter().map(|mount| (mount.target.as_deref().unwrap(), mount.read_only.unwrap_or_default()));
    assert_eq!(told.collect::<Vec<_>>(), [("/x", false), ("/ro", true)]);
    let source = |index: usize| Path::new(mounts[index].source.as_deref().unwrap());
    assert!(source(0).starts_with("/run/opensandbox-gateway/mounts") && source(0).join("f").exists());
    assert_eq!(fs::metadata("/run/opensandbox-gateway/mounts").unwrap().permissions().mode() & 0o777, 0o700);
    assert!(source(1).join("a/b/f").exists());
    let stage = source(0).parent().unwrap().to_owned();
    assert!(!stage.join("probe").exists(), "only the engine's look at it needs it");
    fixture.docker.delete(&id).await.unwrap();
    assert!(!stage.exists() && path.join("a/b/f").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_leads_out_of_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::start_with(allowing(&folder)).await;
    let allowed = folder.path().join("allowed");
    symlink("../secret", allowed.join("evil")).unwrap();
    for (path, sub_path) in [(allowed.join("evil"), None), (allowed.clone(), Some("evil/x"))] {
        let error = fixture.docker.create(with(vec![volume("/x", sub_path, host(&path))], "true")).await.unwrap_err();
        assert_eq!(error.key(), (Family::Volume(VolumePart::HostPath), Kind::Denied));
        let start = format!("Host path '{}", folder.path().join("secret").display());
        assert!(error.message.starts_with(&start), "{error}");
    }
    assert_eq!(fixture.proxy.count("POST", "/containers/create"), 0);
    assert!(fs::read_dir(folder.path().join("secret")).unwrap().next().is_none());
}

/// Another sandbox that mounts the directory above could do this.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_exchanged_meanwhile_is_found_out_or_mounted_all_the_same() {
    for (method, text) in [("POST", "/containers/create?name=sandbox-"), ("POST", "/start")] {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Fixture::start_with(allowing(&folder)).await;
        let proxy = &fixture.proxy;
        let path = folder.path().join("allowed/x");
        // Read execd now, so that only the sandbox's own container waits.
        let warm = fixture.docker.create(request(&["true"])).await.unwrap().id;
        fixture.docker.delete(&warm).await.unwrap();
        let gate = proxy.hold(method, text);
        let script = "echo hit > /x/hit; sleep 1000";
        let creation = fixture.docker.create(with(vec![volume("/x", None, host(&path))], script));
        let exchange = async {
            gate.reached().await;
            fs::rename(&path, folder.path().join("allowed/old")).unwrap();
            symlink(folder.path().join("secret"), &path).unwrap();
            gate.open();
        };
        let (created, ()) = tokio::join!(creation, exchange);
        if text == "/start" {
            // Nothing looks at it any more: what was checked is what is mounted.
            let id = created.unwrap().id;
            eventually("the file is where it belongs", async || folder.path().join("allowed/old/hit").exists()).await;
            fixture.docker.delete(&id).await.unwrap();
        } else {
            let error = created.unwrap_err();
            assert_eq!(error.key(), (Family::Volume(VolumePart::HostPath), Kind::Denied), "{text}: {error}");
        }
        assert!(fixture.left_behind().await.is_empty(), "{text}");
        assert_eq!(fs::read_dir(folder.path().join("secret")).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_created_and_go_with_their_sandbox_if_asked() {
    let fixture = Fixture::start().await;
    let (kept, gone) = (format!("osb-test-kept-{}", fixture.run), format!("osb-test-gone-{}", fixture.run));
    let volumes =
        vec![volume("/kept", None, claim(&kept, true, false)), volume("/gone", None, claim(&gone, true, true))];
    let first = fixture.docker.create(with(volumes, "echo 1 > /gone/f; sleep 1000")).await.unwrap().id;
    let volume_of = async |name: &str| fixture.engine.inspect_volume(name).await.unwrap();
    assert_eq!(volume_of(&kept).await.labels["opensandbox.io/volume-managed-by"], "server");
    let container = fixture.engine.inspect_container(&format!("sandbox-{first}"), None).await.unwrap();
    let managed = format!("[\"{gone}\",\"opensandbox-runtime-{first}\"]");
    assert_eq!(container.config.unwrap().labels.unwrap()["opensandbox.io/volume-managed-by"], managed);

    // The second sandbox did not create it, so that it may not take it away.
    let volumes = vec![volume("/x", None, claim(&kept, false, true))];
    let second = fixture.docker.create(with(volumes, "sleep 1000")).await.unwrap().id;
    for id in [&first, &second] {
        fixture.docker.delete(id).await.unwrap();
    }
    assert!(fixture.has_volume(&kept).await && !fixture.has_volume(&gone).await);
    fixture.engine.remove_volume(&kept, None::<RemoveVolumeOptions>).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_creators_has_created_the_volume() {
    let fixture = Fixture::start().await;
    let name = format!("osb-test-{}", fixture.run);
    let create = || fixture.docker.create(with(vec![volume("/x", None, claim(&name, true, true))], "sleep 1000"));
    let (one, two) = tokio::join!(create(), create());
    // One, and one for each sandbox's execd.
    assert_eq!(fixture.proxy.count("POST", "/volumes/create"), 1 + 2);
    for id in [one.unwrap().id, two.unwrap().id] {
        fixture.docker.delete(&id).await.unwrap();
    }
    // Deleted in this order the creator may have gone first, while the other one still used it.
    let _ = fixture.engine.remove_volume(&name, None::<RemoveVolumeOptions>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_volume_is_told_and_what_was_created_before_goes() {
    let fixture = Fixture::start().await;
    let (made, none) = (format!("osb-test-made-{}", fixture.run), format!("osb-test-none-{}", fixture.run));
    let volumes = vec![volume("/a", None, claim(&made, true, false)), volume("/b", None, claim(&none, false, false))];
    let error = fixture.docker.create(with(volumes, "true")).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::Claim), Kind::NotFound));
    let text = format!(
        "Volume 'b': Docker named volume '{none}' does not exist. Named volumes must be created before sandbox creation \
         (e.g., 'docker volume create <name>')."
    );
    assert_eq!(error.message, text);
    assert!(!fixture.has_volume(&made).await);

    let image = Some(ImageSource { uri: "localhost:1/no:1".to_owned(), auth: None });
    let request = CreateRequest { image, ..with(vec![volume("/a", None, claim(&made, true, false))], "true") };
    assert_eq!(fixture.docker.create(request).await.unwrap_err().key(), (Family::Image, Kind::Failed));
    assert!(!fixture.has_volume(&made).await);

    for (method, text) in [("GET", "/volumes/"), ("POST", "/volumes/create")] {
        fixture.proxy.fail(method, text, 1, "a bad day");
        let volumes = vec![volume("/a", None, claim(&made, true, false))];
        let error = fixture.docker.create(with(volumes, "true")).await.unwrap_err();
        assert_eq!(error.key(), (Family::Volume(VolumePart::Claim), Kind::Failed), "{error}");
        assert!(!fixture.has_volume(&made).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_volume_is_inside_it() {
    let fixture = Fixture::start().await;
    let name = format!("osb-test-{}", fixture.run);
    let volumes = vec![volume("/x", None, claim(&name, true, true))];
    let whole = fixture.docker.create(with(volumes, "ln -s / /x/evil; ln -s p /x/good; sleep 1000")).await.unwrap().id;
    let root = fixture.engine.inspect_volume(&name).await.unwrap().mountpoint;
    eventually("the links are there", async || fs::symlink_metadata(format!("{root}/good")).is_ok()).await;

    let part = |part| with(vec![volume("/x", Some(part), claim(&name, false, false))], "echo 1 > /x/f; sleep 1000");
    for evil in ["evil", "evil/etc"] {
        let error = fixture.docker.create(part(evil)).await.unwrap_err();
        assert_eq!(error.key(), (Family::Volume(VolumePart::SubPath), Kind::Invalid));
        let text = "Volume 'x': resolved subPath escapes the volume mountpoint after symlink resolution.";
        assert_eq!(error.message, text);
    }
    let id = fixture.docker.create(part("p/q")).await.unwrap().id;
    eventually("the file is there", async || Path::new(&format!("{root}/p/q/f")).exists()).await;
    let good = fixture.docker.create(part("good/q")).await.unwrap().id;
    for id in [id, good, whole] {
        fixture.docker.delete(&id).await.unwrap();
    }
    assert!(!fixture.has_volume(&name).await);
}

/// Programs that note their calls in the file `calls`.
fn programs(folder: &TempDir) -> DockerOptions {
    for name in ["ossfs2", "fusermount", "umount"] {
        let path = folder.path().join(name);
        executable(&path, format!("#!/bin/sh\necho {name} \"$1\" >>{}/calls\n", folder.path().display()));
    }
    let tool_path = Some(folder.path().as_os_str().to_owned());
    DockerOptions { ossfs_mount_root: folder.path().join("mnt"), tool_path, ..options() }
}

fn calls(folder: &TempDir) -> String {
    let path = folder.path().join("calls");
    let calls = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path);
    calls
}

fn bucket(secret: &str) -> Source {
    Source::Ossfs(Box::new(Ossfs {
        bucket: "buck".to_owned(),
        endpoint: "oss.example.com".to_owned(),
        version: OssfsVersion::V2,
        options: Vec::new(),
        access_key_id: Secret::new("ID"),
        access_key_secret: Secret::new(secret),
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_unmounted_with_its_last_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::start_with(programs(&folder)).await;
    let create =
        |secret: &str| fixture.docker.create(with(vec![volume("/x", Some("p"), bucket(secret))], "sleep 1000"));
    let first = create("a").await.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{first}"), None).await.unwrap();
    let path = folder.path().join("mnt/buck/p");
    assert_eq!(container.host_config.unwrap().binds.unwrap()[0], format!("{}:/x:rw", path.display()));
    let label = &container.config.unwrap().labels.unwrap()["opensandbox.io/ossfs-mounts"];
    assert_eq!(label, &format!("[\"{}\"]", path.display()));
    let second = create("a").await.unwrap().id;
    assert_eq!(create("b").await.unwrap_err().key(), (Family::Volume(VolumePart::OssfsMount), Kind::Conflict));
    assert_eq!(calls(&folder), "ossfs2 mount\n");

    let image = Some(ImageSource { uri: "localhost:1/no:1".to_owned(), auth: None });
    let failing = CreateRequest { image, ..with(vec![volume("/y", None, bucket("a"))], "true") };
    fixture.docker.create(failing).await.unwrap_err();
    assert_eq!(calls(&folder), "ossfs2 mount\nfusermount -u\n", "rolled back");

    fixture.docker.delete(&first).await.unwrap();
    assert_eq!(calls(&folder), "");
    // Another server, which knows the users by their labels alone.
    let (other, _state) = fixture.newcomer(programs(&folder)).await;
    let stranger = with(vec![volume("/x", Some("p"), bucket("a"))], "sleep 1000");
    let error = other.create(stranger).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::OssfsMount), Kind::Conflict));
    other.delete(&second).await.unwrap();
    assert_eq!(calls(&folder), "fusermount -u\n");
}

/// With real mounts, since it is the mount that a mark is bound to: of nothing, in the place of a bucket.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_shared_with_equal_credentials_after_a_restart() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts: run the tests as root");
    let folder = tempfile::tempdir().unwrap();
    let options = programs(&folder);
    for (name, line) in [("ossfs2", "mount -t tmpfs none"), ("fusermount", "umount")] {
        let script = format!("#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec {line} \"$2\"\n");
        fs::write(folder.path().join(name), script).unwrap();
    }
    let wanted = |secret: &str| with(vec![volume("/x", None, bucket(secret))], "sleep 1000");
    let mut fixture = Fixture::start_with(options.clone()).await;
    let first = fixture.docker.create(wanted("a")).await.unwrap().id;
    let container = fixture.engine.inspect_container(&format!("sandbox-{first}"), None).await.unwrap();
    assert!(container.config.unwrap().labels.unwrap().contains_key("opensandbox.io/ossfs-credentials"));
    let text = fixture.docker.inspect(&first).await.unwrap();
    assert!(text.contains("opensandbox.io/ossfs-credentials=***"), "{text}");

    fixture.restart_with(options.clone()).await;
    let error = fixture.docker.create(wanted("b")).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::OssfsMount), Kind::Conflict));
    let second = fixture.docker.create(wanted("a")).await.unwrap().id;
    fixture.docker.delete(&first).await.unwrap();
    fixture.restart_with(options).await;
    let third = fixture.docker.create(wanted("a")).await.unwrap().id;
    fixture.docker.delete(&second).await.unwrap();
    fixture.docker.delete(&third).await.unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(folder.path().to_str().unwrap()), "the last unmounts");
}

/// By another gateway, say, which did not know of the sandbox yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_unmounted_during_a_creation_fails_it() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts: run the tests as root");
    let folder = tempfile::tempdir().unwrap();
    let options = programs(&folder);
    let script = "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec mount -t tmpfs none \"$2\"\n";
    fs::write(folder.path().join("ossfs2"), script).unwrap();
    let fixture = Fixture::start_with(options).await;
    let gate = fixture.proxy.hold("POST", "/containers/create?name=sandbox-");
    let creation = fixture.docker.create(with(vec![volume("/x", None, bucket("a"))], "sleep 1000"));
    let unmount = async {
        gate.reached().await;
        rustix::mount::unmount(folder.path().join("mnt/buck"), rustix::mount::UnmountFlags::empty()).unwrap();
        gate.open();
    };
    let (created, ()) = tokio::join!(creation, unmount);
    assert_eq!(created.unwrap_err().key(), (Family::Volume(VolumePart::OssfsMount), Kind::Failed));
    assert!(fixture.left_behind().await.is_empty());
}

/// With its name taken, no gateway could mark the engine.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_the_gateway_s_own_is_nobody_s_to_mount_or_make() {
    let fixture = Fixture::start().await;
    for name in ["opensandbox-gateway-owner", "opensandbox-expiry-x-1"] {
        let error = fixture.docker.create(with(vec![volume("/x", None, claim(name, true, true))], "true")).await;
        assert_eq!(error.unwrap_err().key(), (Family::Volume(VolumePart::Claim), Kind::NotFound), "{name}");
        // A gateway that runs on this engine has made its own.
        assert!(!fixture.has_volume(name).await || name == "opensandbox-gateway-owner", "{name}");
    }
}
