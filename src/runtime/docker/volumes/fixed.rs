//! Whether sandboxes can replace a part of a host path, for example by a symbolic link.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    slice,
};

use super::{mount_table::MountTable, place::resolved_roots};

/// Whether none of `writable`, the directories that sandboxes may write to, contains `path`: by its text, by where its
/// file system is mounted as well, and by the identity of the directories above it. `path` has no link on its way. Blocks.
pub(super) fn is_fixed(path: &Path, writable: &[PathBuf], table: &MountTable) -> io::Result<bool> {
    let Some(parent) = path.parent() else { return Ok(true) };
    let mounts = table.read()?;
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let above = parent.ancestors().map(identity).collect::<io::Result<Vec<_>>>()?;
    for other in writable {
        if other != path && path.starts_with(other) {
            return Ok(false);
        }
        match fs::canonicalize(other).and_then(|real| Ok((identity(&real)?, real))) {
            Ok((found, real)) if above.contains(&found) || mounts.is_within(parent, &real) => return Ok(false),
            // What this user may not see could be the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
            // What is not there contains nothing.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

/// Whether a path leads to what is below one of `roots`: by its text, by where its links lead, or by where the file systems
/// are mounted. All are absolute paths without `..`. Blocks.
pub(super) fn is_below(path: &Path, roots: &[PathBuf], table: &MountTable) -> io::Result<bool> {
    if roots.iter().any(|root| path != root && path.starts_with(root)) {
        return Ok(true);
    }
    let (mounts, real) = (table.read()?, resolved_roots(roots));
    let resolved = resolved_roots(slice::from_ref(&path.to_owned()));
    let mut parents = resolved.iter().filter_map(|path| path.parent());
    Ok(parents.any(|parent| real.iter().any(|root| mounts.is_within(parent, root))))
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
        let root_line = "36 35 0:98 / / rw - ext4 /dev/sda rw\n";
        let bound = format!("{root_line}37 36 0:98 {0}/other {0}/a rw - ext4 /dev/sda rw\n", root.display());
        fs::write(&table.0, bound).unwrap();
        assert!(!fixed(&["other"]), "what is bound may be written to at its other place");
        let subvolume = format!("{root_line}37 36 0:99 /@a {}/a rw - btrfs /dev/sdb rw,subvol=/@a\n", root.display());
        fs::write(&table.0, subvolume).unwrap();
        assert!(fixed(&["other"]), "a subvolume that is nowhere else");
    }

    #[test]
    fn a_path_may_lead_below_a_root_in_three_ways() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let table = MountTable(root.join("table"));
        let lines = "36 35 0:98 / / rw - ext4 /dev/sda rw\n37 36 0:98 {0}/allowed/x {0}/mnt rw - ext4 /dev/sda rw\n";
        fs::write(&table.0, lines.replace("{0}", root.to_str().unwrap())).unwrap();
        for made in ["allowed/x/y", "mnt/y", "out"] {
            fs::create_dir_all(root.join(made)).unwrap();
        }
        symlink("allowed/x", root.join("link")).unwrap();
        let roots = [root.join("allowed")];
        for (path, expected) in [
            ("allowed/x", true),
            ("allowed/x/later", true),
            ("link", true),
            ("link/y", true),
            ("mnt/y", true),
            ("mnt/later", true),
            ("allowed", false),
            ("mnt", false),
            ("out", false),
            ("allowed2", false),
        ] {
            assert_eq!(is_below(&root.join(path), &roots, &table).unwrap(), expected, "{path}");
        }
    }
}
