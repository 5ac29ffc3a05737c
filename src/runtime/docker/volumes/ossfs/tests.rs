use std::{fs, sync::mpsc, time::Duration};

use crate::{
    error::{Family, Kind},
    model::volume::{OssfsVersion, Source},
    secret::Secret,
};

use super::*;
use crate::executable::executable;

/// Buckets with programs that note how they were called, and what they were handed.
struct Rig {
    folder: tempfile::TempDir,
    buckets: Buckets,
    /// What the engine tells of.
    others: Vec<User>,
}

impl Users for Vec<User> {
    async fn users(&self) -> Result<Vec<User>, bollard::errors::Error> {
        Ok(self.clone())
    }
}

fn user(id: &str, path: &str, marks: &[String]) -> User {
    User { id: id.to_owned(), paths: vec![path.into()], marks: marks.to_vec() }
}

fn buckets(folder: &tempfile::TempDir) -> Buckets {
    Buckets::new(&options(folder, folder.path().join("mnt")))
}

fn options(folder: &tempfile::TempDir, ossfs_mount_root: PathBuf) -> DockerOptions {
    let (tool_path, state_dir) = (Some(folder.path().into()), folder.path().join("state"));
    DockerOptions { ossfs_mount_root, tool_path, state_dir, ..Default::default() }
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let buckets = buckets(&folder);
        let rig = Self { folder, buckets, others: Vec::new() };
        for name in ["ossfs", "ossfs2", "fusermount", "umount"] {
            rig.program(name, "exit 0");
        }
        rig
    }

    fn program(&self, name: &str, end: &str) {
        let path = self.folder.path().join(name);
        let calls = self.folder.path().join("calls");
        let script = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\nexec 3>>{}\necho {name} \"$@\" >&3\nfor word in \"$@\"; do case $word in\n\
             *opensandbox-ossfs-*) stat -c %a \"${{word#passwd_file=}}\" >&3; cat \"${{word#passwd_file=}}\" >&3; echo >&3;;\n\
             esac; done\n{end}\n",
            calls.display()
        );
        executable(&path, script);
    }

    /// What was called since the last time, without names that differ from run to run.
    fn calls(&self) -> Vec<String> {
        let path = self.folder.path().join("calls");
        let calls = fs::read_to_string(&path).unwrap_or_default().replace(self.folder.path().to_str().unwrap(), "");
        let _ = fs::remove_file(path);
        let known = |line: &str| match line.find("opensandbox-ossfs-") {
            Some(at) => {
                let before = line[..at].rfind(['=', ' ']).map_or(0, |at| at + 1);
                let after = line[at..].find(' ').map_or("", |end| &line[at + end..]);
                format!("{}FILE{after}", &line[..before])
            }
            None => line.to_owned(),
        };
        calls.lines().filter(|line| !line.is_empty()).map(known).collect()
    }

    /// Another server finds these sandboxes from before.
    fn restart(&mut self, others: &[User]) {
        let mut buckets = buckets(&self.folder);
        buckets.marks.table.clone_from(&self.buckets.marks.table);
        (self.buckets, self.others) = (buckets, others.to_vec());
        self.unlocked();
    }

    /// Waits until no note is locked. A child that another test forks holds the lock of a closed note until it executes
    /// its program.
    fn unlocked(&self) {
        let Ok(notes) = fs::read_dir(&self.buckets.records.folder) else { return };
        for note in notes {
            fs::File::open(note.unwrap().path()).unwrap().lock().unwrap();
        }
    }

    /// From now on `ossfs2` mounts, and `fusermount` unmounts; gives a line of the table with a number and its file.
    fn with_table(&mut self) -> (impl Fn(u8) -> String + use<>, PathBuf) {
        let (table, next) = (self.folder.path().join("table"), self.folder.path().join("next"));
        let mount = self.folder.path().join("mnt/buck");
        let line = move |number: u8| format!("{number} 25 0:50 / {} rw - fuse ossfs2 rw\n", mount.display());
        fs::write(&table, "").unwrap();
        fs::write(&next, line(36)).unwrap();
        self.program("ossfs2", &format!("cp {} {}", next.display(), table.display()));
        self.program("fusermount", &format!(": > {}", table.display()));
        self.buckets.marks.table.0.clone_from(&table);
        (line, table)
    }

    async fn release(&self, id: &str, path: &str) {
        self.buckets.release(&self.others, id, Path::new(path)).await;
    }

    async fn take(&self, id: &str, part: Option<&str>, ossfs: &Ossfs) -> Result<String, Error> {
        Ok(self.take_marked(id, part, ossfs).await?.0)
    }

    async fn take_marked(
        &self,
        id: &str,
        part: Option<&str>,
        ossfs: &Ossfs,
    ) -> Result<(String, Option<String>), Error> {
        let source = Source::Ossfs(Box::new(ossfs.clone()));
        let (name, mount_path, sub_path) = ("v".to_owned(), "/x".to_owned(), part.map(str::to_owned));
        let volume = Volume { name, mount_path, read_only: false, sub_path, source };
        self.buckets.acquire(&self.others, id, &volume, ossfs).await
    }
}

