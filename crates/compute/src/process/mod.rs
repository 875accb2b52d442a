//! The driver for machines without privileges: an instance is a plain process tree with a directory and a loopback
//! address of its own.
//!
//! It claims **no isolation**: instances run as the server's user, see each other and the host's files, and share
//! its CPUs and memory without limits. What it keeps is the life of an instance: launch, stop, start, reboot,
//! terminate, user-data scripts, console output, images, metering, and survival of the control plane.
//!
//! Instances are found again after a restart by the pids and start times in their directories; nothing is
//! inherited or held open. An instance runs as long as one of its main processes does. `plan.rs` says how images are
//! understood, `tree.rs` what ties a process to its instance, [`port_map`] what happens to low ports.

mod bundle;
mod console;
mod directory;
mod layers;
mod meter;
mod plan;
mod ports;
mod spawn;
#[cfg(test)]
mod tests;
mod tree;
mod unit;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use puffer_core::Timestamp;
use tokio::sync::Notify;

pub use bundle::{BUNDLE_MANIFEST, BundleKind, BundleManifest};
pub(crate) use layers::copy_tree;
pub use ports::{LOW_PORT_OFFSET, port_map};

use crate::{Driver, DriverError, DriverInstance, DriverState, LaunchSpec, Usage};
use directory::{Directory, Instance, instance_ids, io_error};
use meter::Meter;
use tree::MainProcess;

/// How long the dead may take to disappear after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Pace at which an ending process tree is looked at: ends are not signalled to adopters.
const END_POLL: Duration = Duration::from_millis(20);
/// Grace given by a reboot (EC2 gives a guest minutes; a process tree needs none of that).
const REBOOT_GRACE_S: u32 = 5;
/// Consoles are looked at once in so many readings of the meters (which come each second).
const TRIM_EACH_N_READINGS: u32 = 10;

/// Runs instances as process trees. Cheap to clone behind an `Arc`; dropping it stops nothing.
pub struct ProcessDriver {
    instances: PathBuf,
    /// Main processes of the instances known to run.
    running: Mutex<HashMap<String, Vec<MainProcess>>>,
    /// One call at a time for each instance.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    meter: Mutex<Meter>,
    n_readings: std::sync::atomic::AtomicU32,
    changed: Arc<Notify>,
}

impl ProcessDriver {
    /// Opens `<data_dir>/instances`, clears what interrupted calls left, and adopts what runs.
    pub fn open(data_dir: &Path) -> Result<ProcessDriver, DriverError> {
        let instances = data_dir.join("instances");
        std::fs::create_dir_all(&instances).map_err(io_error)?;
        let instances = std::fs::canonicalize(instances).map_err(io_error)?;
        directory::sweep(&instances).map_err(io_error)?;
        let driver = ProcessDriver {
            instances,
            running: Mutex::default(),
            turns: Mutex::default(),
            meter: Mutex::default(),
            n_readings: 0.into(),
            changed: Arc::new(Notify::new()),
        };
        for id in instance_ids(&driver.instances).map_err(io_error)? {
            let mains = Directory::of(&driver.instances, &id)?.processes().unwrap_or_default();
            if mains.iter().any(|m| tree::is_alive(*m)) {
                for main in &mains {
                    spawn::watch_adopted(*main, &driver.changed);
                }
                let directory = Directory::of(&driver.instances, &id)?;
                if directory.is_suspended()
                    && let Err(error) = hold_still(directory.path(), &mains)
                {
                    tracing::warn!(instance = %id, %error, "the instance could not be held still");
                }
                driver.running.lock().insert(id, mains);
            }
        }
        Ok(driver)
    }

    /// The instance's turn and directory.
    async fn enter(&self, id: &str) -> Result<(tokio::sync::OwnedMutexGuard<()>, Directory), DriverError> {
        let directory = Directory::of(&self.instances, id)?;
        let turn = Arc::clone(self.turns.lock().entry(id.to_owned()).or_default());
        Ok((turn.lock_owned().await, directory))
    }

    async fn existing(
        &self,
        id: &str,
    ) -> Result<(tokio::sync::OwnedMutexGuard<()>, Directory, Instance), DriverError> {
        let (turn, directory) = self.enter(id).await?;
        let settled = directory.clone();
        blocking(move || settled.settle_root().map_err(io_error)).await?;
        match directory.instance() {
            Some(instance) => Ok((turn, directory, instance)),
            None => {
                self.forget_turn(id);
                Err(DriverError::NotFound(id.to_owned()))
            }
        }
    }

