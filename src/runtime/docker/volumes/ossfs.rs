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
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking};

use crate::{
    error::{RuntimeError, VolumeFault},
    model::volume::{Ossfs, OssfsVersion, Volume, check::fault},
};

use super::{
    checks::Checks,
    marks::{Marks, Use},
    place::{Place, Refusal, plain, resolved_roots},
    records::{Record, Records},
    tools::Tools,
};
use crate::runtime::docker::{
    DockerOptions,
    engine::{Engine, labels, text},
};

/// The mounted buckets and who uses them.
#[derive(Debug)]
pub(super) struct Buckets {
    root: PathBuf,
    tools: Tools,
    checks: Checks,
    marks: Marks,
    records: Records,
    /// The paths of the host that sandboxes may mount.
    allowed: Vec<PathBuf>,
    mounted: Mutex<HashMap<PathBuf, Arc<AsyncMutex<Mounted>>>>,
}

/// One mounted part of a bucket. It is locked while it is being mounted or unmounted.
#[derive(Debug, Default)]
struct Mounted {
    /// The sandboxes that are being created with it. Of all others the engine tells, since other servers may create and
    /// remove them.
    pending: HashSet<String>,
    /// What was mounted; not known of a mount that was there before this server.
    source: Option<Ossfs>,
    /// What the mount is called among all mounts, if that is known.
    mount: Option<String>,
    /// Says to the next server that something is mounted.
    record: Option<Record>,
}

/// A sandbox that uses mounted buckets, by its labels.
#[derive(Debug, Clone)]
pub(super) struct User {
    id: String,
    paths: Vec<PathBuf>,
    /// Of all its buckets, in no order.
    marks: Vec<String>,
}

/// Who tells of all sandboxes, also those of other servers.
pub(super) trait Users {
    fn users(&self) -> impl Future<Output = Result<Vec<User>, Error>> + Send;
}

impl Users for Engine {
    async fn users(&self) -> Result<Vec<User>, Error> {
        let labels = self.sandboxes(None).await?.into_iter().filter_map(|sandbox| sandbox.labels);
        let user = |labels: HashMap<String, String>| {
            let id = labels::value(&labels, labels::ID)?.to_owned();
            let paths = labels::list(&labels, labels::BUCKETS).into_iter().map(PathBuf::from).collect();
            Some(User { id, paths, marks: labels::list(&labels, labels::BUCKET_MARKS) })
        };
        Ok(labels.filter_map(user).collect())
    }
}

impl Buckets {
    pub(super) fn new(options: &DockerOptions) -> Self {
        let allowed = options.allowed_host_paths.iter().map(PathBuf::from).collect();
        Self {
            root: options.ossfs_mount_root.clone(),
            tools: Tools { path: options.tool_path.clone() },
            checks: Checks::default(),
            marks: Marks::new(&options.state_dir),
            records: Records::new(&options.state_dir),
            allowed,
            mounted: Mutex::default(),
        }
    }

    /// Mounts a part of a bucket for the sandbox `id`, or shares what is mounted; gives its path, and the mark that the
    /// sandbox is to carry if there can be one.
    pub(super) async fn acquire(
        &self,
        users: &impl Users,
        id: &str,
        volume: &Volume,
        ossfs: &Ossfs,
    ) -> Result<(String, Option<String>), RuntimeError> {
        let path = self.path(ossfs, volume.sub_path.as_deref())?;
        self.check_root(volume).await?;
        let (path, entry) = self.free_place(users, path, volume, ossfs).await?;
        let told = path.to_str().map(str::to_owned).ok_or_else(|| invalid_root("is not UTF-8"))?;
        let mut mounted = entry.lock().await;
        let acquired = self.acquire_at(users, &path, &mut mounted, id, volume, ossfs).await;
        drop(mounted);
        self.tidy(&path, entry);
        let mount = acquired?;
        Ok((told, self.mark(id, path, mount, ossfs).await))
    }

    /// The sandbox `id`, which uses the part at `path`, has been created: from now on the engine tells of it.
    pub(super) async fn settle(&self, id: &str, path: &Path) {
        let entry = self.entry(path);
        entry.lock().await.pending.remove(id);
        self.tidy(path, entry);
    }

    /// The sandbox `id` uses the part at `path` no more; the last user's leaving unmounts it. Trouble is only logged.
    pub(super) async fn release(&self, users: &impl Users, id: &str, path: &Path) {
        let entry = self.entry(path);
        let mut mounted = entry.lock().await;
        mounted.pending.remove(id);
        if mounted.pending.is_empty() {
            match of_path(users, path).await {
                Ok(others) if others.iter().any(|user| user.id != id) => {}
                Ok(_) => {
                    if let Err(cause) = self.unmount(path, &mut mounted).await {
                        tracing::warn!(sandbox = id, ?path, cause, "a bucket stays mounted");
                    }
                    *mounted = Mounted::default();
                }
                Err(error) => {
                    tracing::warn!(sandbox = id, ?path, %error, "a bucket stays mounted: its other users are not known");
                }
            }
        }
        drop(mounted);
        self.tidy(path, entry);
    }

