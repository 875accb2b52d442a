//! Files of the image store: small documents, listings, and what is put into images.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{ImageError, Trying};

/// The first-boot runner: `(path in the instance, mode, content)`. It runs the user data once per
/// instance; `first_boot.sh` says how. Whoever puts it in also links the unit into `multi-user.target.wants`.
pub const FIRST_BOOT: [(&str, u32, &str); 3] = [
    ("/usr/lib/puffer/first-boot", 0o755, include_str!("first_boot.sh")),
    ("/usr/lib/puffer/cloud-config.py", 0o644, include_str!("cloud_config.py")),
    ("/etc/systemd/system/puffer-first-boot.service", 0o644, include_str!("first_boot.service")),
];

/// Entries of one layer; a full desktop system has about half a million.
pub(super) const ENTRIES_MAX: u64 = 4_000_000;

/// What a layer holds, in short.
pub(super) struct Listing {
    pub(super) sha256: String,
    pub(super) size_bytes: u64,
}

/// Walks a layer in a fixed order. Contents are not read: the digest tells lost, added, cut and changed entries, in
/// milliseconds per thousand files.
pub(super) fn listing(layer: &Path) -> Result<Listing, ImageError> {
    let mut digest = Sha256::new();
    let mut size_bytes = 0;
    let mut n_entries = 0;
    walk(layer, Path::new(""), &mut digest, &mut size_bytes, &mut n_entries)
        .trying(|| format!("list {}", layer.display()))?;
    let sha256 = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Listing { sha256, size_bytes })
}

fn walk(layer: &Path, at: &Path, digest: &mut Sha256, size: &mut u64, n_entries: &mut u64) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(layer.join(at))?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        *n_entries += 1;
        if *n_entries > ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
        }
        let inner = at.join(&name);
        let path = layer.join(&inner);
        let meta = fs::symlink_metadata(&path)?;
        let length = if meta.is_file() { meta.len() } else { 0 };
        *size += length;
        digest.update(inner.as_os_str().as_bytes());
        digest.update([0]);
        digest.update(meta.mode().to_le_bytes());
        digest.update(length.to_le_bytes());
        if meta.is_symlink() {
            digest.update(fs::read_link(&path)?.as_os_str().as_bytes());
        }
        digest.update([0]);
        if meta.is_dir() {
            walk(layer, &inner, digest, size, n_entries)?;
        }
    }
    Ok(())
}

/// Writes and flushes a small document.
pub(super) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), ImageError> {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        file.sync_all()
    };
    write().trying(|| format!("write {}", path.display()))
}

/// Makes a rename last over a power cut; where that is refused the rename still holds for everybody.
pub(super) fn sync_dir(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

/// Removes a tree that may be absent.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
