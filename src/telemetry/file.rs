//! A log file that is renamed when it is full: `server.log`, then `server.log.1`, `server.log.2` and so on, the oldest
//! last, as the existing server names them.
//!
//! Not the crate file-rotate (0.8): its files outgrow the limit by a line or are cut within one, a rename that fails ends the
//! thread by an assertion, and a file that cannot be opened loses each line without an error. The tests here and in
//! `tests/gateway/log_files.rs` show that ours keeps these properties.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::regular_file::at_once;

/// A file that lines are appended to. Readable by its user only: it names sandboxes and clients.
#[derive(Debug)]
pub(super) struct RotatedFile {
    path: PathBuf,
    max_bytes: u64,
    backups: u32,
    file: File,
    length: u64,
    /// Other files, such as `/dev/stdout`, are never renamed.
    is_regular: bool,
}

impl RotatedFile {
    /// Opens the file, and makes the directories above it where they are missing. It is renamed before it reaches
    /// `max_bytes`, and `backups` older ones are kept; with 0 it is never renamed.
    pub(super) fn open(path: &Path, max_bytes: u64, backups: u32) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let file = append(path)?;
        let found = file.metadata()?;
        let (length, is_regular) = (found.len(), found.is_file());
        Ok(Self { path: path.to_owned(), max_bytes, backups, file, length, is_regular })
    }

    /// Appends a line with its newline. A line that cannot be written is lost; the next one is tried again.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let rotated = if self.is_full_with(line) { self.rotate() } else { Ok(()) };
        self.file.write_all(line)?;
        self.length += line.len() as u64;
        rotated
    }

    /// Opens the file again by its name. If that fails, writing goes on to the old one.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.max_bytes, self.backups)?;
        Ok(())
    }

    fn is_full_with(&self, line: &[u8]) -> bool {
        self.is_regular && self.backups > 0 && self.length > 0 && self.length + line.len() as u64 >= self.max_bytes
    }

    /// If anything fails, writing goes on to the old file.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.backups).rev() {
            rename(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename(&self.path, &self.numbered(1))?;
        self.file = append(&self.path)?;
        self.length = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Opens the file. A pipe without a reader is refused, since it would block the start. Later writes to a file that is not
/// regular, such as `/dev/stdout`, block until its reader takes them.
fn append(path: &Path) -> io::Result<File> {
    let file = at_once(OpenOptions::new().append(true).create(true).mode(0o600)).open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? & !OFlags::NONBLOCK)?;
    Ok(file)
}

/// Renames a file, if it is there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(backups: u32, lines: &[&str]) -> (tempfile::TempDir, Vec<(String, String)>) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/x.log");
        let mut file = RotatedFile::open(&path, 8, backups).unwrap();
        lines.iter().for_each(|line| file.write(line.as_bytes()).unwrap());
        let mut found: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .collect();
        found.sort();
        (home, found)
    }

    fn files(backups: u32, lines: &[&str]) -> Vec<(String, String)> {
        written(backups, lines).1
    }

    fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn the_oldest_file_goes_when_there_are_too_many() {
        let lines = ["aaa\n", "bb\n", "cc\n", "dddddddddd\n", "ee\n"];
        let expected = [("x.log", "ee\n"), ("x.log.1", "dddddddddd\n"), ("x.log.2", "cc\n")];
        assert_eq!(files(2, &lines), named(&expected));
        assert_eq!(files(1, &lines), named(&expected[..2]));
    }

    #[test]
    fn without_older_files_nothing_is_renamed() {
        assert_eq!(files(0, &["aaaaaaaa\n", "b\n"]), named(&[("x.log", "aaaaaaaa\nb\n")]));
    }

    #[test]
    fn a_file_is_continued_after_a_restart() {
        let (home, _) = written(2, &["aaa\n"]);
        let path = home.path().join("a/b/x.log");
        RotatedFile::open(&path, 8, 2).unwrap().write(b"bbbb\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "bbbb\n");
        assert_eq!(fs::read_to_string(path.with_extension("log.1")).unwrap(), "aaa\n");
    }

    #[test]
    fn only_its_user_can_read_it() {
        let (home, _) = written(2, &["a\n"]);
        let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/b/x.log"), mode("a/b")), (0o600, 0o700));
    }

    #[test]
    fn a_rotation_that_fails_loses_no_line() {
        let (home, _) = written(1, &["aaaa\n"]);
        let path = home.path().join("a/b/x.log");
        let mut file = RotatedFile::open(&path, 8, 1).unwrap();
        fs::create_dir(path.with_extension("log.1")).unwrap();
        assert!(file.write(b"bbbb\n").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "aaaa\nbbbb\n");
    }

    #[test]
    fn a_pipe_is_written_if_somebody_reads_it_and_never_renamed() {
        use rustix::fs::{CWD, Mode, mkfifoat};
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.log");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(RotatedFile::open(&path, 8, 1).is_err(), "nobody reads it");
        let mut reader = File::options().read(true).write(true).open(&path).unwrap();
        let mut file = RotatedFile::open(&path, 8, 1).unwrap();
        for line in ["aaaaaaaa\n", "bbbbbbbb\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        let mut read = [0; 18];
        io::Read::read_exact(&mut reader, &mut read).unwrap();
        assert_eq!((&read, fs::read_dir(home.path()).unwrap().count()), (b"aaaaaaaa\nbbbbbbbb\n", 1));
    }
}
