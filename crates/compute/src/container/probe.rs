//! Whether containers work here, found out by trying: user namespace, shifted layer, overlay on the data directory's file system.
//!
//! Reading kernel versions does not tell: file systems differ, and so do the rules of whoever runs us.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;

use super::driver::Options;
use super::host_limits::{Finding, Level, host_limits};
use super::plan::{Failure, Plan, Step, helper_command};
use super::shim::stage_root;
use super::sys::{self, Cloned};
use super::uid_range::UIDS_PER_INSTANCE;
use crate::process::BundleManifest;
use crate::{ImageRef, LaunchSpec};

/// The trial takes milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// Any range will do: nothing outlives the trial.
const BASE_UID: u32 = 0x7000_0000;

/// Whether the container driver can be used, and why (not).
#[derive(Debug, Clone)]
pub struct Probe {
    /// No finding is a failure.
    pub usable: bool,
    /// All that was looked at.
    pub findings: Vec<Finding>,
}

/// Looks at the machine and, if that is promising, tries out what instances need, in the data directory.
pub async fn probe(options: &Options) -> Probe {
    let mut findings = host_limits();
    // The network room's tool is the network room's to demand.
    let blocking = |finding: &Finding| finding.level == Level::Failure && finding.name != "nftables";
    if !findings.iter().any(blocking) {
        findings.push(try_out(options).await);
    }
    Probe { usable: !findings.iter().any(blocking), findings }
}

async fn try_out(options: &Options) -> Finding {
    let failed = |why: String| {
        Finding::new(
            "container trial",
            Level::Failure,
            why,
            "use a data directory on ext4, xfs, btrfs or tmpfs (not overlay or NFS) and Linux 5.19 or newer",
        )
    };
    let mut command = tokio::process::Command::from(helper_command(&options.exe, &options.helper_words));
    command.arg("probe").arg(&options.data_dir).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PROBE_TIMEOUT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Finding::ok(
            "container trial",
            "user namespace, shifted layers and overlay work in the data directory",
        ),
        Ok(Ok(output)) => failed(String::from_utf8_lossy(&output.stdout).trim().to_string()),
        Ok(Err(error)) => failed(format!("{}: {error}", options.exe.display())),
        Err(_) => failed(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

/// The helper's side.
pub(super) fn run(data_dir: Option<&str>) -> u8 {
    let Some(data_dir) = data_dir else { return 64 };
    let dir = Path::new(data_dir).join(format!(".probe-{}", std::process::id()));
    let result = trial(&dir);
    let _ = fs::remove_dir_all(&dir);
    match result {
        Ok(()) => 0,
        Err(failure) => {
            use std::io::Write;
            let _ = writeln!(std::io::stdout(), "{}", failure.message);
            1
        }
    }
}

fn trial(dir: &Path) -> Result<(), Failure> {
    let make = || -> std::io::Result<PathBuf> {
        for name in ["mnt", "disk/upper", "disk/work", "layer"] {
            fs::create_dir_all(dir.join(name))?;
        }
        for name in ["disk/upper", "disk/work"] {
            chown(dir.join(name), Some(BASE_UID), Some(BASE_UID))?;
        }
        fs::write(dir.join("layer/file"), b"")?;
        fs::canonicalize(dir)
    };
    let dir = make().step(|| "prepare the data directory".into())?;
    let plan = Plan {
        spec: LaunchSpec {
            root: 0,
            instance_id: "i-probe".into(),
            image: ImageRef { image_id: "ami-probe".into(), layers: vec![dir.join("layer")] },
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
            hostname: "probe".into(),
            network: None,
            ssh_public_keys: Vec::new(),
            user_data: None,
            environment: Default::default(),
        },
        image: BundleManifest::rootfs(),
        dir: dir.clone(),
        base_uid: BASE_UID,
        cgroup_server: String::new(),
        first_boot: true,
        start: 0,
    };
    unshare(CloneFlags::CLONE_NEWNS).step(|| "unshare the mount namespace".into())?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)
        .step(|| "make mounts private".into())?;
    let namespaces = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    match sys::clone_process(namespaces).step(|| "clone into new namespaces".into())? {
        Cloned::Child => {
            sys::die_with_parent(true);
            loop {
                nix::unistd::pause();
            }
        }
        Cloned::Parent(pid, pidfd) => {
            let tried = || -> Result<(), Failure> {
                for map in ["uid_map", "gid_map"] {
                    fs::write(format!("/proc/{pid}/{map}"), format!("0 {BASE_UID} {UIDS_PER_INSTANCE}\n"))
                        .step(|| format!("write {map}"))?;
                }
                stage_root(&plan, pid)?;
                let meta = fs::metadata("root/file").step(|| "look into the overlay".into())?;
                if meta.uid() != BASE_UID {
                    return Err(Failure::permanent(format!("owners are not shifted (uid {})", meta.uid())));
                }
                fs::write("root/file", b"written").step(|| "write through the overlay".into())
            };
            let result = tried();
            let _ = sys::pidfd_signal(&pidfd, libc::SIGKILL);
            let _ = waitpid(pid, None);
            // Leave the stage, which this namespace takes with it.
            let _ = std::env::set_current_dir("/");
            for point in super::state::mounts_below(&dir) {
                let _ = nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH);
            }
            result
        }
    }
}
