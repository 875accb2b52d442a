//! [`ContainerDriver`]: the [`Driver`] trait's calls, handed to the [`Fleet`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use puffer_core::Timestamp;

use super::cgroup::Cgroups;
use super::cgroup_layout::Layout;
use super::fleet::{Fleet, blocking, to_the_end};
use super::lifecycle::Lifecycle;
use super::state::InstanceDir;
use super::{HELPER_WORD, console, sys};
use crate::{Driver, DriverError, DriverInstance, DriverState, LaunchSpec, Usage};

/// What a container driver needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's data directory; instances live in `instances` below it.
    pub data_dir: PathBuf,
    /// The program to re-execute as the helper: this one.
    pub exe: PathBuf,
    /// The words that make `exe` call [`super::helper_main`].
    pub helper_words: Vec<String>,
    /// Directory of the machine-wide register of uid ranges, shared by all servers.
    pub runtime_dir: PathBuf,
}

impl Options {
    /// For a server on `data_dir` whose program is `exe`.
    pub fn new(data_dir: impl Into<PathBuf>, exe: impl Into<PathBuf>) -> Self {
        Options {
            data_dir: data_dir.into(),
            exe: exe.into(),
            helper_words: vec![HELPER_WORD.into()],
            runtime_dir: PathBuf::from("/run/puffer"),
        }
    }
}

/// Runs instances as system containers. Cheap to clone.
#[derive(Clone)]
pub struct ContainerDriver {
    fleet: Arc<Fleet>,
}

impl ContainerDriver {
    /// Takes over `options.data_dir`: adopts what runs, clears what a crash left half-made. Needs a tokio runtime.
    pub fn new(options: Options) -> Result<Self, DriverError> {
        let layout = Layout::detect().ok_or_else(|| DriverError::Unsupported {
            driver: "container",
            what: "no cgroup2 file system is mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)".into(),
        })?;
        let instances = options.data_dir.join("instances");
        std::fs::create_dir_all(&instances)
            .and_then(|()| std::fs::canonicalize(&instances))
            .map_err(|error| DriverError::Permanent(format!("{}: {error}", instances.display())))
            .map(|instances| {
                let seed = fnv1a(instances.as_os_str().as_encoded_bytes());
                let lifecycle = Lifecycle {
                    instances,
                    exe: options.exe,
                    helper_words: options.helper_words,
                    cgroups: Cgroups { layout, server: format!("puffer-{seed:08x}") },
                    uid_register: options.runtime_dir.join("uids"),
                    uid_seed: seed,
                };
                ContainerDriver { fleet: Fleet::new(lifecycle) }
            })
            .inspect(|driver| driver.fleet.adopt())
    }
}

/// Why nothing can reach a running guest: it has no interface, or has it down, so that the host's end has no carrier.
fn unreachable(dir: &InstanceDir) -> Option<String> {
    let interface = dir.spec()?.network?.host_interface;
    match sys::link_has_carrier(&interface) {
        Ok(true) => None,
        Ok(false) => Some("its network interface is down".to_owned()),
        Err(nix::errno::Errno::ENODEV) => Some("its network interface is gone".to_owned()),
        Err(_) => None,
    }
}

