//! Buckets of an object store, mounted on the host by ossfs's programs and shared by the sandboxes that use the same
//! part with the same credentials (docker-runtime.md §8.1).

mod marks;
mod mount;
mod records;
mod tools;
mod users;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bollard::errors::Error as EngineError;
use ring::digest::{SHA256, digest};
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking};

use crate::{
    error::{Error, Kind, VolumePart},
    model::volume::{Ossfs, Volume, fault},
};

use self::{
    marks::{Marks, Use},
    records::{Record, Records},
    tools::{Tools, url},
    users::{User, Users, of_path},
};
use super::{
    blocking::BlockingTasks,
    place::{plain, resolved_roots},
};
use crate::runtime::docker::{
    DockerOptions,
    engine::{Cause, text},
};

/// The mounted buckets and who uses them.
#[derive(Debug)]
pub(super) struct Buckets {
    root: PathBuf,
    tools: Tools,
    blocking: BlockingTasks,
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

impl Buckets {
    pub(super) fn new(options: &DockerOptions) -> Self {
        let allowed = options.allowed_host_paths.iter().map(PathBuf::from).collect();
        Self {
            root: options.ossfs_mount_root.clone(),
            tools: Tools { path: options.tool_path.clone() },
            blocking: BlockingTasks::default(),
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
    ) -> Result<(String, Option<String>), Error> {
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

    /// The sandbox `id`, which uses the part at `path`, has been created: from now on the engine lists it.
    pub(super) async fn settle(&self, id: &str, path: &Path) {
        let entry = self.entry(path);
        entry.lock().await.pending.remove(id);
        self.tidy(path, entry);
    }

    /// The sandbox `id` no longer uses the part at `path`. The last user unmounts it. A failure is only logged.
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

    /// Whether what was mounted at a path still is, as far as that can be told.
    pub(super) async fn is_still_mounted(&self, path: &Path) -> io::Result<bool> {
        let entry = self.entry(path);
        let known = entry.lock().await.mount.clone();
        match known {
            Some(known) => Ok(self.identity(path).await?.as_ref() == Some(&known)),
            None => Ok(true),
        }
    }

    fn path(&self, ossfs: &Ossfs, part: Option<&str>) -> Result<PathBuf, Error> {
        if !self.root.is_absolute() {
            return Err(invalid_root("must be an absolute path"));
        }
        Ok(plain(&self.root.join(&ossfs.bucket).join(part.unwrap_or_default())))
    }

    /// Refuses a root that sandboxes can reach: they could exchange the folders that are mounted at, and the tools follow
    /// links.
    async fn check_root(&self, volume: &Volume) -> Result<(), Error> {
        let (root, allowed, table) = (self.root.clone(), self.allowed.clone(), self.marks.table.clone());
        let is_exposed = self.blocking.run(move || {
            let mounts = table.read()?;
            let meet = |one: &Path, other: &Path| mounts.is_within(one, other) || mounts.is_within(other, one);
            let (roots, resolved) = (resolved_roots(std::slice::from_ref(&root)), resolved_roots(&allowed));
            Ok(allowed.iter().any(|path| meet(&plain(path), &plain(&root)))
                || roots.iter().any(|root| resolved.iter().any(|path| meet(path, root))))
        });
        match is_exposed.await.flatten() {
            Ok(false) => Ok(()),
            Ok(true) => Err(invalid_root("must neither contain nor be below a path of storage.allowed_host_paths")),
            Err(error) => {
                Err(fault(VolumePart::OssfsMount, Kind::Failed, format!("Volume '{}': {error}", volume.name)))
            }
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
    ) -> Result<(PathBuf, Arc<AsyncMutex<Mounted>>), Error> {
        if let Some(entry) = self.lock().get(&path) {
            return Ok((path, entry.clone()));
        }
        let (table, root) = (self.marks.table.clone(), self.root.clone());
        let mounted = self.blocking.run(move || {
            let real = real(&root);
            let below = table.within(&real)?.into_iter();
            let below = below.filter_map(|point| point.strip_prefix(&real).map(|rest| plain(&root.join(rest))).ok());
            Ok::<_, io::Error>(below.collect::<Vec<_>>())
        });
        let mounted = mounted.await.flatten().map_err(|error| unknown_mounts(volume, error))?;
        // Also of what is not mounted any more, as after a reboot: a container that is started again has the folder.
        let used = users.users().await.map_err(|error| unknown_users(volume, error))?;
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
    ) -> Result<Option<String>, Error> {
        let seen = self.identity(path).await.map_err(|error| unknown_mounts(volume, error))?;
        let is_there = mounted.mount.is_none() || mounted.mount == seen;
        match mounted.source.as_ref().map(|source| is_same(source, ossfs)) {
            Some(true) if is_there => mounted.mount = seen.or_else(|| mounted.mount.take()),
            is_same => {
                let others = of_path(users, path).await.map_err(|error| unknown_users(volume, error))?;
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
        self.blocking.run(move || marks.identity(&as_mounted(&root, &path))).await.flatten()
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

    fn entry(&self, path: &Path) -> Arc<AsyncMutex<Mounted>> {
        self.lock().entry(path.to_owned()).or_default().clone()
    }

    /// Drops the entry of a path at which nothing is mounted and for which no caller waits.
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

fn unknown_users(volume: &Volume, error: EngineError) -> Error {
    let text = format!("Volume '{}': the users of mounted buckets are not known: {}", volume.name, text(&error));
    fault(VolumePart::OssfsMount, Kind::Failed, text).caused_by(Cause(error))
}

fn unknown_mounts(volume: &Volume, error: io::Error) -> Error {
    let text = format!("Volume '{}': the mounts of this host are not known: {error}", volume.name);
    fault(VolumePart::OssfsMount, Kind::Failed, text).caused_by(error)
}

fn invalid_root(what: &str) -> Error {
    fault(VolumePart::OssfsMountRoot, Kind::Invalid, format!("storage.ossfs_mount_root {what}."))
}

fn conflict(volume: &Volume, ossfs: &Ossfs, is_known: bool) -> Error {
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
    fault(VolumePart::OssfsMount, Kind::Conflict, text)
}

fn is_same(mounted: &Ossfs, asked: &Ossfs) -> bool {
    let is_key = mounted.access_key_id.matches(asked.access_key_id.expose().as_bytes());
    let is_secret = mounted.access_key_secret.matches(asked.access_key_secret.expose().as_bytes());
    let said = |ossfs: &Ossfs| (url(&ossfs.endpoint), ossfs.version, ossfs.options.clone());
    is_key && is_secret && said(mounted) == said(asked)
}

/// The root without links on its way. Only of the root: what is below it may hang. Blocks.
fn real(root: &Path) -> PathBuf {
    root.canonicalize().unwrap_or_else(|_| plain(root))
}

/// A path below the root as the kernel's table of mounts has it. Blocks.
fn as_mounted(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).map_or_else(|_| path.to_owned(), |rest| real(root).join(rest))
}

/// The outcome of an operation that only serves marks; a failure is logged.
fn unless_failed<T>(done: io::Result<T>) -> Option<T> {
    let failed =
        |error: &io::Error| tracing::warn!(%error, "which credentials a bucket is mounted with cannot be told");
    done.inspect_err(failed).ok()
}

#[cfg(test)]
mod tests;
