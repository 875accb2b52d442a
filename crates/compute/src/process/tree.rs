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
use std::time::Duration;

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
    /// Where its environment begins and ends in memory, which differs from program to program: both 0 while an exec has not put it
    /// there yet. None for threads of the kernel, which have none.
    pub(super) environment: Option<(u64, u64)>,
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
        /// `PF_KTHREAD`: a thread of the kernel.
        const KERNEL_THREAD: i64 = 0x0020_0000;
        let count = |field: usize| number(field).map(|n| u64::try_from(n).unwrap_or(0));
        Some(Stat {
            pid: head.split_once(' ')?.0.parse().ok()?,
            state: *fields.first()?.as_bytes().first()?,
            session: i32::try_from(number(6)?).ok()?,
            cpu_ticks: count(14)? + count(15)? + count(16)? + count(17)?,
            start_ticks: count(22)?,
            resident_pages: count(24)?,
            environment: count(50)
                .zip(count(51))
                .filter(|_| number(9).is_some_and(|flags| flags & KERNEL_THREAD == 0)),
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

/// The directory of the instance that the process belongs to by its environment. One on the way from one program to the next
/// belongs to nobody for a moment, so that is waited for.
fn owner_of(stat: Stat) -> Option<Vec<u8>> {
    /// Loading a program takes milliseconds, on a busy machine more.
    const EXEC_TIMEOUT: Duration = Duration::from_millis(250);
    /// The kernel lays out an environment within microseconds. A program that has an empty one looks the same, and must not hold up
    /// who looks for long.
    const LAYOUT_TIMEOUT: Duration = Duration::from_millis(20);
    const POLL: Duration = Duration::from_millis(1);
    let (mut before, mut waited) = (stat, Duration::ZERO);
    loop {
        if let Some(marker) = marker_in(&environment_of(stat.pid)?) {
            return Some(marker);
        }
        let now = Stat::read(stat.pid, &mut Vec::new())
            .filter(|s| s.start_ticks == stat.start_ticks && s.is_alive())?;
        let patience = match now.environment? {
            (0, 0) => EXEC_TIMEOUT,
            (start, end) if start == end => LAYOUT_TIMEOUT,
            // One program all the while, so what was read is whole: an exec can cut it short.
            whole if before.environment == Some(whole) => return None,
            _ => EXEC_TIMEOUT,
        };
        if waited >= patience {
            return None;
        }
        std::thread::sleep(POLL);
        waited += POLL;
        before = now;
    }
}

/// The directory of the instance that `pid` belongs to by its environment, as of this moment.
pub(super) fn marker_of(pid: i32) -> Option<Vec<u8>> {
    marker_in(&environment_of(pid)?)
}

/// What we may read of the environment; empty also for kernel threads and in the middle of an exec.
fn environment_of(pid: i32) -> Option<Vec<u8>> {
    /// Environments are limited by the kernel to a few megabytes; the marker of ours sits well before.
    const ENVIRON_BYTES_MAX: u64 = 4 << 20;
    let mut text = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ"))
        .ok()?
        .take(ENVIRON_BYTES_MAX)
        .read_to_end(&mut text)
        .ok()?;
    Some(text)
}

fn marker_in(environment: &[u8]) -> Option<Vec<u8>> {
    environment
        .split(|&b| b == 0)
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
        let ours = sessions.contains(&stat.session) || owner_of(stat).is_some_and(|m| m == wanted);
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
        let want = Stat {
            pid: 42,
            state: b'S',
            session: 41,
            cpu_ticks: 34,
            start_ticks: 12345,
            resident_pages: 99,
            environment: None,
        };
        assert_eq!(stat, want);
        assert!(Stat::parse(b"42 (x) S").is_none());
        assert!(Stat::parse(b"").is_none());
    }

    #[test]
    fn knows_an_exec_under_way() {
        let environment = |flags: i64, start: u64, end: u64| {
            let between = ["0"; 40].join(" ");
            let text = format!("7 (sh) R 1 7 7 0 -1 {flags} {between} {start} {end} 0");
            Stat::parse(text.as_bytes()).unwrap().environment
        };
        assert_eq!(environment(4_194_304, 0, 0), Some((0, 0)));
        assert_eq!(environment(4_194_304, 140_736_203, 140_737_000), Some((140_736_203, 140_737_000)));
        assert_eq!(environment(2_129_984, 0, 0), None, "a thread of the kernel");
    }

    /// Ends the process, whatever becomes of the test.
    struct Ended(std::process::Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Whoever looks in the middle of an exec finds the owner all the same.
    #[test]
    fn a_process_keeps_its_owner_from_program_to_program() {
        // Each shell becomes the next; a long environment makes the change longer.
        let script = "n=$1; [ $n -gt 0 ] && exec sh -c \"$0\" \"$0\" $((n - 1)); exec sleep 1000";
        let child = std::process::Command::new("sh")
            .args(["-c", script, script, "300"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env(MARKER, "/some/where")
            .env("LONG", "x".repeat(100_000))
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let _ended = Ended(child);
        let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        let mut n_looks = 0;
        while name().trim() != "sleep" {
            let stat = Stat::read(pid, &mut Vec::new()).unwrap();
            assert_eq!(owner_of(stat).as_deref(), Some(b"/some/where".as_slice()), "after {n_looks} looks");
            n_looks += 1;
        }
        assert!(n_looks > 0);
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
