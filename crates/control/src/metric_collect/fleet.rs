//! The running instances and how often each is read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use puffer_compute::Usage;
use puffer_core::Timestamp;
use puffer_core::autoscaling::Group;
use puffer_core::autoscaling::scaling::HIGH_RESOLUTION_PERIOD_S;
use puffer_core::ec2::{Instance, InstanceState, StatusCheck, instance_types};
use puffer_core::elb::METRIC_PERIOD_TAG;
use puffer_store::{Dirty, Store, Subscription};

use super::publish::Handles;

/// A running instance.
pub(super) struct Tracked {
    pub(super) id: Arc<str>,
    pub(super) group: Option<Arc<str>>,
    pub(super) image: Arc<str>,
    pub(super) instance_type: Arc<str>,
    pub(super) n_vcpus: u32,
    pub(super) detailed: bool,
    pub(super) failed_instance: bool,
    pub(super) failed_system: bool,
    /// Counters at the last reading for the group's short period, and for the minutes.
    pub(super) fast_from: Option<(Timestamp, Usage)>,
    pub(super) slow_from: Option<(Timestamp, Usage)>,
    pub(super) handles: Option<Box<Handles>>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Fleet {
    tracked: HashMap<Arc<str>, Tracked>,
    /// Ordered, since sums over instances depend on the order in their last bits.
    members: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Groups with a short period, seconds.
    periods: BTreeMap<Arc<str>, u32>,
    with_metrics: HashSet<Arc<str>>,
    fresh: Vec<Arc<str>>,
    names: HashSet<Arc<str>>,
}

impl Fleet {
    pub(super) fn len(&self) -> usize {
        self.tracked.len()
    }

    /// Takes over what changed in the store.
    pub(super) fn sync(&mut self, store: &Store, instances: &Subscription, groups: &Subscription) {
        match groups.take() {
            None => {}
            Some(Dirty::All) => {
                self.periods.clear();
                self.with_metrics.clear();
                store.list::<Group>().iter().for_each(|g| self.put_group(g));
            }
            Some(Dirty::Keys(keys)) => {
                for key in keys {
                    match store.get::<Group>(&key) {
                        Some(group) => self.put_group(&group),
                        None => {
                            self.periods.remove(&key);
                            self.with_metrics.remove(&key);
                        }
                    }
                }
            }
        }
        match instances.take() {
            None => {}
            Some(Dirty::All) => {
                let running = store.list_by::<Instance>("state", InstanceState::Running.name());
                let ids: HashSet<&str> = running.iter().map(|i| i.id.as_str()).collect();
                let gone: Vec<Arc<str>> =
                    self.tracked.keys().filter(|id| !ids.contains(&***id)).cloned().collect();
                gone.iter().for_each(|id| self.remove(id));
                running.iter().for_each(|i| self.put(i));
            }
            Some(Dirty::Keys(keys)) => {
                for key in keys {
                    match store.get::<Instance>(&key) {
                        Some(i) if i.state == InstanceState::Running => self.put(&i),
                        _ => self.remove(&key),
                    }
                }
            }
        }
    }

    fn put_group(&mut self, group: &Group) {
        let name = self.name(&group.name);
        let period = group.tag(METRIC_PERIOD_TAG).and_then(|t| t.trim().parse().ok());
        let period = period.or(group.high_resolution.then_some(HIGH_RESOLUTION_PERIOD_S));
        match period.filter(|s| (1..60).contains(s)) {
            Some(period_s) => self.periods.insert(Arc::clone(&name), period_s),
            None => self.periods.remove(&name),
        };
        if group.metrics_collection.metrics.is_empty() {
            self.with_metrics.remove(&name);
        } else {
            self.with_metrics.insert(name);
        }
    }