    /// Unmounts what is noted and nobody uses. Trouble is only logged.
    pub(super) async fn clear(&self, users: &impl Users) {
        let records = self.records.clone();
        let left = spawn_blocking(move || records.left()).await.map_err(io::Error::other).flatten();
        match left {
            Ok(left) => {
                for (path, record) in left {
                    self.clear_one(users, &path, record).await;
                }
            }
            Err(error) => tracing::warn!(%error, "the buckets that earlier servers mounted are not known"),
        }
    }

    async fn clear_one(&self, users: &impl Users, path: &Path, record: Record) {
        let entry = self.entry(path);
        let mut mounted = entry.lock().await;
        let is_old = record.is_old().unwrap_or_default();
        mounted.record = Some(record);
        let cleared = match of_path(users, path).await {
            Ok(others) if others.is_empty() && mounted.pending.is_empty() => {
                let cleared = match self.identity(path).await {
                    // The tool may be about to mount it.
                    Ok(None) if !is_old => Ok(()),
                    _ => self.clear_left_over(path, &mut mounted).await,
                };
                *mounted = Mounted::default();
                cleared
            }
            others => others.map(drop).map_err(|error| text(&error)),
        };
        if let Err(cause) = cleared {
            tracing::warn!(?path, cause, "a bucket that nobody uses stays mounted");
        }
        drop(mounted);
        self.tidy(path, entry);
    }

    /// Whether what was mounted at a path still is, as far as that can be told.
    pub(super) async fn is_still_mounted(&self, path: &Path) -> io::Result<bool> {
        let entry = self.entry(path);
        let known = entry.lock().await.mount.clone();
        match known {
            Some(known) => Ok(self.identity(path).await?.as_ref() == Some(&known)),
            None => Ok(true),
        }
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
        let (root, allowed, table) = (self.root.clone(), self.allowed.clone(), self.marks.table.clone());
        let is_exposed = self.checks.run(move || {
            let mounts = table.read()?;
            let meet = |one: &Path, other: &Path| mounts.is_within(one, other) || mounts.is_within(other, one);
            let (roots, resolved) = (resolved_roots(std::slice::from_ref(&root)), resolved_roots(&allowed));
            Ok(allowed.iter().any(|path| meet(&plain(path), &plain(&root)))
                || roots.iter().any(|root| resolved.iter().any(|path| meet(path, root))))
        });
        match is_exposed.await.flatten() {
            Ok(false) => Ok(()),
            Ok(true) => Err(invalid_root("must neither contain nor be below a path of storage.allowed_host_paths")),
            Err(error) => Err(fault(VolumeFault::OssfsMountFailed, format!("Volume '{}': {error}", volume.name))),
        }
    }

    /// Where to mount: at the part's own path, as long as that is not within another part that is mounted, nor the other way
    /// round. Whoever writes to the outer one could exchange the inner one's folder with a link.
    async fn free_place(
        &self,
        users: &impl Users,
        path: PathBuf,
        volume: &Volume,
        ossfs: &Ossfs,
    ) -> Result<(PathBuf, Arc<AsyncMutex<Mounted>>), RuntimeError> {
        if let Some(entry) = self.lock().get(&path) {
            return Ok((path, entry.clone()));
        }
        let (table, root) = (self.marks.table.clone(), self.root.clone());
        let mounted = self.checks.run(move || {
            let real = real(&root);
            let below = table.within(&real)?.into_iter();
            let below = below.filter_map(|point| point.strip_prefix(&real).map(|rest| plain(&root.join(rest))).ok());
            Ok::<_, io::Error>(below.collect::<Vec<_>>())
        });
        let mounted = mounted.await.flatten().map_err(|error| unknown_mounts(volume, &error))?;
        // Also of what is not mounted any more, as after a reboot: a container that is started again has the folder.
        let used = users.users().await.map_err(|error| unknown_users(volume, &error))?;
        let used = || used.iter().flat_map(|user| &user.paths);
        let mut all = self.lock();
        let meet = |other: &PathBuf| *other != path && (other.starts_with(&path) || path.starts_with(other));
        let is_outer = |other: &PathBuf| *other != self.root && meet(other);
        let is_nested = all.keys().chain(&mounted).chain(used()).any(is_outer);
        let is_own = all.contains_key(&path) || used().any(|other| *other == path);
        let path = if is_nested && !is_own { self.apart(&path, ossfs) } else { path };
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
        users: &impl Users,
        path: &Path,
        mounted: &mut Mounted,
        id: &str,
        volume: &Volume,
        ossfs: &Ossfs,
    ) -> Result<Option<String>, RuntimeError> {
        let seen = self.identity(path).await.map_err(|error| unknown_mounts(volume, &error))?;
        let is_there = mounted.mount.is_none() || mounted.mount == seen;
        match mounted.source.as_ref().map(|source| is_same(source, ossfs)) {
            Some(true) if is_there => mounted.mount = seen.or_else(|| mounted.mount.take()),
            is_same => {
                let others = of_path(users, path).await.map_err(|error| unknown_users(volume, &error))?;
                let is_used = !others.is_empty() || !mounted.pending.is_empty();
                match is_same {
                    _ if !is_used => self.mount(path, mounted, volume, ossfs).await?,
                    Some(false) => return Err(conflict(volume, ossfs, true)),
                    // Another hand has unmounted it.
                    Some(true) if seen.is_none() => self.mount(path, mounted, volume, ossfs).await?,
                    // Another hand has mounted it.
                    _ => {
                        let mount = self.proven(path, &others, ossfs).await;
                        mounted.mount = Some(mount.ok_or_else(|| conflict(volume, ossfs, false))?);
                        mounted.source = Some(ossfs.clone());
                    }
                }
            }
        }
        mounted.pending.insert(id.to_owned());
        Ok(mounted.mount.clone())
    }

