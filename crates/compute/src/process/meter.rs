//! Counters of process instances, from one walk over `/proc` for all of them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Arc;

use super::tree::{MainProcess, Stat, marker_of, scan};
use crate::Usage;

/// A process seen this often without a marker belongs to nobody. More than once, because between fork and
/// exec a child still shows its parent's environment.
const SIGHTINGS_FINAL: u8 = 3;

/// What is known of a process.
struct Known {
    start_ticks: u64,
    owner: Option<Arc<str>>,
    n_sightings: u8,
}

/// Turns a sum over living processes, which falls when one dies unwaited, into counters that only rise.
#[derive(Default, Clone, Copy)]
struct Rising {
    lost: u64,
    last: u64,
}

impl Rising {
    fn add(&mut self, sum: u64) -> u64 {
        self.lost += self.last.saturating_sub(sum);
        self.last = sum;
        self.lost + sum
    }
}

#[derive(Default)]
struct Sums {
    cpu_ticks: u64,
    resident_pages: u64,
    read_bytes: u64,
    write_bytes: u64,
}

#[derive(Default)]
struct Counters {
    cpu: Rising,
    read: Rising,
    write: Rising,
}

/// State between two readings.
#[derive(Default)]
pub(super) struct Meter {
    known: HashMap<i32, Known>,
    counters: HashMap<String, Counters>,
}

impl Meter {
    /// Forgets an instance's counters: they count from its last start.
    pub(super) fn reset(&mut self, instance_id: &str) {
        self.counters.remove(instance_id);
    }

    /// Reads all instances in `wanted`. `sessions` maps each main process to its instance.
    pub(super) fn read(
        &mut self,
        sessions: &HashMap<MainProcess, Arc<str>>,
        wanted: &HashSet<&str>,
        owner_of_marker: &dyn Fn(&[u8]) -> Option<Arc<str>>,
        out: &mut Vec<(String, Usage)>,
    ) {
        let by_session: HashMap<i32, &Arc<str>> = sessions.iter().map(|(m, id)| (m.pid, id)).collect();
        let mut sums: HashMap<Arc<str>, Sums> = HashMap::new();
        let mut seen: HashSet<i32> = HashSet::new();
        scan(&mut |stat| {
            seen.insert(stat.pid);
            let Some(owner) = self.owner(&stat, &by_session, owner_of_marker) else { return };
            if !stat.is_alive() || !wanted.contains(&*owner) {
                return;
            }
            let sum = sums.entry(owner).or_default();
            sum.cpu_ticks += stat.cpu_ticks;
            sum.resident_pages += stat.resident_pages;
            let (read, write) = disk_bytes(stat.pid);
            sum.read_bytes += read;
            sum.write_bytes += write;
        });
        self.known.retain(|pid, _| seen.contains(pid));
        let (tick_ns, page_bytes) = (tick_ns(), page_bytes());
        for (owner, sum) in sums {
            let counters = self.counters.entry(owner.to_string()).or_default();
            let usage = Usage {
                cpu_ns: counters.cpu.add(sum.cpu_ticks) * tick_ns,
                memory_bytes: sum.resident_pages * page_bytes,
                disk_read_bytes: counters.read.add(sum.read_bytes),
                disk_write_bytes: counters.write.add(sum.write_bytes),
                // All instances share the host's loopback: the kernel does not count per process.
                ..Usage::default()
            };
            out.push((owner.to_string(), usage));
        }
    }

    fn owner(
        &mut self,
        stat: &Stat,
        by_session: &HashMap<i32, &Arc<str>>,
        owner_of_marker: &dyn Fn(&[u8]) -> Option<Arc<str>>,
    ) -> Option<Arc<str>> {
        if let Some(owner) = by_session.get(&stat.session) {
            return Some(Arc::clone(owner));
        }
        let known = self.known.entry(stat.pid).or_insert(Known {
            start_ticks: stat.start_ticks,
            owner: None,
            n_sightings: 0,
        });
        if known.start_ticks != stat.start_ticks {
            *known = Known { start_ticks: stat.start_ticks, owner: None, n_sightings: 0 };
        }
        if known.owner.is_none() && known.n_sightings < SIGHTINGS_FINAL {
            known.n_sightings += 1;
            known.owner = marker_of(stat.pid).and_then(|marker| owner_of_marker(&marker));
        }
        known.owner.clone()
    }
}

/// Bytes that really went to and came from storage (proc(5), `io`).
fn disk_bytes(pid: i32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    (field("read_bytes:"), field("write_bytes:"))
}

fn tick_ns() -> u64 {
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    1_000_000_000 / u64::try_from(per_second.max(1)).unwrap_or(100)
}

fn page_bytes() -> u64 {
    let bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_never_fall() {
        let mut counter = Rising::default();
        let got: Vec<u64> = [10, 25, 5, 8, 0, 3].map(|sum| counter.add(sum)).into();
        assert_eq!(got, [10, 25, 25, 28, 28, 31]);
    }
}
