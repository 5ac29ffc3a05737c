//! The kernel's table of mounts, `/proc/self/mountinfo` (proc(5)): asking a path itself could hang.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// The longest table that is read, in bytes. The kernel's is at most 100,000 lines by default (`fs.mount-max`).
const LONGEST: u64 = 64 << 20;

/// What is between the fields of a mount and those of its file system.
const SEPARATOR: &[u8] = b" - ";

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
        Ok(self.read()?.0.into_iter().rev().find(|line| line.point == path).map(|line| line.identity))
    }

    /// Whether something is mounted at a path.
    pub(super) fn is_mounted(&self, path: &Path) -> io::Result<bool> {
        Ok(self.identity(path)?.is_some())
    }

    /// The places at which something is mounted, at and below a path.
    pub(super) fn within(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let points = self.read()?.0.into_iter().map(|line| line.point);
        Ok(points.filter(|point| point.starts_with(path)).collect())
    }

    /// What the table says now.
    pub(super) fn read(&self) -> io::Result<Mounts> {
        let mut table = Vec::new();
        File::open(&self.0)?.take(LONGEST + 1).read_to_end(&mut table)?;
        if table.len() as u64 > LONGEST {
            return Err(io::Error::other("the table of mounts is too long"));
        }
        Ok(Mounts(table.split(|byte| *byte == b'\n').filter_map(Line::parse).collect()))
    }
}

/// All mounts at one time.
#[derive(Debug)]
pub(super) struct Mounts(Vec<Line>);

impl Mounts {
    /// Whether `path` leads to the directory `folder` or into it: by its text, or since both are in one file system that is
    /// mounted at several places, wholly or in parts (a bind, a subvolume of btrfs, a root of ostree). What is mounted below
    /// `folder` counts, since a container that mounts it sees that too. There is no link in the paths.
    pub(super) fn is_within(&self, path: &Path, folder: &Path) -> bool {
        let below = self.0.iter().filter(|line| line.point.starts_with(folder));
        let below = below.map(|line| (line.device.as_slice(), line.root.clone()));
        let shown: Vec<_> = self.objects(folder).chain(below).collect();
        let is_shown = |(device, inner): (&[u8], PathBuf)| {
            shown.iter().any(|(other, folder)| *other == device && inner.starts_with(folder))
        };
        path.starts_with(folder) || self.objects(path).any(is_shown)
    }

    /// What a path may be in the file systems that are mounted above it: a device, and a path in it. Of those that another
    /// mount covers, the directory that this is mounted at counts: it can be moved where it is seen, and takes the mount
    /// away.
    fn objects<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a [u8], PathBuf)> {
        self.0.iter().filter_map(move |line| {
            let rest = path.strip_prefix(&line.point).ok()?;
            Some((line.device.as_slice(), line.root.join(rest)))
        })
    }
}

/// A line of the table.
#[derive(Debug)]
struct Line {
    identity: String,
    /// The file system's number.
    device: Vec<u8>,
    /// What of the file system is mounted.
    root: PathBuf,
    point: PathBuf,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        // Blanks of names are escaped.
        let middle = line.windows(SEPARATOR.len()).position(|bytes| bytes == SEPARATOR)?;
        let mut fields = line[..middle].split(|byte| *byte == b' ');
        let (id, _parent, device, root) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let mut kind = line[middle + SEPARATOR.len()..].split(|byte| *byte == b' ');
        let (kind, source) = (kind.next()?, kind.next()?);
        let identity = String::from_utf8_lossy(&[id, device, root, kind, source].join(&b' ')).into_owned();
        Some(Self { identity, device: device.to_owned(), root: unescaped(root), point: unescaped(fields.next()?) })
    }
}