fn ossfs(version: OssfsVersion) -> Ossfs {
    Ossfs {
        bucket: "buck".to_owned(),
        endpoint: "oss.example.com".to_owned(),
        version,
        options: vec!["allow_other".to_owned()],
        access_key_id: Secret::new("ID"),
        access_key_secret: Secret::new("S3CRET"),
    }
}

#[tokio::test]
async fn each_generation_is_called_as_the_peer_calls_it() {
    let rig = Rig::new();
    let path = rig.take("a", Some("p/./q"), &ossfs(OssfsVersion::V1)).await.unwrap();
    assert_eq!(path, rig.folder.path().join("mnt/buck/p/q").to_str().unwrap());
    assert_eq!(
        rig.calls(),
        [
            "ossfs buck:/p/q /mnt/buck/p/q -o url=https://oss.example.com -o passwd_file=FILE -o allow_other",
            "600",
            "buck:ID:S3CRET"
        ]
    );
    rig.take("b", Some("r"), &ossfs(OssfsVersion::V2)).await.unwrap();
    let expected = [
        "ossfs2 mount /mnt/buck/r -c FILE",
        "600",
        "--oss_endpoint=https://oss.example.com",
        "--oss_bucket=buck",
        "--oss_access_key_id=ID",
        "--oss_access_key_secret=S3CRET",
        "--oss_bucket_prefix=r/",
        "--allow_other",
    ];
    assert_eq!(rig.calls(), expected);
    let whole = Ossfs { bucket: "pail".to_owned(), endpoint: "http://e".to_owned(), ..ossfs(OssfsVersion::V1) };
    rig.take("c", None, &whole).await.unwrap();
    assert_eq!(rig.calls()[0], "ossfs pail /mnt/pail -o url=http://e -o passwd_file=FILE -o allow_other");
}

#[tokio::test]
async fn the_last_user_unmounts() {
    let rig = Rig::new();
    let bucket = ossfs(OssfsVersion::V2);
    let path = rig.take("a", None, &bucket).await.unwrap();
    rig.take("b", None, &bucket).await.unwrap();
    rig.take("b", None, &bucket).await.unwrap();
    assert_eq!(rig.calls().iter().filter(|call| call.starts_with("ossfs2")).count(), 1);
    rig.release("b", &path).await;
    rig.release("stranger", &path).await;
    assert!(rig.calls().is_empty());
    rig.program("fusermount", "exit 1");
    rig.release("a", &path).await;
    assert_eq!(rig.calls(), ["fusermount -u /mnt/buck", "umount /mnt/buck"]);
    assert!(rig.buckets.lock().is_empty());
}

#[tokio::test]
async fn other_credentials_do_not_get_what_is_mounted() {
    let rig = Rig::new();
    let bucket = ossfs(OssfsVersion::V2);
    let path = rig.take("a", None, &bucket).await.unwrap();
    for other in [
        Ossfs { access_key_secret: Secret::new("guess"), ..bucket.clone() },
        Ossfs { access_key_id: Secret::new("other"), ..bucket.clone() },
        Ossfs { options: Vec::new(), ..bucket.clone() },
        Ossfs { endpoint: "https://elsewhere".to_owned(), ..bucket.clone() },
    ] {
        let error = rig.take("b", None, &other).await.unwrap_err();
        assert_eq!(error.key(), (Family::Volume(VolumePart::OssfsMount), Kind::Conflict));
        assert!(!error.message.contains("guess") && !error.message.contains("S3CRET"), "{error}");
    }
    rig.take("b", None, &Ossfs { endpoint: "https://oss.example.com".to_owned(), ..bucket.clone() }).await.unwrap();
    for id in ["a", "b"] {
        rig.release(id, &path).await;
    }
    rig.take("c", None, &Ossfs { options: Vec::new(), ..bucket }).await.unwrap();
}

