//! Makes instances what their records say: the only place that calls the driver for launching, stopping and ending.
//!
//! Work comes as keys: an instance whose record changed, whose retry is due or whose guest may have changed is looked at, and if its
//! record asks for something a task does it (`step`). A key has at most one task; what changes meanwhile makes it
//! be looked at again. Tasks queue for the driver's slots, so a thousand launches make no more of the machine busy than it can
//! use, and nothing here is ever proportional to all instances but the sweep.
//!
//! The sweep (`sweep`) compares the driver's list with the records: at the start, whenever the driver says that something changed,
//! and now and then. What runs without a record is ended; what has a record but is gone is marked so; a guest that
//! powered off by itself is marked stopped. Guests in a zone that is down are held still, and let go when the zone is up (`zones`).
//!
//! Invariant: nothing is done to the world for a record that is not yet durable (`settled` before each act), and no two driver calls run at
//! once for one instance.

mod agenda;
mod reasons;
mod root_volume;
#[cfg(test)]
mod root_volume_tests;
mod spec;
mod step;
mod sweep;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_compute::Driver;
use puffer_core::Clock;
use puffer_core::ec2::{Instance, InstanceState, ZoneCondition};
use puffer_store::{Dirty, Store, Subscription};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::{ImageSource, Placement, Reconciler};
use agenda::{Agenda, Errand};

/// The longest time between two activations.
const PERIOD: Duration = Duration::from_secs(5);
/// Between two sweeps when nothing seems to have changed.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);
/// Between two sweeps when the driver keeps reporting changes: a burst of ending guests costs a few lists, not one each.
const SWEEP_GAP: Duration = Duration::from_millis(200);
/// Between two looks for terminated records to drop.
const PURGE_PERIOD: Duration = Duration::from_secs(30);

/// What a driver call may take before it counts as failed in passing.
#[derive(Debug, Clone)]
pub struct ConvergeLimits {
    /// Launch, start.
    pub launch: Duration,
    /// Reboot, with the four minutes inside that a guest has to heed it.
    pub reboot: Duration,
    /// Stop, with the guest's own time to power off inside.
    pub stop: Duration,
    /// Terminate.
    pub terminate: Duration,
    /// How long a guest rests at most while images are copied from its disk.
    pub rest: Duration,
    /// List.
    pub list: Duration,
    /// Suspend, resume.
    pub suspend: Duration,
    /// What a guest gets to power off, seconds.
    pub stop_grace_s: u32,
    /// From running to passed status checks.
    pub status_after: Duration,
    /// How long a running instance may be out of reach before its status check is impaired.
    pub impaired_after: Duration,
    /// How long terminated records stay; about an hour on AWS.
    pub keep_terminated: Duration,
}

impl Default for ConvergeLimits {
    fn default() -> Self {
        ConvergeLimits {
            launch: Duration::from_secs(120),
            reboot: Duration::from_secs(360),
            stop: Duration::from_secs(60),
            terminate: Duration::from_secs(60),
            rest: Duration::from_secs(600),
            list: Duration::from_secs(30),
            suspend: Duration::from_secs(30),
            stop_grace_s: 20,
            status_after: Duration::from_secs(2),
            // AWS checks each minute and wants to see it fail more than once.
            impaired_after: Duration::from_secs(20),
            keep_terminated: Duration::from_secs(3600),
        }
    }
}

/// What the converger works with.
pub struct ConvergeRooms {
    /// The records.
    pub store: Store,
    /// What runs instances.
    pub driver: Arc<dyn Driver>,
    /// Their images.
    pub images: Arc<dyn ImageSource>,
    /// Their places in the network.
    pub placement: Arc<dyn Placement>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The reconciler. See the module.
pub struct InstanceConverge {
    shared: Arc<Shared>,
    subscription: Subscription,
    zones: Subscription,
    sweeps: Mutex<Sweeps>,
}

struct Shared {
    rooms: ConvergeRooms,
    limits: ConvergeLimits,
    slots: Semaphore,
    agenda: Mutex<Agenda>,
    /// Running instances that cannot be reached, and since when.
    unreachable: Mutex<BTreeMap<String, Instant>>,
    /// A task ended, or something became due.
    wake: Notify,
}

#[derive(Default)]
struct Sweeps {
    last: Option<Instant>,
    wanted: bool,
    purged: Option<Instant>,
}

/// What an activation did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ConvergeStatus {
    /// Instances looked at.
    pub looked_at: usize,
    /// Tasks started.
    pub started: usize,
    /// Instances whose status checks were set.
    pub checked: usize,
    /// Terminated records dropped.
    pub purged: usize,
    /// Whether the driver's list was compared with the records.
    pub swept: bool,
}

