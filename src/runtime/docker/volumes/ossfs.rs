//! Buckets of an object store, mounted on the host by ossfs's programs and shared by the sandboxes that use the same
//! part with the same credentials (docker-runtime.md §8.1).

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bollard::errors::Error;
use ring::digest::{SHA256, digest};
use tempfile::NamedTempFile;
use tokio::{
    sync::{Mutex as AsyncMutex, OnceCell},
    task::{JoinError, spawn_blocking},
};

use crate::{
    model::volume::{Ossfs, OssfsVersion, Volume, VolumeFault, check::fault},
    runtime::RuntimeError,
};

use super::{
    super::{
        DockerOptions,
        engine::{Engine, text},
        labels,
    },
    checks::Checks,
    marks::{Marks, Use},
    place::{Place, Refusal, plain, resolved_roots},
    tools::Tools,
};

/// The mounted buckets and who uses them.
#[derive(Debug)]
pub(super) struct Buckets {
    root: PathBuf,
    tools: Tools,
    checks: Checks,
    marks: Marks,
    /// The paths of the host that sandboxes may mount.
    allowed: Vec<PathBuf>,
    mounted: Mutex<HashMap<PathBuf, Arc<AsyncMutex<Mounted>>>>,
    /// Done once the sandboxes that were there before are among the users.
    restored: OnceCell<()>,
}

/// One mounted part of a bucket. It is locked while it is being mounted or unmounted.
#[derive(Debug, Default)]
struct Mounted {
    /// The sandboxes that use it; nothing is mounted for none.
    users: HashSet<String>,
    /// What was mounted; not known of a mount that was there before this server.
    source: Option<Ossfs>,
    /// What the mount is called among all mounts, if that is known.
    mount: Option<String>,
    /// The marks of the users that were there before this server, each with its user.
    marks: Vec<(String, String)>,
}

impl Buckets {
    pub(super) fn new(options: &DockerOptions) -> Self {
        let allowed = options.allowed_host_paths.iter().map(PathBuf::from).collect();
        Self {
            root: options.ossfs_mount_root.clone(),
            tools: Tools { path: options.tool_path.clone() },
            checks: Checks::default(),
            marks: Marks::new(&options.state_dir),
            allowed,
            mounted: Mutex::default(),
            restored: OnceCell::new(),
        }
    }

    /// Mounts a part of a bucket for the sandbox `id`, or shares what is mounted; gives its path, and the mark that the
    /// sandbox is to carry if there can be one.
    pub(super) async fn acquire(
        &self,
        engine: &Engine,
        id: &str,
        volume: &Volume,
        ossfs: &Ossfs,
    ) -> Result<(String, Option<String>), RuntimeError> {
        self.restore(engine).await.map_err(|error| {
            let text =
                format!("Volume '{}': the users of mounted buckets are not known: {}", volume.name, text(&error));
            fault(VolumeFault::OssfsMountFailed, text)
        })?;
        self.take(id, volume, ossfs).await
    }

    /// The sandbox `id` uses the part at `path` no more; the last user's leaving unmounts it. Trouble is only logged.
    pub(super) async fn release(&self, engine: &Engine, id: &str, path: &Path) {
        match self.restore(engine).await {
            Ok(()) => self.give_back(id, path).await,
            Err(error) => {
                tracing::warn!(sandbox = id, ?path, %error, "a bucket stays mounted: its other users are not known");
            }
        }
    }

    async fn take(&self, id: &str, volume: &Volume, ossfs: &Ossfs) -> Result<(String, Option<String>), RuntimeError> {
        let path = self.path(ossfs, volume.sub_path.as_deref())?;
        self.check_root(volume).await?;
        let (path, entry) = self.free_place(path, ossfs).map_err(|error| {
            let text = format!("Volume '{}': the mounts of this host are not known: {error}", volume.name);
            fault(VolumeFault::OssfsMountFailed, text)
        })?;
        let told = path.to_str().map(str::to_owned).ok_or_else(|| invalid_root("is not UTF-8"))?;
        let mut mounted = entry.lock().await;
        let acquired = self.acquire_at(&path, &mut mounted, id, volume, ossfs).await;
        drop(mounted);
        self.tidy(&path, entry);
        let mount = acquired?;
        Ok((told, self.mark(id, path, mount, ossfs).await))
    }

    async fn give_back(&self, id: &str, path: &Path) {
        let entry = self.entry(path);
        let mut mounted = entry.lock().await;
        mounted.users.remove(id);
        if mounted.users.is_empty() {
            *mounted = Mounted::default();
            if let Err(cause) = self.unmount(path).await {
                tracing::warn!(sandbox = id, ?path, cause, "a bucket stays mounted");
            }
        }
        drop(mounted);
        self.tidy(path, entry);
    }

