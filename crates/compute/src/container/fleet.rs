//! All instances of one server: who takes turns, who is watched, and how a start, a stop and an end go.
//!
//! Per instance one lock, so that calls for the same id take turns; over all, a bound on starts at once. Each call runs in a task of its own, so that a
//! caller who gives up leaves no step half-done.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::{Notify, Semaphore};

use super::host_limits::restore_host_limits;
use super::lifecycle::{Helper, Lifecycle, failure_of_silence, is_instance_id};
use super::meter::Meter;
use super::plan::Answer;
use super::state::Run;
use super::sys;
use crate::{DriverError, LaunchSpec, Usage};

/// Starts at once. A start is half waiting for the kernel and half CPU; far more than two per core only makes each slower.
const STARTS_AT_ONCE: usize = 8;
/// Until init runs; a start takes tens of milliseconds, and a minute only on a machine in trouble.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer of the helper.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The longest grace a stop may ask for, in seconds.
const GRACE_MAX_S: u32 = 600;

pub(super) struct Fleet {
    pub(super) lifecycle: Lifecycle,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    starts: Semaphore,
    pub(super) changed: Notify,
}

#[derive(Default)]
pub(super) struct Slot {
    /// One call at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) meter: Mutex<Option<Meter>>,
}

/// When the last user of the driver goes and no instance is left, the machine gets back what the server took for itself.
impl Drop for Fleet {
    fn drop(&mut self) {
        if self.lifecycle.ids().is_empty() {
            self.lifecycle.cgroups.remove_server();
            if let Err(error) = restore_host_limits(&self.lifecycle.limits_record()) {
                tracing::warn!(%error, "the host's limits could not be put back");
            }
        }
    }
}

/// Runs blocking steps off the reactor.
pub(super) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::task::spawn_blocking(step)
        .await
        .unwrap_or_else(|error| Err(DriverError::Transient(format!("step failed: {error}"))))
}

/// Runs a call to its end even if the caller gives up.
pub(super) async fn to_the_end<T: Send + 'static>(
    call: impl Future<Output = Result<T, DriverError>> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::spawn(call)
        .await
        .unwrap_or_else(|error| Err(DriverError::Transient(format!("call failed: {error}"))))
}

impl Fleet {
    pub(super) fn new(lifecycle: Lifecycle) -> Arc<Self> {
        Arc::new(Fleet {
            lifecycle,
            slots: Mutex::default(),
            starts: Semaphore::new(STARTS_AT_ONCE),
            changed: Notify::new(),
        })
    }

    /// Counters of a running instance.
    pub(super) fn usage(&self, id: &str) -> Option<Usage> {
        let slot = self.slots.lock().get(id).cloned()?;
        if self.lifecycle.is_suspended(id) {
            return None;
        }
        slot.meter.lock().as_mut().and_then(Meter::read)
    }

