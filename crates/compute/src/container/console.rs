//! The console's output, kept in two files of at most 64 KiB each: when the newer is full it becomes the older.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::CONSOLE_BYTES_MAX;

const NEWER: &str = "console.log";
const OLDER: &str = "console.log.1";

/// The shim's end.
pub(super) struct ConsoleLog {
    dir: PathBuf,
    file: File,
    length: usize,
}

impl ConsoleLog {
    /// Opens (and goes on with) the log in `dir`.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.join(NEWER))?;
        let length = file.metadata()?.len() as usize;
        Ok(ConsoleLog { dir: dir.to_path_buf(), file, length })
    }

    /// Appends; turns the files over when the newer is full.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.length >= CONSOLE_BYTES_MAX {
                fs::rename(self.dir.join(NEWER), self.dir.join(OLDER))?;
                *self = ConsoleLog::open(&self.dir)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CONSOLE_BYTES_MAX.saturating_sub(self.length)));
            self.file.write_all(now)?;
            self.length += now.len();
            bytes = later;
        }
        Ok(())
    }
}

/// The newest [`CONSOLE_BYTES_MAX`] bytes and when they last grew (milliseconds since the epoch).
pub(super) fn read(dir: &Path) -> io::Result<(Vec<u8>, Option<i64>)> {
    let mut newer = Vec::new();
    let mut grew_ms = None;
    if let Ok(mut file) = File::open(dir.join(NEWER)) {
        let meta = file.metadata()?;
        if meta.len() > 0 {
            use std::os::unix::fs::MetadataExt;
            grew_ms = Some(meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000);
        }
        Read::by_ref(&mut file).take(CONSOLE_BYTES_MAX as u64).read_to_end(&mut newer)?;
    }
    let mut out = Vec::new();
    if let Ok(mut file) = File::open(dir.join(OLDER)) {
        let want = CONSOLE_BYTES_MAX.saturating_sub(newer.len()) as u64;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(want)))?;
        file.take(want).read_to_end(&mut out)?;
    }
    out.extend_from_slice(&newer);
    Ok((out, grew_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_64_kib_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), (Vec::new(), None));
        let mut all = Vec::new();
        let mut log = ConsoleLog::open(dir.path()).unwrap();
        for n in 0..60_000u32 {
            let line = format!("{n}\n");
            log.append(line.as_bytes()).unwrap();
            all.extend_from_slice(line.as_bytes());
            if n % 20_000 == 0 {
                log = ConsoleLog::open(dir.path()).unwrap();
            }
        }
        log.append(&vec![b'x'; 3 * CONSOLE_BYTES_MAX + 5]).unwrap();
        log.append(&all).unwrap();
        let (kept, grew) = read(dir.path()).unwrap();
        assert_eq!(kept.len(), CONSOLE_BYTES_MAX);
        assert_eq!(kept, all[all.len() - CONSOLE_BYTES_MAX..]);
        assert!(grew.is_some());
        assert!(fs::metadata(dir.path().join(OLDER)).unwrap().len() as usize <= CONSOLE_BYTES_MAX);
    }
}
