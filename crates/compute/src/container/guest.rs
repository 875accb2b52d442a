//! From a fresh process in fresh namespaces to the instance's init.
//!
//! The order matters. Nothing of the guest's file system is touched by path before the root is changed, because a guest may have left
//! symbolic links there; after that, paths cannot leave it. The old root stays attached underneath until `/proc` and `/sys`
//! are mounted, since the kernel allows a user namespace new ones only while it can see full ones. Everything written into the
//! instance is written here, by the instance's own root, so a hostile link can only harm the instance itself.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, pivot_root, setgroups, setresgid, setresuid};

use super::inject;
use super::link::{Link, Word};
use super::netlink::Netlink;
use super::plan::{Failure, Plan, Step};
use super::sys;
use crate::process::BUNDLE_MANIFEST;

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
/// Capabilities that a machine's root has and an instance's has not: modules, raw I/O, clocks, kernel log, security modules, audit control, BPF and performance
/// counters, wake-ups. What is left is bounded by the user namespace.
const DROPPED_CAPABILITIES: [u32; 14] = [
    9,  // LINUX_IMMUTABLE
    16, // SYS_MODULE
    17, // SYS_RAWIO
    20, // SYS_PACCT
    25, // SYS_TIME
    30, // AUDIT_CONTROL
    32, // MAC_OVERRIDE
    33, // MAC_ADMIN
    34, // SYSLOG
    35, // WAKE_ALARM
    36, // BLOCK_SUSPEND
    37, // AUDIT_READ
    38, // PERFMON
    39, // BPF
];
/// What programs get by default; some walk through all descriptors they may have.
const OPEN_FILES_SOFT: u64 = 1024;
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs in the cloned process; never returns.
pub(super) fn become_init(plan: &Plan, link: Link, filters: &[seccompiler::BpfProgram]) -> ! {
    sys::die_with_parent(true);
    let failure = match prepare(plan, &link, filters) {
        Ok(init) => init.exec(),
        Err(failure) => failure,
    };
    let _ = link.say(&Word::Failed(serde_json::to_string(&failure).unwrap_or_default()));
    sys::exit_now(1)
}

/// Process 1, ready to be executed.
struct Init {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Init {
    fn exec(self) -> Failure {
        let Err(errno) = nix::unistd::execve(&self.path, &self.arguments, &self.environment);
        let message = format!("execute {}: {}", self.path.to_string_lossy(), errno.desc());
        match errno {
            nix::errno::Errno::ENOEXEC | nix::errno::Errno::ENOENT | nix::errno::Errno::EACCES => {
                Failure::image(message)
            }
            _ => Failure::permanent(message),
        }
    }
}

fn expect(link: &Link, wanted: fn(&Word) -> bool) -> Result<(), Failure> {
    match link.hear().step(|| "wait for the shim".into())? {
        word if wanted(&word) => Ok(()),
        _ => Err(Failure::transient("the shim went away")),
    }
}

fn prepare(plan: &Plan, link: &Link, filters: &[seccompiler::BpfProgram]) -> Result<Init, Failure> {
    expect(link, |word| matches!(word, Word::Build))?;
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))
        .step(|| "become the instance's root".into())?;
    setgroups(&[]).step(|| "leave the host's groups".into())?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))
        .step(|| "become the instance's root".into())?;
    // The change of uid cleared it.
    sys::die_with_parent(true);
    nix::unistd::setsid().step(|| "start a session".into())?;
    sys::leave_session_keyring();
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP)
        .step(|| "unshare mounts and cgroups".into())?;
    umask(Mode::empty());
    let devices = host_devices()?;
    let old_root = change_root(&plan.dir.join("mnt/root"))?;
    mount_kernel_views()?;
    let master = make_devices(&devices)?;
    mask()?;
    drop_old_root(old_root)?;
    umask(Mode::from_bits_truncate(0o022));
    nix::unistd::sethostname(&plan.spec.hostname).step(|| "set the host name".into())?;
    configure_network(plan)?;
    inject::into_root(plan)?;
    link.say(&Word::Console(master)).step(|| "hand over the console".into())?;

    let command = if plan.image.command.is_empty() {
        vec!["/sbin/init".to_string()]
    } else {
        plan.image.command.clone()
    };
    let path = find_program(&command)?;
    link.say(&Word::Ready(init_kind(&path).into())).step(|| "talk to the shim".into())?;
    let init = Init {
        path: c_string(&path.to_string_lossy())?,
        arguments: command.iter().map(|word| c_string(word)).collect::<Result<_, _>>()?,
        environment: environment(plan)?,
    };
    expect(link, |word| matches!(word, Word::Exec))?;
    take_console()?;
    enter_working_dir(plan)?;
    confine(filters)?;
    if init_kind(&path) != "systemd" {
        inject::start_first_boot(&init.environment)?;
    }
    sys::die_with_parent(false);
    Ok(init)
}

