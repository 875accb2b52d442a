//! [`ContainerDriver`]: the [`Driver`] trait on top of [`Lifecycle`]'s blocking steps.
//!
//! Per instance one lock, so that calls for the same id take turns; over all, a bound on starts at once. Each call runs in a task of its own, so that a
//! caller who gives up leaves no step half-locked.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use puffer_core::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::{Notify, Semaphore};

use super::cgroup::{Cgroups, Layout};
use super::host_limits::restore_host_limits;
use super::lifecycle::{Helper, Lifecycle, failure_of_silence, is_instance_id};
use super::meter::Meter;
use super::plan::Answer;
use super::state::Run;
use super::{HELPER_WORD, console, sys};
use crate::{Driver, DriverError, DriverInstance, DriverState, LaunchSpec, Usage};

/// Starts at once. A start is half waiting for the kernel and half CPU; far more than two per core only makes each slower.
const STARTS_AT_ONCE: usize = 8;
/// Until init runs; a start takes tens of milliseconds, and a minute only on a machine in trouble.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer of the helper.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The longest grace a stop may ask for, in seconds.
const GRACE_MAX_S: u32 = 600;

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
    inner: Arc<Inner>,
}

struct Inner {
    lifecycle: Lifecycle,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    starts: Semaphore,
    changed: Notify,
}

#[derive(Default)]
struct Slot {
    /// One call at a time.
    turn: tokio::sync::Mutex<()>,
    meter: Mutex<Option<Meter>>,
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
                let inner = Inner {
                    lifecycle,
                    slots: Mutex::default(),
                    starts: Semaphore::new(STARTS_AT_ONCE),
                    changed: Notify::new(),
                };
                ContainerDriver { inner: Arc::new(inner) }
            })
            .inspect(|driver| driver.inner.adopt())
    }
}

/// When the last user of the driver goes and no instance is left, the machine gets back what the server took for itself.
impl Drop for Inner {
    fn drop(&mut self) {
        if self.lifecycle.ids().is_empty() {
            self.lifecycle.cgroups.remove_server();
            if let Err(error) = restore_host_limits(&self.lifecycle.limits_record()) {
                tracing::warn!(%error, "the host's limits could not be put back");
            }
        }
    }
}

/// A short stable name for a path (Fowler–Noll–Vo, 32 bits): several servers share the machine's cgroup root.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Runs blocking steps off the reactor.
async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::task::spawn_blocking(step)
        .await
        .unwrap_or_else(|error| Err(DriverError::Transient(format!("step failed: {error}"))))
}

/// Runs a call to its end even if the caller gives up.
async fn to_the_end<T: Send + 'static>(
    call: impl Future<Output = Result<T, DriverError>> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::spawn(call)
        .await
        .unwrap_or_else(|error| Err(DriverError::Transient(format!("call failed: {error}"))))
}

impl Inner {
    /// At start: what lives is watched, what never came to life is removed, stray groups are emptied.
    fn adopt(self: &Arc<Self>) {
        let ids = self.lifecycle.ids();
        for id in &ids {
            let dir = self.lifecycle.dir(id);
            match dir.running() {
                Some(run) => {
                    // A copy of its disk may have been under way.
                    if let Err(error) = self.lifecycle.cgroups.freeze(id, false) {
                        tracing::warn!(instance = %id, %error, "the instance could not be thawed");
                    }
                    self.watch(id, &run);
                }
                // A shim may still be building it; the next call for this id sorts that out.
                None if dir.run().is_some() || dir.shim().is_some() => {}
                None => {
                    if let Err(error) = self.lifecycle.remove(id) {
                        tracing::warn!(instance = %id, %error, "a half-made instance could not be removed");
                    }
                }
            }
        }
        for stray in self.lifecycle.cgroups.instances().iter().filter(|id| !ids.contains(id)) {
            if let Err(error) = self.lifecycle.cgroups.remove(stray) {
                tracing::warn!(instance = %stray, %error, "stray cgroups could not be removed");
            }
        }
    }

    fn slot(&self, id: &str) -> Arc<Slot> {
        self.slots.lock().entry(id.to_string()).or_default().clone()
    }

    fn wake(&self) {
        self.changed.notify_waiters();
        // A permit for who comes next: a change between two waits must not be missed.
        self.changed.notify_one();
    }

    /// Opens the counters and waits for the end in the background.
    fn watch(self: &Arc<Self>, id: &str, run: &Run) {
        let interface = self.lifecycle.dir(id).spec().and_then(|s| s.network).map(|n| n.host_interface);
        match Meter::open(&self.lifecycle.cgroups, id, interface.as_deref()) {
            Ok(meter) => *self.slot(id).meter.lock() = Some(meter),
            Err(error) => tracing::warn!(instance = %id, %error, "the instance cannot be metered"),
        }
        // The shim outlives init by the moments it needs to clean up; it may also restart the guest, which is no end. Without a shim, init itself.
        let process = if run.shim.is_alive() { &run.shim } else { &run.init };
        let Some(pidfd) = process.open().and_then(|fd| sys::async_end(fd).ok()) else {
            self.wake();
            return;
        };
        let (weak, id): (Weak<Inner>, String) = (Arc::downgrade(self), id.to_string());
        tokio::spawn(async move {
            let _ = pidfd.readable().await;
            let Some(inner) = weak.upgrade() else { return };
            match inner.lifecycle.dir(&id).running() {
                // Only the shim died; the guest goes on without console.
                Some(run) if !run.shim.is_alive() => inner.watch(&id, &run),
                Some(_) => inner.wake(),
                None => {
                    *inner.slot(&id).meter.lock() = None;
                    inner.wake();
                }
            }
        });
    }

