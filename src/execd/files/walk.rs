//! Listing and searching directories.

use std::{
    fs::{self, FileType},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use globset::{GlobBuilder, GlobMatcher};

use super::{info::Info, owner::Names};
use crate::{
    error::Error,
    execd::{
        Execd,
        error::{self, shown},
    },
};

/// How many entries an answer may have.
const MAX_ENTRIES: usize = 20_000;

/// The most bytes of the paths in an answer and of the directories still to be read, together.
const MAX_TEXT: usize = 16 * 1024 * 1024;

/// How long directories are read.
const WALK_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;

impl Execd {
    /// What is in a directory, down to `depth`: 1 is the directory alone. In the order of names, what is in a directory behind it.
    /// Links are told and not followed.
    ///
    /// # Errors
    /// It is no directory, or there is too much in it.
    pub fn list(&self, path: &str, depth: usize) -> Result<Vec<Info>, Error> {
        let path = self.path(path)?;
        check_directory(&path)?;
        if depth == 0 {
            return Ok(Vec::new());
        }
        gather(&path, depth, |_, _| true)
    }

    /// The files below a directory that a pattern fits: their names, or with a slash in the pattern their paths below the directory.
    /// `**` fits all. Links are told and not followed.
    ///
    /// # Errors
    /// It is no directory, too many fit, or the pattern is none.
    pub fn search(&self, path: &str, pattern: &str) -> Result<Vec<Info>, Error> {
        let path = self.path(path)?;
        let matcher = matcher(pattern)?;
        check_directory(&path)?;
        let is_for_paths = pattern.contains('/');
        gather(&path, usize::MAX, |place, kind| {
            let below = place.strip_prefix(&path).unwrap_or(place);
            let candidate = if is_for_paths { below } else { place.file_name().map_or(below, Path::new) };
            !kind.is_dir() && matcher.is_match(candidate)
        })
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher, Error> {
    if pattern.len() > MAX_PATTERN {
        return Err(error::invalid(format!("pattern: it is longer than {MAX_PATTERN} bytes.")));
    }
    let relative = pattern.trim_start_matches("./");
    let glob = GlobBuilder::new(relative).literal_separator(true).build();
    Ok(glob.map_err(|error| error::invalid(format!("pattern: {error}.")))?.compile_matcher())
}

/// A link to a directory is none.
fn check_directory(path: &Path) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(path).map_err(|error| error::io("listed", path, error))?;
    match metadata.is_dir() {
        true => Ok(()),
        false => Err(error::invalid(format!("{} is no directory (links are not followed).", shown(path)))),
    }
}

/// Gathers what fits, in the order of names. Nothing is kept of a directory but what fits and the directories in it.
fn gather(path: &Path, depth: usize, fits: impl Fn(&Path, FileType) -> bool) -> Result<Vec<Info>, Error> {
    let due = Instant::now() + WALK_TIMEOUT;
    let mut names = Names::default();
    let mut found: Vec<(PathBuf, Info)> = Vec::new();
    let (mut ahead, mut text) = (vec![(path.to_owned(), 0)], 0);
    while let Some((directory, above)) = ahead.pop() {
        let failed = |error| error::io("listed", path, error);
        // A directory below that may not be read, or was removed meanwhile, is skipped; the directory itself is an error.
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if above == 0 => return Err(failed(error)),
            Err(_) => continue,
        };
        if above > 0 {
            text -= directory.as_os_str().len();
        }
        for entry in entries {
            if Instant::now() > due {
                let seconds = WALK_TIMEOUT.as_secs();
                let text = format!("{} has more in it than can be gone through in {seconds} s.", shown(path));
                return Err(error::invalid(text));
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if above == 0 => return Err(failed(error)),
                Err(_) => break,
            };
            let Ok(kind) = entry.file_type() else { continue };
            let place = entry.path();
            let length = place.as_os_str().len();
            if fits(&place, kind)
                && let Ok(metadata) = entry.metadata()
            {
                if found.len() == MAX_ENTRIES {
                    return Err(error::invalid(format!("More than {MAX_ENTRIES} entries: ask for less.")));
                }
                let info = Info::new(&place, &metadata, &mut names);
                found.push((place.clone(), info));
                text += length;
            }
            if kind.is_dir() && above + 1 < depth {
                ahead.push((place, above + 1));
                text += length;
            }
            if text > MAX_TEXT {
                let text = format!("More than {MAX_TEXT} bytes of paths at once: ask for less.");
                return Err(error::invalid(text));
            }
        }
    }
    // By components: what is in a directory comes right behind it.
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found.into_iter().map(|(_, info)| info).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_in_the_order_of_names_behind_its_directory() {
        let root = tempfile::tempdir().unwrap();
        for file in ["b/x/1", "b/y", "b.d/z", "b-/z", "a/0/1/2/3/4/5/6/7/8/9/10/11/12", "c"] {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let listed = |depth| {
            let found = gather(root.path(), depth, |_, _| true).unwrap();
            let below = |info: Info| info.path.strip_prefix(&format!("{}/", root.path().display())).unwrap().to_owned();
            found.into_iter().map(below).collect::<Vec<_>>()
        };
        assert_eq!(listed(1), ["a", "b", "b-", "b.d", "c"]);
        assert_eq!(listed(2), ["a", "a/0", "b", "b/x", "b/y", "b-", "b-/z", "b.d", "b.d/z", "c"]);
        assert_eq!(listed(99).len(), 10 + 13);
        assert_eq!(listed(99)[13], "a/0/1/2/3/4/5/6/7/8/9/10/11/12");
    }

    #[test]
    fn many_entries_are_too_many_and_others_cost_nothing() {
        let root = tempfile::tempdir().unwrap();
        (0..=MAX_ENTRIES).for_each(|number| drop(fs::File::create(root.path().join(number.to_string())).unwrap()));
        let found =
            |fits: &dyn Fn(&Path) -> bool| gather(root.path(), 1, |place, _| fits(place)).map(|found| found.len());
        assert!(found(&|_| true).unwrap_err().message.contains("20000 entries"));
        assert_eq!(found(&|place| !place.ends_with("0")).unwrap(), MAX_ENTRIES);
    }

    /// A pattern is a client's, and costs no more than its length allows.
    #[test]
    fn no_pattern_costs_much() {
        let name = Path::new("a").join("b".repeat(255));
        for pattern in [
            "*".repeat(MAX_PATTERN),
            "**/".repeat(MAX_PATTERN / 3),
            "*a".repeat(MAX_PATTERN / 2),
            "{a,b}".repeat(MAX_PATTERN / 5),
            "{".repeat(MAX_PATTERN),
            format!("{}a{}", "{a,".repeat(1000), "}".repeat(1000)),
            "[a-z]".repeat(MAX_PATTERN / 5),
            "?".repeat(MAX_PATTERN),
            "\u{10ffff}".repeat(MAX_PATTERN / 4),
        ] {
            let start = Instant::now();
            if let Ok(matcher) = matcher(&pattern) {
                (0..100).for_each(|_| assert_eq!(matcher.is_match(&name), matcher.is_match(&name)));
            }
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}: {}", start.elapsed(), &pattern[..20]);
        }
        assert!(matcher(&"a".repeat(MAX_PATTERN + 1)).is_err());
    }
}