    /// What the mount at a path is called; nothing if nothing is mounted.
    async fn identity(&self, path: &Path) -> io::Result<Option<String>> {
        let (marks, root, path) = (self.marks.clone(), self.root.clone(), path.to_owned());
        self.checks.run(move || marks.identity(&as_mounted(&root, &path))).await.flatten()
    }

    /// The mark of a sandbox that uses what is mounted. Without one it is only not shared any more after a restart.
    async fn mark(&self, id: &str, path: PathBuf, mount: Option<String>, ossfs: &Ossfs) -> Option<String> {
        let (marks, id, mount, ossfs) = (self.marks.clone(), id.to_owned(), mount?, ossfs.clone());
        let mark = move || marks.mark(Use { id: &id, path: &path, mount: &mount, ossfs: &ossfs });
        unless_failed(spawn_blocking(mark).await.map_err(io::Error::other).flatten())
    }

    /// What is mounted at a path, if the mark of one of its users says that it was mounted just so.
    async fn proven(&self, path: &Path, users: &[User], ossfs: &Ossfs) -> Option<String> {
        let mount = unless_failed(self.identity(path).await).flatten()?;
        let (marks, path, users, ossfs) = (self.marks.clone(), path.to_owned(), users.to_vec(), ossfs.clone());
        let prove = move || {
            for User { id, marks: own, .. } in &users {
                for mark in own {
                    if marks.is_mark(mark, Use { id, path: &path, mount: &mount, ossfs: &ossfs })? {
                        return Ok(Some(mount));
                    }
                }
            }
            Ok(None)
        };
        unless_failed(spawn_blocking(prove).await.map_err(io::Error::other).flatten()).flatten()
    }

    /// Mounts a part. Nothing is left of one that could not be mounted, but for a note for the next server if need be.
    async fn mount(
        &self,
        path: &Path,
        mounted: &mut Mounted,
        volume: &Volume,
        ossfs: &Ossfs,
    ) -> Result<(), RuntimeError> {
        let failed = |cause: &str| {
            let secrets = [&ossfs.access_key_secret, &ossfs.access_key_id];
            let cause = secrets.iter().fold(cause.to_owned(), |cause, secret| cause.replace(secret.expose(), "***"));
            tracing::warn!(?path, cause, "a bucket could not be mounted");
            let text = format!("Volume '{}': failed to mount OSSFS bucket '{}': {cause}", volume.name, ossfs.bucket);
            fault(VolumeFault::OssfsMountFailed, text)
        };
        // Nobody uses what is mounted there: it is left over, with credentials that nobody knows. It goes first, since a
        // store that does not answer any more would make the check of the folder hang.
        self.clear_left_over(path, mounted).await.map_err(|cause| failed(&cause))?;
        let (root, folder) = (self.root.clone(), path.to_owned());
        let made = self.checks.run(move || make_folder(&root, &folder)).await;
        made.map_err(|error| error.to_string()).flatten().map_err(|cause| failed(&cause))?;
        let prefix = part(volume.sub_path.as_deref());
        let (source, handed) = (ossfs.clone(), prefix.clone());
        let file = spawn_blocking(move || hand_over(&source, handed.as_deref())).await;
        let file = file.map_err(io::Error::other).flatten().map_err(|error| failed(&error.to_string()))?;
        if mounted.record.is_none() {
            mounted.record = self.record(path).await;
        }
        let (program, args) = command(ossfs, prefix.as_deref(), path, file.path());
        let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
        let ran = self.tools.run(program, &args).await;
        // Whatever comes of it, the file is gone.
        let _ = spawn_blocking(move || drop(file)).await;
        let Err(cause) = ran else {
            mounted.mount = unless_failed(self.identity(path).await).flatten();
            mounted.source = Some(ossfs.clone());
            return Ok(());
        };
        // A tool that was stopped may have mounted all the same.
        if let Err(error) = self.clear_left_over(path, mounted).await {
            tracing::warn!(?path, error, "a bucket that could not be mounted in time stays mounted");
        }
        if mounted.pending.is_empty() {
            *mounted = Mounted::default();
        }
        Err(failed(&cause))
    }

