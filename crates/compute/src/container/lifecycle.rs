//! The blocking steps of an instance's life: what each call of the driver does on the machine, one instance at a time.
//!
//! Every step may be the last one before the process dies. So a directory is made before anything that needs cleaning, and removed after
//! everything else: whatever is found later can be undone by [`Lifecycle::remove`], which takes any of it to be missing.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroup::{Cgroups, Limits};
use super::host_limits::raise_host_limits;
use super::netlink::Netlink;
use super::plan::{Failure, Plan, Step, check_image, helper_command, how_to_run};
use super::state::{InitKind, InstanceDir, META_VERSION, Meta, Run, mounts_below};
use super::sys::{self, monotonic_ms};
use super::{capture, disk, uid_range};
use crate::{DriverError, LaunchSpec};

/// How long a shim may take to clean up after its guest's end; what it leaves undone is done here.
const SHIM_FAREWELL_MS: u64 = 500;
/// How long a killed shim may take to end.
const SHIM_END_TIMEOUT_MS: u64 = 10_000;
/// Bit of SIGTERM and friends in `/proc/<pid>/status` masks: signal n is bit n-1.
const SIGRTMIN: i32 = 34;

/// What the steps need to know of the server.
#[derive(Debug, Clone)]
pub(super) struct Lifecycle {
    /// `<data>/instances`.
    pub(super) instances: PathBuf,
    pub(super) exe: PathBuf,
    pub(super) helper_words: Vec<String>,
    pub(super) cgroups: Cgroups,
    /// The machine-wide register of uid ranges.
    pub(super) uid_register: PathBuf,
    /// Where the search for a uid range begins.
    pub(super) uid_seed: u32,
}

/// A started helper; its answer arrives on stdout.
pub(super) type Helper = std::process::Child;

