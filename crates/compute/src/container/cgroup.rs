//! The instances' cgroups, on pure v2 hosts and on hybrids (v1 controllers beside a bare v2).
//!
//! Every instance has a group `<server>/<instance>` in each mounted hierarchy. In v2 its init lives one level below,
//! in `guest`, which is the root of its cgroup namespace and is handed to it (systemd needs a subtree to manage); the limits sit
//! at the instance's level, or in v1 files that belong to the host's root, so that the guest cannot reach them. Freezing and
//! killing always go through v2, which can do both without any controller.
//!
//! Init is put into its groups *before* it unshares its cgroup namespace. Runtimes that leave v2 or `name=systemd` at `/` on hybrids let the
//! guest's systemd act on the host's root group.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroup_layout::Layout;
use super::sys::monotonic_ms;

/// Length of the CPU bandwidth period in microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// Processes and threads in one instance: plenty for a service machine, far from the host's limit.
const PIDS_MAX: u32 = 8_192;
/// How long the kernel may take to freeze an instance, or to bury a killed one (a process in uninterruptible I/O can hang).
const SETTLE_TIMEOUT_MS: u64 = 10_000;
/// Time between two kills of a group that does not empty.
const KILL_AGAIN_MS: u64 = 100;

/// Limits of one instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) cpu_millis: u32,
    pub(super) memory_bytes: u64,
}

/// All groups of one server.
#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    pub(super) layout: Layout,
    /// Name of the server's group, at the top of each hierarchy.
    pub(super) server: String,
}

impl Cgroups {
    fn v2_group(&self, id: &str) -> PathBuf {
        self.layout.v2.join(&self.server).join(id)
    }

    /// The v2 group at the instance's level: limits, freezing, killing, CPU time.
    pub(super) fn outer(&self, id: &str) -> PathBuf {
        self.v2_group(id)
    }

    /// The v2 group that the guest sees as `/`.
    pub(super) fn guest(&self, id: &str) -> PathBuf {
        self.v2_group(id).join("guest")
    }

    /// The instance's group in the v1 hierarchy of `controller`.
    pub(super) fn v1_group(&self, controller: &str, id: &str) -> Option<PathBuf> {
        Some(self.layout.v1_of(controller)?.join(&self.server).join(id))
    }

    /// The groups that init enters.
    pub(super) fn leaves(&self, id: &str) -> Vec<PathBuf> {
        let v1 = self.layout.v1.iter().map(|(point, _)| point.join(&self.server).join(id));
        v1.chain([self.guest(id)]).collect()
    }

    /// The groups shims live in, outside every instance and every service of a host's systemd, which would end them with the control plane.
    pub(super) fn shim_leaves(&self) -> Vec<PathBuf> {
        let systemd = self.layout.v1_of("name=systemd").map(|point| point.join(&self.server).join("shims"));
        systemd.into_iter().chain([self.layout.v2.join(&self.server).join("shims")]).collect()
    }

