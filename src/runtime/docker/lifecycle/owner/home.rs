//! The id of a home directory, in a file that only its user can read.
//!
//! The file says which inode it is ([`Seal`]), which a copy of it is not: a copied home gets an id of its own.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{FsWord, fstatfs};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::{
    regular_file,
    state_file::{self, Complaints},
};

/// The file's name.
const FILE: &str = "gateway.json";

/// What servers put into their home, the Python one too (docker-runtime.md §10).
const OF_SERVERS: [&str; 2] = ["opensandbox.db", "metadata"];

/// The beginning of the names of files that are being written.
const BESIDE: &str = ".gateway-";

/// The most bytes of it.
const LARGEST: u64 = 4096;

/// File systems that may give a file another inode whenever they are mounted: `FUSE_SUPER_MAGIC` and `V9FS_MAGIC` (statfs(2)).
const FLEETING: [FsWord; 2] = [0x6573_5546, 0x0102_1997];

/// How many engines of other homes are remembered, the last that were seen.
const ENGINES: usize = 16;

/// A server's folder, `~/.opensandbox`. All functions but [`Home::complain`] block.
#[derive(Debug, Clone)]
pub(super) struct Home {
    folder: PathBuf,
    complaints: Arc<Complaints>,
}

/// Which home it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime::docker) struct Identity {
    /// A random UUID.
    pub(super) id: String,
    /// A server had used the home before the id was made.
    pub(super) is_heir: bool,
    /// The engines, by their ids, that were another home's when they were last looked at: should their mark be gone, it is not
    /// this home that makes it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) foreign: Vec<String>,
    /// The file that it was written to; nothing in files of releases before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Seal>,
    /// When it was found that the home is a copy of another, in Unix milliseconds: what is older in it is that one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copied: Option<u64>,
}

/// What tells a file from its copies, also after a restart of the machine. Not so where inodes change: nothing is sealed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    inode: u64,
    /// When it was made, in nanoseconds, where the file system says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<u64>,
}

impl Seal {
    fn of(file: &File) -> io::Result<Option<Self>> {
        if FLEETING.contains(&fstatfs(file)?.f_type) {
            return Ok(None);
        }
        let found = file.metadata()?;
        let born = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Some(Self { inode: found.ino(), born: born.and_then(|born| born.as_nanos().try_into().ok()) }))
    }

    /// A kernel may tell more than the one before.
    fn is_of(&self, file: Option<&Self>) -> bool {
        file.is_some_and(|file| {
            let are_known = self.born.is_some() && file.born.is_some();
            self.inode == file.inode && (!are_known || self.born == file.born)
        })
    }
}

impl Identity {
    fn new(id: &str, is_heir: bool) -> Self {
        Self { id: id.to_owned(), is_heir, foreign: Vec::new(), seal: None, copied: None }
    }

    /// Whether the home began as a copy of another.
    pub(super) fn is_copy(&self) -> bool {
        self.copied.is_some()
    }

    /// Whether what was written at `time` is of the home that this one is a copy of.
    pub(in crate::runtime::docker::lifecycle) fn is_before(&self, time: SystemTime) -> bool {
        self.copied.is_some_and(|copied| millis(time) < copied)
    }

    pub(super) fn is_foreign_to(&self, engine: &str) -> bool {
        self.foreign.iter().any(|known| known == engine)
    }
}

