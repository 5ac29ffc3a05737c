//! A file that is read, or some lines of it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use memchr::memchr_iter;
use rustix::fs::OFlags;

use crate::{
    error::Error,
    execd::{
        Execd,
        error::{self, shown},
    },
};

/// How much is looked through at once, in bytes.
const READ_SIZE: usize = 64 * 1024;

/// How long lines are counted.
const COUNT_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest content that is read at once of a file that does not tell its length, such as those of /proc, in bytes.
const MAX_UNTOLD: u64 = 16 * 1024 * 1024;

/// A file that is open.
#[derive(Debug)]
pub struct Opened {
    /// Where.
    pub path: PathBuf,
    /// What it holds.
    pub content: Content,
    /// When it was written last.
    pub modified: Timestamp,
}

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// A file of so many bytes.
    File(File, u64),
    /// All of a file that does not tell its length.
    Bytes(Vec<u8>),
}

impl Execd {
    /// Opens a file.
    ///
    /// # Errors
    /// There is no such file, it is none, or may not be read.
    pub fn open(&self, path: &str) -> Result<Opened, Error> {
        let path = self.path(path)?;
        open(&path)
            .map_err(|error| error::io("read", &path, error))
            .and_then(|opened| opened.ok_or_else(|| error::invalid(format!("{} is no file.", shown(&path)))))
    }
}

/// Opens a file; nothing if it is none. One end of a pipe does not wait for the other.
fn open(path: &Path) -> io::Result<Option<Opened>> {
    let mut file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    let mut untold = Vec::new();
    if metadata.len() == 0 {
        (&mut file).take(MAX_UNTOLD).read_to_end(&mut untold)?;
    }
    let content = if untold.is_empty() { Content::File(file, metadata.len()) } else { Content::Bytes(untold) };
    Ok(Some(Opened { path: path.to_owned(), content, modified: modified.unwrap_or(Timestamp::UNIX_EPOCH) }))
}

impl Content {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::File(_, length) => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Where `count` lines are from the line `first` on, counted from 1; all that come without a count.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn lines(&mut self, first: u64, count: Option<u64>) -> io::Result<Range<u64>> {
        let length = self.length();
        match self {
            Self::Bytes(bytes) => lines(bytes.as_slice(), length, first, count),
            Self::File(file, _) => {
                file.seek(SeekFrom::Start(0))?;
                lines(file, length, first, count)
            }
        }
    }
}

fn lines(from: impl Read, length: u64, first: u64, count: Option<u64>) -> io::Result<Range<u64>> {
    let before = first.saturating_sub(1);
    let last = count.map(|count| before.saturating_add(count));
    let (mut seen, mut at) = (0, 0);
    let (mut begin, mut end) = ((before == 0).then_some(0), (last == Some(0)).then_some(0));
    let mut from = from.take(length);
    let mut piece = vec![0; READ_SIZE];
    let due = Instant::now() + COUNT_TIMEOUT;
    while begin.is_none() || (end.is_none() && last.is_some()) {
        let read = from.read(&mut piece)?;
        if read == 0 {
            break;
        }
        if Instant::now() > due {
            let text =
                format!("its lines cannot be counted in {} s: ask for a range of bytes", COUNT_TIMEOUT.as_secs());
            return Err(io::Error::other(text));
        }
        for newline in memchr_iter(b'\n', &piece[..read]) {
            seen += 1;
            let next = at + newline as u64 + 1;
            begin = begin.or_else(|| (seen == before).then_some(next));
            end = end.or_else(|| (Some(seen) == last).then_some(next));
        }
        at += read as u64;
    }
    let begin = begin.unwrap_or(length);
    Ok(begin..end.unwrap_or(length).max(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let text = "one\ntwo\n\nfour";
        let excerpt = |first, count| {
            let range = lines(text.as_bytes(), text.len() as u64, first, count).unwrap();
            &text[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
        };
        for (first, count, expected) in [
            (1, None, text),
            (0, None, text),
            (2, Some(1), "two\n"),
            (2, Some(2), "two\n\n"),
            (4, Some(9), "four"),
            (5, None, ""),
            (99, Some(1), ""),
            (1, Some(0), ""),
            (2, Some(u64::MAX), "two\n\nfour"),
            (u64::MAX, Some(u64::MAX), ""),
        ] {
            assert_eq!(excerpt(first, count), expected, "{first}, {count:?}");
        }
    }
}
