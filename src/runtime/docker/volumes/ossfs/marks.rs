//! Which credentials a bucket was mounted with, told after a restart without having kept them.
//!
//! The container of each sandbox that uses a mounted bucket carries a mark: an HMAC of the credentials under a key that
//! only this server's user can read. Others who see the mark learn nothing from it and cannot make one. It is bound
//! to the sandbox, so that it means nothing on another that inherits its labels, and to the very mount. That mount lasts
//! as long as the sandbox, whichever server unmounts; a mark that is right on a sandbox that is still there therefore
//! tells what is mounted.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use rustix::{fs::OFlags, process::geteuid};

use crate::model::volume::{Ossfs, OssfsVersion};

use super::{super::mount_table::MountTable, tools::url};

/// How long the key is, in bytes.
const KEY: usize = 32;

/// Where the kernel tells one start of the system from any other.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The key's file, and the kernel's table of mounts. All functions block.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    pub(super) key: PathBuf,
    pub(super) table: MountTable,
}

/// Who uses what, as a mark has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use<'a> {
    pub(super) id: &'a str,
    pub(super) path: &'a Path,
    /// By [`Marks::identity`].
    pub(super) mount: &'a str,
    pub(super) ossfs: &'a Ossfs,
}

impl Marks {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { key: state_dir.join("ossfs.key"), table: MountTable::default() }
    }

    /// What is mounted at a path is called so, and nothing else is while it is there; nothing if nothing is mounted.
    pub(super) fn identity(&self, path: &Path) -> io::Result<Option<String>> {
        let Some(mount) = self.table.identity(path)? else { return Ok(None) };
        // The numbers begin anew with the system.
        Ok(Some(format!("{} {mount}", fs::read_to_string(BOOT)?.trim())))
    }

    /// The mark of a use.
    pub(super) fn mark(&self, of: Use<'_>) -> io::Result<String> {
        Ok(BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.key()?, &words(of)?)))
    }

    /// Whether a mark is that of a use.
    pub(super) fn is_mark(&self, mark: &str, of: Use<'_>) -> io::Result<bool> {
        let Ok(mark) = BASE64_URL_SAFE_NO_PAD.decode(mark) else { return Ok(false) };
        Ok(hmac::verify(&self.key()?, &words(of)?, &mark).is_ok())
    }

    fn key(&self) -> io::Result<hmac::Key> {
        match read(&self.key) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(&self.key)?;
                read(&self.key)
            }
            read => read,
        }
    }
}

/// Everything that must be equal, such that no two uses have the same words.
fn words(Use { id, path, mount, ossfs }: Use<'_>) -> io::Result<Vec<u8>> {
    let Ossfs { bucket, endpoint, version, options, access_key_id, access_key_secret } = ossfs;
    let credentials = (access_key_id.expose(), access_key_secret.expose());
    let is_second = *version == OssfsVersion::V2;
    Ok(serde_json::to_vec(&(id, path, mount, bucket, url(endpoint), is_second, options, credentials))?)
}

/// Reads the key. One that others can read, or have put there, is none.
fn read(path: &Path) -> io::Result<hmac::Key> {
    // Without waiting for a writer, should it be a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.mode() & 0o077 != 0 || found.uid() != geteuid().as_raw() {
        return Err(io::Error::other(format!("{} is not private to this user", path.display())));
    }
    let mut key = Vec::new();
    file.take(KEY as u64 + 1).read_to_end(&mut key)?;
    if key.len() != KEY {
        return Err(io::Error::other(format!("{} is no key", path.display())));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

/// Makes the key, whole or not at all; another server's that was first stays.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut key = [0; KEY];
    SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    // Only this user can read it.
    let mut file = tempfile::Builder::new().prefix(".ossfs-key-").tempfile_in(folder)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crate::secret::Secret;

    use super::*;

    fn ossfs() -> Ossfs {
        Ossfs {
            bucket: "b".to_owned(),
            endpoint: "e".to_owned(),
            version: OssfsVersion::V1,
            options: vec!["x".to_owned()],
            access_key_id: Secret::new("ID"),
            access_key_secret: Secret::new("S3CRET"),
        }
    }

    #[test]
    fn a_mark_is_of_one_use_under_one_key() {
        let home = tempfile::tempdir().unwrap();
        let marks = Marks::new(&home.path().join("new"));
        let ossfs = ossfs();
        let of = Use { id: "a", path: Path::new("/m"), mount: "1", ossfs: &ossfs };
        let mark = marks.mark(of).unwrap();
        assert!(marks.is_mark(&mark, of).unwrap());
        let endpoint = Ossfs { endpoint: "https://e".to_owned(), ..ossfs.clone() };
        assert!(marks.is_mark(&mark, Use { ossfs: &endpoint, ..of }).unwrap(), "the same, in other words");
        for other in [
            Ossfs { access_key_id: Secret::new("IDS"), access_key_secret: Secret::new("3CRET"), ..ossfs.clone() },
            Ossfs { access_key_secret: Secret::new("guess"), ..ossfs.clone() },
            Ossfs { options: Vec::new(), ..ossfs.clone() },
            Ossfs { version: OssfsVersion::V2, ..ossfs.clone() },
            Ossfs { endpoint: "http://e".to_owned(), ..ossfs.clone() },
        ] {
            assert!(!marks.is_mark(&mark, Use { ossfs: &other, ..of }).unwrap());
        }
        for other in [Use { id: "b", ..of }, Use { path: Path::new("/n"), ..of }, Use { mount: "2", ..of }] {
            assert!(!marks.is_mark(&mark, other).unwrap());
        }
        assert!(!marks.is_mark("", of).unwrap() && !marks.is_mark("no mark", of).unwrap());
        fs::remove_file(&marks.key).unwrap();
        assert!(!marks.is_mark(&mark, of).unwrap(), "a new key");
    }

    #[test]
    fn only_a_private_key_is_one() {
        let home = tempfile::tempdir().unwrap();
        let marks = Marks::new(home.path());
        marks.key().unwrap();
        assert_eq!(fs::metadata(&marks.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        let before = fs::read(&marks.key).unwrap();
        make(&marks.key).unwrap();
        assert_eq!(fs::read(&marks.key).unwrap(), before, "the first stays");
        fs::set_permissions(&marks.key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(marks.key().is_err());
        fs::rename(&marks.key, home.path().join("elsewhere")).unwrap();
        fs::set_permissions(home.path().join("elsewhere"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("elsewhere", &marks.key).unwrap();
        assert!(marks.key().is_err(), "a link");
        fs::remove_file(&marks.key).unwrap();
        fs::write(&marks.key, "short").unwrap();
        fs::set_permissions(&marks.key, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(marks.key().is_err());
        fs::remove_file(&marks.key).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &marks.key, rustix::fs::Mode::RUSR).unwrap();
        assert!(marks.key().is_err(), "a pipe, which must not be waited for");
        fs::remove_file(&marks.key).unwrap();
        fs::create_dir(&marks.key).unwrap();
        assert!(marks.key().is_err(), "a folder");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "no other key is made in its place");
    }
}
