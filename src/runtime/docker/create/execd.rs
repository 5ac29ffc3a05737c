//! execd and its companions: read once from their image, put into every sandbox (docker-runtime.md §3.3).

mod deposit;

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{
    body_full,
    errors::Error as EngineError,
    models::ContainerCreateBody,
    query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions},
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::OnceCell, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    error::{Error, Family, Kind},
    model::{create::ImageSource, sandbox::Platform},
};

use super::image;
use crate::runtime::docker::engine::{Cause, Created, Engine, is_missing, names::EXECD_PREFIX, platform_text, text};

pub(super) use self::deposit::Deposit;

/// The longest wait for the removal of such a container. What it does not end in is a leftover.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// What is read from the image.
#[derive(Debug, Clone, Copy)]
struct Set {
    /// These must be there.
    required: [&'static str; 2],
    /// These may be.
    optional: &'static [&'static str],
    /// Where all of them land, under their last names: a path in an archive.
    folder: &'static str,
}

/// For every sandbox but Windows ones.
const LINUX: Set = Set {
    required: ["/execd", "/bootstrap.sh"],
    optional: &[
        "/usr/local/bin/bwrap",
        "/usr/local/libexec/opensandbox-session-gate",
        "/usr/local/libexec/opensandbox-launcher",
    ],
    folder: "opt/opensandbox",
};

/// For Windows sandboxes, whose installation looks for them there.
const WINDOWS: Set = Set { required: ["/install.bat", "/execd.exe"], optional: &[], folder: "oem" };

/// No archive may be larger than this; the largest real one is some tens of MiB.
const LARGEST: usize = 512 << 20;

/// The archives by platform, for the life of the process. Each is ready to be unpacked at a container's root.
#[derive(Debug, Default)]
pub(in crate::runtime::docker) struct Execd {
    by_platform: Mutex<HashMap<String, Shelf>>,
}

/// The archive for one platform, read or yet to be read.
type Shelf = Arc<OnceCell<Bytes>>;

impl Execd {
    /// The archive for a sandbox image's platform. Several callers share one reading and wait for no other platform's;
    /// after a failure the next tries.
    pub(super) async fn archive(
        &self,
        engine: &Engine,
        execd_image: &str,
        platform: Option<&Platform>,
        closing: &CancellationToken,
    ) -> Result<Bytes, Error> {
        let key = platform.map_or_else(|| "default".to_owned(), |platform| platform_text(Some(platform)));
        let shelf = self.shelf(key);
        shelf.get_or_try_init(|| fetch(engine, execd_image, platform, LINUX, closing)).await.cloned()
    }

    /// The archive for Windows sandboxes.
    pub(super) async fn windows_archive(
        &self,
        engine: &Engine,
        execd_image: &str,
        closing: &CancellationToken,
    ) -> Result<Bytes, Error> {
        let shelf = self.shelf("windows".to_owned());
        shelf.get_or_try_init(|| fetch(engine, execd_image, None, WINDOWS, closing)).await.cloned()
    }

    fn shelf(&self, key: String) -> Shelf {
        self.by_platform.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }
}

/// Puts execd and the bootstrap script into a container that was not started yet.
pub(super) async fn inject(engine: &Engine, container: &Created, archive: Bytes) -> Result<(), Error> {
    upload(engine, &container.id, archive).await.map_err(|error| {
        let error = container.mask.error(error);
        let text = format!("Failed to put execd into the sandbox: {}", text(&error));
        Error::new(Family::ExecdDelivery, Kind::Failed, text).caused_by(Cause(error))
    })
}

async fn upload(engine: &Engine, container: &str, archive: Bytes) -> Result<(), EngineError> {
    let options = UploadToContainerOptions { path: "/".to_owned(), ..Default::default() };
    engine.within(engine.api.upload_to_container(container, Some(options), body_full(archive))).await
}

/// Reads the archive from a container that is created for that and never started. Cut, it would leave that; it ends by itself
/// with `closing`.
async fn fetch(
    engine: &Engine,
    execd_image: &str,
    platform: Option<&Platform>,
    set: Set,
    closing: &CancellationToken,
) -> Result<Bytes, Error> {
    let foreign = platform.filter(|platform| **platform != engine.platform);
    let source = ImageSource { uri: execd_image.to_owned(), auth: None };
    tokio::select! {
        ready = image::ensure(engine, &source, foreign) => drop(ready?),
        () = closing.cancelled() => {}
    }
    if closing.is_cancelled() {
        return Err(super::closing());
    }
    let name = helper_name();
    let body = ContainerCreateBody { image: Some(source.uri), cmd: Some(idle()), ..Default::default() };
    let archive = match engine.create(&name, foreign, body).await {
        Ok(container) => tokio::select! {
            archive = read(engine, &container.id, set) => archive,
            () = closing.cancelled() => Err(super::closing()),
        },
        Err(error) => {
            let words = text(&error);
            tracing::warn!(error = words, "the execd container could not be created");
            let text = format!("Failed to start execd container: {words}");
            Err(Error::new(Family::ExecdDelivery, Kind::Unavailable, text).caused_by(Cause(error)))
        }
    };
    discard(engine, &name).await;
    archive
}