impl InstanceConverge {
    /// A converger over these rooms.
    pub fn new(rooms: ConvergeRooms, limits: ConvergeLimits) -> InstanceConverge {
        let subscription = rooms.store.subscribe::<Instance>();
        let zones = rooms.store.subscribe::<ZoneCondition>();
        let slots = Semaphore::new(rooms.driver.calls_at_once().clamp(1, Semaphore::MAX_PERMITS));
        let shared = Shared {
            rooms,
            limits,
            slots,
            agenda: Mutex::default(),
            unreachable: Mutex::default(),
            wake: Notify::new(),
        };
        InstanceConverge { shared: Arc::new(shared), subscription, zones, sweeps: Mutex::default() }
    }

    /// How many instances have a task now.
    pub fn n_busy(&self) -> usize {
        self.shared.agenda.lock().n_busy()
    }

    fn take_keys(&self) -> Vec<Arc<str>> {
        let mut keys = match self.subscription.take() {
            None => Vec::new(),
            Some(Dirty::Keys(keys)) => keys,
            Some(Dirty::All) => {
                self.sweeps.lock().wanted = true;
                self.shared
                    .rooms
                    .store
                    .read(|r| r.iter::<Instance>().map(|i| Arc::from(i.id.as_str())).collect())
            }
        };
        keys.extend(self.shared.agenda.lock().take_due(Errand::Step, Instant::now()));
        keys
    }

    fn start_steps(&self, keys: &[Arc<str>]) -> usize {
        let mut started = 0;
        for key in keys {
            let Some(instance) = self.shared.rooms.store.get::<Instance>(key) else { continue };
            if instance.state == InstanceState::Running {
                self.shared.expect_status(&instance);
            }
            if step::is_wanted(&instance) && self.shared.agenda.lock().claim(key, Instant::now()) {
                started += 1;
                let shared = Arc::clone(&self.shared);
                let key = Arc::clone(key);
                tokio::spawn(async move { shared.work(key).await });
            }
        }
        started
    }

    async fn sweep_if_due(&self) -> bool {
        let now = Instant::now();
        {
            let mut sweeps = self.sweeps.lock();
            let since = sweeps.last.map(|l| now.saturating_duration_since(l));
            let due = match since {
                None => true,
                Some(since) => since >= SWEEP_PERIOD || (sweeps.wanted && since >= SWEEP_GAP),
            };
            if !due {
                return false;
            }
            sweeps.last = Some(now);
            sweeps.wanted = false;
        }
        if let Err(error) = self.shared.sweep().await {
            tracing::warn!(%error, "the driver's instances could not be compared with the records");
            self.sweeps.lock().wanted = true;
        }
        true
    }

    async fn purge_if_due(&self) -> usize {
        let now = Instant::now();
        {
            let mut sweeps = self.sweeps.lock();
            if sweeps.purged.is_some_and(|last| now.saturating_duration_since(last) < PURGE_PERIOD) {
                return 0;
            }
            sweeps.purged = Some(now);
        }
        self.shared.purge().await
    }
}

impl Reconciler for InstanceConverge {
    type Status = ConvergeStatus;

    fn name(&self) -> &'static str {
        "instance_converge"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let due = {
            let sweeps = self.sweeps.lock();
            let sweep = sweeps.wanted.then(|| sweeps.last.map_or_else(Instant::now, |l| l + SWEEP_GAP));
            self.shared.agenda.lock().next_due().into_iter().chain(sweep).min()
        };
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            dirty = self.subscription.next() => self.put_back(dirty),
            () = self.shared.wake.notified() => {}
            _ = self.zones.next() => self.sweeps.lock().wanted = true,
            () = self.shared.rooms.driver.changed() => self.sweeps.lock().wanted = true,
            () = timer => {}
        }
    }

    async fn activate(&self) -> ConvergeStatus {
        // The comparison comes first: after a start it tells what is left of the work that was under way.
        if self.zones.take().is_some() {
            self.sweeps.lock().wanted = true;
        }
        let swept = self.sweep_if_due().await;
        let keys = self.take_keys();
        let started = self.start_steps(&keys);
        let checked = self.shared.check_status().await;
        let purged = self.purge_if_due().await;
        ConvergeStatus { looked_at: keys.len(), started, checked, purged, swept }
    }
}

impl InstanceConverge {
    /// What the wake took from the subscription goes back for the activation to take.
    fn put_back(&self, dirty: Dirty) {
        match dirty {
            Dirty::Keys(keys) => self.subscription.again(keys.iter()),
            Dirty::All => {
                self.sweeps.lock().wanted = true;
                let keys: Vec<Arc<str>> = self
                    .shared
                    .rooms
                    .store
                    .read(|r| r.iter::<Instance>().map(|i| Arc::from(i.id.as_str())).collect());
                self.subscription.again(keys.iter());
            }
        }
    }
}