#[tokio::test]
async fn a_mount_of_before_the_start_is_not_shared_with_strangers() {
    let mut rig = Rig::new();
    let path = rig.folder.path().join("mnt/buck").to_str().unwrap().to_owned();
    rig.others = vec![user("old", &path, &[])];
    let error = rig.take("a", None, &ossfs(OssfsVersion::V2)).await.unwrap_err();
    assert!(error.message.contains("was mounted before this server was started"), "{error}");
    rig.release("old", &path).await;
    assert_eq!(rig.calls(), ["fusermount -u /mnt/buck"]);
    rig.others.clear();
    rig.take("a", None, &ossfs(OssfsVersion::V2)).await.unwrap();
}

#[tokio::test]
async fn a_mount_of_before_the_start_is_shared_by_who_gives_the_same() {
    let mut rig = Rig::new();
    let (line, table) = rig.with_table();
    let bucket = ossfs(OssfsVersion::V2);
    let guess = Ossfs { access_key_secret: Secret::new("guess"), ..bucket.clone() };
    let (path, mark) = rig.take_marked("old", None, &bucket).await.unwrap();
    let marks = [mark.unwrap()];

    rig.restart(&[user("old", &path, &marks)]);
    assert!(rig.take("a", None, &guess).await.is_err());
    let (_, mark) = rig.take_marked("b", None, &bucket).await.unwrap();
    assert!(rig.take("c", None, &guess).await.is_err(), "also once they are known");
    rig.take("c", None, &bucket).await.unwrap();
    rig.restart(&[user("b", &path, &[mark.unwrap()])]);
    rig.take("d", None, &bucket).await.unwrap();

    rig.restart(&[user("copy", &path, &marks)]);
    assert!(rig.take("e", None, &bucket).await.is_err(), "another sandbox's mark");
    rig.restart(&[user("old", &path, &marks)]);
    for other in [line(37), String::new()] {
        fs::write(&table, other).unwrap();
        assert!(rig.take("e", None, &bucket).await.is_err(), "another mount, or none");
    }
    fs::write(&table, line(36)).unwrap();
    fs::remove_file(&rig.buckets.marks.key).unwrap();
    assert!(rig.take("e", None, &bucket).await.is_err(), "the key is lost");
}

#[tokio::test]
async fn only_what_is_still_mounted_is_shared() {
    let mut rig = Rig::new();
    let (line, table) = rig.with_table();
    let bucket = ossfs(OssfsVersion::V2);
    let guess = Ossfs { access_key_secret: Secret::new("guess"), ..bucket.clone() };
    let path = rig.take("a", None, &bucket).await.unwrap();
    assert!(rig.buckets.is_still_mounted(Path::new(&path)).await.unwrap());
    rig.calls();
    fs::write(&table, "").unwrap();
    assert!(!rig.buckets.is_still_mounted(Path::new(&path)).await.unwrap());
    assert!(rig.take("b", None, &guess).await.is_err(), "the first is still being created");
    assert!(rig.calls().is_empty());
    rig.take("b", None, &bucket).await.unwrap();
    assert_eq!(rig.calls()[0], "ossfs2 mount /mnt/buck -c FILE", "it is mounted again");
    fs::write(&table, line(37)).unwrap();
    assert!(rig.take("c", None, &bucket).await.is_err(), "somebody else's");
    assert!(rig.calls().is_empty());
}

/// Another server on this host creates and removes sandboxes as well.
#[tokio::test]
async fn the_engine_is_asked_who_uses_a_bucket() {
    let mut rig = Rig::new();
    drop(rig.with_table());
    let bucket = ossfs(OssfsVersion::V2);
    let guess = Ossfs { access_key_secret: Secret::new("guess"), ..bucket.clone() };
    let path = rig.take("a", None, &bucket).await.unwrap();
    rig.calls();
    rig.others = vec![user("a", &path, &[]), user("elsewhere", &path, &[]), user("c", "/other", &[])];
    rig.buckets.settle("a", Path::new(&path)).await;
    rig.release("a", &path).await;
    assert!(rig.calls().is_empty(), "the other server's sandbox has it");
    let others = [user("elsewhere", &path, &[])];
    rig.restart(&others);
    assert!(rig.take("b", None, &guess).await.is_err() && rig.calls().is_empty(), "it is not left over");
    rig.others.clear();
    rig.take("b", None, &guess).await.unwrap();
    assert_eq!(rig.calls()[..2], ["fusermount -u /mnt/buck", "ossfs2 mount /mnt/buck -c FILE"], "now it is");
    // Another hand removes the sandbox.
    rig.buckets.settle("b", Path::new(&path)).await;
    rig.take("c", None, &bucket).await.unwrap();
    assert_eq!(rig.calls()[0], "fusermount -u /mnt/buck");
    rig.release("c", &path).await;
    assert_eq!(rig.calls(), ["fusermount -u /mnt/buck"]);
    assert!(rig.buckets.lock().is_empty());
}

