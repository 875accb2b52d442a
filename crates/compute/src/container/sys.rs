//! The few kernel calls that `nix` does not wrap: `clone3`, the mount API by descriptors, pidfds, capabilities and seccomp.
//!
//! Everything unsafe of the container driver is in this file, each call behind a safe signature.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::Pid;

/// `mount_setattr` and friends (uapi `linux/mount.h`); the numbers are the same on every architecture Rust's std supports with them.
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NODEV: u64 = 0x4;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

fn path_c(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_fd(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel just returned this descriptor to us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Which side of [`clone_process`] we are on.
pub(super) enum Cloned {
    /// In the new process.
    Child,
    /// In the caller, with the child's pid and a pidfd of it.
    Parent(Pid, OwnedFd),
}

/// Forks into new namespaces. **Only from a single-threaded process**: the child goes on with a copy of this
/// thread, and locks held by other threads would stay locked for ever.
pub(super) fn clone_process(namespaces: nix::sched::CloneFlags) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let args = CloneArgs {
        flags: namespaces.bits() as u32 as u64 | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a valid clone_args without a stack (fork semantics) and outlives the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: CLONE_PIDFD stored a fresh descriptor here.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent(Pid::from_raw(pid as i32), pidfd))
}

/// A detached copy of the mount (or the part of it) at `path`.
pub(super) fn open_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = path_c(path)?;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check_fd(unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    })
}

/// Makes a detached mount read-only and shifts its owners by the id maps of `user_namespace`.
pub(super) fn idmap_read_only(mount: &OwnedFd, user_namespace: &impl AsRawFd) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd() as u64,
    };
    // SAFETY: the empty path is a static C string and `attr` is a valid mount_attr of the size passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// Attaches a detached mount at `target`.
pub(super) fn move_mount(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = path_c(target)?;
    // SAFETY: both strings are NUL-terminated and outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// A descriptor that stands for the process and becomes readable when it ends.
pub(super) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    check_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends `signal` to the process that `pidfd` stands for; never hits a later process with the same pid.
pub(super) fn pidfd_signal(pidfd: &impl AsRawFd, signal: i32) -> io::Result<()> {
    // SAFETY: takes integers and a null siginfo, which the call allows.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// Makes a pidfd awaitable: readable at the process's end. Needs a tokio runtime.
pub(super) fn async_end(pidfd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor from here on; nobody closes or replaces it while it is registered.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(pidfd) }?)
}

/// Marks every descriptor from `first` on as close-on-exec, so that none reaches the guest.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Takes `capability` out of the bounding set; one that the kernel does not know is already out.
pub(super) fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: takes integers only.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
    match check(result.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

/// Clears `dropped` from the permitted and effective sets and empties the inheritable and ambient ones.
pub(super) fn drop_capabilities(dropped: &[u32]) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads and writes exactly two Data elements.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    for capability in dropped {
        let mask = !(1u32 << (capability % 32));
        if let Some(word) = data.get_mut((capability / 32) as usize) {
            word.effective &= mask;
            word.permitted &= mask;
        }
    }
    for word in &mut data {
        word.inheritable = 0;
    }
    // SAFETY: as above; clears all ambient capabilities, then sets the reduced sets.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// Installs a seccomp filter on this (single-threaded) process. Unlike `seccompiler::apply_filter` it leaves
/// `no_new_privs` off, because `sudo` and `su` must work inside an instance; CAP_SYS_ADMIN in the instance's own
/// user namespace allows that.
pub(super) fn install_seccomp(program: &[seccompiler::sock_filter]) -> io::Result<()> {
    #[repr(C)]
    struct SockFprog {
        len: libc::c_ushort,
        filter: *const seccompiler::sock_filter,
    }
    let len =
        libc::c_ushort::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let fprog = SockFprog { len, filter: program.as_ptr() };
    // SAFETY: `fprog` describes `program`, which outlives the call; the kernel copies it.
    let result = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const fprog as libc::c_ulong, 0, 0)
    };
    check(result.into())?;
    Ok(())
}

/// Leaves the session keyring of whoever started us, whose keys are not the guest's to see.
pub(super) fn leave_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a new anonymous keyring. Kernels without keyrings answer ENOSYS, which is as good.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
}

/// Has the kernel kill this process when its parent ends (`true`), or no longer (`false`).
pub(super) fn die_with_parent(yes: bool) {
    let signal = if yes { libc::SIGKILL } else { 0 };
    // SAFETY: takes integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0) };
}

/// Sets every signal to its default action and unblocks all: Rust's runtime ignores SIGPIPE, and exec would pass that on.
pub(super) fn reset_signals() {
    // SAFETY: plain libc calls with valid arguments; signals that cannot be changed answer EINVAL, which is fine.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Unlocks the pseudo-terminal behind `master` and returns its number.
pub(super) fn unlock_terminal(master: &OwnedFd) -> io::Result<u32> {
    let mut number: libc::c_uint = 0;
    let unlock: libc::c_int = 0;
    // SAFETY: both ioctls take a pointer to an int that outlives the call.
    unsafe {
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock).into())?;
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number).into())?;
    }
    Ok(number)
}

/// The other end of the pseudo-terminal behind `master`.
pub(super) fn open_terminal_peer(master: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes integers only and returns a new descriptor.
    check_fd(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())
}

/// A fork without new namespaces, for the first-boot process beside init. **Single-threaded callers only.**
pub(super) fn fork_process() -> io::Result<Option<Pid>> {
    // SAFETY: the process is single-threaded (see clone_process), so the child may go on with any code.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok((pid != 0).then(|| Pid::from_raw(pid as i32)))
}

/// Milliseconds of the monotonic clock, for rate limits in the shim (which has no `Clock` and needs no date).
pub(super) fn monotonic_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// Ends this process without running destructors or exit handlers; for children after a fork.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// Whether the interface of this name in the caller's network namespace is up and its other end too.
pub(super) fn link_has_carrier(name: &str) -> nix::Result<bool> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an ifreq of zeros is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero: the name's end.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the kernel reads and writes `request`, which lives through the call.
    nix::errno::Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: SIOCGIFFLAGS succeeded, so the union holds the flags.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0)
}
