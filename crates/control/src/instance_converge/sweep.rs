use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use puffer_compute::{DriverError, DriverState};
use puffer_core::ec2::{Instance, InstanceState as State, StatusCheck};
use puffer_inventory::instances;
use puffer_store::StoreError;
use tokio::time::Instant;

use super::agenda::Errand;
use super::step::within;
use super::{Shared, reasons};

/// Records that one transaction changes at most: keeps the writer's lock short.
const BATCH_MAX: usize = 500;

/// How an instance's record disagrees with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// The machine has it, the records do not want it.
    Orphan,
    /// It runs though it shall be stopped.
    Revenant,
    /// The records have it, the machine does not.
    Lost,
    /// It runs by the record but not on the machine.
    PoweredOff,
}

/// Compares one instance's record with the machine. Records in transition are the steps' business.
fn judge(record: Option<State>, machine: Option<DriverState>) -> Option<Finding> {
    match (record, machine) {
        (None | Some(State::Terminated), Some(_)) => Some(Finding::Orphan),
        (Some(State::Stopped), Some(DriverState::Running | DriverState::Starting)) => Some(Finding::Revenant),
        (Some(State::Running | State::Stopped), None) => Some(Finding::Lost),
        (Some(State::Running), Some(DriverState::Stopped)) => Some(Finding::PoweredOff),
        _ => None,
    }
}

impl Shared {
    async fn list(&self) -> Result<BTreeMap<String, DriverState>, DriverError> {
        let listed = within(self.limits.list, "list", self.rooms.driver.list()).await?;
        Ok(listed.into_iter().map(|i| (i.instance_id, i.state)).collect())
    }

    /// Compares all of the driver's instances with all records and puts right what disagrees.
    ///
    /// A list is old when it is read: an instance may have been rebooted, launched or ended meanwhile. So whatever looks wrong
    /// is claimed first, so that nothing else acts on it, and then judged by a second list.
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<(), DriverError> {
        let suspects = self.suspects(&self.list().await?);
        if suspects.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let claimed: Vec<Arc<str>> = {
            let mut agenda = self.agenda.lock();
            suspects.into_iter().filter(|key| agenda.claim(key, now)).collect()
        };
        if claimed.is_empty() {
            return Ok(());
        }
        let listed = self.list().await;
        let mut to_put_down = Vec::new();
        let mut to_record = Vec::new();
        if let Ok(listed) = &listed {
            for key in &claimed {
                let record = self.rooms.store.get::<Instance>(key);
                let finding = judge(record.as_ref().map(|i| i.state), listed.get(&**key).copied());
                match finding {
                    Some(f @ (Finding::Orphan | Finding::Revenant)) => to_put_down.push((Arc::clone(key), f)),
                    Some(f) => to_record.push((Arc::clone(key), f)),
                    None => {}
                }
            }
        }
        if !to_record.is_empty() || !to_put_down.is_empty() {
            tracing::info!(
                changed = to_record.len(),
                unwanted = to_put_down.len(),
                "the machine differs from the records"
            );
        }
        let recorded = self.record_findings(&to_record).await;
        let busy: HashSet<Arc<str>> = to_put_down.iter().map(|(key, _)| Arc::clone(key)).collect();
        for (key, finding) in to_put_down {
            let shared = Arc::clone(self);
            tokio::spawn(async move { shared.remove_unwanted(key, finding).await });
        }
        for key in claimed.iter().filter(|key| !busy.contains(*key)) {
            self.give_back(key);
        }
        recorded.map_err(|e| DriverError::Transient(e.to_string()))?;
        listed.map(|_| ())
    }

    fn suspects(&self, listed: &BTreeMap<String, DriverState>) -> Vec<Arc<str>> {
        self.rooms.store.read(|r| {
            let agenda = self.agenda.lock();
            let mut suspects: Vec<Arc<str>> = Vec::new();
            for (id, state) in listed {
                let record = r.get::<Instance>(id).map(|i| i.state);
                if judge(record, Some(*state)).is_some() && !agenda.is_busy(id) {
                    suspects.push(Arc::from(id.as_str()));
                }
            }
            for state in [State::Running, State::Stopped] {
                for instance in r.list_by::<Instance>("state", state.name()) {
                    if !listed.contains_key(&instance.id) && !agenda.is_busy(&instance.id) {
                        suspects.push(Arc::from(instance.id.as_str()));
                    }
                }
            }
            suspects
        })
    }

