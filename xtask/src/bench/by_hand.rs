//! An image started with the bare runtime: overlay, network namespace and runc, with as few commands as that takes.
//!
//! The container gets its own control groups in every hierarchy before runc makes its cgroup namespace, as one must where version 1
//! hierarchies and version 2 exist side by side: otherwise the guest's systemd would act in the host's groups.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use crate::process;

/// A network of two addresses, of the block that is reserved for documentation (RFC 5737): it cannot meet a real one.
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const PREFIX: u8 = 30;
/// Memory and processor time of the instance type that it is compared with.
const MEMORY_BYTES: u64 = 1 << 30;
const CPU_QUOTA_US: u64 = 200_000;
const CPU_PERIOD_US: u64 = 100_000;
/// What systemd and a web app need, with the kernel's numbers.
const CAPABILITIES: [(u32, &str); 21] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (2, "CAP_DAC_READ_SEARCH"),
    (3, "CAP_FOWNER"),
    (4, "CAP_FSETID"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (10, "CAP_NET_BIND_SERVICE"),
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (15, "CAP_IPC_OWNER"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (23, "CAP_SYS_NICE"),
    (24, "CAP_SYS_RESOURCE"),
    (27, "CAP_MKNOD"),
    (29, "CAP_AUDIT_WRITE"),
    (31, "CAP_SETFCAP"),
];

/// A running container. Dropping it ends it and removes what it had.
pub(super) struct ByHand {
    name: String,
    dir: tempfile::TempDir,
    groups: Vec<PathBuf>,
}

impl ByHand {
    /// Starts the image whose root file system is `lower`; returns when runc says that its init runs.
    pub(super) fn start(lower: &Path) -> anyhow::Result<ByHand> {
        let dir = tempfile::Builder::new().prefix("puffer-bench-").tempdir()?;
        let name = format!("puffer-bench-{}", std::process::id());
        let container = ByHand { groups: groups(&name), name, dir };
        container.boot(lower).context("starting a container by hand")?;
        Ok(container)
    }

    /// Where its app answers.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from((GUEST, 80))
    }

    fn boot(&self, lower: &Path) -> anyhow::Result<()> {
        let path = self.dir.path();
        for name in ["upper", "work", "rootfs"] {
            fs::create_dir(path.join(name))?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            path.join("upper").display(),
            path.join("work").display()
        );
        process::output(
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(path.join("rootfs")),
        )?;
        let name = &self.name;
        process::output(Command::new("ip").args(["netns", "add", name]))?;
        process::output(
            Command::new("ip")
                .args(["link", "add", "pfbench0", "type", "veth", "peer", "name", "eth0", "netns", name]),
        )?;
        process::output(Command::new("ip").args([
            "address",
            "add",
            &format!("{HOST}/{PREFIX}"),
            "dev",
            "pfbench0",
        ]))?;
        process::output(Command::new("ip").args(["link", "set", "pfbench0", "up"]))?;
        let inside =
            ["link set lo up", &format!("address add {GUEST}/{PREFIX} dev eth0"), "link set eth0 up"]
                .join("\n");
        fs::write(path.join("inside"), inside)?;
        process::output(Command::new("ip").args(["-n", name, "-batch"]).arg(path.join("inside")))?;
        for group in &self.groups {
            fs::create_dir_all(group)?;
        }
        fs::write(path.join("config.json"), self.config().to_string())?;
        let join: String =
            self.groups.iter().map(|g| format!("echo $$ >{}/cgroup.procs; ", g.display())).collect();
        let script = format!(
            "{join}exec runc --root {0}/state run --detach --bundle {0} {name} </dev/null >{0}/console 2>&1",
            path.display()
        );
        process::output(Command::new("sh").args(["-ec", &script]))
            .with_context(|| fs::read_to_string(path.join("console")).unwrap_or_default())?;
        Ok(())
    }

    fn config(&self) -> Value {
        let tmpfs = |at: &str| json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]});
        let own_group = match pure_v2() {
            true => {
                json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev"]})
            }
            false => json!({"destination": "/sys/fs/cgroup", "type": "bind",
                "source": Path::new(V2_BESIDE_V1).join(&self.name), "options": ["rbind", "rw"]}),
        };
        let capabilities = capabilities();
        json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "hostname": "by-hand",
            "process": {
                "terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/sbin/init"],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=oci"],
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
                tmpfs("/run"), tmpfs("/tmp"), own_group,
            ],
            "linux": {
                "cgroupsPath": format!("/{}", self.name),
                "resources": {"memory": {"limit": MEMORY_BYTES}, "cpu": {"quota": CPU_QUOTA_US, "period": CPU_PERIOD_US}},
                "namespaces": [
                    {"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "cgroup"},
                    {"type": "network", "path": format!("/run/netns/{}", self.name)},
                ],
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        })
    }
}

/// Those of [`CAPABILITIES`] that we may hand on ourselves.
fn capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok());
    let mask = mask.unwrap_or(u64::MAX);
    CAPABILITIES.iter().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| *name).collect()
}

/// Where version 2 is mounted on machines that have version 1 as well.
const V2_BESIDE_V1: &str = "/sys/fs/cgroup/unified";

fn pure_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The groups that runc does not make: of version 2 and systemd's, where version 1 exists as well.
fn groups(name: &str) -> Vec<PathBuf> {
    if pure_v2() {
        return Vec::new();
    }
    [V2_BESIDE_V1, "/sys/fs/cgroup/systemd"]
        .iter()
        .map(Path::new)
        .filter(|p| p.exists())
        .map(|p| p.join(name))
        .collect()
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let path = self.dir.path();
        let state = path.join("state");
        let mut failures = Vec::new();
        let mut run = |command: &mut Command| {
            if let Err(error) = process::output(command) {
                failures.push(format!("{error:#}"));
            }
        };
        run(Command::new("runc").arg("--root").arg(&state).args(["delete", "--force", &self.name]));
        run(Command::new("umount").arg(path.join("rootfs")));
        run(Command::new("ip").args(["netns", "delete", &self.name]));
        // The kernel removes the pair with the namespace, a little later; the next one needs the name at once.
        let _ = process::output(Command::new("ip").args(["link", "delete", "pfbench0"]));
        for group in &self.groups {
            remove_group(group);
        }
        if !failures.is_empty() {
            eprintln!("cleaning up a container started by hand: {}", failures.join("; "));
        }
    }
}

/// Groups that systemd made below go first.
fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