    /// Drops the turn of an instance that is gone, unless somebody waits for it. The caller holds it.
    fn forget_turn(&self, id: &str) {
        /// The map's and the caller's guard's.
        const HOLDERS: usize = 2;
        let mut turns = self.turns.lock();
        if turns.get(id).is_some_and(|turn| Arc::strong_count(turn) <= HOLDERS) {
            turns.remove(id);
        }
    }

    fn is_running(&self, id: &str) -> bool {
        self.running.lock().get(id).is_some_and(|mains| mains.iter().any(|m| tree::is_alive(*m)))
    }

    /// Starts the services of an instance whose disk exists. On failure nothing of it runs.
    async fn power_on(
        &self,
        spec: &LaunchSpec,
        directory: &Directory,
        instance: &Instance,
    ) -> Result<(), DriverError> {
        // User data is run at most once: not again when a first start was cut short after the services ran.
        let first_boot = directory.is_fresh(instance);
        // Processes of a start that was cut short before it was recorded, or stragglers of a dead instance.
        self.power_off(&spec.instance_id, directory, Duration::ZERO).await?;
        directory.mark_suspended(false).map_err(io_error)?;
        self.meter.lock().reset(&spec.instance_id);
        let root = directory.root();
        let tree = plan::Tree { directory: directory.path(), root: &root, linked: &instance.linked };
        let commands = plan::services(&tree, &instance.manifest, spec)?;
        let mut mains = Vec::with_capacity(commands.len());
        for command in &commands {
            match spawn::spawn(command, &directory.console(), &self.changed) {
                Ok(main) => mains.push(main),
                Err(error) => {
                    self.power_off(&spec.instance_id, directory, Duration::ZERO).await?;
                    return Err(match error.kind() {
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
                            directory::bad_image(spec, format!("cannot run {}: {error}", command.argv[0]))
                        }
                        _ => io_error(error),
                    });
                }
            }
        }
        directory.record(&mains, instance.root).map_err(io_error)?;
        self.running.lock().insert(spec.instance_id.clone(), mains);
        if first_boot {
            self.first_boot(spec, &tree, directory, instance);
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Runs the user-data script beside the services, and says on the console what does not apply here.
    fn first_boot(
        &self,
        spec: &LaunchSpec,
        tree: &plan::Tree<'_>,
        directory: &Directory,
        instance: &Instance,
    ) {
        let console = directory.console();
        if !spec.ssh_public_keys.is_empty() {
            console::note(&console, "no sshd of its own on the process driver: the key pair has no effect");
        }
        let Some(user_data) = &spec.user_data else { return };
        if !user_data.starts_with(b"#!") {
            console::note(&console, "user data that is not a #! script is not run by the process driver");
            return;
        }
        let script = plan::Command {
            name: "user-data".to_owned(),
            argv: vec![directory.user_data().display().to_string()],
            directory: tree.root.to_owned(),
            environment: plan::base_environment(
                tree,
                spec,
                instance.manifest.port.unwrap_or(bundle::PORT_DEFAULT),
            ),
        };
        // As on EC2, a script that cannot run or fails does not fail the launch.
        if let Err(error) = spawn::spawn(&script, &console, &self.changed) {
            console::note(&console, &format!("cannot run the user data: {error}"));
        }
    }

    /// Ends every process of the instance; what still lives after `grace` is killed.
    async fn power_off(&self, id: &str, directory: &Directory, grace: Duration) -> Result<(), DriverError> {
        let mains = directory.processes().unwrap_or_default();
        let begin = tokio::time::Instant::now();
        let mut asked = HashSet::new();
        loop {
            let members = self.members(directory, &mains).await?;
            if members.is_empty() {
                break;
            }
            let waited = begin.elapsed();
            if waited < grace {
                // Ask each process once: a second SIGTERM means "now" to many programs.
                let fresh: Vec<i32> = members.into_iter().filter(|pid| asked.insert(*pid)).collect();
                tree::signal_all(&fresh, Signal::SIGTERM);
            } else if waited < grace + KILL_TIMEOUT {
                tree::signal_all(&members, Signal::SIGKILL);
            } else {
                return Err(DriverError::Transient(format!("processes {members:?} of {id} do not end")));
            }
            tokio::time::sleep(END_POLL).await;
        }
        if directory.has_run() {
            directory.record_end().map_err(io_error)?;
        }
        self.running.lock().remove(id);
        Ok(())
    }

    async fn members(&self, directory: &Directory, mains: &[MainProcess]) -> Result<Vec<i32>, DriverError> {
        let (path, mains) = (directory.path().to_owned(), mains.to_vec());
        blocking(move || Ok(tree::members(&path, &mains))).await
    }
}

/// Stops all processes of an instance, those that they start meanwhile too.
fn hold_still(path: &Path, mains: &[MainProcess]) -> Result<(), DriverError> {
    /// A stopped process starts no other, so each round finds fewer; a tree that outruns this many is left to the next try.
    const ROUNDS_MAX: usize = 100;
    for _ in 0..ROUNDS_MAX {
        let moving: Vec<i32> =
            tree::members(path, mains).into_iter().filter(|pid| !tree::is_still(*pid)).collect();
        if moving.is_empty() {
            return Ok(());
        }
        tree::signal_all(&moving, Signal::SIGSTOP);
        // A process that is about to stop shows it within moments.
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(DriverError::Transient(format!("{} does not hold still", path.display())))
}

/// Whether the spec is the one of the disk that the instance has.
fn check_root(instance: &Instance, spec: &LaunchSpec) -> Result<(), DriverError> {
    match instance.root == spec.root {
        true => Ok(()),
        false => Err(DriverError::other_root(spec, instance.root)),
    }
}

/// Runs file-system work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DriverError::Transient(error.to_string()))?
}

#[async_trait]
impl Driver for ProcessDriver {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn launch(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        let (_turn, directory) = self.enter(&spec.instance_id).await?;
        let settled = directory.clone();
        blocking(move || settled.settle_root().map_err(io_error)).await?;
        let known = directory.instance();
        if let Some(instance) = &known {
            check_root(instance, spec)?;
        }
        if self.is_running(&spec.instance_id) {
            return Ok(());
        }
        let is_new = !directory.has_run();
        let instance = match known {
            Some(instance) => instance,
            None => {
                let (directory, spec) = (directory.clone(), spec.clone());
                blocking(move || directory.create(&spec)).await?
            }
        };
        let started = self.power_on(spec, &directory, &instance).await;
        if started.is_err() && is_new {
            blocking(move || directory.remove().map_err(io_error)).await?;
        }
        started
    }

