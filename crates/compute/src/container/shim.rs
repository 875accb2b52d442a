//! The shim: a small process beside each running instance.
//!
//! It builds what only the host's root can (maps, groups, the overlay, the host's end of the network), holds the master of the console's
//! pseudo-terminal, waits for init as its parent, and restarts the guest when the guest asked for a reboot. It needs nobody: the
//! control plane may die and come back at any time.
//!
//! All mounts are made in the shim's private mount namespace. When shim and guest are gone, however they went, the kernel has
//! removed them; no crash leaves a mount on the host.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroup::{self, Cgroups};
use super::console::ConsoleLog;
use super::link::{Link, Word};
use super::netlink::{Netlink, parse_mac};
use super::plan::{Answer, Failure, Plan, Step};
use super::state::{GuestEnd, InitKind, InstanceDir, ProcessId, Run, lock_for_life};
use super::sys::{self, Cloned};
use super::uid_range::UIDS_PER_INSTANCE;
use super::{guest, seccomp};

/// Largest plan on stdin: user data (16 KiB), keys and paths, with room.
const PLAN_BYTES_MAX: u64 = 1 << 20;
/// A guest that reboots at once, again and again, is held to one start in this time.
const RESTART_INTERVAL_MS: u64 = 2_000;
/// Console output taken in one window of [`CONSOLE_WINDOW_MS`]; a guest that writes more waits, so that it cannot burn the host's CPU through its shim.
const CONSOLE_WINDOW_BYTES: usize = 256 * 1024;
const CONSOLE_WINDOW_MS: u64 = 100;

/// How a guest ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It called `reboot(RB_AUTOBOOT)`, which the kernel turns into SIGHUP for a namespace's init.
    Reboot,
    /// Power-off, which the kernel turns into SIGINT, or an exit with status 0 as of inits that know no power-off.
    Off,
    /// Its init failed or was killed; how.
    Crash(String),
}

impl End {
    fn of(status: nix::Result<WaitStatus>) -> End {
        match status {
            Ok(WaitStatus::Signaled(_, Signal::SIGHUP, _)) => End::Reboot,
            Ok(WaitStatus::Signaled(_, Signal::SIGINT, _) | WaitStatus::Exited(_, 0)) => End::Off,
            Ok(WaitStatus::Exited(_, code)) => End::Crash(format!("init ended with exit status {code}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => End::Crash(format!("init was killed by {signal}")),
            Ok(_) | Err(_) => End::Crash("init ended, and nobody knows how".to_owned()),
        }
    }
}

/// Entry: reads the plan, runs the guest until its end.
pub(super) fn run() -> u8 {
    let mut text = String::new();
    let plan: Plan = match io::stdin().take(PLAN_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => match serde_json::from_str(&text) {
            Ok(plan) => plan,
            Err(error) => return answer(&Answer::Failed(Failure::permanent(format!("plan: {error}")))),
        },
        Err(error) => return answer(&Answer::Failed(Failure::transient(format!("plan: {error}")))),
    };
    let mut shim = match Shim::new(plan) {
        Ok(shim) => shim,
        Err(failure) => return answer(&Answer::Failed(failure)),
    };
    let code = match shim.serve() {
        Ok(()) => 0,
        Err(failure) => answer(&Answer::Failed(failure)),
    };
    // The lock must stay held until the process is gone: whoever gets it may remove the directory.
    std::mem::forget(shim);
    code
}

/// Tells the driver, which may be gone by now.
fn answer(answer: &Answer) -> u8 {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
    }
    match answer {
        Answer::Running => 0,
        Answer::Failed(_) => 1,
    }
}

struct Shim {
    plan: Plan,
    dir: InstanceDir,
    cgroups: Cgroups,
    console: ConsoleLog,
    netlink: Netlink,
    /// Held until the process ends.
    _lock: nix::fcntl::Flock<File>,
}

/// A started guest.
struct Guest {
    pid: Pid,
    pidfd: OwnedFd,
    console: OwnedFd,
    /// Held so that the terminal does not hang up while nobody in the guest has it open.
    _terminal: Option<OwnedFd>,
}

impl Shim {
    fn new(plan: Plan) -> Result<Self, Failure> {
        let dir = InstanceDir { path: plan.dir.clone() };
        // A session of its own: the terminal's Ctrl-C is for the control plane.
        let _ = nix::unistd::setsid();
        let lock = lock_for_life(&dir, plan.start).step(|| "take the instance's lock".into())?;
        let cgroups =
            plan.cgroups().ok_or_else(|| Failure::permanent("no cgroup2 file system is mounted"))?;
        cgroup::enter(&cgroups.shim_leaves(), std::process::id() as i32)
            .step(|| "enter the shims' cgroup".into())?;
        let console = ConsoleLog::open(&dir.path).step(|| "open the console log".into())?;
        let netlink = Netlink::open().step(|| "open a route socket".into())?;
        unshare(CloneFlags::CLONE_NEWNS).step(|| "unshare the mount namespace".into())?;
        // Slave: what the host unmounts, we let go of too; nothing of ours spreads to the host.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
            .step(|| "make mounts private".into())?;
        Ok(Shim { plan, dir, cgroups, console, netlink, _lock: lock })
    }

