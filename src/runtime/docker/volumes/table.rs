//! The kernel's table of mounts, `/proc/self/mountinfo` (proc(5)): asking a path itself could hang.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The table's file. All functions block.
#[derive(Debug, Clone)]
pub(super) struct MountTable(pub(super) PathBuf);

impl Default for MountTable {
    fn default() -> Self {
        Self(PathBuf::from("/proc/self/mountinfo"))
    }
}

impl MountTable {
    /// What tells the mount at a path from all others as long as it is there; nothing if nothing is mounted.
    pub(super) fn identity(&self, path: &Path) -> io::Result<Option<String>> {
        // The last of several is the one that is seen.
        Ok(self
            .lines()?
            .lines()
            .rev()
            .filter_map(Line::parse)
            .find(|line| line.point == path)
            .map(|line| line.identity))
    }

    /// Whether something is mounted at a path.
    pub(super) fn is_mounted(&self, path: &Path) -> io::Result<bool> {
        Ok(self.identity(path)?.is_some())
    }

    /// The places at which something is mounted, at and below a path.
    pub(super) fn within(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let table = self.lines()?;
        let points = table.lines().filter_map(Line::parse).map(|line| line.point);
        Ok(points.filter(|point| point.starts_with(path)).collect())
    }

    /// Whether one of these directories shows a part of a file system that is also elsewhere: a bind mount.
    pub(super) fn has_bind(&self, path: &Path) -> io::Result<bool> {
        let table = self.lines()?;
        let mut lines = table.lines().filter_map(Line::parse);
        Ok(lines.any(|line| path.ancestors().any(|ancestor| ancestor == line.point) && line.root != "/"))
    }

    fn lines(&self) -> io::Result<String> {
        // Names need not be UTF-8; those that are not are nobody's here.
        Ok(String::from_utf8_lossy(&fs::read(&self.0)?).into_owned())
    }
}

/// A line of the table.
struct Line {
    identity: String,
    /// What of the file system is mounted.
    root: String,
    point: PathBuf,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (id, _parent, device, root) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let mut kind = file_system.split(' ');
        let (kind, source) = (kind.next()?, kind.next()?);
        let point = PathBuf::from(unescaped(fields.next()?));
        Some(Self { identity: format!("{id} {device} {root} {kind} {source}"), root: root.to_owned(), point })
    }
}

/// Blanks and the like are in the table as `\040`.
fn unescaped(point: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.into_iter().fold(point.to_owned(), |point, (escape, plain)| point.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_known_by_the_kernel_s_table() {
        let table = MountTable::default();
        assert!(table.is_mounted(Path::new("/proc")).unwrap());
        assert!(table.identity(Path::new("/proc")).unwrap().is_some());
        assert_eq!(table.identity(Path::new("/proc/self")).unwrap(), None);
        assert!(table.within(Path::new("/proc")).unwrap().contains(&PathBuf::from("/proc")));
    }

    #[test]
    fn a_line_has_an_identity_a_root_and_a_point() {
        let folder = tempfile::tempdir().unwrap();
        let table = MountTable(folder.path().join("table"));
        let lines = [
            r"36 35 0:98 / /a\040b rw,noatime shared:1 - fuse.ossfs ossfs rw,user_id=0",
            "37 35 8:1 /data /a rw - ext4 /dev/sda rw",
            "",
        ];
        fs::write(&table.0, lines.join("\n")).unwrap();
        assert_eq!(table.identity(Path::new("/a b")).unwrap().unwrap(), "36 0:98 / fuse.ossfs ossfs");
        assert_eq!(table.identity(Path::new("/b")).unwrap(), None);
        assert_eq!(table.within(Path::new("/a")).unwrap(), [PathBuf::from("/a")]);
        assert!(table.has_bind(Path::new("/a/x")).unwrap() && !table.has_bind(Path::new("/a b/x")).unwrap());
    }
}