    async fn start(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        let (_turn, directory, instance) = self.existing(&spec.instance_id).await?;
        check_root(&instance, spec)?;
        if self.is_running(&spec.instance_id) {
            return Ok(());
        }
        self.power_on(spec, &directory, &instance).await
    }

    async fn stop(&self, instance_id: &str, grace_s: u32) -> Result<(), DriverError> {
        let (_turn, directory, _) = self.existing(instance_id).await?;
        // Those who are held still cannot heed what they are asked.
        let grace_s = if directory.is_suspended() { 0 } else { grace_s };
        self.power_off(instance_id, &directory, Duration::from_secs(grace_s.into())).await?;
        self.changed.notify_one();
        Ok(())
    }

    async fn reboot(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        let (_turn, directory, instance) = self.existing(&spec.instance_id).await?;
        check_root(&instance, spec)?;
        let grace = Duration::from_secs(REBOOT_GRACE_S.into());
        self.power_off(&spec.instance_id, &directory, grace).await?;
        self.power_on(spec, &directory, &instance).await
    }

    /// The instance serves on while its new root is made, so an image that cannot be used costs it nothing.
    async fn replace_root(&self, spec: &LaunchSpec, grace_s: u32) -> Result<(), DriverError> {
        let (_turn, directory, mut instance) = self.existing(&spec.instance_id).await?;
        if instance.root > spec.root {
            return Err(DriverError::other_root(spec, instance.root));
        }
        if instance.root != spec.root {
            let (beside, wanted) = (directory.clone(), spec.clone());
            let next = blocking(move || beside.prepare_root(&wanted)).await?;
            // Those who are held still cannot heed what they are asked.
            let grace_s = if directory.is_suspended() { 0 } else { grace_s };
            let grace = Duration::from_secs(grace_s.into());
            self.power_off(&spec.instance_id, &directory, grace).await?;
            let (of, wanted, made) = (directory.clone(), spec.clone(), next.clone());
            blocking(move || of.take_prepared_root(&wanted, &made).map_err(io_error)).await?;
            instance = next;
        } else if self.is_running(&spec.instance_id) {
            return Ok(());
        }
        self.power_on(spec, &directory, &instance).await
    }

    /// Stops the processes by signal. The mark comes first, so that one who opens the driver after a crash completes what was begun;
    /// it goes last, so that one held still by half is let go again.
    async fn suspend(&self, instance_id: &str, suspended: bool) -> Result<(), DriverError> {
        let (_turn, directory, _) = self.existing(instance_id).await?;
        let mains = directory.processes().unwrap_or_default();
        if !self.is_running(instance_id) {
            return Ok(());
        }
        blocking(move || {
            if suspended {
                directory.mark_suspended(true).map_err(io_error)?;
                return hold_still(directory.path(), &mains).inspect_err(|_| {
                    tree::signal_all(&tree::members(directory.path(), &mains), Signal::SIGCONT);
                    let _ = directory.mark_suspended(false);
                });
            }
            tree::signal_all(&tree::members(directory.path(), &mains), Signal::SIGCONT);
            directory.mark_suspended(false).map_err(io_error)
        })
        .await
    }

