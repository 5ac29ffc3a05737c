//! Mounting and unmounting one part of a bucket, and what earlier servers left mounted.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::Path,
};

use tokio::task::spawn_blocking;

use crate::{
    error::{Error, Kind, VolumePart},
    model::volume::{Ossfs, Volume, fault},
};

use super::{
    super::place::{Place, Refusal},
    Buckets, Mounted,
    records::Record,
    tools::{command, hand_over, part},
    unless_failed,
    users::{Users, of_path},
};
use crate::runtime::docker::engine::text;

impl Buckets {
    /// Unmounts what has a note and no user. A failure is only logged.
    pub(in crate::runtime::docker::volumes) async fn clear(&self, users: &impl Users) {
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

    /// Mounts a part. Nothing is left of one that could not be mounted, but for a note for the next server if need be.
    pub(super) async fn mount(
        &self,
        path: &Path,
        mounted: &mut Mounted,
        volume: &Volume,
        ossfs: &Ossfs,
    ) -> Result<(), Error> {
        let failed = |cause: &str| {
            let secrets = [&ossfs.access_key_secret, &ossfs.access_key_id];
            let cause = secrets.iter().fold(cause.to_owned(), |cause, secret| cause.replace(secret.expose(), "***"));
            tracing::warn!(?path, cause, "a bucket could not be mounted");
            let text = format!("Volume '{}': failed to mount OSSFS bucket '{}': {cause}", volume.name, ossfs.bucket);
            fault(VolumePart::OssfsMount, Kind::Failed, text)
        };
        // What is mounted there has no user and unknown credentials. It is unmounted first: a store that no longer answers
        // would make the check of the folder hang.
        self.clear_left_over(path, mounted).await.map_err(|cause| failed(&cause))?;
        let (root, folder) = (self.root.clone(), path.to_owned());
        let made = self.blocking.run(move || make_folder(&root, &folder)).await;
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

    /// Unmounts what is mounted at a path without users.
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

    pub(super) async fn unmount(&self, path: &Path, mounted: &mut Mounted) -> Result<(), String> {
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