#[tokio::test]
async fn what_a_server_that_was_killed_had_mounted_is_unmounted() {
    let mut rig = Rig::new();
    drop(rig.with_table());
    let path = rig.take("a", None, &ossfs(OssfsVersion::V2)).await.unwrap();
    let notes = rig.buckets.records.folder.clone();
    let count = || fs::read_dir(&notes).unwrap().count();
    rig.calls();
    let second = buckets(&rig.folder);
    second.clear(&rig.others).await;
    assert!(rig.calls().is_empty() && count() == 1, "its server lives");

    let old = [user("a", &path, &[])];
    rig.restart(&old);
    rig.buckets.clear(&rig.others).await;
    assert!(rig.calls().is_empty() && count() == 1, "it is used");
    rig.restart(&[]);
    rig.buckets.clear(&rig.others).await;
    assert_eq!(rig.calls(), ["fusermount -u /mnt/buck"]);
    assert!(count() == 0 && rig.buckets.lock().is_empty());

    drop(rig.buckets.records.put(Path::new(&path)).unwrap());
    rig.unlocked();
    rig.buckets.clear(&rig.others).await;
    assert!(rig.calls().is_empty() && count() == 1, "its tool may still mount it");
    rig.take("b", None, &ossfs(OssfsVersion::V2)).await.unwrap();
    rig.release("b", &path).await;
    assert_eq!(count(), 0, "unmounted by itself");
    rig.program("ossfs2", "exit 1");
    rig.take("c", None, &ossfs(OssfsVersion::V2)).await.unwrap_err();
    assert_eq!(count(), 0, "never mounted");
}

#[tokio::test]
async fn a_failed_mount_tells_why_and_no_secret() {
    let rig = Rig::new();
    rig.program("ossfs2", "echo denied for ID with S3CRET >&2; exit 3");
    let error = rig.take("a", None, &ossfs(OssfsVersion::V2)).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::OssfsMount), Kind::Failed));
    assert!(error.message.ends_with("ossfs2: exit status: 3: denied for *** with ***"), "{error}");
    assert!(rig.buckets.lock().is_empty());
    fs::remove_file(rig.folder.path().join("ossfs")).unwrap();
    let error = rig.take("a", None, &ossfs(OssfsVersion::V1)).await.unwrap_err();
    assert!(error.message.ends_with("ossfs was not found on PATH"), "{error}");
}

#[tokio::test]
async fn what_a_program_leaves_running_keeps_nobody_waiting() {
    let rig = Rig::new();
    rig.program("ossfs2", "sleep 5 &");
    let start = std::time::Instant::now();
    rig.take("a", None, &ossfs(OssfsVersion::V2)).await.unwrap();
    assert!(start.elapsed().as_secs() < 4);
}

#[tokio::test]
async fn a_folder_that_does_not_answer_fails_the_mount_in_time() {
    let mut rig = Rig::new();
    rig.buckets.blocking = BlockingTasks::new(1, Duration::from_millis(100));
    let (release, hung) = mpsc::channel::<()>();
    rig.buckets.blocking.run(move || hung.recv()).await.unwrap_err();
    let error = rig.take("a", None, &ossfs(OssfsVersion::V2)).await.unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::OssfsMount), Kind::Failed));
    assert!(error.message.contains("the file system did not answer"), "{error}");
    assert!(rig.calls().is_empty() && rig.buckets.lock().is_empty());
    drop(release);
    while rig.take("a", None, &ossfs(OssfsVersion::V2)).await.is_err() {}
}

