//! Finding and ending the processes of an instance.
//!
//! Three bonds tie a process to its instance: being one of its main processes, being in the session that a main process leads,
//! and carrying the instance's marker in its environment (which survives daemons that leave the session). A
//! program that leaves the session *and* clears its environment is lost to us; that is one reason why this driver
//! claims no isolation.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::plan::MARKER;

/// A process that the driver started itself. The start time makes the pid unambiguous after reuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(super) struct MainProcess {
    /// Process id; also its session's id.
    pub(super) pid: i32,
    /// Clock ticks from boot to its start (proc(5), field 22).
    pub(super) start_ticks: u64,
}

/// What we read of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) state: u8,
    pub(super) session: i32,
    /// User and system time of the process and of children it waited for.
    pub(super) cpu_ticks: u64,
    pub(super) start_ticks: u64,
    pub(super) resident_pages: u64,
}

impl Stat {
    /// Reads one process; `buffer` is reused between calls.
    pub(super) fn read(pid: i32, buffer: &mut Vec<u8>) -> Option<Stat> {
        buffer.clear();
        fs::File::open(format!("/proc/{pid}/stat")).ok()?.read_to_end(buffer).ok()?;
        Stat::parse(buffer)
    }

    fn parse(text: &[u8]) -> Option<Stat> {
        // The name is in parentheses and may hold anything, parentheses included: count from the last one.
        let text = std::str::from_utf8(&text[..text.len().min(4096)]).ok().map(str::to_owned);
        let text = text?;
        let (head, tail) = text.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // Field 3 (state) is fields[0].
        let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
        let count = |field: usize| number(field).map(|n| u64::try_from(n).unwrap_or(0));
        Some(Stat {
            pid: head.split_once(' ')?.0.parse().ok()?,
            state: *fields.first()?.as_bytes().first()?,
            session: i32::try_from(number(6)?).ok()?,
            cpu_ticks: count(14)? + count(15)? + count(16)? + count(17)?,
            start_ticks: count(22)?,
            resident_pages: count(24)?,
        })
    }

    /// Neither zombie nor gone.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Calls `each` for every process of the machine that we can see.
pub(super) fn scan(each: &mut dyn FnMut(Stat)) {
    let mut buffer = Vec::with_capacity(512);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some(stat) = Stat::read(pid, &mut buffer) {
            each(stat);
        }
    }
}

/// Whether this very process still runs.
pub(super) fn is_alive(main: MainProcess) -> bool {
    Stat::read(main.pid, &mut Vec::new()).is_some_and(|s| s.start_ticks == main.start_ticks && s.is_alive())
}

/// The directory of the instance that `pid` belongs to by its environment.
pub(super) fn marker_of(pid: i32) -> Option<Vec<u8>> {
    /// Environments are limited by the kernel to a few megabytes; the marker of ours sits well before.
    const ENVIRON_BYTES_MAX: u64 = 4 << 20;
    let mut text = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ"))
        .ok()?
        .take(ENVIRON_BYTES_MAX)
        .read_to_end(&mut text)
        .ok()?;
    text.split(|&b| b == 0)
        .find_map(|entry| entry.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec))
}

/// All living processes of the instance in `directory`.
pub(super) fn members(directory: &Path, mains: &[MainProcess]) -> Vec<i32> {
    let wanted = directory.as_os_str().as_encoded_bytes();
    // A session's id stays taken while it has members, so it is ours as long as its leader lives or
    // a member carries our marker; a session whose leader is gone is trusted by marker alone.
    let sessions: HashSet<i32> = mains.iter().filter(|m| is_alive(**m)).map(|m| m.pid).collect();
    let mut found = Vec::new();
    scan(&mut |stat| {
        let ours = sessions.contains(&stat.session) || marker_of(stat.pid).is_some_and(|m| m == wanted);
        if ours && stat.is_alive() {
            found.push(stat.pid);
        }
    });
    found
}

/// Whether signals hold the process still.
pub(super) fn is_still(pid: i32) -> bool {
    Stat::read(pid, &mut Vec::new()).is_none_or(|s| !s.is_alive() || matches!(s.state, b'T' | b't'))
}

/// Sends `signal` to each; a process that has gone meanwhile is no error.
pub(super) fn signal_all(pids: &[i32], signal: Signal) {
    for &pid in pids {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_name_with_parentheses() {
        let text = "42 (a) (b c)) S 1 42 41 0 -1 4194304 10 20 0 0 7 8 9 10 20 0 1 0 12345 1000 99 rest";
        let stat = Stat::parse(text.as_bytes()).unwrap();
        let want =
            Stat { pid: 42, state: b'S', session: 41, cpu_ticks: 34, start_ticks: 12345, resident_pages: 99 };
        assert_eq!(stat, want);
        assert!(Stat::parse(b"42 (x) S").is_none());
        assert!(Stat::parse(b"").is_none());
    }

    #[test]
    fn sees_itself() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut seen = false;
        scan(&mut |stat| seen |= stat.pid == pid && stat.is_alive());
        assert!(seen);
        let stat = Stat::read(pid, &mut Vec::new()).unwrap();
        assert!(is_alive(MainProcess { pid, start_ticks: stat.start_ticks }));
        assert!(!is_alive(MainProcess { pid, start_ticks: stat.start_ticks + 1 }));
    }
}