fn transient(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> DriverError {
    let what = what.to_string();
    move |error| match Err::<(), _>(error).step(|| what) {
        Err(failure) => failure.into_error(""),
        Ok(()) => DriverError::Permanent(String::new()),
    }
}

/// Ids become directory and cgroup names.
pub(super) fn is_instance_id(id: &str) -> bool {
    id.len() <= 40 && id.starts_with("i-") && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl Lifecycle {
    pub(super) fn dir(&self, id: &str) -> InstanceDir {
        InstanceDir { path: self.instances.join(id) }
    }

    /// Where the host's own limits are kept while ours are in force.
    pub(super) fn limits_record(&self) -> PathBuf {
        self.instances.join("host-limits")
    }

    /// Ids that have a directory, whatever state it is in.
    pub(super) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.instances).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|id| is_instance_id(id))
            .collect()
    }

    /// Makes the directory, the uid range and the empty disk of a new instance.
    pub(super) fn create(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        check_image(&spec.image)?;
        let dir = self.dir(&spec.instance_id);
        let make = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o711).create(&dir.path)?;
            fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(dir.file("lock"))?;
            let base_uid = uid_range::allot(&self.uid_register, &dir.path, self.uid_seed)?;
            dir.write("meta.json", &Meta { version: META_VERSION, base_uid, root: spec.root })?;
            fs::DirBuilder::new().mode(0o711).create(dir.file("mnt"))?;
            disk::make(&dir.file("disk"), &spec.image, base_uid)
        };
        make().map_err(transient("create the instance's directory"))
    }

    /// Whether an instance could run from the image, as far as can be told without running it.
    pub(super) fn check_root(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        check_image(&spec.image)?;
        how_to_run(&spec.image).map(|_| ())
    }

    /// Puts a new empty disk in the place of the instance's own, see [`disk::renew`].
    pub(super) fn renew_disk(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        let id = &spec.instance_id;
        let dir = self.dir(id);
        let meta = dir.meta().ok_or_else(|| DriverError::NotFound(id.clone()))?;
        disk::renew(&dir, spec, meta).map_err(transient("replace the disk"))
    }

    /// Sees to it that the disk is the one that `meta.json` tells of, see [`disk::settle`].
    pub(super) fn settle_disk(&self, id: &str) -> Result<(), DriverError> {
        disk::settle(&self.dir(id)).map_err(transient("put the disk back"))
    }

    /// Enters the instance's uid range into the machine's register again, which is lost when the machine is rebooted.
    pub(super) fn renew_uids(&self, id: &str) -> io::Result<()> {
        let dir = self.dir(id);
        match dir.meta() {
            Some(meta) => uid_range::renew(&self.uid_register, &dir.path, meta.base_uid),
            None => Ok(()),
        }
    }

    /// Readies the groups and starts the helper, which will answer when init runs.
    pub(super) fn spawn(&self, spec: &LaunchSpec, first_boot: bool) -> Result<Helper, DriverError> {
        check_image(&spec.image)?;
        let image = how_to_run(&spec.image)?;
        if let Err(error) = raise_host_limits(&self.limits_record()) {
            // Only fleets of many systemd guests need it, and `doctor` tells.
            tracing::debug!(%error, "the host's limits could not be raised");
        }
        let id = &spec.instance_id;
        let dir = self.dir(id);
        let meta = dir.meta().ok_or_else(|| DriverError::NotFound(id.clone()))?;
        self.renew_uids(id).map_err(transient("renew the uid range"))?;
        // Groups of an earlier life are emptied and made anew, so that counters begin at zero.
        self.cgroups.remove(id).map_err(transient("clear old cgroups"))?;
        let limits = Limits { cpu_millis: spec.cpu_millis, memory_bytes: spec.memory_bytes };
        self.cgroups.create(id, limits, meta.base_uid).map_err(transient("make cgroups"))?;
        dir.write("spec.json", spec).map_err(transient("write spec.json"))?;
        let start = dir.next_start().map_err(transient("number the start"))?;
        dir.remove_file("end.json").map_err(transient("forget the last end"))?;
        dir.remove_file("stopping").map_err(transient("clear the stop mark"))?;
        dir.remove_file("suspended").map_err(transient("clear the mark of a guest held still"))?;
        let plan = Plan {
            spec: spec.clone(),
            image,
            dir: dir.path.clone(),
            base_uid: meta.base_uid,
            cgroup_server: self.cgroups.server.clone(),
            first_boot,
            start,
        };
        let text = serde_json::to_vec(&plan).map_err(|error| DriverError::Permanent(error.to_string()))?;
        let log = fs::File::create(dir.file("shim.log")).map_err(transient("open the shim's log"))?;
        let mut helper = helper_command(&self.exe, &self.helper_words)
            .arg("run")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(transient(format!("start the helper {}", self.exe.display())))?;
        // Closing stdin ends the plan. A helper that died already reports by its silence.
        if let Some(mut stdin) = helper.stdin.take() {
            let _ = stdin.write_all(&text);
        }
        Ok(helper)
    }

    /// Ends every process of the instance, guest and shim, and removes what the kernel keeps for it. The disk stays.
    pub(super) fn kill(&self, id: &str) -> Result<(), DriverError> {
        let dir = self.dir(id);
        if dir.path.exists() {
            fs::write(dir.file("stopping"), b"").map_err(transient("mark the stop"))?;
            // A shim that was spawned but has not taken its lock yet will find itself overtaken.
            dir.next_start().map_err(transient("number the start"))?;
        }
        let shim = dir.shim().and_then(|shim| Some((shim.open()?, shim)));
        if let Some((pidfd, shim)) = &shim
            && dir.run().is_none_or(|run| run.shim != *shim)
        {
            // Still building: nobody waits for the outcome any more. What it cloned dies with it.
            let _ = sys::pidfd_signal(pidfd, libc::SIGKILL);
        }
        self.cgroups.kill(id).map_err(transient("kill the instance"))?;
        if let Some((pidfd, _)) = shim
            && !wait_end(&pidfd, SHIM_FAREWELL_MS).map_err(transient("wait for the shim"))?
        {
            let _ = sys::pidfd_signal(&pidfd, libc::SIGKILL);
            if !wait_end(&pidfd, SHIM_END_TIMEOUT_MS).map_err(transient("wait for the shim"))? {
                return Err(DriverError::Transient(format!("the shim of {id} does not end")));
            }
        }
        self.sweep(id)
    }

    /// Removes groups and the interface of an instance that has no process any more.
    pub(super) fn sweep(&self, id: &str) -> Result<(), DriverError> {
        self.cgroups.remove(id).map_err(transient("remove cgroups"))?;
        let interface =
            self.dir(id).spec().and_then(|spec| spec.network).map(|network| network.host_interface);
        if let Some(interface) = interface {
            Netlink::open()
                .and_then(|netlink| netlink.delete(&interface))
                .map_err(transient(format!("remove interface {interface}")))?;
        }
        Ok(())
    }

    /// Removes all of an instance. Any part of it may be missing.
    pub(super) fn remove(&self, id: &str) -> Result<(), DriverError> {
        let dir = self.dir(id);
        self.kill(id)?;
        if !dir.path.exists() {
            return Ok(());
        }
        // Mounts live in the shim's namespace, so there should be none here. A leftover bind would delete an image.
        for point in mounts_below(&dir.path) {
            umount2(&point, MntFlags::MNT_DETACH).map_err(io::Error::from).map_err(transient("unmount"))?;
        }
        if !mounts_below(&dir.path).is_empty() {
            return Err(DriverError::Transient(format!("{} still holds mounts", dir.path.display())));
        }
        // From here on it counts as never launched, so that a removal cut short is finished, not taken for a stopped instance.
        dir.remove_file("run.json").map_err(transient("forget the run"))?;
        if let Some(meta) = dir.meta() {
            uid_range::release(&self.uid_register, &dir.path, meta.base_uid);
        }
        // A shim that starts just now finds its lock taken or gone, and ends.
        let _lock = dir.try_lock();
        match fs::remove_dir_all(&dir.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(transient("remove the instance's directory")(error))
            }
            _ => Ok(()),
        }
    }

    /// Asks init to power off; `false` if it would not listen, so that waiting is useless.
    pub(super) fn ask_to_stop(&self, id: &str, run: &Run, init: &OwnedFd) -> Result<bool, DriverError> {
        fs::write(self.dir(id).file("stopping"), b"").map_err(transient("mark the stop"))?;
        let signal = match run.kind {
            // systemd's "halt now" (systemd(1)): the power-off that works without a machine.
            InitKind::Systemd => SIGRTMIN + 3,
            InitKind::Busybox => libc::SIGUSR2,
            InitKind::Other => libc::SIGTERM,
        };
        // The kernel drops signals that a namespace's init has no handler for.
        let listens = fs::read_to_string(format!("/proc/{}/status", run.init.pid))
            .is_ok_and(|text| catches(&text, signal));
        if !listens {
            return Ok(false);
        }
        match sys::pidfd_signal(init, signal) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(transient("signal init")(error)),
            _ => Ok(true),
        }
    }

    /// Whether a guest is to be held still.
    pub(super) fn is_suspended(&self, id: &str) -> bool {
        self.dir(id).file("suspended").exists()
    }

    /// Holds a running guest still or lets it go on. The mark comes first, so that whoever takes over after a crash completes what was begun;
    /// it goes last, so that a guest that was let go by half is let go again.
    pub(super) fn suspend(&self, id: &str, suspended: bool) -> Result<(), DriverError> {
        let dir = self.dir(id);
        if dir.running().is_none() {
            return Ok(());
        }
        if !suspended {
            self.cgroups.freeze(id, false).map_err(transient("let the guest go on"))?;
            return dir.remove_file("suspended").map_err(transient("unmark the guest"));
        }
        fs::write(dir.file("suspended"), b"").map_err(transient("mark the guest"))?;
        self.cgroups.freeze(id, true).map_err(|error| {
            let _ = self.cgroups.freeze(id, false);
            let _ = dir.remove_file("suspended");
            transient("hold the guest still")(error)
        })
    }

    /// Copies the disk, with the guest held still.
    pub(super) fn capture(&self, id: &str, layer: &Path) -> Result<Vec<PathBuf>, DriverError> {
        let dir = self.dir(id);
        let (meta, spec) = (dir.meta(), dir.spec());
        let (Some(meta), Some(spec)) = (meta, spec) else {
            return Err(DriverError::NotFound(id.to_string()));
        };
        self.settle_disk(id)?;
        if spec.root != meta.root {
            // Its layers are not those that the disk lies over; the next start says which are.
            return Err(DriverError::Transient(format!("the root volume of {id} is being replaced")));
        }
        let running = dir.running().is_some();
        if running {
            let frozen = self.cgroups.freeze(id, true);
            if let Err(error) = frozen {
                let _ = self.cgroups.freeze(id, self.is_suspended(id));
                return Err(transient("freeze the instance")(error));
            }
        }
        let copied = capture::copy_layer(&dir.file("disk/upper"), layer, meta.base_uid);
        if running && !self.is_suspended(id) {
            self.cgroups.freeze(id, false).map_err(transient("thaw the instance"))?;
        }
        copied
            // An image that is announced must survive a power cut; the guest runs again meanwhile.
            .and_then(|()| Ok(nix::unistd::syncfs(fs::File::open(layer)?)?))
            .map_err(transient("copy the disk"))?;
        let mut layers = spec.image.layers;
        layers.push(layer.to_path_buf());
        Ok(layers)
    }
}