#[tokio::test]
async fn what_is_left_over_is_unmounted_first() {
    let rig = Rig::new();
    // A place at which something is mounted everywhere; the programs only note what they are told.
    let mut buckets = Buckets::new(&options(&rig.folder, "/".into()));
    buckets.marks.table.0 = rig.folder.path().join("table");
    fs::write(&buckets.marks.table.0, "36 25 0:50 / /proc rw - proc proc rw\n").unwrap();
    let rig = Rig { buckets, ..rig };
    let bucket = Ossfs { bucket: "proc".to_owned(), ..ossfs(OssfsVersion::V1) };
    assert_eq!(rig.take("a", None, &bucket).await.unwrap(), "/proc");
    let calls = rig.calls();
    assert_eq!(calls[0], "fusermount -u /proc");
    assert!(calls[1].starts_with("ossfs proc /proc "), "{calls:?}");
}

#[tokio::test]
async fn no_link_in_a_bucket_leads_a_mount_elsewhere() {
    let rig = Rig::new();
    fs::create_dir_all(rig.folder.path().join("mnt/buck")).unwrap();
    fs::create_dir(rig.folder.path().join("out")).unwrap();
    std::os::unix::fs::symlink("../../out", rig.folder.path().join("mnt/buck/evil")).unwrap();
    let error = rig.take("a", Some("evil"), &ossfs(OssfsVersion::V2)).await.unwrap_err();
    assert!(error.message.ends_with("leads out of the mount root"), "{error}");
    assert!(rig.calls().is_empty());
    let relative = Buckets::new(&options(&rig.folder, "mnt".into()));
    let error = relative.path(&ossfs(OssfsVersion::V2), None).unwrap_err();
    assert_eq!(error.key(), (Family::Volume(VolumePart::OssfsMountRoot), Kind::Invalid));
}

/// A sandbox with the whole bucket could put a link where a part of it is to be mounted, and the tools follow links.
#[tokio::test]
async fn no_part_is_mounted_within_another_nor_around_it() {
    let rig = Rig::new();
    let bucket = ossfs(OssfsVersion::V2);
    let root = rig.folder.path().join("mnt");
    let whole = rig.take("a", None, &bucket).await.unwrap();
    assert_eq!(whole, root.join("buck").to_str().unwrap());
    let part = rig.take("b", Some("p"), &bucket).await.unwrap();
    assert!(part.starts_with(root.join(".parts/buck-").to_str().unwrap()), "{part}");
    assert_eq!(rig.take("c", Some("./p/"), &bucket).await.unwrap(), part, "shared as any other");
    assert_ne!(rig.take("d", Some("q"), &bucket).await.unwrap(), part);
    rig.release("a", &whole).await;
    let other = Ossfs { bucket: "other".to_owned(), ..bucket.clone() };
    assert_eq!(rig.take("e", Some("p/q"), &other).await.unwrap(), root.join("other/p/q").to_str().unwrap());
    let around = rig.take("f", Some("p"), &other).await.unwrap();
    assert!(around.starts_with(root.join(".parts/other-").to_str().unwrap()), "{around}");
    assert_eq!(rig.take("g", Some("p/q"), &other).await.unwrap(), root.join("other/p/q").to_str().unwrap());
    assert_eq!(rig.take("h", Some("p2"), &other).await.unwrap(), root.join("other/p2").to_str().unwrap());
}

#[tokio::test]
async fn a_root_that_sandboxes_can_mount_will_not_do() {
    let rig = Rig::new();
    fs::create_dir_all(rig.folder.path().join("mnt/x")).unwrap();
    std::os::unix::fs::symlink("mnt", rig.folder.path().join("link")).unwrap();
    for allowed in [".", "mnt", "mnt/", "mnt/x", "link", "link/x", "mnt/buck/later"] {
        let allowed_host_paths = vec![rig.folder.path().join(allowed).to_str().unwrap().to_owned()];
        let buckets = DockerOptions { allowed_host_paths, ..options(&rig.folder, rig.folder.path().join("mnt")) };
        let (folder, buckets) = (tempfile::tempdir().unwrap(), Buckets::new(&buckets));
        let rig = Rig { folder, buckets, others: Vec::new() };
        let error = rig.take("a", None, &ossfs(OssfsVersion::V2)).await.unwrap_err();
        assert_eq!(error.key(), (Family::Volume(VolumePart::OssfsMountRoot), Kind::Invalid), "{allowed}: {error}");
    }
}
