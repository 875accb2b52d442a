use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use puffer_compute::{DriverError, DriverInstance, DriverState};
use puffer_core::Mutation;
use puffer_core::ec2::{Instance, InstanceState as State, StatusCheck};
use puffer_inventory::{instances, root_volumes, zones};
use puffer_store::StoreError;
use tokio::time::Instant;

use super::agenda::Errand;
use super::step::within;
use super::{Shared, reasons};

/// Records that one transaction changes at most: keeps the writer's lock short.
const BATCH_MAX: usize = 500;

/// What the driver has, by instance id.
pub(super) type Listed = BTreeMap<String, DriverInstance>;

/// How an instance's record disagrees with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// The machine has it, the records do not want it.
    Orphan,
    /// It runs though it shall be stopped.
    Revenant,
    /// The records have it, the machine does not.
    Lost,
    /// It runs by the record but not on the machine: its guest powered it off.
    PoweredOff,
    /// It runs by the record but not on the machine: its guest died.
    Crashed,
}

/// What of an instance's record is compared with the machine.
#[derive(Debug, Clone, Copy)]
struct Stand {
    state: State,
    /// It is about to be booted from another root volume, and off meanwhile.
    boots_anew: bool,
}

impl Stand {
    fn of(record: &Arc<Instance>) -> Stand {
        Stand { state: record.state, boots_anew: record.root_replacement.is_some() }
    }
}

/// Compares one instance's record with the machine. Records in transition are the steps' business.
fn judge(record: Option<Stand>, machine: Option<&DriverInstance>) -> Option<Finding> {
    let boots_anew = record.is_some_and(|stand| stand.boots_anew);
    match (record.map(|stand| stand.state), machine.map(|m| m.state)) {
        (None | Some(State::Terminated), Some(_)) if Mutation::KeepOrphans.is_on() => None,
        (None | Some(State::Terminated), Some(_)) => Some(Finding::Orphan),
        (Some(State::Stopped), Some(DriverState::Running | DriverState::Starting)) => Some(Finding::Revenant),
        (Some(State::Running | State::Stopped), None) => Some(Finding::Lost),
        (Some(State::Running), Some(DriverState::Stopped)) if boots_anew => None,
        (Some(State::Running), Some(DriverState::Stopped)) => {
            let crashed = machine.is_some_and(|m| m.trouble.is_some());
            Some(if crashed { Finding::Crashed } else { Finding::PoweredOff })
        }
        _ => None,
    }
}

impl Shared {
    async fn list(&self) -> Result<Listed, DriverError> {
        let listed = within(self.limits.list, "list", self.rooms.driver.list()).await?;
        Ok(listed.into_iter().map(|i| (i.instance_id.clone(), i)).collect())
    }

