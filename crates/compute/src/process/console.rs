//! The console file of an instance: written by its processes directly, so that output goes on while the control
//! plane is down, and kept small by giving back its beginning.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use puffer_core::Timestamp;

use crate::CONSOLE_BYTES_MAX;

/// Disk space a console may take before its beginning is given back.
const DISK_BYTES_MAX: u64 = 4 << 20;
/// What is kept then.
const KEEP_BYTES: u64 = 1 << 20;

/// Opens for appending; several processes may write at once.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Adds a line of the driver's own.
pub(super) fn note(path: &Path, text: &str) {
    let line = format!("puffer: {text}\n");
    if let Err(error) = open(path).and_then(|mut file| file.write_all(line.as_bytes())) {
        tracing::warn!(path = %path.display(), %error, "cannot write to the console");
    }
}

/// Gives back the beginning of a console that has grown. A hole rather than a cut: writers that append are not
/// disturbed, and nothing newer is lost.
pub(super) fn trim(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.blocks() * 512 <= DISK_BYTES_MAX {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(path)?;
    let hole = i64::try_from(meta.len().saturating_sub(KEEP_BYTES)).unwrap_or(i64::MAX);
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    if fallocate(&file, flags, 0, hole).is_err() {
        // A file system without holes: losing old output is better than filling the disk.
        file.set_len(0)?;
    }
    Ok(())
}

/// The newest output and when it came.
pub(super) fn tail(path: &Path) -> io::Result<(Vec<u8>, Option<Timestamp>)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    let start = meta.len().saturating_sub(CONSOLE_BYTES_MAX as u64);
    let mut bytes = vec![0; usize::try_from(meta.len() - start).unwrap_or(CONSOLE_BYTES_MAX)];
    file.read_exact_at(&mut bytes, start)?;
    let at = (!bytes.is_empty())
        .then(|| Timestamp::from_millis(meta.mtime().saturating_mul(1000) + meta.mtime_nsec() / 1_000_000));
    Ok((bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_output_in_bounded_space() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut file = open(&path).unwrap();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..6 {
            file.write_all(&block).unwrap();
        }
        file.sync_all().unwrap();
        trim(&path).unwrap();
        file.write_all(b"newest").unwrap();
        file.sync_all().unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 <= 2 << 20);
        let (bytes, at) = tail(&path).unwrap();
        assert!(bytes.len() <= CONSOLE_BYTES_MAX && bytes.ends_with(b"newest") && at.is_some());
    }
}