    /// Starts the helper and waits for its answer.
    async fn boot(self: &Arc<Self>, spec: LaunchSpec, first_boot: bool) -> Result<(), DriverError> {
        let id = spec.instance_id.clone();
        let image_id = spec.image.image_id.clone();
        let this = self.clone();
        let mut helper = blocking(move || this.lifecycle.spawn(&spec, first_boot)).await?;
        let stdout = helper.stdout.take();
        let answer = tokio::time::timeout(START_TIMEOUT, read_answer(stdout)).await;
        reap(helper);
        let dir = self.lifecycle.dir(&id);
        match answer {
            Ok(Some(Answer::Running)) => {
                match dir.run() {
                    Some(run) => self.watch(&id, &run),
                    None => return Err(DriverError::Transient("the instance ended at once".into())),
                }
                self.wake();
                Ok(())
            }
            Ok(Some(Answer::Failed(failure))) => Err(failure.into_error(&image_id)),
            Ok(None) => Err(failure_of_silence(&dir).into_error(&image_id)),
            Err(_) => {
                Err(DriverError::Transient(format!("init did not run within {} s", START_TIMEOUT.as_secs())))
            }
        }
    }

    async fn launch(self: Arc<Self>, spec: LaunchSpec) -> Result<(), DriverError> {
        let id = spec.instance_id.clone();
        if !is_instance_id(&id) {
            return Err(DriverError::Permanent(format!("'{id}' is not an instance id")));
        }
        let slot = self.slot(&id);
        let _turn = slot.turn.lock().await;
        let dir = self.lifecycle.dir(&id);
        if let Some(run) = dir.running() {
            if slot.meter.lock().is_none() {
                self.watch(&id, &run);
            }
            return Ok(());
        }
        let Ok(_permit) = self.starts.acquire().await else {
            return Err(DriverError::Transient("the driver is closing".into()));
        };
        // One that was launched before and is off has its disk.
        let first_boot = dir.run().is_none();
        let (this, wanted) = (self.clone(), spec.clone());
        let ready = blocking(move || {
            if first_boot {
                this.lifecycle.remove(&wanted.instance_id)?;
                return this.lifecycle.create(&wanted);
            }
            this.lifecycle.kill(&wanted.instance_id)
        });
        let started = match ready.await {
            Ok(()) => self.boot(spec, first_boot).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(()) => Ok(()),
            Err(error) => {
                let this = self.clone();
                blocking(move || this.forget_failed(&id, first_boot, error)).await
            }
        }
    }

    /// After a failed start: a new instance leaves nothing, an old one keeps its disk. Hands the error back.
    fn forget_failed(&self, id: &str, new: bool, error: DriverError) -> Result<(), DriverError> {
        let cleared = if new { self.lifecycle.remove(id) } else { self.lifecycle.kill(id) };
        if let Err(second) = cleared {
            tracing::warn!(instance = %id, error = %second, "a failed start could not be cleared");
        }
        if new {
            self.slots.lock().remove(id);
        }
        Err(error)
    }

    async fn start(self: Arc<Self>, spec: LaunchSpec) -> Result<(), DriverError> {
        self.known(&spec.instance_id)?;
        self.launch(spec).await
    }

    async fn stop(self: Arc<Self>, id: String, grace_s: u32) -> Result<(), DriverError> {
        self.known(&id)?;
        let slot = self.slot(&id);
        let _turn = slot.turn.lock().await;
        let dir = self.lifecycle.dir(&id);
        if let Some(run) = dir.running()
            && let Some(init) = run.init.open()
        {
            let this = self.clone();
            let asked = id.clone();
            let (listens, init) = blocking(move || {
                this.lifecycle.ask_to_stop(&asked, &run, &init).map(|listens| (listens, init))
            })
            .await?;
            if listens && let Ok(init) = sys::async_end(init) {
                let grace = Duration::from_secs(grace_s.min(GRACE_MAX_S).into());
                let _ = tokio::time::timeout(grace, init.readable()).await;
            }
        }
        let this = self.clone();
        blocking(move || this.lifecycle.kill(&id)).await?;
        *slot.meter.lock() = None;
        self.wake();
        Ok(())
    }