    /// Starts the guest, answers the driver, and goes on until the guest is off.
    fn serve(&mut self) -> Result<(), Failure> {
        let mut started_ms = sys::monotonic_ms();
        let mut guest = self.boot(true).inspect_err(|_| self.unplug())?;
        answer(&Answer::Running);
        release_standard_files();
        loop {
            let end = self.attend(&guest);
            self.unplug();
            if end != End::Reboot || self.dir.file("stopping").exists() {
                self.note(match end {
                    End::Crash(how) => GuestEnd::Crash(how),
                    End::Off | End::Reboot => GuestEnd::PowerOff,
                });
                return Ok(());
            }
            let since = sys::monotonic_ms().saturating_sub(started_ms);
            std::thread::sleep(std::time::Duration::from_millis(RESTART_INTERVAL_MS.saturating_sub(since)));
            started_ms = sys::monotonic_ms();
            self.plan.first_boot = false;
            guest = match self
                .cgroups
                .clear_guest(&self.plan.spec.instance_id)
                .step(|| "clear the guest's cgroups".into())
                .and_then(|()| self.boot(false))
            {
                Ok(guest) => guest,
                Err(failure) => {
                    let _ = self
                        .console
                        .append(format!("\r\npuffer: restart failed: {}\r\n", failure.message).as_bytes());
                    self.unplug();
                    self.note(GuestEnd::Crash(format!("it could not be restarted: {}", failure.message)));
                    return Ok(());
                }
            };
        }
    }

    /// Leaves word of the guest's end. If that fails (a full disk), the end counts as unseen.
    fn note(&self, end: GuestEnd) {
        let _ = self.dir.write("end.json", &end);
    }

    /// Clones the guest's first process, builds its surroundings, and lets it become init.
    fn boot(&mut self, fresh: bool) -> Result<Guest, Failure> {
        let filters = [
            seccomp::program().map_err(|error| Failure::permanent(format!("seccomp: {error}")))?,
            seccomp::absent_program().map_err(|error| Failure::permanent(format!("seccomp: {error}")))?,
        ];
        let (ours, theirs) = Link::pair().step(|| "socket pair".into())?;
        let namespaces = CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC;
        let (pid, pidfd) = match sys::clone_process(namespaces).step(|| "clone into new namespaces".into())? {
            Cloned::Child => {
                drop(ours);
                guest::become_init(&self.plan, theirs, &filters)
            }
            Cloned::Parent(pid, pidfd) => (pid, pidfd),
        };
        drop(theirs);
        let built = self.build(&ours, pid, fresh);
        match built {
            Ok(console) => {
                let terminal = sys::open_terminal_peer(&console).ok();
                Ok(Guest { pid, pidfd, console, _terminal: terminal })
            }
            Err(failure) => {
                let _ = sys::pidfd_signal(&pidfd, libc::SIGKILL);
                let _ = waitpid(pid, None);
                let _ = self.cgroups.kill(&self.plan.spec.instance_id);
                Err(failure)
            }
        }
    }

    fn build(&mut self, link: &Link, pid: Pid, fresh: bool) -> Result<OwnedFd, Failure> {
        let base = self.plan.base_uid;
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{map}"), format!("0 {base} {UIDS_PER_INSTANCE}\n"))
                .step(|| format!("write {map}"))?;
        }
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
        if fresh {
            stage_root(&self.plan, pid)?;
        }
        cgroup::enter(&self.cgroups.leaves(&self.plan.spec.instance_id), pid.as_raw())
            .step(|| "enter the instance's cgroups".into())?;
        if let Some(network) = &self.plan.spec.network {
            let mac = parse_mac(&network.mac)
                .ok_or_else(|| Failure::permanent(format!("'{}' is not a MAC address", network.mac)))?;
            self.netlink
                .add_pair(&network.host_interface, &network.bridge, pid.as_raw(), mac)
                .step(|| format!("plug {} into bridge {}", network.host_interface, network.bridge))?;
        }
        link.say(&Word::Build).step(|| "talk to the guest's first process".into())?;
        let mut console = None;
        let kind = loop {
            match link.hear().step(|| "wait for the guest's first process".into())? {
                Word::Console(master) => console = Some(master),
                Word::Ready(kind) => break kind,
                other => return Err(broken(other)),
            }
        };
        let console =
            console.ok_or_else(|| Failure::permanent("the guest's first process made no console"))?;
        let kind = match kind.as_str() {
            "systemd" => InitKind::Systemd,
            "busybox" => InitKind::Busybox,
            _ => InitKind::Other,
        };
        let id = |pid| ProcessId::of(pid).step(|| "read a start time".into());
        let run = Run { init: id(pid.as_raw())?, shim: id(std::process::id() as i32)?, kind };
        // Recorded before init is let go: from here on any later control plane finds it.
        self.dir.write("run.json", &run).step(|| "write run.json".into())?;
        link.say(&Word::Exec).step(|| "talk to the guest's first process".into())?;
        match link.hear().step(|| "wait for init to start".into())? {
            Word::Closed => Ok(console),
            other => Err(broken(other)),
        }
    }