fn host_devices() -> Result<Vec<(&'static str, OwnedFd)>, Failure> {
    DEVICES
        .into_iter()
        .map(|name| {
            let path = Path::new("/dev").join(name);
            Ok((name, sys::open_tree(&path).step(|| format!("open {}", path.display()))?))
        })
        .collect()
}

/// Makes the overlay the root; the old root stays attached on top until [`drop_old_root`].
fn change_root(root: &Path) -> Result<File, Failure> {
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

fn drop_old_root(old: File) -> Result<(), Failure> {
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

fn mount_kernel_views() -> Result<(), Failure> {
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
fn make_devices(devices: &[(&str, OwnedFd)]) -> Result<OwnedFd, Failure> {
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

fn mask() -> Result<(), Failure> {
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

/// The network namespace is the instance's own since the clone; `eth0` was put into it by the shim.
fn configure_network(plan: &Plan) -> Result<(), Failure> {
    let netlink = Netlink::open().step(|| "open a route socket".into())?;
    netlink.set_up("lo").step(|| "set lo up".into())?;
    let Some(network) = &plan.spec.network else { return Ok(()) };
    netlink
        .add_address("eth0", network.address, network.prefix)
        .step(|| format!("give eth0 {}", network.address))?;
    netlink.set_up("eth0").step(|| "set eth0 up".into())?;
    netlink.add_default_route("eth0", network.gateway).step(|| format!("route through {}", network.gateway))
}

/// Where the command's program is; commands without a slash are searched for.
fn find_program(command: &[String]) -> Result<PathBuf, Failure> {
    let name = command.first().map(String::as_str).unwrap_or_default();
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        SEARCH_PATH.split(':').map(|dir| Path::new(dir).join(name)).collect()
    };
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Failure::image(format!(
            "it has no {name}, and no init of its own is named in its {}",
            BUNDLE_MANIFEST
        ))
    })
}

fn init_kind(path: &Path) -> &'static str {
    let real = fs::canonicalize(path).unwrap_or_default();
    match real.file_name().map(|name| name.to_string_lossy().into_owned()).as_deref() {
        Some("systemd") => "systemd",
        Some("busybox") => "busybox",
        _ => "other",
    }
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::permanent("a command or variable holds a NUL byte"))
}

fn environment(plan: &Plan) -> Result<Vec<CString>, Failure> {
    let mut all = std::collections::BTreeMap::from([
        ("PATH".to_string(), SEARCH_PATH.to_string()),
        ("HOME".to_string(), "/root".to_string()),
        // No colours and cursor movements in get-console-output.
        ("TERM".to_string(), "dumb".to_string()),
    ]);
    all.extend(plan.image.environment.clone());
    all.extend(plan.spec.environment.clone());
    // systemd looks for it to know that it is in a container.
    all.insert("container".into(), "oci".into());
    all.iter().map(|(name, value)| c_string(&format!("{name}={value}"))).collect()
}

/// The console as standard files. It does not become init's controlling terminal: the end of the shim would hang init up.
fn take_console() -> Result<(), Failure> {
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits())
        .open("/dev/console")
        .step(|| "open /dev/console".into())?;
    nix::unistd::dup2_stdin(&console).step(|| "take the console".into())?;
    nix::unistd::dup2_stdout(&console).step(|| "take the console".into())?;
    nix::unistd::dup2_stderr(&console).step(|| "take the console".into())?;
    Ok(())
}

fn enter_working_dir(plan: &Plan) -> Result<(), Failure> {
    let dir = plan.image.working_directory.as_deref().unwrap_or("/");
    std::env::set_current_dir(dir)
        .map_err(|error| Failure::image(format!("working directory {dir}: {error}")))
}

/// Last of all: limits, signals, descriptors, capabilities, seccomp.
fn confine(filters: &[seccompiler::BpfProgram]) -> Result<(), Failure> {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.min(OPEN_FILES_SOFT), hard);
    }
    sys::reset_signals();
    sys::close_on_exec_from(3).step(|| "close descriptors".into())?;
    for capability in DROPPED_CAPABILITIES {
        sys::drop_bounding(capability).step(|| format!("drop capability {capability}"))?;
    }
    sys::drop_capabilities(&DROPPED_CAPABILITIES).step(|| "drop capabilities".into())?;
    for filter in filters {
        sys::install_seccomp(filter).step(|| "install the seccomp filter".into())?;
    }
    Ok(())
}
