//! What the disk holds, followed transaction by transaction: so invariants see each one by itself, however many a commit
//! carries.

use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::Record;
use puffer_core::autoscaling::launch_call::LaunchCall;
use puffer_core::autoscaling::mixed::MixedPolicy;
use puffer_core::autoscaling::{Activity, Group, InstanceRefresh, LifecycleState, Member, ScalingPolicy};
use puffer_core::ec2::{AddressHold, Instance};
use puffer_core::elb::Target;
use puffer_core::event::Event;
use puffer_core::messaging::{Queue, QueueMessage};
use puffer_store::Change;

/// Committed records of the kinds that invariants look at.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) groups: BTreeMap<String, Arc<Group>>,
    pub(crate) members: BTreeMap<String, Arc<Member>>,
    pub(crate) instances: BTreeMap<String, Arc<Instance>>,
    /// Those that have not ended.
    pub(crate) open: BTreeMap<String, Arc<Activity>>,
    pub(crate) policies: BTreeMap<String, Arc<ScalingPolicy>>,
    pub(crate) targets: BTreeMap<String, Arc<Target>>,
    pub(crate) holds: BTreeMap<String, Arc<AddressHold>>,
    /// Those that go on, by id.
    pub(crate) refreshes: BTreeMap<String, Arc<InstanceRefresh>>,
    pub(crate) queues: BTreeMap<String, Arc<Queue>>,
}

/// What a transaction did to one record: before and after.
pub(crate) struct Delta<T> {
    pub(crate) key: String,
    pub(crate) before: Option<Arc<T>>,
    pub(crate) after: Option<Arc<T>>,
}

/// What a transaction did.
#[derive(Default)]
pub(crate) struct Deltas {
    pub(crate) groups: Vec<Delta<Group>>,
    pub(crate) members: Vec<Delta<Member>>,
    pub(crate) instances: Vec<Delta<Instance>>,
    pub(crate) activities: Vec<Delta<Activity>>,
    pub(crate) targets: Vec<Delta<Target>>,
    pub(crate) refreshes: Vec<Delta<InstanceRefresh>>,
    /// New ones.
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) messages: Vec<Arc<QueueMessage>>,
    /// Groups for which `LaunchInstances` was called.
    pub(crate) calls: Vec<String>,
}

fn push<T: Record>(list: &mut Vec<Delta<T>>, change: &Change<'_>) {
    let after = change.after::<T>();
    match list.iter_mut().find(|d| d.key == change.key()) {
        // Written several times in one transaction: what counts is the first and the last.
        Some(delta) => delta.after = after,
        None => list.push(Delta { key: change.key().to_owned(), before: change.before::<T>(), after }),
    }
}

fn set<T: Record>(map: &mut BTreeMap<String, Arc<T>>, change: &Change<'_>) {
    match change.after::<T>() {
        Some(record) => map.insert(change.key().to_owned(), record),
        None => map.remove(change.key()),
    };
}

