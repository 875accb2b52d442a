//! Groups become what is wanted of them.
//!
//! Work comes as group names: of groups that changed, of groups whose members, instances or targets changed, and of groups
//! that asked to be looked at later (a back-off, a grace period or draining ends). Each is taken one step
//! ([`puffer_inventory::group_step`]) in one transaction; what the step writes makes it dirty again, so a group is stepped
//! until nothing is left to do, and then costs nothing. Many groups are stepped at once, so that one disk commit carries
//! them all; a group never twice at once.
//!
//! Invariant: only records are written here. So there is nothing that a step cut off halfway could leave behind.

pub(crate) mod agenda;
#[cfg(test)]
mod cooldown_tests;
#[cfg(test)]
mod drain_tests;
#[cfg(test)]
mod hook_tests;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod process_tests;
#[cfg(test)]
mod root_volume_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod warm_pool_tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::autoscaling::{Group, Member};
use puffer_core::ec2::Instance;
use puffer_core::elb::{Target, TargetGroup};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::group_step;
use puffer_store::{Dirty, Store, StoreError, Subscription};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use tokio::task::JoinSet;

use crate::Reconciler;
use agenda::Agenda;

/// The longest time between two activations.
const PERIOD: Duration = Duration::from_secs(30);
/// Between two looks at every group, whatever the agenda says: a lost timer costs this much, never correctness.
const RESYNC_PERIOD_S: i64 = 300;
/// Groups stepped at once: enough that a disk commit serves many, few enough to bound the memory of what waits for it.
const GROUPS_AT_ONCE: usize = 256;
/// Wakes within this time are answered by one activation: what happens at once (twenty instances of one group come to
/// run) is one look.
const GATHER: Duration = Duration::from_millis(5);
/// Before a group whose transaction failed is looked at again.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// The reconciler. See the module.
pub struct GroupConverge {
    shared: Arc<Shared>,
    groups: Subscription,
    members: Subscription,
    instances: Subscription,
    targets: Subscription,
    target_groups: Subscription,
    taken: Mutex<Vec<(Source, Dirty)>>,
}

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    rng: Mutex<Box<dyn Rng + Send>>,
    agenda: Mutex<Agenda>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Groups,
    /// Members, and instances by the same key.
    Members,
    Targets,
    /// One that comes back under its old name is to be joined again.
    TargetGroups,
}

/// What an activation did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct GroupConvergeStatus {
    /// Groups looked at.
    pub looked_at: usize,
    /// Instances launched.
    pub launched: u32,
    /// Members put on their way out.
    pub ended: u32,
    /// Members whose lifecycle moved on.
    pub moved: u32,
    /// Members found unhealthy.
    pub unhealthy: u32,
    /// Launches that failed.
    pub failed: u32,
}

impl GroupConverge {
    /// A converger of all groups of the store. `rng` makes ids and chooses among equals.
    pub fn new(store: Store, clock: Arc<dyn Clock>, rng: Box<dyn Rng + Send>) -> GroupConverge {
        GroupConverge {
            groups: store.subscribe::<Group>(),
            members: store.subscribe::<Member>(),
            instances: store.subscribe::<Instance>(),
            targets: store.subscribe::<Target>(),
            target_groups: store.subscribe::<TargetGroup>(),
            taken: Mutex::default(),
            shared: Arc::new(Shared {
                store,
                clock,
                rng: Mutex::new(rng),
                agenda: Mutex::new(Agenda::default()),
            }),
        }
    }