    /// Unmounts what is mounted at a path that nobody uses.
    async fn clear_left_over(&self, path: &Path, mounted: &mut Mounted) -> Result<(), String> {
        match self.identity(path).await {
            Ok(Some(_)) => self.unmount(path, mounted).await,
            Ok(None) => {
                end(mounted.record.take()).await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn unmount(&self, path: &Path, mounted: &mut Mounted) -> Result<(), String> {
        if let Err(first) = self.tools.run("fusermount", &["-u".as_ref(), path.as_os_str()]).await {
            let second = self.tools.run("umount", &[path.as_os_str()]).await;
            second.map_err(|second| format!("{first}; {second}"))?;
        }
        end(mounted.record.take()).await;
        Ok(())
    }

    /// Notes for the next server that something is mounted. A note that cannot be written is only missed after a kill.
    async fn record(&self, path: &Path) -> Option<Record> {
        let (records, place) = (self.records.clone(), path.to_owned());
        let noted = spawn_blocking(move || records.put(&place)).await.map_err(io::Error::other).flatten();
        noted.inspect_err(|error| tracing::warn!(?path, %error, "a mounted bucket could not be noted")).ok()
    }

    fn entry(&self, path: &Path) -> Arc<AsyncMutex<Mounted>> {
        self.lock().entry(path.to_owned()).or_default().clone()
    }

    /// Forgets a path at which nothing is mounted and for which nobody waits.
    fn tidy(&self, path: &Path, entry: Arc<AsyncMutex<Mounted>>) {
        let mut all = self.lock();
        let is_idle =
            |mounted: &Mounted| mounted.pending.is_empty() && mounted.source.is_none() && mounted.record.is_none();
        let is_unused = entry.try_lock().is_ok_and(|mounted| is_idle(&mounted));
        // The map's own and this one.
        if is_unused && Arc::strong_count(&entry) <= 2 {
            all.remove(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<AsyncMutex<Mounted>>>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sandboxes that use the part at a path.
async fn of_path(users: &impl Users, path: &Path) -> Result<Vec<User>, Error> {
    let mut all = users.users().await?;
    all.retain(|user| user.paths.iter().any(|used| used == path));
    Ok(all)
}

fn unknown_users(volume: &Volume, error: &Error) -> RuntimeError {
    let text = format!("Volume '{}': the users of mounted buckets are not known: {}", volume.name, text(error));
    fault(VolumeFault::OssfsMountFailed, text)
}

fn unknown_mounts(volume: &Volume, error: &io::Error) -> RuntimeError {
    let text = format!("Volume '{}': the mounts of this host are not known: {error}", volume.name);
    fault(VolumeFault::OssfsMountFailed, text)
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

/// The root without links on its way. Only of the root: what is below it may hang. Blocks.
fn real(root: &Path) -> PathBuf {
    root.canonicalize().unwrap_or_else(|_| plain(root))
}

/// A path below the root as the kernel's table of mounts has it. Blocks.
fn as_mounted(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).map_or_else(|_| path.to_owned(), |rest| real(root).join(rest))
}

/// Removes a note, since nothing is mounted any more.
async fn end(record: Option<Record>) {
    let Some(record) = record else { return };
    if let Err(error) = spawn_blocking(move || record.end()).await.map_err(io::Error::other).flatten() {
        tracing::warn!(%error, "the note of a bucket that is unmounted stays");
    }
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
fn unless_failed<T>(done: io::Result<T>) -> Option<T> {
    let failed =
        |error: &io::Error| tracing::warn!(%error, "which credentials a bucket is mounted with cannot be told");
    done.inspect_err(failed).ok()
}

#[cfg(test)]
#[path = "ossfs_tests.rs"]
mod tests;