/// A name for a container that is made for a moment and never started.
pub(super) fn helper_name() -> String {
    format!("{EXECD_PREFIX}{}", Uuid::new_v4())
}

/// What such a container would run.
pub(super) fn idle() -> Vec<String> {
    ["tail", "-f", "/dev/null"].map(str::to_owned).to_vec()
}

/// Removes such a container. If the engine does not, `leftovers` tries again.
pub(super) async fn discard(engine: &Engine, name: &str) {
    let removed = timeout(DISCARD_TIMEOUT, engine.remove(name)).await.unwrap_or(Err(EngineError::RequestTimeoutError));
    match removed {
        Err(error) if !is_missing(&error) => tracing::warn!(%error, name, "a helper's container stays for now"),
        _ => {}
    }
}

async fn read(engine: &Engine, container: &str, set: Set) -> Result<Bytes, Error> {
    let mut files = Vec::new();
    for path in set.required {
        files.push(download(engine, container, path).await.map_err(|error| unreadable(text(&error)))?);
    }
    let mut absent = Vec::new();
    for path in set.optional {
        match download(engine, container, path).await {
            Ok(archive) => files.push(archive),
            Err(error) if is_missing(&error) => absent.push(*path),
            Err(error) => tracing::warn!(path, %error, "an optional file of the execd image could not be read"),
        }
    }
    if !absent.is_empty() {
        tracing::info!(files = absent.join(", "), "the execd image lacks optional files");
    }
    // Some tens of MiB are copied.
    let packed = tokio::task::spawn_blocking(move || repack(&files, set.folder)).await;
    packed.map_err(io::Error::other).flatten().map_err(unreadable)
}

async fn download(engine: &Engine, container: &str, path: &str) -> Result<Vec<u8>, EngineError> {
    let options = DownloadFromContainerOptions { path: path.to_owned() };
    let mut pieces = engine.api.download_from_container(container, Some(options));
    let mut archive = Vec::new();
    while let Some(piece) = engine.within(async { pieces.next().await.transpose() }).await? {
        archive.extend_from_slice(&piece);
        if archive.len() > LARGEST {
            return Err(io::Error::other(format!("{path} is larger than {LARGEST} bytes")).into());
        }
    }
    Ok(archive)
}

/// One archive of the folder and the files of `archives`, whose modes, owners and attributes they keep. Blocks.
fn repack(archives: &[Vec<u8>], folder: &str) -> io::Result<Bytes> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    builder.append_data(&mut header, format!("{folder}/"), io::empty())?;
    for archive in archives {
        repack_file(&mut builder, archive, folder)?;
    }
    Ok(builder.into_inner()?.into())
}

fn repack_file(builder: &mut tar::Builder<Vec<u8>>, archive: &[u8], folder: &str) -> io::Result<()> {
    let mut source = tar::Archive::new(archive);
    let mut file = source.entries()?.next().ok_or_else(|| io::Error::other("an archive is empty"))??;
    let name = file.path()?.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !file.header().entry_type().is_file() {
        return Err(io::Error::other(format!("{name} is not a regular file")));
    }
    // File capabilities travel as extended attributes and would be lost with a plain header.
    let attributes: Vec<(String, Vec<u8>)> =
        file.pax_extensions()?.into_iter().flatten().filter_map(attribute).collect();
    builder.append_pax_extensions(attributes.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
    let mut header = file.header().clone();
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    builder.append_data(&mut header, format!("{folder}/{name}"), content.as_slice())
}

fn attribute(extension: io::Result<tar::PaxExtension<'_>>) -> Option<(String, Vec<u8>)> {
    let extension = extension.ok()?;
    let key = extension.key().ok().filter(|key| key.starts_with("SCHILY.xattr."))?;
    Some((key.to_owned(), extension.value_bytes().to_vec()))
}

fn unreadable(cause: impl std::fmt::Display) -> Error {
    Error::new(Family::ExecdDelivery, Kind::Failed, format!("Failed to read execd artifacts: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(kind: tar::EntryType, mode: u32) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_size(3);
        builder.append_pax_extensions([("SCHILY.xattr.user.a", &b"b"[..])]).unwrap();
        builder.append_data(&mut header, "execd", &b"abc"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_file_moves_into_the_folder_as_it_is() {
        let packed = repack(&[archive(tar::EntryType::Regular, 0o4755)], "opt/opensandbox").unwrap();
        let mut archive = tar::Archive::new(&packed[..]);
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let folder = entries.next().unwrap();
        assert_eq!(
            (folder.path().unwrap().to_str(), folder.header().mode().unwrap()),
            (Some("opt/opensandbox/"), 0o755)
        );
        let mut file = entries.next().unwrap();
        assert_eq!(file.path().unwrap().to_str(), Some("opt/opensandbox/execd"));
        assert_eq!((file.header().mode().unwrap(), file.header().uid().unwrap()), (0o4755, 7));
        assert!(file.pax_extensions().unwrap().is_some());
    }

    #[test]
    fn only_regular_files_will_do() {
        assert!(repack(&[archive(tar::EntryType::Directory, 0o755)], "x").is_err());
        assert!(repack(&[Vec::new()], "x").is_err());
    }
}