/// The line the helper answered with, or what its silence means.
pub(super) fn failure_of_silence(dir: &InstanceDir) -> Failure {
    let log = fs::read(dir.file("shim.log")).unwrap_or_default();
    let tail = log.get(log.len().saturating_sub(500)..).unwrap_or_default();
    Failure::transient(format!(
        "the helper ended without an answer: {}",
        String::from_utf8_lossy(tail).trim()
    ))
}

/// Waits until the process behind `pidfd` ends; `false` if it did not within the time.
pub(super) fn wait_end(pidfd: &OwnedFd, timeout_ms: u64) -> io::Result<bool> {
    let deadline = monotonic_ms() + timeout_ms;
    loop {
        let left = deadline.saturating_sub(monotonic_ms());
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX))) {
            Ok(0) if left == 0 => return Ok(false),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether a `/proc/<pid>/status` text says that the process has a handler for `signal` or takes it by `signalfd` (blocks it).
fn catches(status: &str, signal: i32) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let bit = 1u64 << (signal - 1);
    (mask("SigCgt:").unwrap_or(0) | mask("SigBlk:").unwrap_or(0)) & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_read_from_status() {
        let status = "Name:\tsh\nSigBlk:\t0000000000000000\nSigCgt:\t0000000000004002\n";
        assert!(catches(status, libc::SIGTERM));
        assert!(!catches(status, libc::SIGUSR2));
        // systemd blocks its signals and reads them from a descriptor.
        assert!(catches("SigBlk:\t0000001000000000\nSigCgt:\t0\n", SIGRTMIN + 3));
    }

    #[test]
    fn ids_cannot_climb() {
        assert!(is_instance_id("i-0123456789abcdef0"));
        for bad in ["", "i-../x", "shims", "i-a/b", "i-\u{e9}"] {
            assert!(!is_instance_id(bad), "{bad}");
        }
    }
}
