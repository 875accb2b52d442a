//! From a fresh process in fresh namespaces to the instance's init.
//!
//! The order matters. Nothing of the guest's file system is touched by path before the root is changed, because a guest may have left
//! symbolic links there; after that, paths cannot leave it. The old root stays attached underneath until `/proc` and `/sys`
//! are mounted, since the kernel allows a user namespace new ones only while it can see full ones. Everything written into the
//! instance is written here, by the instance's own root, so a hostile link can only harm the instance itself.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::inject;
use super::link::{Link, Word};
use super::netlink::Netlink;
use super::plan::{Failure, Plan, Step};
use super::surroundings::{change_root, drop_old_root, host_devices, make_devices, mask, mount_kernel_views};
use super::sys;
use crate::process::BUNDLE_MANIFEST;

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
    // While still the host's root: the instance's root may not pass through a private data directory.
    std::env::set_current_dir(plan.dir.join("mnt")).step(|| "enter the stage".into())?;
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
    let old_root = change_root(Path::new("root"))?;
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
