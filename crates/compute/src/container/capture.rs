//! Copies an instance's upper directory into an image layer.
//!
//! The upper belongs to the instance's uid range; an image belongs to nobody's. So owners are moved back to start at 0, in inodes, in
//! ACLs and in file capabilities. Whiteouts (0:0 character devices) and opaque marks are kept: they are what makes the layer a layer.
//! The source was written by a guest: nothing is followed, everything is opened without links, devices other than whiteouts are left out.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;

use super::uid_range::UIDS_PER_INSTANCE;

/// `nobody`: the owner of what belonged to no user of the instance.
const NOBODY: u32 = 65_534;
/// Attributes of the overlay that hold for one mount only; in another instance they would be wrong.
const OVERLAY_KEPT: &str = "trusted.overlay.opaque";

/// Copies `upper` into the existing, empty `layer`.
pub(super) fn copy_layer(upper: &Path, layer: &Path, base_uid: u32) -> io::Result<()> {
    let mut copy = Copy { base_uid, linked: HashMap::new() };
    let root = fs::symlink_metadata(upper)?;
    copy.directory(upper, layer, &root)
}

struct Copy {
    base_uid: u32,
    /// Where the first name of a file with several names went.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    fn directory(&mut self, from: &Path, to: &Path, meta: &Metadata) -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            self.entry(&entry.path(), &to.join(entry.file_name()))?;
        }
        self.dress(from, to, meta)
    }

    fn entry(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(from)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            fs::DirBuilder::new().mode(0o700).create(to)?;
            return self.directory(from, to, &meta);
        }
        if meta.nlink() > 1 {
            match self.linked.get(&(meta.dev(), meta.ino())) {
                Some(first) => return fs::hard_link(first, to),
                None => {
                    self.linked.insert((meta.dev(), meta.ino()), to.to_path_buf());
                }
            }
        }
        if kind.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
        } else if kind.is_file() {
            copy_file(from, to)?;
        } else if kind.is_fifo() {
            mknod(to, SFlag::S_IFIFO, Mode::S_IRUSR | Mode::S_IWUSR, 0)?;
        } else if kind.is_char_device() && meta.rdev() == 0 {
            mknod(to, SFlag::S_IFCHR, Mode::empty(), 0)?;
        } else {
            return Ok(());
        }
        self.dress(from, to, &meta)
    }

    /// Owner, mode, attributes and times, in the order in which they do not undo each other.
    fn dress(&self, from: &Path, to: &Path, meta: &Metadata) -> io::Result<()> {
        lchown(to, Some(self.unshift(meta.uid())), Some(self.unshift(meta.gid())))?;
        if !meta.file_type().is_symlink() {
            fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(meta.mode() & 0o7777))?;
        }
        for name in xattr::list(from)? {
            let text = name.to_string_lossy();
            if text.starts_with("trusted.") && text != OVERLAY_KEPT {
                continue;
            }
            let Some(value) = xattr::get(from, &name)? else { continue };
            let value = match text.as_ref() {
                "system.posix_acl_access" | "system.posix_acl_default" => self.unshift_acl(value),
                "security.capability" => unshift_capability(value),
                _ => value,
            };
            xattr::set(to, &name, &value)?;
        }
        let time = |s, ns| TimeSpec::new(s, ns);
        utimensat(
            nix::fcntl::AT_FDCWD,
            to,
            &time(meta.atime(), meta.atime_nsec()),
            &time(meta.mtime(), meta.mtime_nsec()),
            UtimensatFlags::NoFollowSymlink,
        )?;
        Ok(())
    }

    fn unshift(&self, id: u32) -> u32 {
        match id.checked_sub(self.base_uid) {
            Some(inner) if inner < UIDS_PER_INSTANCE => inner,
            _ => NOBODY,
        }
    }

    /// A version, then entries of tag (u16), permissions (u16) and id (u32), little-endian; the id counts for named users and groups.
    fn unshift_acl(&self, mut value: Vec<u8>) -> Vec<u8> {
        const NAMED_USER: u16 = 0x02;
        const NAMED_GROUP: u16 = 0x08;
        for entry in value.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
            if let [t0, t1, _, _, id @ ..] = entry
                && matches!(u16::from_le_bytes([*t0, *t1]), NAMED_USER | NAMED_GROUP)
                && let Ok(bytes) = <[u8; 4]>::try_from(&*id)
            {
                id.copy_from_slice(&self.unshift(u32::from_le_bytes(bytes)).to_le_bytes());
            }
        }
        value
    }
}

/// Revision 3 (24 bytes: revision 2's 20 plus the uid of the namespace's root) becomes revision 2, which holds everywhere.
fn unshift_capability(value: Vec<u8>) -> Vec<u8> {
    const REVISION_MASK: u32 = 0xff00_0000;
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;
    match (value.len(), value.first_chunk::<4>().map(|b| u32::from_le_bytes(*b))) {
        (24, Some(magic)) if magic & REVISION_MASK == REVISION_3 => {
            let mut out = (magic & !REVISION_MASK | REVISION_2).to_le_bytes().to_vec();
            out.extend_from_slice(value.get(4..20).unwrap_or_default());
            out
        }
        _ => value,
    }
}

/// Data without holes being filled: only the stretches that hold data are copied, by the kernel where it can share them.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let source = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NOATIME).open(from)?;
    let target: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let seek = |offset: u64, whence| nix::unistd::lseek(&source, offset as i64, whence).map(|at| at as u64);
    let mut at = 0;
    while at < length {
        let start = match seek(at, nix::unistd::Whence::SeekData) {
            Ok(start) => start,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(start, nix::unistd::Whence::SeekHole)?.min(length);
        copy_stretch(&source, &target, start, end)?;
        at = end;
    }
    Ok(())
}

fn copy_stretch(source: &File, target: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start as i64, start as i64);
    while (read_at as u64) < end {
        let left = (end - read_at as u64) as usize;
        match nix::fcntl::copy_file_range(source, Some(&mut read_at), target, Some(&mut write_at), left) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Older kernels copy only within one file system.
            Err(nix::errno::Errno::EXDEV | nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
                for file in [source, target] {
                    nix::unistd::lseek(file, read_at, nix::unistd::Whence::SeekSet)?;
                }
                let (mut reader, mut writer) = (source, target);
                return io::copy(&mut io::Read::take(&mut reader, end - read_at as u64), &mut writer)
                    .map(|_| ());
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_acls_and_capabilities_move_back() {
        let copy = Copy { base_uid: 1_000_000, linked: HashMap::new() };
        assert_eq!(copy.unshift(1_000_033), 33);
        assert_eq!(copy.unshift(0), NOBODY);
        assert_eq!(copy.unshift(1_065_536), NOBODY);
        let mut acl = vec![2, 0, 0, 0];
        for (tag, id) in [(0x01u16, u32::MAX), (0x02, 1_000_005)] {
            acl.extend_from_slice(&tag.to_le_bytes());
            acl.extend_from_slice(&6u16.to_le_bytes());
            acl.extend_from_slice(&id.to_le_bytes());
        }
        let moved = copy.unshift_acl(acl.clone());
        assert_eq!(moved[..16], acl[..16]);
        assert_eq!(moved[16..], 5u32.to_le_bytes());
        let mut v3 = 0x0300_0001u32.to_le_bytes().to_vec();
        v3.extend_from_slice(&[7u8; 16]);
        let v2 = unshift_capability([v3.clone(), 1_000_000u32.to_le_bytes().to_vec()].concat());
        assert_eq!(v2[..4], 0x0200_0001u32.to_le_bytes());
        assert_eq!(v2[4..], v3[4..]);
    }
}
