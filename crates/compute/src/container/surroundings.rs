//! The instance's root directory, `/proc`, `/sys`, `/dev` and their covers.
//!
//! Called in this order by `guest.rs`, whose module doc says why.

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::plan::{Failure, Step};
use super::sys;

/// Devices of the host that every process may have.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Files and directories that tell about the host. A user namespace already keeps the guest from changing what lies behind them; hiding them keeps
/// it from looking. (Its root can unmount these covers, as on every system container; the kernel's own checks then apply.)
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];
/// `/proc/sys` is left out on purpose: what of it is not namespaced refuses the guest's root anyway, and the guest's network settings
/// (`net.ipv4.ip_forward` and friends) belong to the guest.
const READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"];
pub(super) fn host_devices() -> Result<Vec<(&'static str, OwnedFd)>, Failure> {
    DEVICES
        .into_iter()
        .map(|name| {
            let path = Path::new("/dev").join(name);
            Ok((name, sys::open_tree(&path).step(|| format!("open {}", path.display()))?))
        })
        .collect()
}

/// Makes the overlay the root; the old root stays attached on top until [`drop_old_root`].
pub(super) fn change_root(root: &Path) -> Result<File, Failure> {
    let old = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits())
        .open("/")
        .step(|| "open the old root".into())?;
    // Nothing done in here may reach the shim's mounts.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .step(|| "make mounts private".into())?;
    // The overlay came from a more privileged namespace and is locked in place; a bind of it is ours.
    mount(Some(root), root, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .step(|| "bind the root".into())?;
    std::env::set_current_dir(root).step(|| "enter the root".into())?;
    pivot_root(".", ".").step(|| "change the root".into())?;
    Ok(old)
}

pub(super) fn drop_old_root(old: File) -> Result<(), Failure> {
    nix::unistd::fchdir(&old).step(|| "enter the old root".into())?;
    umount2(".", MntFlags::MNT_DETACH).step(|| "detach the old root".into())?;
    std::env::set_current_dir("/").step(|| "enter the new root".into())?;
    Ok(())
}

fn directory(path: &str, mode: u32) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).step(|| format!("make {path}"))
}

fn mount_new(kind: &str, path: &str, flags: MsFlags, data: Option<&str>) -> Result<(), Failure> {
    directory(path, 0o755)?;
    mount(Some(kind), path, Some(kind), flags, data).step(|| format!("mount {path}"))
}

pub(super) fn mount_kernel_views() -> Result<(), Failure> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_new("proc", "/proc", quiet, None)?;
    // Read-only: udev then knows that it has no business here.
    mount_new("sysfs", "/sys", quiet | MsFlags::MS_RDONLY, None)?;
    // Its root is the guest's own group, because the cgroup namespace was unshared from within it.
    mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), quiet, None::<&str>)
        .step(|| "mount /sys/fs/cgroup".into())?;
    let tmpfs = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_new("tmpfs", "/run", tmpfs, Some("mode=755,size=20%"))?;
    mount_new("tmpfs", "/tmp", tmpfs, Some("mode=1777,size=50%"))?;
    mount_new("tmpfs", "/run/lock", quiet, Some("mode=1777,size=5m"))
}

/// `/dev` with the few devices a program may expect. Returns the console's master.
pub(super) fn make_devices(devices: &[(&str, OwnedFd)]) -> Result<OwnedFd, Failure> {
    mount_new("tmpfs", "/dev", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("mode=755,size=4m"))?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (name, tree) in devices {
        let path = Path::new("/dev").join(name);
        File::create(&path).step(|| format!("make {}", path.display()))?;
        sys::move_mount(tree, &path).step(|| format!("mount {}", path.display()))?;
    }
    mount_new(
        "devpts",
        "/dev/pts",
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=0620,gid=5"),
    )?;
    mount_new("tmpfs", "/dev/shm", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=1777,size=50%"))?;
    mount_new("mqueue", "/dev/mqueue", quiet, None)?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("fd/0", "stdin"),
        ("fd/1", "stdout"),
        ("fd/2", "stderr"),
    ];
    for (target, name) in links {
        symlink(target, Path::new("/dev").join(name)).step(|| format!("link /dev/{name}"))?;
    }
    let master = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits())
        .open("/dev/pts/ptmx")
        .step(|| "open a pseudo-terminal".into())?;
    let master = OwnedFd::from(master);
    let number = sys::unlock_terminal(&master).step(|| "unlock the pseudo-terminal".into())?;
    File::create("/dev/console").step(|| "make /dev/console".into())?;
    let terminal = format!("/dev/pts/{number}");
    mount(Some(terminal.as_str()), "/dev/console", None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .step(|| "bind /dev/console".into())?;
    Ok(master)
}

pub(super) fn mask() -> Result<(), Failure> {
    for path in MASKED {
        let Ok(meta) = fs::metadata(path) else { continue };
        if meta.is_dir() {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("size=0k,mode=755"))
                .step(|| format!("mask {path}"))?;
        } else {
            mount(Some("/dev/null"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .step(|| format!("mask {path}"))?;
        }
    }
    for path in READ_ONLY.into_iter().filter(|path| Path::new(path).exists()) {
        mount(Some(path), path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .step(|| format!("bind {path}"))?;
        let flags = MsFlags::MS_BIND
            | MsFlags::MS_REMOUNT
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC;
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
            .step(|| format!("make {path} read-only"))?;
    }
    Ok(())
}