/// A short stable name for a path (Fowler–Noll–Vo, 32 bits): several servers share the machine's cgroup root.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[async_trait]
impl Driver for ContainerDriver {
    fn name(&self) -> &'static str {
        "container"
    }

    async fn launch(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        to_the_end(self.fleet.clone().launch(spec.clone())).await
    }

    async fn start(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        to_the_end(self.fleet.clone().start(spec.clone())).await
    }

    async fn stop(&self, instance_id: &str, grace_s: u32) -> Result<(), DriverError> {
        to_the_end(self.fleet.clone().stop(instance_id.to_string(), grace_s)).await
    }

    async fn reboot(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        /// AWS: a reboot that the guest does not heed within four minutes becomes a hard one (RebootInstances).
        const REBOOT_GRACE_S: u32 = 240;
        let (fleet, spec) = (self.fleet.clone(), spec.clone());
        to_the_end(async move {
            fleet.known(&spec.instance_id)?;
            fleet.check_root(&spec)?;
            fleet.clone().stop(spec.instance_id.clone(), REBOOT_GRACE_S).await?;
            fleet.start(spec).await
        })
        .await
    }

    async fn replace_root(&self, spec: &LaunchSpec, grace_s: u32) -> Result<(), DriverError> {
        to_the_end(self.fleet.clone().replace_root(spec.clone(), grace_s)).await
    }

    async fn suspend(&self, instance_id: &str, suspended: bool) -> Result<(), DriverError> {
        to_the_end(self.fleet.clone().suspend(instance_id.to_string(), suspended)).await
    }

    async fn terminate(&self, instance_id: &str) -> Result<(), DriverError> {
        to_the_end(self.fleet.clone().terminate(instance_id.to_string())).await
    }

    async fn list(&self) -> Result<Vec<DriverInstance>, DriverError> {
        let fleet = self.fleet.clone();
        let found = blocking(move || {
            let look = |id: String| {
                let dir = fleet.lifecycle.dir(&id);
                let running = dir.running();
                let state = match (&running, dir.run()) {
                    (Some(_), _) => DriverState::Running,
                    // The shim is between two lives of a guest that reboots, or about to end and wake us.
                    (None, Some(run)) if run.shim.is_alive() => DriverState::Starting,
                    (None, Some(_)) => DriverState::Stopped,
                    (None, None) => DriverState::Starting,
                };
                let trouble = match state {
                    DriverState::Stopped => dir.crash(),
                    DriverState::Running => unreachable(&dir),
                    DriverState::Starting => None,
                };
                let suspended = state == DriverState::Running && fleet.lifecycle.is_suspended(&id);
                let root = dir.meta().map_or(0, |meta| meta.root);
                (DriverInstance { instance_id: id, state, trouble, suspended, root }, running)
            };
            Ok(fleet.lifecycle.ids().into_iter().map(look).collect::<Vec<_>>())
        })
        .await?;
        for (instance, run) in &found {
            // A start that outlived the control plane which asked for it.
            if let Some(run) = run
                && let slot = self.fleet.slot(&instance.instance_id)
                && slot.turn.try_lock().is_ok()
                && slot.meter.lock().is_none()
            {
                self.fleet.watch(&instance.instance_id, run);
            }
        }
        Ok(found.into_iter().map(|(instance, _)| instance).collect())
    }

    async fn changed(&self) {
        self.fleet.changed.notified().await;
    }

    fn usage(&self, instance_ids: &mut dyn Iterator<Item = &str>, out: &mut Vec<(String, Usage)>) {
        for id in instance_ids {
            let usage = self.fleet.usage(id);
            out.extend(usage.map(|usage| (id.to_string(), usage)));
        }
    }

    async fn create_image(&self, instance_id: &str, target: &Path) -> Result<Vec<PathBuf>, DriverError> {
        let (fleet, id, target) = (self.fleet.clone(), instance_id.to_string(), target.to_path_buf());
        to_the_end(async move {
            fleet.known(&id)?;
            let slot = fleet.slot(&id);
            let _turn = slot.turn.lock().await;
            let this = fleet.clone();
            blocking(move || this.lifecycle.capture(&id, &target)).await
        })
        .await
    }

    async fn console_output(&self, instance_id: &str) -> Result<(Vec<u8>, Option<Timestamp>), DriverError> {
        self.fleet.known(instance_id)?;
        let dir = self.fleet.lifecycle.dir(instance_id);
        blocking(move || {
            let (bytes, grew_ms) = console::read(&dir.path)
                .map_err(|error| DriverError::Transient(format!("read the console: {error}")))?;
            Ok((bytes, grew_ms.map(Timestamp::from_millis)))
        })
        .await
    }
}