impl Home {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), complaints: Arc::default() }
    }

    /// The folder's path, for people.
    pub(super) fn shown(&self) -> String {
        self.folder.display().to_string()
    }

    /// The home's identity; nothing if it has none.
    ///
    /// # Errors
    /// There is one, or may be, and it cannot be read.
    pub(super) fn find(&self) -> io::Result<Option<Identity>> {
        let Some(text) = state_file::read(&self.folder.join(FILE), LARGEST)? else { return Ok(None) };
        let damaged =
            |why: &dyn std::fmt::Display| io::Error::new(ErrorKind::InvalidData, format!("it is damaged: {why}"));
        let identity: Identity = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        Uuid::try_parse(&identity.id).map_err(|error| damaged(&error))?;
        Ok(Some(identity))
    }

    /// The home's identity, which is made with the id `fresh` if there is none, or only that of a home that this one is a copy
    /// of; another server's that was first stays.
    ///
    /// # Errors
    /// It cannot be read, or not be made.
    pub(super) fn find_or_make(&self, fresh: &str) -> io::Result<Identity> {
        if let Some(found) = self.find()? {
            return self.own(found, fresh);
        }
        let identity = Identity::new(fresh, self.was_used()?);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        match self.written(&identity)?.persist_noclobber(self.folder.join(FILE)) {
            Err(error) if error.error.kind() != ErrorKind::AlreadyExists => return Err(error.error),
            _ => File::open(&self.folder)?.sync_all()?,
        }
        self.find()?.ok_or_else(|| io::Error::other("it is gone at once"))
    }

    /// What was found, if it is this home's; in a copy an identity of its own.
    fn own(&self, found: Identity, fresh: &str) -> io::Result<Identity> {
        let (file, _) = regular_file::open(&self.folder.join(FILE))?;
        match &found.seal {
            Some(seal) if seal.is_of(Seal::of(&file)?.as_ref()) => Ok(found),
            Some(_) => {
                let copied = Some(millis(SystemTime::now()));
                self.replace(&Identity { foreign: found.foreign, copied, ..Identity::new(fresh, false) })
            }
            None => Ok(self.replace(&found).unwrap_or_else(|error| {
                self.complain(&error, "a copy of this home could not be told from it");
                found
            })),
        }
    }

    /// Puts another identity into the file's place.
    fn replace(&self, identity: &Identity) -> io::Result<Identity> {
        self.written(identity)?.persist(self.folder.join(FILE))?;
        File::open(&self.folder)?.sync_all()?;
        self.find()?.ok_or_else(|| io::Error::other("it is gone at once"))
    }

    /// Notes in the file of the home `id` whether an engine is another home's.
    ///
    /// # Errors
    /// It cannot be read, is another home's, or cannot be written.
    pub(super) fn note_foreign(&self, id: &str, engine: &str, is_foreign: bool) -> io::Result<Identity> {
        let found = self.find()?.filter(|found| found.id == id);
        let mut identity = found.ok_or_else(|| io::Error::other("it is gone, or another gateway's"))?;
        identity.foreign.retain(|known| known != engine);
        if is_foreign {
            identity.foreign.truncate(ENGINES - 1);
            identity.foreign.insert(0, engine.to_owned());
        }
        self.replace(&identity)
    }

    /// A file beside the identity's, to be put in its place: whole or not at all, and only this user can read it.
    fn written(&self, identity: &Identity) -> io::Result<NamedTempFile> {
        let mut file = tempfile::Builder::new().prefix(BESIDE).tempfile_in(&self.folder)?;
        let sealed = Identity { seal: Seal::of(file.as_file())?, ..identity.clone() };
        file.write_all(&serde_json::to_vec(&sealed)?)?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// Whether a server has kept its state in the folder. Clients and operators keep files of theirs there, too: osb its
    /// `config.toml`, an operator `tenants.toml`.
    fn was_used(&self) -> io::Result<bool> {
        for name in OF_SERVERS {
            match fs::symlink_metadata(self.folder.join(name)) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// A warning that the identity cannot be read, unless it was given lately.
    pub(super) fn complain(&self, error: &io::Error, consequence: &str) {
        self.complaints.warn(&self.folder.join(FILE), error, consequence);
    }
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| since.as_millis().try_into().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_first_id_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(&folder.path().join("new"));
        assert_eq!(home.find().unwrap(), None);
        let (first, second) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        let made = home.find_or_make(&first).unwrap();
        assert_eq!(made, Identity { seal: made.seal.clone(), ..Identity::new(&first, false) });
        assert_eq!(home.find_or_make(&second).unwrap(), made);
        assert_eq!(home.find().unwrap(), Some(made));
        let file = fs::metadata(home.folder.join(FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&home.folder).unwrap().count(), 1);
    }

    #[test]
    fn a_home_that_a_server_has_used_is_inherited() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), "").unwrap();
        let other = Home::new(folder.path()).was_used().unwrap();
        assert!(!other, "the file is a client's");
        fs::write(folder.path().join("opensandbox.db"), "").unwrap();
        assert!(Home::new(folder.path()).find_or_make(&Uuid::new_v4().to_string()).unwrap().is_heir);
    }

    #[test]
    fn the_engines_of_other_homes_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (home, id) = (Home::new(folder.path()), Uuid::new_v4().to_string());
        // As releases before wrote it.
        fs::write(folder.path().join(FILE), format!(r#"{{"id":"{id}","is_heir":true}}"#)).unwrap();
        for number in 0..100 {
            home.note_foreign(&id, &format!("{number}{}", "x".repeat(128)), true).unwrap();
        }
        let once = home.note_foreign(&id, "a", true).unwrap();
        let noted = home.note_foreign(&id, "a", true).unwrap();
        assert_eq!(noted.foreign, once.foreign);
        assert_eq!(home.find().unwrap(), Some(noted.clone()));
        assert!(noted.is_heir && noted.is_foreign_to("a") && !noted.is_foreign_to("b"));
        assert_eq!(noted.foreign.len(), ENGINES);
        assert!(!home.note_foreign(&id, "a", false).unwrap().is_foreign_to("a"));
        assert!(home.note_foreign(&Uuid::new_v4().to_string(), "a", true).is_err(), "another home's file");
        assert_eq!(fs::read_dir(&home.folder).unwrap().count(), 1);
    }

    #[test]
    fn a_copy_of_a_home_has_an_id_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let home = |name: &str| Home::new(&folder.path().join(name));
        let fresh = || Uuid::new_v4().to_string();
        let (first, copy) = (home("first"), home("copy"));
        let made = first.find_or_make(&fresh()).unwrap();
        // Of a release before: it becomes the one that it is.
        let unsealed = format!(r#"{{"id":"{}","is_heir":true}}"#, made.id);
        fs::write(first.folder.join(FILE), unsealed).unwrap();
        let made = first.find_or_make(&fresh()).unwrap();
        assert!(made.is_heir && made.seal.is_some() && !made.is_copy());
        let noted = first.note_foreign(&made.id, "a", true).unwrap();
        assert_eq!(first.find_or_make(&fresh()).unwrap(), noted);

        fs::create_dir(&copy.folder).unwrap();
        fs::copy(first.folder.join(FILE), copy.folder.join(FILE)).unwrap();
        let before = SystemTime::now() - std::time::Duration::from_secs(1);
        let copied = copy.find_or_make(&fresh()).unwrap();
        assert!(copied.id != made.id && copied.is_copy() && !copied.is_heir && copied.is_foreign_to("a"));
        assert!(copied.is_before(before) && !copied.is_before(SystemTime::now()) && !made.is_before(before));
        assert_eq!(copy.find_or_make(&fresh()).unwrap(), copied, "it stays");
        assert_eq!(first.find_or_make(&fresh()).unwrap(), noted);
        // Moved as a whole it is the same.
        fs::rename(&first.folder, folder.path().join("moved")).unwrap();
        assert_eq!(home("moved").find_or_make(&fresh()).unwrap(), noted);
    }

    #[test]
    fn a_seal_is_of_one_file() {
        let seal = |inode, born| Seal { inode, born };
        assert!(seal(1, Some(2)).is_of(Some(&seal(1, Some(2)))));
        assert!(!seal(1, Some(2)).is_of(Some(&seal(1, Some(3)))) && !seal(1, Some(2)).is_of(Some(&seal(2, Some(2)))));
        assert!(seal(1, None).is_of(Some(&seal(1, Some(3)))) && seal(1, Some(2)).is_of(Some(&seal(1, None))));
        assert!(!seal(1, None).is_of(None), "it is elsewhere now");
    }

    /// Another id in its place would make a stranger of this home.
    #[test]
    fn an_id_that_cannot_be_read_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let (file, fresh) = (folder.path().join(FILE), Uuid::new_v4().to_string());
        for damaged in ["", "{}", r#"{"id":"x","is_heir":false}"#, "[]"] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(home.find_or_make(&fresh).unwrap_err().kind(), ErrorKind::InvalidData, "{damaged}");
            assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
        }
        fs::remove_file(&file).unwrap();
        symlink("/proc/self/mem", &file).unwrap();
        assert!(home.find_or_make(&fresh).is_err(), "EIO");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(home.find_or_make(&fresh).is_err());
        let unmounted = folder.path().join("link");
        symlink("nowhere", &unmounted).unwrap();
        assert!(Home::new(&unmounted).find_or_make(&fresh).is_err());
    }
}
