//! Listing and searching directories.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::{DirEntry, WalkDir};

use super::{info::Info, owner::Names};
use crate::execd::{Execd, error::ExecdError};

/// How many entries an answer may have.
const MAX_ENTRIES: usize = 20_000;

/// How long directories are gone through.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;

impl Execd {
    /// What is in a directory, down to `depth`: 1 is the directory alone. In the order of names, what is in a directory behind it.
    /// Links are told and not followed.
    ///
    /// # Errors
    /// It is no directory, or there is too much in it.
    pub fn list(&self, path: &str, depth: usize) -> Result<Vec<Info>, ExecdError> {
        let path = self.path(path)?;
        check_directory(&path)?;
        if depth == 0 {
            return Ok(Vec::new());
        }
        gather(&path, depth, |_| true)
    }

    /// The files below a directory that a pattern fits: their names, or with a slash in the pattern their paths below the directory.
    /// `**` fits all. Links are told and not followed.
    ///
    /// # Errors
    /// It is no directory, too many fit, or the pattern is none.
    pub fn search(&self, path: &str, pattern: &str) -> Result<Vec<Info>, ExecdError> {
        let path = self.path(path)?;
        let matcher = matcher(pattern)?;
        check_directory(&path)?;
        let is_for_paths = pattern.contains('/');
        gather(&path, usize::MAX, |entry| {
            let below = entry.path().strip_prefix(&path).unwrap_or(entry.path());
            let candidate = if is_for_paths { below } else { Path::new(entry.file_name()) };
            !entry.file_type().is_dir() && matcher.is_match(candidate)
        })
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher, ExecdError> {
    if pattern.len() > MAX_PATTERN {
        return Err(ExecdError::invalid(format!("pattern: it is longer than {MAX_PATTERN} bytes.")));
    }
    let relative = pattern.trim_start_matches("./");
    let glob = GlobBuilder::new(relative).literal_separator(true).build();
    Ok(glob.map_err(|error| ExecdError::invalid(format!("pattern: {error}.")))?.compile_matcher())
}

/// A link to a directory is none.
fn check_directory(path: &Path) -> Result<(), ExecdError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| ExecdError::io("listed", path, &error))?;
    match metadata.is_dir() {
        true => Ok(()),
        false => Err(ExecdError::invalid(format!("{} is no directory (links are not followed).", path.display()))),
    }
}

fn gather(path: &Path, depth: usize, fits: impl Fn(&DirEntry) -> bool) -> Result<Vec<Info>, ExecdError> {
    let due = Instant::now() + PATIENCE;
    let (mut found, mut names) = (Vec::new(), Names::default());
    for entry in WalkDir::new(path).min_depth(1).max_depth(depth).sort_by_file_name() {
        if Instant::now() > due {
            let text =
                format!("{} has more in it than can be gone through in {} s.", path.display(), PATIENCE.as_secs());
            return Err(ExecdError::invalid(text));
        }
        // What may not be entered, and what has gone meanwhile, is passed over; the directory itself is not.
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() == 0 => return Err(ExecdError::io("listed", path, &error.into())),
            Err(_) => continue,
        };
        if !fits(&entry) {
            continue;
        }
        if found.len() == MAX_ENTRIES {
            return Err(ExecdError::invalid(format!("More than {MAX_ENTRIES} entries: ask for less.")));
        }
        if let Ok(metadata) = entry.metadata() {
            found.push(Info::new(entry.path(), &metadata, &mut names));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

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