    async fn record_findings(&self, findings: &[(Arc<str>, Finding)]) -> Result<(), StoreError> {
        let now = self.rooms.clock.now();
        for batch in findings.chunks(BATCH_MAX) {
            self.record(|tx| {
                for (key, finding) in batch {
                    let ends_on_shutdown = tx.get::<Instance>(key).is_some_and(|i| i.terminate_on_shutdown);
                    match finding {
                        Finding::Lost => instances::mark_terminated(tx, key, Some(reasons::lost()), now),
                        Finding::PoweredOff if ends_on_shutdown => {
                            instances::mark_ending(tx, key, reasons::guest_shutdown())
                        }
                        Finding::PoweredOff => {
                            instances::mark_stopped(tx, key, Some(reasons::guest_shutdown()))
                        }
                        Finding::Orphan | Finding::Revenant => None,
                    };
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn remove_unwanted(self: Arc<Self>, key: Arc<str>, finding: Finding) {
        let settled = self.rooms.store.settled().await;
        if settled.is_ok()
            && let Err(error) = self.put_down(&key, finding == Finding::Revenant).await
        {
            // The next sweep finds it again.
            tracing::warn!(instance = %key, %error, "an unwanted instance could not be removed");
        }
        self.give_back(&key);
    }

    fn give_back(&self, key: &Arc<str>) {
        let mut agenda = self.agenda.lock();
        if agenda.release(key) {
            agenda.set_due(Errand::Step, key, Instant::now());
            drop(agenda);
            self.wake.notify_one();
        }
    }

    /// Has the status checks of a running instance made in a while, if they are not yet.
    pub(super) fn expect_status(&self, instance: &Instance) {
        if instance.instance_status == StatusCheck::Initializing {
            let at = Instant::now() + self.limits.status_after;
            self.agenda.lock().set_due(Errand::Status, &Arc::from(instance.id.as_str()), at);
        }
    }

    /// Makes the status checks that are due: an instance is reachable when the driver says that its init runs.
    pub(super) async fn check_status(&self) -> usize {
        let due = self.agenda.lock().take_due(Errand::Status, Instant::now());
        if due.is_empty() {
            return 0;
        }
        let listed = match self.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "status checks must wait");
                let at = Instant::now() + self.limits.status_after.max(super::SWEEP_GAP);
                let mut agenda = self.agenda.lock();
                due.iter().for_each(|key| agenda.set_due(Errand::Status, key, at));
                return 0;
            }
        };
        let running: Vec<_> =
            due.iter().filter(|k| listed.get(&***k) == Some(&DriverState::Running)).collect();
        for batch in running.chunks(BATCH_MAX) {
            let marked = self.record(|tx| {
                for key in batch {
                    instances::mark_status(tx, key, StatusCheck::Ok, StatusCheck::Ok);
                }
            });
            if let Err(error) = marked.await {
                tracing::warn!(%error, "status checks could not be recorded");
            }
        }
        running.len()
    }

    /// Drops records of instances that were terminated long ago.
    pub(super) async fn purge(&self) -> usize {
        let now = self.rooms.clock.now();
        let keep = self.limits.keep_terminated;
        let old: Vec<String> = self.rooms.store.read(|r| {
            let ended = r.list_by::<Instance>("state", State::Terminated.name());
            let is_old = |i: &Arc<Instance>| i.terminated_at.is_none_or(|at| now.since(at) >= keep);
            ended.iter().filter(|i| is_old(i)).map(|i| i.id.clone()).collect()
        });
        for batch in old.chunks(BATCH_MAX) {
            let dropped = self.record(|tx| {
                for id in batch {
                    tx.delete::<Instance>(id);
                }
            });
            if let Err(error) = dropped.await {
                tracing::warn!(%error, "old records could not be dropped");
                return 0;
            }
        }
        old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DriverState as D;
    use Finding as F;

    #[test]
    fn judgements() {
        let cases = [
            (None, Some(D::Running), Some(F::Orphan)),
            (None, Some(D::Stopped), Some(F::Orphan)),
            (Some(State::Terminated), Some(D::Running), Some(F::Orphan)),
            (Some(State::Terminated), None, None),
            (Some(State::Running), Some(D::Running), None),
            (Some(State::Running), Some(D::Starting), None),
            (Some(State::Running), Some(D::Stopped), Some(F::PoweredOff)),
            (Some(State::Running), None, Some(F::Lost)),
            (Some(State::Stopped), None, Some(F::Lost)),
            (Some(State::Stopped), Some(D::Stopped), None),
            (Some(State::Stopped), Some(D::Running), Some(F::Revenant)),
            (Some(State::Pending), None, None),
            (Some(State::Pending), Some(D::Running), None),
            (Some(State::Stopping), Some(D::Stopped), None),
            (Some(State::ShuttingDown), None, None),
        ];
        for (record, machine, finding) in cases {
            assert_eq!(judge(record, machine), finding, "{record:?} {machine:?}");
        }
    }
}