    /// Makes the groups of an instance, empty and limited. Existing ones are reused.
    pub(super) fn create(&self, id: &str, limits: Limits, base_uid: u32) -> io::Result<()> {
        for leaf in self.shim_leaves() {
            fs::create_dir_all(leaf)?;
        }
        for (point, controllers) in &self.layout.v1 {
            let server = point.join(&self.server);
            let group = server.join(id);
            fs::create_dir_all(&group)?;
            if controllers.iter().any(|c| c == "cpuset") {
                // A cpuset without CPUs and memory nodes lets nobody in.
                for (child, parent) in [(&server, point), (&group, &server)] {
                    for file in ["cpuset.cpus", "cpuset.mems"] {
                        fs::write(child.join(file), fs::read(parent.join(file))?)?;
                    }
                }
            }
        }
        let outer = self.outer(id);
        let guest = self.guest(id);
        fs::create_dir_all(&guest)?;
        let server = self.layout.v2.join(&self.server);
        for group in [&self.layout.v2, &server, &outer] {
            enable_controllers(group);
        }
        self.limit(id, limits)?;
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            std::os::unix::fs::chown(guest.join(file), Some(base_uid), Some(base_uid))?;
        }
        Ok(())
    }

    fn limit(&self, id: &str, limits: Limits) -> io::Result<()> {
        let quota_us = u64::from(limits.cpu_millis) * CPU_PERIOD_US / 1000;
        let quota_us = quota_us.max(1000);
        let outer = self.outer(id);
        match self.v1_group("cpu", id) {
            Some(group) => {
                fs::write(group.join("cpu.cfs_period_us"), CPU_PERIOD_US.to_string())?;
                fs::write(group.join("cpu.cfs_quota_us"), quota_us.to_string())?;
                let shares = (u64::from(limits.cpu_millis) * 1024 / 1000).clamp(2, 262_144);
                fs::write(group.join("cpu.shares"), shares.to_string())?;
            }
            None => {
                fs::write(outer.join("cpu.max"), format!("{quota_us} {CPU_PERIOD_US}"))?;
                let weight = (u64::from(limits.cpu_millis) / 10).clamp(1, 10_000);
                fs::write(outer.join("cpu.weight"), weight.to_string())?;
            }
        }
        let memory = limits.memory_bytes.to_string();
        match self.v1_group("memory", id) {
            Some(group) => {
                // Memory plus swap must never be below memory alone, so open it before memory moves.
                let _ = fs::write(group.join("memory.memsw.limit_in_bytes"), "-1");
                fs::write(group.join("memory.limit_in_bytes"), &memory)?;
                let _ = fs::write(group.join("memory.memsw.limit_in_bytes"), &memory);
            }
            None => {
                fs::write(outer.join("memory.max"), &memory)?;
                // Absent where the kernel has no swap.
                let _ = fs::write(outer.join("memory.swap.max"), "0");
            }
        }
        match self.v1_group("pids", id) {
            Some(group) => fs::write(group.join("pids.max"), PIDS_MAX.to_string())?,
            None => fs::write(outer.join("pids.max"), PIDS_MAX.to_string())?,
        }
        Ok(())
    }

    /// Kills every process of the instance and waits until all are gone.
    pub(super) fn kill(&self, id: &str) -> io::Result<()> {
        let outer = self.outer(id);
        if !outer.exists() {
            return Ok(());
        }
        let deadline = monotonic_ms() + SETTLE_TIMEOUT_MS;
        loop {
            // Linux before 5.14 has no such file.
            if fs::write(outer.join("cgroup.kill"), "1").is_err() {
                kill_each(&outer);
            }
            // A start that was under way may have put a process in after the blow, hence again and again.
            match wait_event(&outer, "populated 0", KILL_AGAIN_MS) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut && monotonic_ms() < deadline => {}
                other => return other,
            }
        }
    }

    /// Freezes or thaws the guest, and waits until a freeze is complete.
    pub(super) fn freeze(&self, id: &str, frozen: bool) -> io::Result<()> {
        let guest = self.guest(id);
        fs::write(guest.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        if frozen { wait_event(&guest, "frozen 1", SETTLE_TIMEOUT_MS) } else { Ok(()) }
    }

    /// Kills what is left and removes the instance's groups everywhere.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        self.kill(id)?;
        remove_tree(&self.outer(id))?;
        for (point, _) in &self.layout.v1 {
            remove_tree(&point.join(&self.server).join(id))?;
        }
        Ok(())
    }

    /// Removes the groups that a guest made below its root (after its end, before a restart).
    pub(super) fn clear_guest(&self, id: &str) -> io::Result<()> {
        clear_below(&self.guest(id))
    }

    /// Names of the instances that have groups.
    pub(super) fn instances(&self) -> Vec<String> {
        let mut names = Vec::new();
        let tops = self.layout.v1.iter().map(|(point, _)| point).chain([&self.layout.v2]);
        for top in tops {
            for entry in fs::read_dir(top.join(&self.server)).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type().is_ok_and(|t| t.is_dir()) && name != "shims" && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Removes the server's own groups if no instance is left.
    pub(super) fn remove_server(&self) {
        if !self.instances().is_empty() {
            return;
        }
        let tops = self.layout.v1.iter().map(|(point, _)| point).chain([&self.layout.v2]);
        for server in tops.map(|top| top.join(&self.server)).filter(|server| server.exists()) {
            if let Err(error) = remove_tree(&server) {
                tracing::warn!(group = %server.display(), %error, "the server's cgroup could not be removed");
            }
        }
    }
}

/// Puts the process with host pid `pid` (or `0`, the caller) into the groups.
pub(super) fn enter(leaves: &[PathBuf], pid: i32) -> io::Result<()> {
    for leaf in leaves {
        let file = leaf.join("cgroup.procs");
        fs::write(&file, pid.to_string())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    }
    Ok(())
}

/// Lets the children of a v2 group have what it has itself. One by one: a controller that cannot be enabled must not keep the others off.
fn enable_controllers(group: &Path) {
    let available = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for controller in
        available.split_whitespace().filter(|c| matches!(*c, "cpu" | "memory" | "pids" | "io" | "cpuset"))
    {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn kill_each(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            kill_each(&entry.path());
        }
    }
    let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse().ok()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Waits for a line of `cgroup.events`, which the kernel announces by POLLPRI.
fn wait_event(group: &Path, line: &str, timeout_ms: u64) -> io::Result<()> {
    let mut events = File::open(group.join("cgroup.events"))?;
    let deadline = monotonic_ms() + timeout_ms;
    loop {
        let mut text = String::new();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|l| l == line) {
            return Ok(());
        }
        let now = monotonic_ms();
        if now >= deadline {
            let left = members(group).join(", ");
            let message = format!("{}: no '{line}' (processes: {left})", group.display());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        let left = u16::try_from(deadline - now).unwrap_or(u16::MAX).min(100);
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        poll(&mut fds, PollTimeout::from(left))?;
    }
}

/// `pid (name) state` of the processes in a group and below it, for an error message.
fn members(group: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(members(&entry.path()));
        }
    }
    let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(pids.lines().map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.split(' ').take(3).collect::<Vec<_>>().join(" ")
    }));
    found
}

fn remove_tree(group: &Path) -> io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    clear_below(group)?;
    remove_group(group)
}

fn clear_below(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// `rmdir` answers EBUSY for moments after the last process ended, while the kernel lets go of it.
fn remove_group(group: &Path) -> io::Result<()> {
    let deadline = monotonic_ms() + SETTLE_TIMEOUT_MS;
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && monotonic_ms() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens a group's file for repeated reads.
pub(super) fn open_file(group: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).open(group.join(name))
}
