//! The data plane's view of targets → their records: health with its reason, and the end of draining.
//!
//! Only what differs is written, so a fleet that is just healthy costs no disk.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use puffer_core::Clock;
use puffer_core::ec2::Instance;
use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_core::elb::health::Reason;
use puffer_core::elb::{LoadBalancer, Rule, Target, TargetGroup};
use puffer_inventory::targets;
use puffer_store::{Store, StoreError, Subscription};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::wake::{Pace, any_of};
use crate::{DataPlane, PortPolicy, Reconciler};
use plan::{Change, plan};

/// Time between looks while nothing changes.
const PERIOD: Duration = Duration::from_secs(15);
/// Time between looks while targets drain, whose time may be over without anything changing.
const DRAIN_PERIOD: Duration = Duration::from_millis(500);
/// Longest wait for a change in one call.
const WAIT: Duration = Duration::from_secs(10);
/// Pause before asking again a data plane that is away.
const AWAY_PAUSE: Duration = Duration::from_secs(1);
/// Shortest time between two questions for changes.
const PACE: Duration = Duration::from_millis(30);

/// What an activation did.
#[derive(Debug, Default)]
pub struct TargetSyncStatus {
    /// Records changed.
    pub n_changed: usize,
    /// Records removed.
    pub n_removed: usize,
    /// Whether the data plane answered.
    pub has_report: bool,
}

/// See the module.
pub struct TargetSync<P> {
    store: Store,
    plane: Arc<P>,
    clock: Arc<dyn Clock>,
    ports: PortPolicy,
    subscriptions: Vec<Subscription>,
    watch: Watch,
    drains: AtomicBool,
    pace: Pace,
}

impl<P: DataPlane> TargetSync<P> {
    /// `lost` is told when the data plane is found away; it is shared with [`crate::BalancerSync`]. To be called within
    /// a runtime.
    pub fn new(
        store: Store,
        plane: Arc<P>,
        clock: Arc<dyn Clock>,
        ports: PortPolicy,
        lost: Arc<Notify>,
    ) -> Self {
        let subscriptions = vec![
            store.subscribe::<Rule>(),
            store.subscribe::<TargetGroup>(),
            store.subscribe::<Target>(),
            store.subscribe::<Instance>(),
        ];
        let watch = Watch::start(store.clone(), Arc::clone(&plane), lost);
        TargetSync {
            store,
            plane,
            clock,
            ports,
            subscriptions,
            watch,
            drains: AtomicBool::new(false),
            pace: Pace::default(),
        }
    }
}

/// Listens to the data plane in a task of its own: a wait that were cancelled with each wake would leave the data plane
/// with one waiting connection each.
struct Watch {
    /// Change number of the latest report.
    known: Arc<AtomicU64>,
    news: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watch {
    fn start<P: DataPlane>(store: Store, plane: Arc<P>, lost: Arc<Notify>) -> Watch {
        let known = Arc::new(AtomicU64::new(0));
        let news = Arc::new(Notify::new());
        let task = tokio::spawn(watch(store, plane, lost, Arc::clone(&known), Arc::clone(&news)));
        Watch { known, news, task }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch<P: DataPlane>(
    store: Store,
    plane: Arc<P>,
    lost: Arc<Notify>,
    known: Arc<AtomicU64>,
    news: Arc<Notify>,
) {
    let mut told = None;
    loop {
        let since = known.load(Ordering::Relaxed);
        match plane.wait_change(since, WAIT).await {
            Ok(change) if change != since => {
                if told == Some(change) {
                    // The reconciler has not got round to it yet.
                    tokio::time::sleep(PACE).await;
                }
                told = Some(change);
                news.notify_one();
                // Gives it the time to take the report before the next question.
                tokio::time::sleep(PACE).await;
            }
            Ok(_) => {}
            Err(_) => {
                told = None;
                if store.read(|r| r.count::<LoadBalancer>() + r.count::<ClassicLoadBalancer>()) > 0 {
                    lost.notify_one();
                }
                tokio::time::sleep(AWAY_PAUSE).await;
            }
        }
    }
}

impl<P: DataPlane> Reconciler for TargetSync<P> {
    type Status = TargetSyncStatus;

    fn name(&self) -> &'static str {
        "target_sync"
    }

    fn period(&self) -> Duration {
        if self.drains.load(Ordering::Relaxed) { DRAIN_PERIOD } else { PERIOD }
    }

    async fn wake(&self) {
        let something = async {
            tokio::select! {
                biased;
                () = any_of(&self.subscriptions) => {}
                () = self.watch.news.notified() => {}
            }
        };
        self.pace.after(something).await;
    }

    async fn activate(&self) -> TargetSyncStatus {
        let began = self.pace.begin();
        let report = self.plane.report().await.ok();
        if let Some(report) = &report {
            self.watch.known.store(report.change, Ordering::Relaxed);
        }
        let now = self.clock.now();
        let (changes, drains) = self.store.read(|r| plan(r, report.as_ref(), self.ports, now));
        self.drains.store(drains, Ordering::Relaxed);
        let mut status = TargetSyncStatus { has_report: report.is_some(), ..TargetSyncStatus::default() };
        if !changes.is_empty() {
            match perform(&self.store, changes).await {
                Ok((n_changed, n_removed)) => {
                    (status.n_changed, status.n_removed) = (n_changed, n_removed);
                }
                Err(error) => tracing::error!(%error, "states of targets cannot be recorded"),
            }
        }
        self.pace.end(began);
        status
    }
}

/// Writes what still applies; gives how many records were changed and removed.
async fn perform(store: &Store, changes: Vec<Change>) -> Result<(usize, usize), StoreError> {
    store
        .transact(|tx| {
            let (mut n_changed, mut n_removed) = (0, 0);
            for change in changes {
                let (Change::Remove(before) | Change::Set(before, ..)) = &change;
                let key = Target::key_of(&before.target_group, &before.id, before.port);
                if tx.get::<Target>(&key).as_ref() != Some(before) {
                    continue;
                }
                match change {
                    Change::Remove(t) => {
                        let gone =
                            targets::drained(tx, &t.target_group, &t.id, t.port) || tx.delete::<Target>(&key);
                        n_removed += usize::from(gone);
                    }
                    Change::Set(_, state, reason) => {
                        tx.update::<Target>(&key, |t| {
                            t.state = state;
                            t.reason = reason.map(|r| Reason::code(r).to_owned());
                            t.description = reason.map(Reason::description);
                        });
                        n_changed += 1;
                    }
                }
            }
            Ok((n_changed, n_removed))
        })
        .await
}