    /// Copies console output until init ends.
    fn attend(&mut self, guest: &Guest) -> End {
        let mut buffer = [0u8; 16 * 1024];
        let mut open = true;
        let mut window = (sys::monotonic_ms(), 0usize);
        loop {
            let mut fds = [
                PollFd::new(guest.pidfd.as_fd(), PollFlags::POLLIN),
                PollFd::new(guest.console.as_fd(), PollFlags::POLLIN),
            ];
            let watched = if open { &mut fds[..] } else { &mut fds[..1] };
            match poll(watched, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return End::Crash(format!("the shim lost sight of it: {}", error.desc())),
            }
            let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
            let ended = fds.first().is_some_and(ready);
            if open && fds.get(1).is_some_and(ready) {
                match nix::unistd::read(&guest.console, &mut buffer) {
                    Ok(0) => open = false,
                    Err(_) => open = false,
                    Ok(length) => {
                        // A full disk loses console output; it must not end the instance.
                        let _ = self.console.append(buffer.get(..length).unwrap_or_default());
                        window.1 += length;
                        if window.1 >= CONSOLE_WINDOW_BYTES {
                            let left = CONSOLE_WINDOW_MS
                                .saturating_sub(sys::monotonic_ms().saturating_sub(window.0));
                            std::thread::sleep(std::time::Duration::from_millis(left));
                            window = (sys::monotonic_ms(), 0);
                        }
                        continue;
                    }
                }
            }
            if ended {
                return End::of(waitpid(guest.pid, None));
            }
        }
    }

    /// Removes the host's end of the network at once; the kernel would do it some time after the guest's end.
    fn unplug(&self) {
        if let Some(network) = &self.plan.spec.network {
            let _ = self.netlink.delete(&network.host_interface);
        }
    }
}

fn broken(word: Word) -> Failure {
    match word {
        Word::Failed(json) => serde_json::from_str(&json).unwrap_or_else(|_| Failure::permanent(json)),
        Word::Closed => Failure::transient("the guest's first process ended early"),
        other => Failure::permanent(format!("unexpected {other:?} from the guest's first process")),
    }
}

/// After the answer, the driver's pipes must close: it waits for their end.
fn release_standard_files() {
    if let Ok(null) =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open("/dev/null")
    {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
    }
}

/// Mounts the overlay at `<dir>/mnt/root`: lower layers read-only with owners shifted into the instance's range, so that images stay as they
/// are; upper and work owned by the range itself (shifting the upper makes an overlay read-only).
pub(super) fn stage_root(plan: &Plan, pid: Pid) -> Result<(), Failure> {
    let stage = plan.dir.join("mnt");
    let user_namespace =
        File::open(format!("/proc/{pid}/ns/user")).step(|| "open the user namespace".into())?;
    mount(
        Some("puffer"),
        &stage,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("size=64k,mode=711"),
    )
    .step(|| "mount the stage".into())?;
    // Short relative names: overlay options share one page, and a path may hold a comma or colon.
    std::env::set_current_dir(&stage).step(|| "enter the stage".into())?;
    let mut lower = Vec::new();
    for (number, layer) in plan.spec.image.layers.iter().enumerate() {
        let name = format!("l{number}");
        fs::create_dir(&name).step(|| "make a layer's mount point".into())?;
        let tree = sys::open_tree(layer).step(|| format!("open layer {}", layer.display()))?;
        sys::idmap_read_only(&tree, &user_namespace)
            .step(|| format!("shift the owners of layer {}", layer.display()))?;
        sys::move_mount(&tree, Path::new(&name)).step(|| "attach a layer".into())?;
        lower.insert(0, name);
    }
    for name in ["d", "root"] {
        fs::create_dir(name).step(|| "make a mount point".into())?;
    }
    mount(Some(&plan.dir.join("disk")), "d", None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .step(|| "bind the disk".into())?;
    // Layers must stay portable (create_image copies the upper), hence no redirects, metacopies or indexes.
    let options = format!(
        "lowerdir={},upperdir=d/upper,workdir=d/work,redirect_dir=off,metacopy=off,index=off",
        lower.join(":")
    );
    // Device nodes in an image must not open the host's devices.
    mount(Some("overlay"), "root", Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))
        .step(|| "mount the overlay".into())?;
    Ok(())
}
