//! Runs scheduled actions when their time comes.
//!
//! Each action's record says when it is due; an agenda keeps, for each group, the first of these times. At that time the
//! group's due actions run in one transaction, which also moves each on to its next time; so an action runs once, however
//! often the server dies meanwhile. The group's converger sees the new sizes and acts.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::autoscaling::schedule::ScheduledAction;
use puffer_core::{Clock, Timestamp};
use puffer_inventory::scheduled_actions::{self, Run};
use puffer_store::{Dirty, Store, StoreError, Subscription};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::Reconciler;
use crate::group_converge::agenda::Agenda;

/// The longest time between two looks: how late an action may be when the wall clock leaps ahead of the timer.
const PERIOD: Duration = Duration::from_secs(10);
/// Between two looks at every action, seconds: a lost wake costs this much.
const RESYNC_PERIOD_S: i64 = 300;
/// Before a group whose transaction failed is tried again.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// The reconciler. See the module.
pub struct ScheduleRun {
    store: Store,
    clock: Arc<dyn Clock>,
    rng: Mutex<Box<dyn Rng + Send>>,
    changed: Subscription,
    taken: Mutex<Vec<Dirty>>,
    agenda: Mutex<Agenda>,
}

/// What an activation did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleRunStatus {
    /// Actions that set their group's sizes.
    pub done: usize,
    /// Actions that contradict their group's bounds.
    pub failed: usize,
    /// Actions passed over: suspended, or too late.
    pub passed_over: usize,
}

impl ScheduleRun {
    /// Over the actions of this store. `rng` makes the ids of activities.
    pub fn new(store: Store, clock: Arc<dyn Clock>, rng: Box<dyn Rng + Send>) -> ScheduleRun {
        ScheduleRun {
            changed: store.subscribe::<ScheduledAction>(),
            store,
            clock,
            rng: Mutex::new(rng),
            taken: Mutex::default(),
            agenda: Mutex::new(Agenda::default()),
        }
    }

    /// Brings the agenda up to what changed.
    fn sync(&self, now: Timestamp) {
        let mut dirty = std::mem::take(&mut *self.taken.lock());
        dirty.extend(self.changed.take());
        let mut agenda = self.agenda.lock();
        if agenda.resync_due(now, RESYNC_PERIOD_S) || dirty.contains(&Dirty::All) {
            let mut first: BTreeMap<Arc<str>, Timestamp> = BTreeMap::new();
            self.store.read(|r| {
                for action in r.iter::<ScheduledAction>() {
                    let at = first.entry(Arc::from(action.group.as_str())).or_insert(action.due.at());
                    *at = action.due.at().min(*at);
                }
            });
            for (group, at) in first {
                agenda.set_due(&group, at);
            }
            return;
        }
        for key in dirty
            .into_iter()
            .filter_map(|d| if let Dirty::Keys(keys) = d { Some(keys) } else { None })
            .flatten()
        {
            // A deleted action leaves its group's entry: a look that finds nothing due costs nothing.
            let Some(action) = self.store.get::<ScheduledAction>(&key) else { continue };
            self.plan(&mut agenda, &Arc::from(action.group.as_str()));
        }
    }

    /// Enters the first time at which something of the group is due.
    fn plan(&self, agenda: &mut Agenda, group: &Arc<str>) {
        match self.store.read(|r| scheduled_actions::of_group(r, group).iter().map(|a| a.due.at()).min()) {
            Some(at) => agenda.set_due(group, at),
            None => agenda.clear(group),
        }
    }

    async fn run(&self, group: &Arc<str>, now: Timestamp, status: &mut ScheduleRunStatus) {
        let mut rng = Pcg64::from_rng(&mut **self.rng.lock());
        let ran = self
            .store
            .transact::<_, StoreError>(|tx| Ok(scheduled_actions::run_due(tx, group, now, &mut rng)))
            .await;
        let runs = match ran {
            Ok(runs) => runs,
            Err(error) => {
                tracing::warn!(group = &**group, %error, "scheduled actions could not be made durable");
                self.agenda.lock().set_due(group, now + DISK_RETRY);
                return;
            }
        };
        for (action, run) in runs {
            match run {
                Run::Done => status.done += 1,
                Run::Failed => status.failed += 1,
                Run::Suspended | Run::Missed => status.passed_over += 1,
                Run::Expired => {}
            }
            match run {
                Run::Missed => tracing::warn!(
                    group = &**group,
                    action,
                    "the action's time passed while the server was down; it is not made up for"
                ),
                _ => tracing::info!(group = &**group, action, ?run, "scheduled action"),
            }
        }
        self.plan(&mut self.agenda.lock(), group);
    }
}

impl Reconciler for ScheduleRun {
    type Status = ScheduleRunStatus;

    fn name(&self) -> &'static str {
        "schedule_run"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let due = self.agenda.lock().next_due();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep(at.since(self.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            dirty = self.changed.next() => self.taken.lock().push(dirty),
            () = timer => {}
        }
    }

    async fn activate(&self) -> ScheduleRunStatus {
        let now = self.clock.now();
        self.sync(now);
        let due = self.agenda.lock().take_due(now);
        let mut status = ScheduleRunStatus::default();
        for group in due {
            self.run(&group, now, &mut status).await;
        }
        status
    }
}
