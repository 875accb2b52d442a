//! Starting a main process, and learning of its end.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::console;
use super::plan::Command;
use super::tree::{MainProcess, Stat};

/// Starts `command` as the leader of a session of its own, with the console as its output. Its end
/// wakes `changed`.
pub(super) fn spawn(command: &Command, console: &Path, changed: &Arc<Notify>) -> io::Result<MainProcess> {
    let output = console::open(console)?;
    let mut process = tokio::process::Command::new(&command.argv[0]);
    process
        .args(&command.argv[1..])
        .current_dir(&command.directory)
        .env_clear()
        .envs(&command.environment)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(false);
    // SAFETY: setsid is async-signal-safe and touches no memory of the parent, as is asked of code between
    // fork and exec.
    #[allow(unsafe_code)]
    unsafe {
        process.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from));
    }
    let mut child = process.spawn().map_err(|error| {
        console::note(console, &format!("{}: cannot run {}: {error}", command.name, command.argv[0]));
        error
    })?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or_else(|| io::Error::other("no pid"))?;
    // Not yet waited for, so the entry exists even if the process has ended already.
    let start_ticks = Stat::read(pid, &mut Vec::new()).map(|stat| stat.start_ticks).ok_or_else(|| {
        let _ = child.start_kill();
        io::Error::other("the new process cannot be seen in /proc")
    })?;
    let (changed, console, name) = (Arc::clone(changed), console.to_owned(), command.name.clone());
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await
            && console.exists()
        {
            console::note(&console, &format!("{name} ended: {status}"));
        }
        changed.notify_one();
    });
    Ok(MainProcess { pid, start_ticks })
}

/// Wakes `changed` when a process ends that is not our child. Without pidfds (kernels before 5.3) there is no
/// wake, only the caller's period.
pub(super) fn watch_adopted(main: MainProcess, changed: &Arc<Notify>) {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
    #[allow(unsafe_code)]
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, main.pid, libc::PIDFD_NONBLOCK) };
    let Ok(raw) = i32::try_from(raw) else { return };
    if raw < 0 {
        return;
    }
    // SAFETY: the descriptor was just returned to us and nobody else knows it.
    #[allow(unsafe_code)]
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    let (Ok(runtime), changed) = (tokio::runtime::Handle::try_current(), Arc::clone(changed)) else { return };
    runtime.spawn(async move {
        // SAFETY: the AsyncFd owns the descriptor, so it stays open and the same while it is registered.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) };
        if let Ok(fd) = registered {
            let _ = fd.readable().await;
            changed.notify_one();
        }
    });
}