    /// At start: what lives is watched, what never came to life is removed, stray groups are emptied.
    pub(super) fn adopt(self: &Arc<Self>) {
        let ids = self.lifecycle.ids();
        // Before anything new gets a range: those of stopped instances are known from their directories only, once the
        // machine has been rebooted.
        for id in &ids {
            if let Err(error) = self.lifecycle.renew_uids(id) {
                tracing::error!(instance = %id, %error, "the instance's uids cannot be kept for it");
            }
        }
        for id in &ids {
            let dir = self.lifecycle.dir(id);
            match dir.running() {
                Some(run) => {
                    // A copy of its disk, or holding it still, may have been under way.
                    let suspended = self.lifecycle.is_suspended(id);
                    if let Err(error) = self.lifecycle.cgroups.freeze(id, suspended) {
                        tracing::warn!(instance = %id, suspended, %error, "the instance could not be frozen or thawed");
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

    pub(super) fn slot(&self, id: &str) -> Arc<Slot> {
        self.slots.lock().entry(id.to_string()).or_default().clone()
    }

    fn wake(&self) {
        self.changed.notify_waiters();
        // A permit for who comes next: a change between two waits must not be missed.
        self.changed.notify_one();
    }

    /// Opens the counters and waits for the end in the background.
    pub(super) fn watch(self: &Arc<Self>, id: &str, run: &Run) {
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
        let (weak, id): (Weak<Fleet>, String) = (Arc::downgrade(self), id.to_string());
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

    pub(super) async fn launch(self: Arc<Self>, spec: LaunchSpec) -> Result<(), DriverError> {
        let id = spec.instance_id.clone();
        if !is_instance_id(&id) {
            return Err(DriverError::Permanent(format!("'{id}' is not an instance id")));
        }
        let slot = self.slot(&id);
        let _turn = slot.turn.lock().await;
        self.launch_in_turn(&slot, spec).await
    }

    /// Starts the instance, making it if there is none; the caller has its turn.
    async fn launch_in_turn(self: &Arc<Self>, slot: &Slot, spec: LaunchSpec) -> Result<(), DriverError> {
        let id = spec.instance_id.clone();
        let dir = self.lifecycle.dir(&id);
        self.check_root(&spec)?;
        if let Some(run) = dir.running() {
            if slot.meter.lock().is_none() {
                self.watch(&id, &run);
            }
            return Ok(());
        }
        let Ok(_permit) = self.starts.acquire().await else {
            return Err(DriverError::Transient("the driver is closing".into()));
        };
        // One that was launched before and is off has its disk, which may be new.
        let (is_new, first_boot) = (dir.run().is_none(), dir.is_fresh());
        let (this, wanted) = (self.clone(), spec.clone());
        let ready = blocking(move || {
            if is_new {
                this.lifecycle.remove(&wanted.instance_id)?;
                return this.lifecycle.create(&wanted);
            }
            this.lifecycle.kill(&wanted.instance_id)?;
            this.lifecycle.settle_disk(&wanted.instance_id)
        });
        let started = match ready.await {
            Ok(()) => self.boot(spec, first_boot).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(()) => Ok(()),
            Err(error) => {
                let this = self.clone();
                blocking(move || this.forget_failed(&id, is_new, error)).await
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

    pub(super) async fn start(self: Arc<Self>, spec: LaunchSpec) -> Result<(), DriverError> {
        self.known(&spec.instance_id)?;
        self.launch(spec).await
    }

    pub(super) async fn stop(self: Arc<Self>, id: String, grace_s: u32) -> Result<(), DriverError> {
        self.known(&id)?;
        let slot = self.slot(&id);
        let _turn = slot.turn.lock().await;
        self.power_off(&slot, id, grace_s).await
    }

    /// The disk is exchanged while nothing runs; what follows is a start of an instance that has its disk.
    pub(super) async fn replace_root(
        self: Arc<Self>,
        spec: LaunchSpec,
        grace_s: u32,
    ) -> Result<(), DriverError> {
        let id = spec.instance_id.clone();
        self.known(&id)?;
        let slot = self.slot(&id);
        let _turn = slot.turn.lock().await;
        self.known(&id)?;
        let has = self.lifecycle.dir(&id).meta().map_or(0, |meta| meta.root);
        if has < spec.root {
            let (this, wanted) = (self.clone(), spec.clone());
            blocking(move || this.lifecycle.check_root(&wanted)).await?;
            self.power_off(&slot, id, grace_s).await?;
            let (this, wanted) = (self.clone(), spec.clone());
            blocking(move || this.lifecycle.renew_disk(&wanted)).await?;
        }
        // A call that comes late, after one for a newer disk, is refused here.
        self.launch_in_turn(&slot, spec).await
    }

    /// Whether the spec is the one of the disk that the instance has, if it has been launched.
    pub(super) fn check_root(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        let dir = self.lifecycle.dir(&spec.instance_id);
        match dir.run().and_then(|_| dir.meta()) {
            Some(meta) if meta.root != spec.root => Err(DriverError::other_root(spec, meta.root)),
            _ => Ok(()),
        }
    }

    /// Ends the guest; the caller has the instance's turn.
    async fn power_off(self: &Arc<Self>, slot: &Slot, id: String, grace_s: u32) -> Result<(), DriverError> {
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
            // A guest that is held still cannot heed it.
            if listens
                && !self.lifecycle.is_suspended(&id)
                && let Ok(init) = sys::async_end(init)
            {
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

    pub(super) async fn suspend(self: Arc<Self>, id: String, suspended: bool) -> Result<(), DriverError> {
        self.known(&id)?;
        let slot = self.slot(&id);
        let _turn = slot.turn.lock().await;
        let this = self.clone();
        blocking(move || this.lifecycle.suspend(&id, suspended)).await
    }

    pub(super) async fn terminate(self: Arc<Self>, id: String) -> Result<(), DriverError> {
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
    pub(super) fn known(&self, id: &str) -> Result<(), DriverError> {
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
