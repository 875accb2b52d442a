//! What is kept of an instance on disk, and who is alive.
//!
//! ```text
//! <data>/instances/<id>/
//!   lock          held (flock) by the shim while it lives; holds the shim's pid and start time
//!   meta.json     base uid, number of the root volume; written first
//!   spec.json     the spec of the latest launch or start
//!   start.json    number of the latest start or end, which overtakes shims of earlier ones
//!   run.json      init's pid and start time, written before init is let go; its presence means "was launched"
//!   end.json      how the latest guest ended, if a shim saw it
//!   stopping      present while a stop is wanted, so that the shim takes no reboot request for a restart
//!   suspended     present while the guest is held still
//!   disk/         upper and work directories of the overlay; before.json: the init that ran last from the disk that it replaced
//!   swap.json     number of the disk that is taking the place of another; present only meanwhile
//!   disk.new/     a disk that is being made to replace it, and disk.old/, one that was replaced and is being removed
//!   mnt/          where the shim's private mount namespace puts its mounts; empty seen from the host
//!   console.log   and console.log.1: console output
//! ```
//!
//! A pid alone proves nothing after a crash, so it is kept with the process's start time and the host's boot id.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::sys;
use crate::LaunchSpec;

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: i32,
    /// Clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub(super) start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub(super) boot_id: String,
}

impl ProcessId {
    /// Of a living process.
    pub(super) fn of(pid: i32) -> io::Result<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_string();
        Ok(ProcessId { pid, start_ticks: start_ticks(pid)?.0, boot_id })
    }

    /// Whether it still runs (a zombie does not).
    pub(super) fn is_alive(&self) -> bool {
        let same_boot = || {
            fs::read_to_string("/proc/sys/kernel/random/boot_id").is_ok_and(|id| id.trim() == self.boot_id)
        };
        start_ticks(self.pid).is_ok_and(|(ticks, zombie)| ticks == self.start_ticks && !zombie) && same_boot()
    }

    /// A pidfd, if it still runs.
    pub(super) fn open(&self) -> Option<std::os::fd::OwnedFd> {
        let pidfd = sys::pidfd_open(self.pid).ok()?;
        // Checked after the descriptor exists: from here on it cannot become another process.
        self.is_alive().then_some(pidfd)
    }
}

fn start_ticks(pid: i32) -> io::Result<(u64, bool)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Start time and "is a zombie or dead" of a `/proc/<pid>/stat` line. The name in parentheses may hold anything.
fn parse_stat(stat: &str) -> Option<(u64, bool)> {
    let rest = stat.get(stat.rfind(')')? + 1..)?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    // State is field 3; the start time is field 22.
    let ticks = fields.nth(22 - 4)?.parse().ok()?;
    Some((ticks, matches!(state, "Z" | "X")))
}

/// What init is, which decides how it is asked to power off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum InitKind {
    Systemd,
    Busybox,
    Other,
}

/// `meta.json`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Meta {
    pub(super) version: u32,
    /// First host uid (and gid) of the instance's user namespace.
    pub(super) base_uid: u32,
    /// Number of the root volume.
    #[serde(default)]
    pub(super) root: u32,
}

/// `run.json`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Run {
    pub(super) init: ProcessId,
    pub(super) shim: ProcessId,
    pub(super) kind: InitKind,
}

/// `end.json`: how a guest ended that was not restarted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum GuestEnd {
    /// It powered itself off, or its init came to its end in order.
    PowerOff,
    /// Its init died; how.
    Crash(String),
}

/// In a disk that replaced another: the init that ran last from that one.
pub(super) const BEFORE: &str = "disk/before.json";
/// The version this code writes and reads.
pub(super) const META_VERSION: u32 = 1;

/// One instance's directory.
#[derive(Debug, Clone)]
pub(super) struct InstanceDir {
    pub(super) path: PathBuf,
}