    fn path(&self, ossfs: &Ossfs, part: Option<&str>) -> Result<PathBuf, RuntimeError> {
        if !self.root.is_absolute() {
            return Err(invalid_root("must be an absolute path"));
        }
        Ok(plain(&self.root.join(&ossfs.bucket).join(part.unwrap_or_default())))
    }

    /// Refuses a root that sandboxes can reach: they could exchange the folders that are mounted at, and the tools follow
    /// links.
    async fn check_root(&self, volume: &Volume) -> Result<(), RuntimeError> {
        let (root, allowed) = (self.root.clone(), self.allowed.clone());
        let is_exposed = self.checks.run(move || {
            let meet = |one: &Path, other: &Path| one.starts_with(other) || other.starts_with(one);
            let (roots, resolved) = (resolved_roots(std::slice::from_ref(&root)), resolved_roots(&allowed));
            allowed.iter().any(|path| meet(&plain(path), &plain(&root)))
                || roots.iter().any(|root| resolved.iter().any(|path| meet(path, root)))
        });
        match is_exposed.await {
            Ok(false) => Ok(()),
            Ok(true) => Err(invalid_root("must neither contain nor be below a path of storage.allowed_host_paths")),
            Err(error) => Err(fault(VolumeFault::OssfsMountFailed, format!("Volume '{}': {error}", volume.name))),
        }
    }

    /// Where to mount: at the part's own path, as long as that is not within another part that is mounted, nor the other way
    /// round. Whoever writes to the outer one could exchange the inner one's folder with a link.
    fn free_place(&self, path: PathBuf, ossfs: &Ossfs) -> io::Result<(PathBuf, Arc<AsyncMutex<Mounted>>)> {
        let mounted = self.marks.table.within(&self.root)?;
        let mut all = self.lock();
        let meet = |other: &PathBuf| *other != path && (other.starts_with(&path) || path.starts_with(other));
        let is_outer = |other: &PathBuf| *other != self.root && meet(other);
        let is_nested = all.keys().any(is_outer) || mounted.iter().any(is_outer);
        let path = if is_nested && !all.contains_key(&path) { self.apart(&path, ossfs) } else { path };
        let entry = all.entry(path.clone()).or_default().clone();
        Ok((path, entry))
    }