/// Blanks and the like are in the table as `\040`.
fn unescaped(mut name: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(name.len());
    while let Some((&first, rest)) = name.split_first() {
        let (byte, rest) = match rest {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] if first == b'\\' => {
                (((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), rest)
            }
            rest => (first, rest),
        };
        plain.push(byte);
        name = rest;
    }
    OsString::from_vec(plain).into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Fedora 40 on btrfs, whose root and home are subvolumes; the whole file system is mounted too, and a bind.
    const BTRFS: &str = "\
        1 0 0:34 /root / rw,relatime shared:1 - btrfs /dev/nvme0n1p3 rw,seclabel,ssd,subvolid=257,subvol=/root\n\
        36 1 0:6 / /dev rw,nosuid shared:8 - devtmpfs devtmpfs rw,size=4096k,mode=755\n\
        98 1 0:34 /home /home rw,relatime shared:65 - btrfs /dev/nvme0n1p3 rw,seclabel,ssd,subvolid=256,subvol=/home\n\
        99 1 0:34 / /mnt/all rw,relatime shared:66 - btrfs /dev/nvme0n1p3 rw,seclabel,ssd,subvolid=5,subvol=/\n\
        104 1 259:2 / /boot rw,relatime shared:71 - ext4 /dev/nvme0n1p2 rw,seclabel\n\
        112 1 0:34 /home/a\\040b/data /srv/data rw,relatime shared:65 - btrfs /dev/nvme0n1p3 rw,subvol=/home\n";

    /// Fedora CoreOS: every part of the system is a part of one file system.
    const OSTREE: &str = "\
        68 1 252:4 /ostree/deploy/fedora-coreos/deploy/b4e8.0 / rw,relatime shared:1 - xfs /dev/vda4 rw,prjquota\n\
        69 68 252:4 / /sysroot ro,relatime shared:2 - xfs /dev/vda4 rw,prjquota\n\
        70 68 252:4 /ostree/deploy/fedora-coreos/deploy/b4e8.0/etc /etc rw shared:3 - xfs /dev/vda4 rw,prjquota\n\
        71 68 252:4 /ostree/deploy/fedora-coreos/deploy/b4e8.0/usr /usr ro shared:4 - xfs /dev/vda4 rw,prjquota\n\
        72 68 252:4 /ostree/deploy/fedora-coreos/var /var rw,relatime shared:5 - xfs /dev/vda4 rw,prjquota\n\
        73 68 252:3 / /boot ro,nosuid shared:6 - ext4 /dev/vda3 rw\n";

    fn mounts(text: &str) -> Mounts {
        Mounts(text.as_bytes().split(|byte| *byte == b'\n').filter_map(Line::parse).collect())
    }

    #[test]
    fn what_is_within_a_directory_is_told_for_every_mount_of_its_file_system() {
        for (table, path, folder, expected) in [
            (BTRFS, "/home/u/data", "/home/u", true),
            (BTRFS, "/home/u/data", "/home/u/data", true),
            (BTRFS, "/home/u/data", "/home/other", false),
            (BTRFS, "/home/u/data", "/root", false),
            (BTRFS, "/srv/x", "/home", false),
            (BTRFS, "/home/x", "/srv", false),
            (BTRFS, "/home/u", "/mnt/all/home", true),
            (BTRFS, "/mnt/all/home/u", "/home", true),
            // There the directory that the other subvolume is mounted at can be moved, and what is mounted at it goes.
            (BTRFS, "/home/u", "/mnt/all/root", true),
            (BTRFS, "/home/u", "/mnt/all/root/home2", false),
            (BTRFS, "/home/u", "/mnt", true),
            (BTRFS, "/srv/data/x", "/home/a b", true),
            (BTRFS, "/srv/data/x", "/home/a b/data", true),
            (BTRFS, "/srv/data/x", "/home/a b/data/y", false),
            (BTRFS, "/home/a b/data/x", "/srv", true),
            (BTRFS, "/home/a b", "/srv", false),
            (BTRFS, "/boot/x", "/mnt/all/boot", false),
            (OSTREE, "/var/srv/data", "/var/srv/other", false),
            (OSTREE, "/var/srv/data", "/var/lib/docker/volumes/v/_data", false),
            (OSTREE, "/usr/share/x", "/var/srv", false),
            (OSTREE, "/var/srv/data", "/sysroot", true),
            (OSTREE, "/var/srv/data", "/sysroot/ostree/deploy/fedora-coreos/var/srv", true),
            (OSTREE, "/etc/x", "/sysroot/ostree/deploy/fedora-coreos/deploy/b4e8.0", true),
            (OSTREE, "/etc/x", "/sysroot/boot", false),
        ] {
            assert_eq!(mounts(table).is_within(Path::new(path), Path::new(folder)), expected, "{path} in {folder}");
        }
    }

    #[test]
    fn a_file_system_may_be_mounted_twice() {
        let mounts = mounts(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /mnt/a rw - xfs /dev/sdb rw\n\
             3 1 8:2 / /srv/b rw - xfs /dev/sdb rw\n",
        );
        let is_within = |path, folder| mounts.is_within(Path::new(path), Path::new(folder));
        assert!(is_within("/srv/b/x", "/mnt/a") && is_within("/srv/b/x", "/mnt") && !is_within("/srv", "/mnt"));
        assert!(!is_within("/srv/b/x", "/mnt/a/y") && is_within("/srv/b/y/x", "/mnt/a/y"));
    }

    #[test]
    fn names_are_as_the_file_system_has_them() {
        assert_eq!(unescaped(br"/a\040b\134040\043\12"), Path::new("/a b\\040#\\12"));
        assert_eq!(unescaped(b"/\xff\\011").into_os_string().into_vec(), b"/\xff\t");
        assert_eq!(unescaped(br"/\400\777"), Path::new(r"/\400\777"));
    }

    #[test]
    fn a_table_without_end_is_none() {
        assert!(MountTable("/dev/zero".into()).read().is_err());
    }

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
    }
}