impl InstanceDir {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.file(name)).ok()?).ok()
    }

    /// Writes by rename, so that a reader never sees half a file.
    pub(super) fn write(&self, name: &str, value: &impl serde::Serialize) -> io::Result<()> {
        let new = self.file(&format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        fs::rename(&new, self.file(name))
    }

    pub(super) fn meta(&self) -> Option<Meta> {
        self.read("meta.json")
    }

    pub(super) fn run(&self) -> Option<Run> {
        self.read("run.json")
    }

    pub(super) fn spec(&self) -> Option<LaunchSpec> {
        self.read("spec.json")
    }

    /// Begins a new start (or end): from now on no shim of an earlier one can take the lock.
    pub(super) fn next_start(&self) -> io::Result<u64> {
        let start = self.read::<u64>("start.json").unwrap_or(0) + 1;
        self.write("start.json", &start)?;
        Ok(start)
    }

    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The shim's process, if one holds the lock.
    pub(super) fn shim(&self) -> Option<ProcessId> {
        let deadline = sys::monotonic_ms() + NAME_MS;
        while let Ok(None) = self.try_lock() {
            let named: Option<ProcessId> = self.read("lock");
            // A shim writes its name right after it got the lock; until then the file names a dead one or nobody.
            match named.filter(ProcessId::is_alive) {
                None if sys::monotonic_ms() < deadline => {
                    std::thread::sleep(std::time::Duration::from_millis(1))
                }
                other => return other,
            }
        }
        None
    }

    /// Takes the shim's lock; `None` if a shim has it.
    pub(super) fn try_lock(&self) -> io::Result<Option<Flock<File>>> {
        let file = OpenOptions::new().read(true).write(true).open(self.file("lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// How a guest that is off died, if it neither powered off nor was stopped.
    pub(super) fn crash(&self) -> Option<String> {
        if self.file("stopping").exists() {
            return None;
        }
        match self.read("end.json") {
            Some(GuestEnd::PowerOff) => None,
            Some(GuestEnd::Crash(how)) => Some(how),
            None => Some("it ended together with its shim or with the machine".to_owned()),
        }
    }

    /// Whether no init was ever let go on its disk.
    pub(super) fn is_fresh(&self) -> bool {
        match self.run() {
            None => true,
            Some(run) => self.read::<ProcessId>(BEFORE).is_some_and(|before| before == run.init),
        }
    }

    /// Whether init runs.
    pub(super) fn running(&self) -> Option<Run> {
        self.run().filter(|run| run.init.is_alive())
    }
}

/// Time for a shim that got the lock to write its name into it.
const NAME_MS: u64 = 2_000;
/// Time a new shim gives one that was overtaken to see that and end.
const OVERTAKEN_MS: u64 = 2_000;

/// Takes the lock for the life of the shim of start number `start`, and writes its pid into it. Fails when the instance was removed or started
/// again meanwhile, or another shim lives.
pub(super) fn lock_for_life(dir: &InstanceDir, start: u64) -> io::Result<Flock<File>> {
    let deadline = sys::monotonic_ms() + OVERTAKEN_MS;
    let mut lock = loop {
        match dir.try_lock()? {
            Some(lock) => break lock,
            None if sys::monotonic_ms() >= deadline => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another shim holds the instance"));
            }
            None => std::thread::sleep(std::time::Duration::from_millis(2)),
        }
    };
    if !dir.file("lock").exists() || dir.read("start.json") != Some(start) {
        return Err(io::Error::other("the instance was removed or started again"));
    }
    lock.rewind()?;
    lock.set_len(0)?;
    lock.write_all(&serde_json::to_vec(&ProcessId::of(std::process::id() as i32)?)?)?;
    Ok(lock)
}

/// Mount points at or below `path` in this process's mount namespace, deepest first.
pub(super) fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        mount_points().into_iter().filter(|point| point.starts_with(path)).collect();
    found.sort();
    found.reverse();
    found
}

fn mount_points() -> Vec<PathBuf> {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    info.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .collect()
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
pub(super) fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                out.push(code);
                at += 4;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_hostile_names_parse() {
        let line =
            "7 (a) b) Z) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 10 18446744073709551615";
        assert_eq!(parse_stat(line), Some((4242, false)));
        assert_eq!(parse_stat(&line.replace(" S ", " Z ")), Some((4242, true)));
        assert_eq!(parse_stat("7 (x"), None);
    }

    #[test]
    fn we_are_alive_and_another_start_time_is_not_us() {
        let me = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { start_ticks: me.start_ticks + 1, ..me }.is_alive());
    }

    #[test]
    fn mountinfo_escapes() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescape("/plain\\9"), "/plain\\9");
    }
}