    async fn terminate(&self, instance_id: &str) -> Result<(), DriverError> {
        let (_turn, directory) = self.enter(instance_id).await?;
        self.power_off(instance_id, &directory, Duration::ZERO).await?;
        blocking(move || directory.remove().map_err(io_error)).await?;
        self.meter.lock().reset(instance_id);
        self.forget_turn(instance_id);
        self.changed.notify_one();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<DriverInstance>, DriverError> {
        let instances = self.instances.clone();
        blocking(move || {
            let ids = instance_ids(&instances).map_err(io_error)?;
            let state = |id: &str| {
                let Ok(directory) = Directory::of(&instances, id) else { return DriverState::Stopped };
                match directory.processes() {
                    Some(mains) if mains.iter().any(|m| tree::is_alive(*m)) => DriverState::Running,
                    None if !directory.has_run() => DriverState::Starting,
                    _ => DriverState::Stopped,
                }
            };
            // Who started the processes may be gone, so nobody has seen how they ended.
            let instance = |id: String| {
                let state = state(&id);
                let directory = Directory::of(&instances, &id).ok();
                let root = directory.and_then(|d| d.instance()).map_or(0, |instance| instance.root);
                let is_marked = || Directory::of(&instances, &id).is_ok_and(|d| d.is_suspended());
                let suspended = state == DriverState::Running && is_marked();
                DriverInstance { instance_id: id, state, trouble: None, suspended, root }
            };
            Ok(ids.into_iter().map(instance).collect())
        })
        .await
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn usage(&self, instance_ids: &mut dyn Iterator<Item = &str>, out: &mut Vec<(String, Usage)>) {
        let running = self.running.lock().clone();
        let moves = |id: &str| Directory::of(&self.instances, id).is_ok_and(|d| !d.is_suspended());
        let wanted: HashSet<&str> =
            instance_ids.filter(|id| running.contains_key(*id) && moves(id)).collect();
        let sessions: HashMap<MainProcess, Arc<str>> = running
            .iter()
            .flat_map(|(id, mains)| {
                let id: Arc<str> = id.as_str().into();
                mains.iter().map(move |main| (*main, Arc::clone(&id)))
            })
            .collect();
        let prefix = self.instances.as_os_str().as_encoded_bytes();
        let owner = |marker: &[u8]| -> Option<Arc<str>> {
            let id = std::str::from_utf8(marker.strip_prefix(prefix)?.strip_prefix(b"/")?).ok()?;
            Some(id.into())
        };
        self.meter.lock().read(&sessions, &wanted, &owner, out);
        let n = self.n_readings.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if n.is_multiple_of(TRIM_EACH_N_READINGS) {
            for id in running.keys() {
                if let Ok(directory) = Directory::of(&self.instances, id) {
                    let _ = console::trim(&directory.console());
                }
            }
        }
    }

    async fn create_image(&self, instance_id: &str, target: &Path) -> Result<Vec<PathBuf>, DriverError> {
        let (_turn, directory, instance) = self.existing(instance_id).await?;
        let target = target.to_owned();
        blocking(move || {
            std::fs::create_dir_all(&target).map_err(io_error)?;
            layers::capture(&directory.root(), &instance.linked, &target).map_err(io_error)?;
            let how = target.join(BUNDLE_MANIFEST);
            if how.symlink_metadata().is_err() && !instance.manifest.command.is_empty() {
                let text = serde_json::to_vec_pretty(&instance.manifest)
                    .map_err(|error| DriverError::Permanent(error.to_string()))?;
                std::fs::write(how, text).map_err(io_error)?;
            }
            // The tree is complete by itself: an image made here does not depend on the one it came from.
            Ok(vec![target])
        })
        .await
    }

    async fn console_output(&self, instance_id: &str) -> Result<(Vec<u8>, Option<Timestamp>), DriverError> {
        let directory = Directory::of(&self.instances, instance_id)?;
        if !directory.exists() {
            return Err(DriverError::NotFound(instance_id.to_owned()));
        }
        blocking(move || match console::tail(&directory.console()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((Vec::new(), None)),
            other => other.map_err(io_error),
        })
        .await
    }
}
