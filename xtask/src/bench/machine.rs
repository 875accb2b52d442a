//! What the kernel says of processes and of the machine, so that a figure tells what else went on while it was taken.

use std::fs;

/// Kernel ticks per second in /proc, the same on all Linux systems since 2.6.
const TICKS_PER_S: f64 = 100.0;

/// All processes' ids.
pub(super) fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Processor time of a process so far, user and system, in seconds.
pub(super) fn cpu_s(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    // utime and stime are the 14th and 15th fields; the name was the second.
    after_name.split(' ').skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_S
}

/// Of this process.
pub(super) fn own_cpu_s() -> f64 {
    cpu_s(std::process::id())
}

/// A line of `/proc/<pid>/status`, such as `VmRSS`, in bytes.
pub(super) fn memory_bytes(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    found.and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Processor time that all processes of the machine have had, in seconds.
pub(super) fn busy_s() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user already.
    ticks.iter().take(8).enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, t)| t).sum::<f64>()
        / TICKS_PER_S
}

/// How many processors this process may use.
pub(super) fn n_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