    /// Compares all of the driver's instances with all records and puts right what disagrees.
    ///
    /// A list is old when it is read: an instance may have been rebooted, launched or ended meanwhile. So whatever looks wrong
    /// is claimed first, so that nothing else acts on it, and then judged by a second list.
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<(), DriverError> {
        let listed = self.list().await?;
        self.note_reachability(&listed).await;
        self.follow_zones(&listed);
        let suspects = self.suspects(&listed);
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
                let finding = judge(record.as_ref().map(Stand::of), listed.get(&**key));
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
        let recorded = self.record_findings(&to_record, listed.as_ref().ok()).await;
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

    fn suspects(&self, listed: &Listed) -> Vec<Arc<str>> {
        self.rooms.store.read(|r| {
            let agenda = self.agenda.lock();
            let mut suspects: Vec<Arc<str>> = Vec::new();
            for (id, seen) in listed {
                let record = r.get::<Instance>(id);
                if judge(record.as_ref().map(Stand::of), Some(seen)).is_some() && !agenda.is_busy(id) {
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

    async fn record_findings(
        &self,
        findings: &[(Arc<str>, Finding)],
        listed: Option<&Listed>,
    ) -> Result<(), StoreError> {
        let trouble = |key: &str| listed?.get(key)?.trouble.as_deref();
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
                        // Nobody asked for its end, so its disk stays, whatever shall become of it after a power-off.
                        Finding::Crashed => {
                            let how = trouble(key).unwrap_or("nobody knows how");
                            instances::mark_stopped(tx, key, Some(reasons::crashed(how)))
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

    /// Status checks of running instances: impaired are those that could not be reached for a while, and `ok` again at once.
    async fn note_reachability(&self, listed: &Listed) {
        let now = Instant::now();
        let verdicts: Vec<(String, StatusCheck)> = self.rooms.store.read(|r| {
            let mut unreachable = self.unreachable.lock();
            let out_of_reach = |i: &DriverInstance| i.state == DriverState::Running && i.trouble.is_some();
            unreachable.retain(|id, _| listed.get(id).is_some_and(out_of_reach));
            let verdict = |(id, seen): (&String, &DriverInstance)| {
                let record = r.get::<Instance>(id).filter(|i| i.state == State::Running)?;
                if zones::is_down(r, &record.zone) {
                    // Nobody can be asked there: what the zone's failure made of the checks stays.
                    return None;
                }
                if out_of_reach(seen) {
                    let since = *unreachable.entry(id.clone()).or_insert(now);
                    let lasting = now.saturating_duration_since(since) >= self.limits.impaired_after;
                    let new = record.instance_status != StatusCheck::Impaired;
                    return (lasting && new).then(|| (id.clone(), StatusCheck::Impaired));
                }
                let back =
                    record.instance_status == StatusCheck::Impaired && seen.state == DriverState::Running;
                back.then(|| (id.clone(), StatusCheck::Ok))
            };
            listed.iter().filter_map(verdict).collect()
        });
        for batch in verdicts.chunks(BATCH_MAX) {
            let marked = self.record(|tx| {
                for (id, check) in batch {
                    instances::mark_status(tx, id, *check, StatusCheck::Ok);
                }
            });
            match marked.await {
                Ok(()) => tracing::info!(?batch, "reachability changed"),
                Err(error) => tracing::warn!(%error, "status checks could not be recorded"),
            }
        }
    }

    pub(super) fn give_back(&self, key: &Arc<str>) {
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

    /// Makes the first status checks that are due: an instance is reachable when the driver says that its init runs and knows no trouble.
    /// One that is not is left to the sweep.
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
        let passes = |i: &DriverInstance| i.state == DriverState::Running && i.trouble.is_none();
        let running: Vec<_> = due.iter().filter(|k| listed.get(&***k).is_some_and(passes)).collect();
        for batch in running.chunks(BATCH_MAX) {
            let marked = self.record(|tx| {
                for key in batch {
                    let zone = tx.get::<Instance>(key).map(|i| i.zone.clone()).unwrap_or_default();
                    let status = zones::status(&tx.reader(), &zone);
                    instances::mark_status(tx, key, status, status);
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
                    root_volumes::forget(tx, id);
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
            (None, Some((D::Running, None)), Some(F::Orphan)),
            (None, Some((D::Stopped, None)), Some(F::Orphan)),
            (Some(State::Terminated), Some((D::Running, None)), Some(F::Orphan)),
            (Some(State::Terminated), None, None),
            (Some(State::Running), Some((D::Running, None)), None),
            (Some(State::Running), Some((D::Starting, None)), None),
            (Some(State::Running), Some((D::Stopped, None)), Some(F::PoweredOff)),
            (Some(State::Running), Some((D::Stopped, Some("exit status 1"))), Some(F::Crashed)),
            (Some(State::Running), Some((D::Running, Some("interface down"))), None),
            (Some(State::Stopping), Some((D::Stopped, Some("exit status 1"))), None),
            (Some(State::Running), None, Some(F::Lost)),
            (Some(State::Stopped), None, Some(F::Lost)),
            (Some(State::Stopped), Some((D::Stopped, None)), None),
            (Some(State::Stopped), Some((D::Running, None)), Some(F::Revenant)),
            (Some(State::Pending), None, None),
            (Some(State::Pending), Some((D::Running, None)), None),
            (Some(State::Stopping), Some((D::Stopped, None)), None),
            (Some(State::ShuttingDown), None, None),
        ];
        let cases = cases.map(|(record, machine, finding)| (record, false, machine, finding));
        let anew = [
            (Some(State::Running), true, Some((D::Stopped, None)), None),
            (Some(State::Running), true, Some((D::Stopped, Some("exit status 1"))), None),
            (Some(State::Running), true, None, Some(F::Lost)),
        ];
        for (record, boots_anew, machine, finding) in cases.into_iter().chain(anew) {
            let seen = machine.map(|(state, trouble): (DriverState, Option<&str>)| DriverInstance {
                instance_id: "i-1".to_owned(),
                state,
                trouble: trouble.map(str::to_owned),
                suspended: false,
                root: 0,
            });
            let stand = record.map(|state| Stand { state, boots_anew });
            assert_eq!(judge(stand, seen.as_ref()), finding, "{stand:?} {machine:?}");
        }
    }
}
