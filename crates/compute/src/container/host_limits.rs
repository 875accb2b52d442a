//! What this machine allows, for `puffer doctor`, and the one setting that a fleet needs raised.

use std::fs;
use std::io;
use std::path::Path;

use super::cgroup_layout::Layout;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, with a limit.
    Warning,
    /// Keeps the container driver from working.
    Failure,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// Short name: `cgroups`, `overlay`, …
    pub name: String,
    /// How much it matters.
    pub level: Level,
    /// What was found.
    pub detail: String,
    /// The command that changes it, if there is one.
    pub remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &str, detail: impl Into<String>) -> Self {
        Finding { name: name.into(), level: Level::Ok, detail: detail.into(), remedy: None }
    }

    pub(super) fn new(name: &str, level: Level, detail: impl Into<String>, remedy: &str) -> Self {
        let remedy = (!remedy.is_empty()).then(|| remedy.to_string());
        Finding { name: name.into(), level, detail: detail.into(), remedy }
    }
}

/// A guest's systemd takes about six inotify instances, all charged to the user who made its namespace: root.
/// The kernel's default of 128 ends at some twenty guests ("Failed to create inotify object").
const INOTIFY_INSTANCES_WANTED: u64 = 8_192;
const INOTIFY_INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";

/// Looks at the machine without changing anything.
pub fn host_limits() -> Vec<Finding> {
    vec![privileges(), cgroups(), overlay(), user_namespaces(), inotify(), nftables(), kvm()]
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn privileges() -> Finding {
    const SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if effective & (1 << SYS_ADMIN) != 0 && nix::unistd::geteuid().is_root() {
        Finding::ok("privileges", "root with CAP_SYS_ADMIN")
    } else {
        Finding::new(
            "privileges",
            Level::Failure,
            "containers need root with CAP_SYS_ADMIN",
            "sudo puffer serve …",
        )
    }
}

fn cgroups() -> Finding {
    let Some(layout) = Layout::detect() else {
        return Finding::new(
            "cgroups",
            Level::Failure,
            "no cgroup2 file system is mounted",
            "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
        );
    };
    let v2 = fs::read_to_string(layout.v2.join("cgroup.controllers")).unwrap_or_default();
    let missing: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|name| layout.v1_of(name).is_none() && !v2.split_whitespace().any(|c| c == *name))
        .collect();
    if !missing.is_empty() {
        return Finding::new(
            "cgroups",
            Level::Failure,
            format!("no controller for {}", missing.join(", ")),
            "boot with the kernel options cgroup_enable=memory systemd.unified_cgroup_hierarchy=1",
        );
    }
    let kind = if layout.v1.is_empty() { "v2" } else { "v1 controllers with v2 beside them" };
    Finding::ok("cgroups", format!("{kind} ({})", layout.v2.display()))
}

fn overlay() -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
        return Finding::ok("overlay", "the kernel has overlay file systems");
    }
    // The first mount loads the module, if there is one.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules =
        fs::read_to_string(format!("/lib/modules/{}/modules.dep", release.trim())).unwrap_or_default();
    match modules.contains("/overlay.ko") {
        true => Finding::ok("overlay", "the kernel has a module for overlay file systems"),
        false => Finding::new(
            "overlay",
            Level::Failure,
            "the kernel has no overlay file system",
            "modprobe overlay",
        ),
    }
}

fn user_namespaces() -> Finding {
    match number("/proc/sys/user/max_user_namespaces") {
        Some(0) => Finding::new(
            "user namespaces",
            Level::Failure,
            "user.max_user_namespaces is 0",
            "sysctl -w user.max_user_namespaces=65536",
        ),
        Some(count) => Finding::ok("user namespaces", format!("up to {count}")),
        None => Finding::new("user namespaces", Level::Failure, "the kernel has no user namespaces", ""),
    }
}

fn inotify() -> Finding {
    match number(INOTIFY_INSTANCES) {
        Some(count) if count < INOTIFY_INSTANCES_WANTED => Finding::new(
            "inotify",
            Level::Warning,
            format!("fs.inotify.max_user_instances is {count}: about {} systemd guests", count / 6),
            &format!("sysctl -w fs.inotify.max_user_instances={INOTIFY_INSTANCES_WANTED}"),
        ),
        Some(count) => Finding::ok("inotify", format!("fs.inotify.max_user_instances is {count}")),
        None => Finding::new("inotify", Level::Warning, "fs.inotify.max_user_instances cannot be read", ""),
    }
}

fn nftables() -> Finding {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin"]);
    match places.map(|dir| Path::new(dir).join("nft")).find(|file| file.is_file()) {
        Some(file) => Finding::ok("nftables", file.display().to_string()),
        None => Finding::new(
            "nftables",
            Level::Failure,
            "the nft program is missing; security groups need it",
            "apt-get install nftables",
        ),
    }
}

fn kvm() -> Finding {
    match fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Finding::ok("kvm", "/dev/kvm can be opened"),
        Err(error) => Finding::new(
            "kvm",
            Level::Warning,
            format!("/dev/kvm: {error}; virtual machines would be emulated"),
            "modprobe kvm",
        ),
    }
}

/// Raises the inotify limit if it is too low for a fleet, and records the old value in `record` (kept if it exists: the oldest value is
/// the machine's own).
pub fn raise_host_limits(record: &Path) -> io::Result<()> {
    let Some(count) = number(INOTIFY_INSTANCES).filter(|count| *count < INOTIFY_INSTANCES_WANTED) else {
        return Ok(());
    };
    if !record.exists() {
        fs::write(record, format!("{count}\n"))?;
    }
    fs::write(INOTIFY_INSTANCES, INOTIFY_INSTANCES_WANTED.to_string())
}

/// Puts back what [`raise_host_limits`] recorded, if the value is still ours.
pub fn restore_host_limits(record: &Path) -> io::Result<()> {
    let Ok(old) = fs::read_to_string(record) else { return Ok(()) };
    if number(INOTIFY_INSTANCES) == Some(INOTIFY_INSTANCES_WANTED)
        && let Ok(old) = old.trim().parse::<u64>()
    {
        fs::write(INOTIFY_INSTANCES, old.to_string())?;
    }
    fs::remove_file(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_that_is_not_ok_says_what() {
        for finding in host_limits() {
            assert!(!finding.detail.is_empty(), "{finding:?}");
            assert!(finding.level == Level::Ok || !finding.name.is_empty());
        }
    }
}