    async fn terminate(self: Arc<Self>, id: String) -> Result<(), DriverError> {
        if !is_instance_id(&id) {
            return Ok(());
        }
        let slot = self.slot(&id);
        let turn = slot.turn.lock().await;
        *slot.meter.lock() = None;
        let (this, removed) = (self.clone(), id.clone());
        blocking(move || this.lifecycle.remove(&removed)).await?;
        drop(turn);
        self.slots.lock().remove(&id);
        self.wake();
        Ok(())
    }

    /// Only ids that have been launched are known.
    fn known(&self, id: &str) -> Result<(), DriverError> {
        match is_instance_id(id) && self.lifecycle.dir(id).run().is_some() {
            true => Ok(()),
            false => Err(DriverError::NotFound(id.to_string())),
        }
    }
}

async fn read_answer(stdout: Option<std::process::ChildStdout>) -> Option<Answer> {
    let stdout = tokio::process::ChildStdout::from_std(stdout?).ok()?;
    let mut line = String::new();
    BufReader::new(stdout.take(ANSWER_BYTES_MAX)).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

/// Waits for a helper that is our child, so that it does not stay a zombie.
fn reap(mut helper: Helper) {
    let pidfd = sys::pidfd_open(helper.id() as i32).ok().and_then(|fd| sys::async_end(fd).ok());
    tokio::spawn(async move {
        if let Some(pidfd) = pidfd {
            let _ = pidfd.readable().await;
        }
        let _ = helper.try_wait();
    });
}

#[async_trait]
impl Driver for ContainerDriver {
    fn name(&self) -> &'static str {
        "container"
    }

    async fn launch(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        to_the_end(self.inner.clone().launch(spec.clone())).await
    }

    async fn start(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        to_the_end(self.inner.clone().start(spec.clone())).await
    }

    async fn stop(&self, instance_id: &str, grace_s: u32) -> Result<(), DriverError> {
        to_the_end(self.inner.clone().stop(instance_id.to_string(), grace_s)).await
    }

    async fn reboot(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        /// AWS: a reboot that the guest does not heed within four minutes becomes a hard one (RebootInstances).
        const REBOOT_GRACE_S: u32 = 240;
        let (inner, spec) = (self.inner.clone(), spec.clone());
        to_the_end(async move {
            inner.clone().stop(spec.instance_id.clone(), REBOOT_GRACE_S).await?;
            inner.start(spec).await
        })
        .await
    }

    async fn terminate(&self, instance_id: &str) -> Result<(), DriverError> {
        to_the_end(self.inner.clone().terminate(instance_id.to_string())).await
    }

    async fn list(&self) -> Result<Vec<DriverInstance>, DriverError> {
        let inner = self.inner.clone();
        let found = blocking(move || {
            let look = |id: String| {
                let dir = inner.lifecycle.dir(&id);
                let running = dir.running();
                let state = match (&running, dir.run()) {
                    (Some(_), _) => DriverState::Running,
                    // The shim is between two lives of a guest that reboots, or about to end and wake us.
                    (None, Some(run)) if run.shim.is_alive() => DriverState::Starting,
                    (None, Some(_)) => DriverState::Stopped,
                    (None, None) => DriverState::Starting,
                };
                (DriverInstance { instance_id: id, state }, running)
            };
            Ok(inner.lifecycle.ids().into_iter().map(look).collect::<Vec<_>>())
        })
        .await?;
        for (instance, run) in &found {
            // A start that outlived the control plane which asked for it.
            if let Some(run) = run
                && let slot = self.inner.slot(&instance.instance_id)
                && slot.turn.try_lock().is_ok()
                && slot.meter.lock().is_none()
            {
                self.inner.watch(&instance.instance_id, run);
            }
        }
        Ok(found.into_iter().map(|(instance, _)| instance).collect())
    }

    async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    fn usage(&self, instance_ids: &mut dyn Iterator<Item = &str>, out: &mut Vec<(String, Usage)>) {
        for id in instance_ids {
            let slot = self.inner.slots.lock().get(id).cloned();
            let usage = slot.and_then(|slot| slot.meter.lock().as_mut().and_then(Meter::read));
            out.extend(usage.map(|usage| (id.to_string(), usage)));
        }
    }

    async fn create_image(&self, instance_id: &str, target: &Path) -> Result<Vec<PathBuf>, DriverError> {
        let (inner, id, target) = (self.inner.clone(), instance_id.to_string(), target.to_path_buf());
        to_the_end(async move {
            inner.known(&id)?;
            let slot = inner.slot(&id);
            let _turn = slot.turn.lock().await;
            let this = inner.clone();
            blocking(move || this.lifecycle.capture(&id, &target)).await
        })
        .await
    }

    async fn console_output(&self, instance_id: &str) -> Result<(Vec<u8>, Option<Timestamp>), DriverError> {
        self.inner.known(instance_id)?;
        let dir = self.inner.lifecycle.dir(instance_id);
        blocking(move || {
            let (bytes, grew_ms) = console::read(&dir.path)
                .map_err(|error| DriverError::Transient(format!("read the console: {error}")))?;
            Ok((bytes, grew_ms.map(Timestamp::from_millis)))
        })
        .await
    }
}