    /// Names of the groups that something happened to.
    fn take_names(&self, now: Timestamp) -> BTreeSet<Arc<str>> {
        let mut dirty = std::mem::take(&mut *self.taken.lock());
        let sources = [
            (Source::Groups, &self.groups),
            (Source::Members, &self.members),
            (Source::Members, &self.instances),
            (Source::Targets, &self.targets),
            (Source::TargetGroups, &self.target_groups),
        ];
        dirty.extend(sources.iter().filter_map(|(source, s)| Some((*source, s.take()?))));
        let mut agenda = self.shared.agenda.lock();
        let mut names = agenda.take_due(now);
        let everything =
            dirty.iter().any(|(_, d)| *d == Dirty::All) || agenda.resync_due(now, RESYNC_PERIOD_S);
        drop(agenda);
        if everything {
            self.shared.store.read(|r| names.extend(r.iter::<Group>().map(|g| Arc::from(g.name.as_str()))));
            return names;
        }
        self.shared.store.read(|r| {
            let group_of = |instance: &str| r.get::<Member>(instance).map(|m| Arc::from(m.group.as_str()));
            for (source, dirty) in &dirty {
                let Dirty::Keys(keys) = dirty else { continue };
                match source {
                    Source::Groups => names.extend(keys.iter().cloned()),
                    Source::Members => names.extend(keys.iter().filter_map(|k| group_of(k))),
                    // A target's key is its group, its id and its port.
                    Source::Targets => {
                        names.extend(keys.iter().filter_map(|k| group_of(k.split('|').nth(1)?)));
                    }
                    Source::TargetGroups => {
                        let is_dirty = |arn: &String| keys.iter().any(|k| **k == **arn);
                        let is_attached = |g: &&Arc<Group>| g.target_groups.iter().any(is_dirty);
                        names.extend(
                            r.iter::<Group>().filter(is_attached).map(|g| Arc::from(g.name.as_str())),
                        );
                    }
                }
            }
        });
        names
    }

    fn keep(&self, source: Source, dirty: Dirty) {
        self.taken.lock().push((source, dirty));
    }
}

impl Reconciler for GroupConverge {
    type Status = GroupConvergeStatus;

    fn name(&self) -> &'static str {
        "group_converge"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let due = self.shared.agenda.lock().next_due();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep(at.since(self.shared.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        let (source, dirty) = tokio::select! {
            biased;
            dirty = self.groups.next() => (Source::Groups, dirty),
            dirty = self.members.next() => (Source::Members, dirty),
            dirty = self.instances.next() => (Source::Members, dirty),
            dirty = self.targets.next() => (Source::Targets, dirty),
            dirty = self.target_groups.next() => (Source::TargetGroups, dirty),
            () = timer => return,
        };
        // Kept before anything is awaited: a wake may be dropped at any await.
        self.keep(source, dirty);
        tokio::time::sleep(GATHER).await;
    }

    async fn activate(&self) -> GroupConvergeStatus {
        let now = self.shared.clock.now();
        let mut names = self.take_names(now).into_iter();
        let mut status = GroupConvergeStatus::default();
        let mut running = JoinSet::new();
        loop {
            while running.len() < GROUPS_AT_ONCE
                && let Some(name) = names.next()
            {
                let shared = Arc::clone(&self.shared);
                running.spawn(async move { shared.step(name).await });
            }
            let Some(done) = running.join_next().await else { break };
            status.looked_at += 1;
            if let Ok(Some(report)) = done {
                status.launched += report.launched;
                status.ended += report.ended;
                status.moved += report.moved;
                status.unhealthy += report.unhealthy;
                status.failed += report.failed;
            }
        }
        status
    }
}

impl Shared {
    async fn step(&self, name: Arc<str>) -> Option<group_step::StepReport> {
        let now = self.clock.now();
        // A generator of its own for each step, so that no lock is held across the transaction.
        let mut rng = Pcg64::from_rng(&mut **self.rng.lock());
        let stepped =
            self.store.transact::<_, StoreError>(|tx| Ok(group_step::step(tx, &name, now, &mut rng))).await;
        let report = match stepped {
            Ok(report) => report,
            Err(error) => {
                tracing::warn!(group = &*name, %error, "the group's step could not be made durable");
                self.agenda.lock().set_due(&name, now + DISK_RETRY);
                return None;
            }
        };
        let look_again = report.as_ref().and_then(|r| r.look_again);
        let mut agenda = self.agenda.lock();
        match look_again {
            Some(at) => agenda.set_due(&name, at),
            None => agenda.clear(&name),
        }
        drop(agenda);
        if let Some(report) = &report {
            tracing::debug!(group = &*name, ?report, "stepped");
        }
        report
    }
}