impl View {
    /// Takes a transaction over and says what it did.
    pub(crate) fn take(&mut self, changes: &[Change<'_>]) -> Deltas {
        let mut deltas = Deltas::default();
        for change in changes {
            match change.collection() {
                Group::COLLECTION => {
                    push(&mut deltas.groups, change);
                    set(&mut self.groups, change);
                }
                Member::COLLECTION => {
                    push(&mut deltas.members, change);
                    set(&mut self.members, change);
                }
                Instance::COLLECTION => {
                    push(&mut deltas.instances, change);
                    set(&mut self.instances, change);
                }
                Activity::COLLECTION => {
                    push(&mut deltas.activities, change);
                    match change.after::<Activity>().filter(|a| !a.status.is_final()) {
                        Some(open) => self.open.insert(change.key().to_owned(), open),
                        None => self.open.remove(change.key()),
                    };
                }
                Target::COLLECTION => {
                    push(&mut deltas.targets, change);
                    set(&mut self.targets, change);
                }
                ScalingPolicy::COLLECTION => set(&mut self.policies, change),
                AddressHold::COLLECTION => set(&mut self.holds, change),
                Queue::COLLECTION => set(&mut self.queues, change),
                InstanceRefresh::COLLECTION => {
                    push(&mut deltas.refreshes, change);
                    match change.after::<InstanceRefresh>().filter(|r| r.status.is_active()) {
                        Some(active) => self.refreshes.insert(change.key().to_owned(), active),
                        None => self.refreshes.remove(change.key()),
                    };
                }
                Event::COLLECTION if change.before::<Event>().is_none() => {
                    deltas.events.extend(change.after::<Event>());
                }
                QueueMessage::COLLECTION if change.before::<QueueMessage>().is_none() => {
                    deltas.messages.extend(change.after::<QueueMessage>());
                }
                LaunchCall::COLLECTION => {
                    deltas.calls.extend(change.after::<LaunchCall>().map(|c| c.group.clone()));
                }
                _ => {}
            }
        }
        deltas
    }

    /// The members of a group.
    pub(crate) fn members_of<'v>(&'v self, group: &'v str) -> impl Iterator<Item = &'v Arc<Member>> {
        self.members.values().filter(move |m| m.group == group)
    }

    /// Units that count towards the group's size.
    pub(crate) fn n_counted(&self, group: &str) -> u32 {
        self.members_of(group).map(|m| m.units()).sum()
    }

    /// The largest weight of a member of the group, or of a type that it may launch.
    pub(crate) fn weight_max(&self, group: &str) -> u32 {
        let types = |m: &MixedPolicy| m.overrides.iter().filter_map(|o| o.weight).max();
        let launchable = self.groups.get(group).and_then(|g| types(g.mixed.as_ref()?));
        let desired = self.refresh_of(group).and_then(|r| types(r.desired.as_ref()?.mixed.as_ref()?));
        let members = self.members_of(group).map(|m| m.weight).max();
        members.max(launchable).max(desired).unwrap_or(1).max(1)
    }

    /// The refresh of a group that goes on.
    pub(crate) fn refresh_of(&self, group: &str) -> Option<&Arc<InstanceRefresh>> {
        self.refreshes.values().find(|r| r.group == group)
    }

    /// Registrations of an instance.
    pub(crate) fn targets_of<'v>(&'v self, id: &'v str) -> impl Iterator<Item = &'v Arc<Target>> {
        self.targets.values().filter(move |t| t.id == id)
    }
}

impl Deltas {
    /// The group as it was before the transaction.
    pub(crate) fn group_before(&self, view: &View, name: &str) -> Option<Arc<Group>> {
        match self.groups.iter().find(|d| d.key == name) {
            Some(delta) => delta.before.clone(),
            None => view.groups.get(name).cloned(),
        }
    }

    /// Members that this transaction took back into service while they were on their way out: before and after. Who had arrived in the warm
    /// pool but for the record of it may be taken from there in one go.
    pub(crate) fn returned(&self) -> impl Iterator<Item = (&Arc<Member>, &Arc<Member>)> {
        self.members.iter().filter_map(|d| {
            let (before, after) = (d.before.as_ref()?, d.after.as_ref()?);
            let through_pool = (before.state, after.state)
                == (LifecycleState::WarmedPendingProceed, LifecycleState::Pending);
            (before.is_leaving() && after.state.counts() && !through_pool).then_some((before, after))
        })
    }

    /// Members that this transaction took from a warm pool into service.
    pub(crate) fn left_pool(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().filter_map(|d| {
            let waited = d.before.as_ref().is_some_and(|m| m.state.is_of_pool());
            d.after.as_ref().filter(|m| waited && m.state.counts())
        })
    }

    /// Members that this transaction launched into service: their instances are as new as they are. Those for the warm pool
    /// are none of the group's capacity.
    pub(crate) fn launched(&self) -> impl Iterator<Item = (&Arc<Member>, &Arc<Instance>)> {
        self.members.iter().filter(|d| d.before.is_none()).filter_map(|d| {
            let instance = self.instances.iter().find(|i| i.key == d.key && i.before.is_none())?;
            let member = d.after.as_ref().filter(|m| m.state.counts())?;
            Some((member, instance.after.as_ref()?))
        })
    }
}

pub(crate) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