    /// One copy of each name: twenty thousand instances share a few images and types.
    fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(name) = self.names.get(text) {
            return Arc::clone(name);
        }
        let name: Arc<str> = text.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    fn put(&mut self, instance: &Instance) {
        let id: Arc<str> = instance.id.as_str().into();
        let group = instance.auto_scaling_group.as_deref().map(|g| self.name(g));
        let (image, instance_type) = (self.name(&instance.image_id), self.name(&instance.instance_type));
        let mut old = self.tracked.remove(&id);
        if let Some(former) =
            old.as_ref().and_then(|o| o.group.as_ref()).filter(|g| Some(*g) != group.as_ref())
        {
            self.members.get_mut(former).map(|m| m.remove(&id));
        }
        if let Some(group) = &group {
            self.members.entry(Arc::clone(group)).or_default().insert(Arc::clone(&id));
        }
        // A restart counts from zero again; the difference then starts there.
        let (fast_from, slow_from) = old.as_mut().map_or((None, None), |o| (o.fast_from, o.slow_from));
        if slow_from.is_none() {
            self.fresh.push(Arc::clone(&id));
        }
        let tracked = Tracked {
            id: Arc::clone(&id),
            group,
            image,
            n_vcpus: instance_types::find(&instance_type).map_or(1, |t| t.n_vcpus.max(1)),
            instance_type,
            detailed: instance.detailed_monitoring,
            failed_instance: instance.instance_status == StatusCheck::Impaired,
            failed_system: instance.system_status == StatusCheck::Impaired,
            fast_from,
            slow_from,
            handles: old.and_then(|o| o.handles),
        };
        self.tracked.insert(id, tracked);
    }

    fn remove(&mut self, id: &str) {
        let Some(tracked) = self.tracked.remove(id) else { return };
        let Some(group) = tracked.group else { return };
        if let Some(members) = self.members.get_mut(&group) {
            members.remove(id);
            if members.is_empty() {
                self.members.remove(&group);
                self.names.remove(&group);
            }
        }
    }

    /// Instances without counters yet. One that the driver does not know yet is asked for again.
    pub(super) fn take_fresh(&mut self) -> Vec<Arc<str>> {
        let fresh = std::mem::take(&mut self.fresh);
        self.fresh = fresh.iter().filter(|id| self.tracked.contains_key(*id)).cloned().collect();
        self.fresh.clone()
    }

    pub(super) fn start(&mut self, id: &str, now: Timestamp, usage: Usage) {
        if let Some(tracked) = self.tracked.get_mut(id) {
            tracked.fast_from.get_or_insert((now, usage));
            tracked.slow_from.get_or_insert((now, usage));
        }
        self.fresh.retain(|f| **f != *id);
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Tracked> {
        self.tracked.get_mut(id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tracked> {
        self.tracked.values_mut()
    }

    /// The short periods in use.
    pub(super) fn fast_periods(&self) -> Vec<u32> {
        let mut periods: Vec<u32> =
            self.periods.iter().filter(|(g, _)| self.members.contains_key(*g)).map(|(_, p)| *p).collect();
        periods.sort_unstable();
        periods.dedup();
        periods
    }

    /// The members of the groups with this period.
    pub(super) fn fast(&self, period_s: u32) -> Vec<Arc<str>> {
        let groups = self.periods.iter().filter(|(_, p)| **p == period_s);
        groups.filter_map(|(g, _)| self.members.get(g)).flatten().cloned().collect()
    }

    /// Whether the instance is a member of a group that publishes by the second.
    pub(super) fn is_fast_member(&self, id: &str) -> bool {
        let group = self.tracked.get(id).and_then(|t| t.group.as_ref());
        group.is_some_and(|g| self.periods.contains_key(g))
    }

    /// The instances whose minute (or, with `basic`, five minutes) is over.
    pub(super) fn slow(&self, basic: bool) -> Vec<Arc<str>> {
        let slow = self.tracked.values().filter(|t| basic || t.detailed);
        let mut ids: Vec<Arc<str>> = slow.map(|t| Arc::clone(&t.id)).collect();
        // As the members of a group: so that sums over them come out the same each time.
        ids.sort_unstable();
        ids
    }

    pub(super) fn groups_with_metrics(&self, store: &Store) -> Vec<Arc<Group>> {
        self.with_metrics.iter().filter_map(|name| store.get::<Group>(name)).collect()
    }
}
