//! A log on standard error that does not grow without end: if that is a file, it becomes `NAME.1` when it is full, in place of
//! the one before, and a new one is begun.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// Of one file, in bytes; two are kept.
const BYTES_MAX: u64 = 8 << 20;

/// The log of this process.
pub(super) struct BoundedLog(Mutex<Turning>);

struct Turning {
    /// The file behind standard error; `None` if it is no file.
    path: Option<PathBuf>,
    length: u64,
    most: u64,
}

impl BoundedLog {
    pub(super) fn of_stderr() -> BoundedLog {
        let path = fs::read_link("/proc/self/fd/2").ok().filter(|path| path.is_file());
        let length = path.as_deref().map_or(0, length_of);
        BoundedLog(Mutex::new(Turning { path, length, most: BYTES_MAX }))
    }
}

impl<'a> MakeWriter<'a> for BoundedLog {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Lines<'a> {
        Lines(&self.0)
    }
}

/// Writes one event.
pub(super) struct Lines<'a>(&'a Mutex<Turning>);

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut turning = self.0.lock();
        if let Some(file) = turning.turn(bytes.len() as u64)? {
            nix::unistd::dup2_stderr(&file)?;
            nix::unistd::dup2_stdout(&file)?;
        }
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl Turning {
    /// The new file, if `more` bytes do not fit in the old one.
    fn turn(&mut self, more: u64) -> io::Result<Option<File>> {
        let Some(path) = &self.path else { return Ok(None) };
        self.length += more;
        if self.length <= self.most {
            return Ok(None);
        }
        let mut older = path.clone().into_os_string();
        older.push(".1");
        fs::rename(path, older)?;
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        self.length = more;
        Ok(Some(file))
    }
}

fn length_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("balancer.log");
        let mut file = File::create(&path).unwrap();
        let mut turning = Turning { path: Some(path.clone()), length: 0, most: 100 };
        for n in 0..1000 {
            let line = format!("{n:9}\n");
            if let Some(new) = turning.turn(line.len() as u64).unwrap() {
                file = new;
            }
            file.write_all(line.as_bytes()).unwrap();
        }
        let older = fs::read_to_string(dir.path().join("balancer.log.1")).unwrap();
        let newer = fs::read_to_string(&path).unwrap();
        assert_eq!((older.len(), fs::read_dir(dir.path()).unwrap().count()), (100, 2));
        assert!(older.ends_with("989\n") && newer.starts_with("      990\n") && newer.ends_with("999\n"));
        assert!(
            Turning { path: None, length: 0, most: 1 }.turn(10).unwrap().is_none(),
            "a terminal has no end"
        );
    }
}
