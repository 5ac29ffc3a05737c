//! Whether a path of the host can be bound as it is, since no sandbox can exchange any part of it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::table::MountTable;

/// Whether none of `writable`, the directories that sandboxes may write to, contains `path`: by its text, and by the
/// identity of the directories above it, since one directory can be in several places. What is bound from elsewhere cannot
/// be told this way and counts as contained. `path` has no link on its way. Blocks.
pub(super) fn is_fixed(path: &Path, writable: &[PathBuf], table: &MountTable) -> io::Result<bool> {
    let Some(parent) = path.parent() else { return Ok(true) };
    if table.has_bind(parent)? {
        return Ok(false);
    }
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let above = parent.ancestors().map(identity).collect::<io::Result<Vec<_>>>()?;
    for other in writable {
        if other != path && path.starts_with(other) {
            return Ok(false);
        }
        match identity(other) {
            Ok(found) if above.contains(&found) => return Ok(false),
            // What this user may not see could be the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
            // What is not there contains nothing.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_that_no_sandbox_can_exchange_is_fixed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let table = MountTable(root.join("table"));
        fs::write(&table.0, "36 35 0:98 / / rw - ext4 /dev/sda rw\n").unwrap();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("other")).unwrap();
        symlink("a/b", root.join("alias")).unwrap();
        let path = root.join("a/b/c");
        let fixed = |writable: &[&str]| {
            let writable: Vec<PathBuf> = writable.iter().map(|name| root.join(name)).collect();
            is_fixed(&path, &writable, &table).unwrap()
        };
        assert!(fixed(&[]) && fixed(&["a/b/c", "other", "missing", "a/b/c/d"]));
        assert!(!fixed(&["a"]) && !fixed(&["other", "a/b"]) && !fixed(&["."]));
        assert!(!fixed(&["alias"]), "the directory above by another name");
        let bound = format!("36 35 0:98 /elsewhere {}/a rw - ext4 /dev/sda rw\n", root.display());
        fs::write(&table.0, bound).unwrap();
        assert!(!fixed(&[]), "what is bound may be written to at its other place");
    }
}