    /// A place for a part that cannot be at its own. No bucket's name begins with a dot.
    fn apart(&self, path: &Path, ossfs: &Ossfs) -> PathBuf {
        let digest = digest(&SHA256, path.as_os_str().as_encoded_bytes());
        let name = BASE64_URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]);
        self.root.join(".parts").join(format!("{}-{name}", ossfs.bucket))
    }

    async fn acquire_at(
        &self,
        path: &Path,
        mounted: &mut Mounted,
        id: &str,
        volume: &Volume,
        ossfs: &Ossfs,
    ) -> Result<Option<String>, RuntimeError> {
        if mounted.users.is_empty() {
            self.mount(path, volume, ossfs).await?;
            mounted.mount = self.identity(path).await;
            mounted.source = Some(ossfs.clone());
        } else if let Some(source) = &mounted.source {
            if !is_same(source, ossfs) {
                return Err(conflict(volume, ossfs, true));
            }
        } else {
            let mount = self.proven(path, &mounted.marks, ossfs).await;
            mounted.mount = Some(mount.ok_or_else(|| conflict(volume, ossfs, false))?);
            mounted.source = Some(ossfs.clone());
        }
        mounted.users.insert(id.to_owned());
        Ok(mounted.mount.clone())
    }

    /// What the mount at a path is called, if that can be told.
    async fn identity(&self, path: &Path) -> Option<String> {
        let (marks, path) = (self.marks.clone(), path.to_owned());
        unless_failed(spawn_blocking(move || marks.identity(&path)).await).flatten()
    }

    /// The mark of a sandbox that uses what is mounted. Without one it is only not shared any more after a restart.
    async fn mark(&self, id: &str, path: PathBuf, mount: Option<String>, ossfs: &Ossfs) -> Option<String> {
        let (marks, id, mount, ossfs) = (self.marks.clone(), id.to_owned(), mount?, ossfs.clone());
        let mark = move || marks.mark(Use { id: &id, path: &path, mount: &mount, ossfs: &ossfs });
        unless_failed(spawn_blocking(mark).await)
    }

    /// What is mounted at a path, if the mark of one of its users says that it was mounted just so.
    async fn proven(&self, path: &Path, users: &[(String, String)], ossfs: &Ossfs) -> Option<String> {
        if users.is_empty() {
            return None;
        }
        let (marks, path, users, ossfs) = (self.marks.clone(), path.to_owned(), users.to_vec(), ossfs.clone());
        let prove = move || {
            let Some(mount) = marks.identity(&path)? else { return Ok(None) };
            for (id, mark) in &users {
                if marks.is_mark(mark, Use { id, path: &path, mount: &mount, ossfs: &ossfs })? {
                    return Ok(Some(mount));
                }
            }
            Ok(None)
        };
        unless_failed(spawn_blocking(prove).await).flatten()
    }

    async fn mount(&self, path: &Path, volume: &Volume, ossfs: &Ossfs) -> Result<(), RuntimeError> {
        let failed = |cause: &str| {
            let secrets = [&ossfs.access_key_secret, &ossfs.access_key_id];
            let cause = secrets.iter().fold(cause.to_owned(), |cause, secret| cause.replace(secret.expose(), "***"));
            tracing::warn!(?path, cause, "a bucket could not be mounted");
            let text = format!("Volume '{}': failed to mount OSSFS bucket '{}': {cause}", volume.name, ossfs.bucket);
            fault(VolumeFault::OssfsMountFailed, text)
        };
        // Nobody uses what is mounted there: it is left over, with credentials that nobody knows. It goes first, since a
        // store that does not answer any more would make the check of the folder hang.
        if self.is_left_over(path).await {
            self.unmount(path).await.map_err(|cause| failed(&cause))?;
        }
        let (root, folder) = (self.root.clone(), path.to_owned());
        let made = self.checks.run(move || make_folder(&root, &folder)).await;
        made.map_err(|error| error.to_string()).flatten().map_err(|cause| failed(&cause))?;
        let prefix = part(volume.sub_path.as_deref());
        let (source, handed) = (ossfs.clone(), prefix.clone());
        let file = spawn_blocking(move || hand_over(&source, handed.as_deref())).await;
        let file = file.map_err(io::Error::other).flatten().map_err(|error| failed(&error.to_string()))?;
        let (program, args) = command(ossfs, prefix.as_deref(), path, file.path());
        let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
        let ran = self.tools.run(program, &args).await;
        // Whatever comes of it, the file is gone.
        let _ = spawn_blocking(move || drop(file)).await;
        let Err(cause) = ran else { return Ok(()) };
        // A tool that was stopped may have mounted all the same.
        if self.is_left_over(path).await
            && let Err(error) = self.unmount(path).await
        {
            tracing::warn!(?path, error, "a bucket that could not be mounted in time stays mounted");
        }
        Err(failed(&cause))
    }

    /// Whether something is mounted at a path that nobody uses; if that cannot be told, the mounting will.
    async fn is_left_over(&self, path: &Path) -> bool {
        let (marks, path) = (self.marks.clone(), path.to_owned());
        spawn_blocking(move || marks.table.is_mounted(&path)).await.map_err(io::Error::other).flatten().unwrap_or(false)
    }

    async fn unmount(&self, path: &Path) -> Result<(), String> {
        let Err(first) = self.tools.run("fusermount", &["-u".as_ref(), path.as_os_str()]).await else { return Ok(()) };
        self.tools.run("umount", &[path.as_os_str()]).await.map_err(|second| format!("{first}; {second}"))
    }

    /// Makes the sandboxes that are there the users of what their labels name.
    async fn restore(&self, engine: &Engine) -> Result<(), Error> {
        let restore = || async {
            for container in engine.sandboxes(None).await? {
                let labels = container.labels.unwrap_or_default();
                let Some(id) = labels::value(&labels, labels::ID) else { continue };
                let marks = labels::list(&labels, labels::BUCKET_MARKS);
                for path in labels::list(&labels, labels::BUCKETS) {
                    self.found(id, Path::new(&path), &marks).await;
                }
            }
            Ok(())
        };
        self.restored.get_or_try_init(restore).await.map(|_| ())
    }

    /// A sandbox with these marks, of this path and others, was there before.
    async fn found(&self, id: &str, path: &Path, marks: &[String]) {
        let entry = self.entry(path);
        let mut mounted = entry.lock().await;
        mounted.users.insert(id.to_owned());
        mounted.marks.extend(marks.iter().map(|mark| (id.to_owned(), mark.clone())));
    }

    fn entry(&self, path: &Path) -> Arc<AsyncMutex<Mounted>> {
        self.lock().entry(path.to_owned()).or_default().clone()
    }

    /// Forgets a path that nobody uses and nobody waits for.
    fn tidy(&self, path: &Path, entry: Arc<AsyncMutex<Mounted>>) {
        let mut all = self.lock();
        let is_unused = entry.try_lock().is_ok_and(|mounted| mounted.users.is_empty());
        // The map's own and this one.
        if is_unused && Arc::strong_count(&entry) <= 2 {
            all.remove(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<AsyncMutex<Mounted>>>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid_root(what: &str) -> RuntimeError {
    fault(VolumeFault::InvalidOssfsMountRoot, format!("storage.ossfs_mount_root {what}."))
}

fn conflict(volume: &Volume, ossfs: &Ossfs, is_known: bool) -> RuntimeError {
    let why = if is_known {
        "is in use with other credentials, another endpoint or other options"
    } else {
        "was mounted before this server was started, and nothing proves that it was with these credentials, this \
         endpoint and these options"
    };
    let text = format!(
        "Volume '{}': this part of OSSFS bucket '{}' {why}. It is shared only by sandboxes that give the same; delete \
         those that use it first.",
        volume.name, ossfs.bucket
    );
    fault(VolumeFault::OssfsMountConflict, text)
}

fn is_same(mounted: &Ossfs, asked: &Ossfs) -> bool {
    let is_key = mounted.access_key_id.matches(asked.access_key_id.expose().as_bytes());
    let is_secret = mounted.access_key_secret.matches(asked.access_key_secret.expose().as_bytes());
    let said = |ossfs: &Ossfs| (url(&ossfs.endpoint), ossfs.version, ossfs.options.clone());
    is_key && is_secret && said(mounted) == said(asked)
}

/// The endpoint with its scheme.
pub(super) fn url(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}

/// Makes the folder to mount at. Not through a link, which a sandbox may have put into a bucket that is mounted above.
/// Blocks.
fn make_folder(root: &Path, path: &Path) -> Result<(), String> {
    fs::create_dir_all(root).map_err(|error| format!("{}: {error}", root.display()))?;
    match Place::find(path, &[root.to_owned()]) {
        Ok(place) if place.path().is_dir() => Ok(()),
        Ok(_) => Err(format!("{} is not a directory", path.display())),
        Err(Refusal::Outside(_)) => Err(format!("{} leads out of the mount root", path.display())),
        Err(Refusal::Unusable(error)) => Err(format!("{}: {error}", path.display())),
    }
}

/// The part of the bucket in plain form; nothing for the whole of it.
fn part(sub_path: Option<&str>) -> Option<String> {
    let part = plain(Path::new(sub_path?));
    part.to_str().filter(|part| !part.is_empty()).map(str::to_owned)
}

/// The file that hands the credentials over; only this user can read it, and it is gone with its value. Blocks.
fn hand_over(ossfs: &Ossfs, prefix: Option<&str>) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("opensandbox-ossfs-").tempfile()?;
    let (id, secret) = (ossfs.access_key_id.expose(), ossfs.access_key_secret.expose());
    match ossfs.version {
        OssfsVersion::V1 => write!(file, "{}:{id}:{secret}", ossfs.bucket)?,
        OssfsVersion::V2 => {
            writeln!(file, "--oss_endpoint={}\n--oss_bucket={}", url(&ossfs.endpoint), ossfs.bucket)?;
            writeln!(file, "--oss_access_key_id={id}\n--oss_access_key_secret={secret}")?;
            if let Some(prefix) = prefix {
                writeln!(file, "--oss_bucket_prefix={prefix}/")?;
            }
            ossfs.options.iter().try_for_each(|option| writeln!(file, "--{option}"))?;
        }
    }
    Ok(file)
}

fn command(ossfs: &Ossfs, prefix: Option<&str>, path: &Path, file: &Path) -> (&'static str, Vec<OsString>) {
    match ossfs.version {
        OssfsVersion::V1 => {
            let what = prefix.map_or_else(|| ossfs.bucket.clone(), |prefix| format!("{}:/{prefix}", ossfs.bucket));
            let mut passwd = OsString::from("passwd_file=");
            passwd.push(file);
            let own = [OsString::from(format!("url={}", url(&ossfs.endpoint))), passwd];
            let options = own.into_iter().chain(ossfs.options.iter().map(OsString::from));
            let options = options.flat_map(|option| [OsString::from("-o"), option]);
            ("ossfs", [what.into(), path.into()].into_iter().chain(options).collect())
        }
        OssfsVersion::V2 => ("ossfs2", vec!["mount".into(), path.into(), "-c".into(), file.into()]),
    }
}

/// The outcome of what is only for marks; trouble with it is logged.
fn unless_failed<T>(done: Result<io::Result<T>, JoinError>) -> Option<T> {
    let failed =
        |error: &io::Error| tracing::warn!(%error, "which credentials a bucket is mounted with cannot be told");
    done.map_err(io::Error::other).flatten().inspect_err(failed).ok()
}

#[cfg(test)]
#[path = "ossfs_tests.rs"]
mod tests;
