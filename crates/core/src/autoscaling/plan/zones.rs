//! Where instances are launched and what they are, and the evening out of zones.
//!
//! A launch goes to the zone with the fewest units, into a random subnet of it. A zone whose last launch found no capacity is
//! left out for a while (with several types On-Demand: that type there; unless the group is `balanced-only`), so that another takes its place; once it works again the
//! rebalance evens out: one instance more first, and when that is in service the largest zone gives one up. A zone that the
//! group was shifted away from takes no launches, and what is there stays until the shift ends.
//! With a mixed instances policy the zone comes first, then On-Demand or Spot by what the distribution lacks, then the type.
//! Source: EC2 Auto Scaling guide, "Balance capacity across Availability Zones", "Auto Scaling groups with multiple instance
//! types and purchase options".

use rand::{Rng, RngExt};

use super::{Action, LaunchWhy, Note, Plan};
use crate::autoscaling::mixed::{Floor, Mix, Planned, Pool, pick, pick_any};
use crate::autoscaling::process;
use crate::autoscaling::texts;
use crate::autoscaling::view::GroupView;
use crate::ec2::InstanceLifecycle;
use crate::{Mutation, Timestamp};

/// How far a rebalance may exceed the group's size: a tenth, at least one.
pub fn surplus_max(desired: u32) -> u32 {
    (desired / 10).max(1)
}

/// Where a launch goes and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Zone.
    pub zone: String,
    /// Subnet in it.
    pub subnet: String,
    /// With a mixed instances policy: the type and how it is bought.
    pub pool: Option<Pool>,
}

impl Place {
    /// Units of capacity that the launch adds.
    pub fn units(&self) -> u32 {
        self.pool.as_ref().map_or(1, |p| p.weight)
    }

    /// As an action.
    pub fn launch(self, why: LaunchWhy) -> Action {
        Action::Launch { zone: self.zone, subnet: self.subnet, pool: self.pool, why }
    }
}

/// Hands out places for launches, one by one.
pub(super) struct Places<'v> {
    zones: Vec<Zone<'v>>,
    balanced_only: bool,
    mix: Option<&'v Mix>,
    planned: Planned,
    /// When the first On-Demand type that a zone lacked may be tried there again.
    types_open_at: Option<Timestamp>,
    /// Units that stay or are planned.
    on_demand: u32,
    spot: u32,
    desired: u32,
    /// Nothing is bought Spot, whatever the distribution lacks.
    on_demand_only: bool,
}

struct Zone<'v> {
    name: &'v str,
    subnets: &'v [&'v str],
    n: u32,
    blocked_until: Option<Timestamp>,
}

impl<'v> Places<'v> {
    /// Counts the members that stay.
    pub(super) fn new(view: &'v GroupView<'_>, stays: &[bool]) -> Self {
        let open = |name: &str| !view.group.shifted_from(name, view.now);
        let units = view.units_by_zone(stays);
        let zones = view.zones.iter().zip(units).filter(|(z, _)| !z.subnets.is_empty() && open(z.name));
        let zones = zones.map(|(z, n)| Zone {
            name: z.name,
            subnets: &z.subnets,
            n,
            blocked_until: view.group.zone_backoff.get(z.name).map(|b| b.1).filter(|until| view.now < *until),
        });
        let mut places = Places {
            zones: zones.collect(),
            balanced_only: view.group.balanced_only,
            mix: view.mix,
            planned: Planned::default(),
            types_open_at: None,
            on_demand: 0,
            spot: 0,
            desired: view.group.desired,
            on_demand_only: false,
        };
        if view.mix.is_some() {
            for (pool, (_, until)) in view.group.pool_backoff.iter().filter(|(_, b)| view.now < b.1) {
                let Some((instance_type, zone)) = pool.split_once('|') else { continue };
                places.planned.add_lacking(instance_type, zone);
                places.types_open_at = Some(places.types_open_at.map_or(*until, |at| at.min(*until)));
            }
            for (m, _) in view.members.iter().zip(stays).filter(|(_, stays)| **stays) {
                let m = m.member;
                places.planned.add_member(&m.instance_type, &m.zone, m.lifecycle);
                *places.bought(m.lifecycle) += m.weight;
            }
        }
        places
    }

    /// The place of the next launch, counting it in. If nothing is to be had anywhere, the launch is planned all the same: it is
    /// refused with the reason, which the group's activities then show, and the group waits.
    pub(super) fn next(&mut self, rng: &mut dyn Rng) -> Result<Place, Note> {
        let order = self.order(rng);
        let Some(&first) = order.first() else { return Err(self.none_left()) };
        let Some(mix) = self.mix else { return Ok(self.take(first, None, rng)) };
        let lifecycle = self.lacking(mix);
        let found = self.pool(mix, lifecycle, &order, &Floor::default());
        let (index, pool) = match (found, self.types_open_at) {
            (Some(found), _) => found,
            (None, Some(until)) if lifecycle == InstanceLifecycle::OnDemand => {
                return Err(Note::NoZone { until });
            }
            (None, _) => (first, pick_any(mix, lifecycle).ok_or(Note::NoType)?),
        };
        Ok(self.take(index, Some(pool), rng))
    }

    /// The same for a launch that is to be bought in one way and to be no worse than `floor`; nothing if there is no such thing.
    pub(super) fn next_of(
        &mut self,
        lifecycle: Option<InstanceLifecycle>,
        floor: &Floor,
        rng: &mut dyn Rng,
    ) -> Result<Place, Note> {
        let order = self.order(rng);
        let Some(&first) = order.first() else { return Err(self.none_left()) };
        match (self.mix, lifecycle) {
            (Some(mix), Some(lifecycle)) => {
                let (index, pool) = self.pool(mix, lifecycle, &order, floor).ok_or(Note::NoType)?;
                Ok(self.take(index, Some(pool), rng))
            }
            _ => Ok(self.take(first, None, rng)),
        }
    }

    fn take(&mut self, index: usize, pool: Option<Pool>, rng: &mut dyn Rng) -> Place {
        let zone = &mut self.zones[index];
        let subnet = zone.subnets[rng.random_range(0..zone.subnets.len())];
        let place = Place { zone: zone.name.to_owned(), subnet: subnet.to_owned(), pool };
        zone.n += place.units();
        if let Some(pool) = &place.pool {
            self.planned.add_launch(pool, &place.zone);
            *self.bought(pool.lifecycle) += pool.weight;
        }
        place
    }

    /// The zones that take a launch, the emptiest first, chance among equals.
    fn order(&self, rng: &mut dyn Rng) -> Vec<usize> {
        let fewest = self.zones.iter().map(|z| z.n).min();
        let mut order: Vec<(u32, u32, usize)> = Vec::with_capacity(self.zones.len());
        for (index, zone) in self.zones.iter().enumerate() {
            if zone.blocked_until.is_none() && (!self.balanced_only || Some(zone.n) == fewest) {
                order.push((zone.n, rng.random(), index));
            }
        }
        order.sort_unstable();
        order.into_iter().map(|(_, _, index)| index).collect()
    }

    /// The first zone in which something is to be had, and what.
    fn pool(
        &self,
        mix: &Mix,
        lifecycle: InstanceLifecycle,
        order: &[usize],
        floor: &Floor,
    ) -> Option<(usize, Pool)> {
        let find = |lifecycle| {
            order.iter().find_map(|&index| {
                Some((index, pick(mix, self.zones[index].name, lifecycle, &self.planned, floor)?))
            })
        };
        let falls_back = mix.fallback && lifecycle == InstanceLifecycle::Spot;
        find(lifecycle).or_else(|| {
            let (index, pool) = find(InstanceLifecycle::OnDemand).filter(|_| falls_back)?;
            Some((index, Pool { fallback: true, ..pool }))
        })
    }

    /// Places for the warm pool, in which Spot Instances cannot wait.
    pub(super) fn on_demand_only(self) -> Self {
        Places { on_demand_only: true, ..self }
    }

    /// What the distribution lacks: On-Demand up to its share, then Spot.
    fn lacking(&self, mix: &Mix) -> InstanceLifecycle {
        if self.on_demand_only {
            return InstanceLifecycle::OnDemand;
        }
        let (on_demand, _) = mix.target(self.desired);
        if self.on_demand < on_demand { InstanceLifecycle::OnDemand } else { InstanceLifecycle::Spot }
    }

    fn bought(&mut self, lifecycle: InstanceLifecycle) -> &mut u32 {
        match lifecycle {
            InstanceLifecycle::OnDemand => &mut self.on_demand,
            InstanceLifecycle::Spot => &mut self.spot,
        }
    }

    fn none_left(&self) -> Note {
        match self.zones.iter().filter_map(|z| z.blocked_until).min() {
            Some(until) => Note::NoZone { until },
            None => Note::NoSubnet,
        }
    }
}

/// Places for launches of `capacity` units in one zone (and one of its subnets, if named), at most `most` instances. Whether the zone lacked
/// capacity before does not matter: the caller asks for it. Says why there are not enough if so.
pub fn places_in(
    view: &GroupView<'_>,
    zone: &str,
    subnet: Option<&str>,
    capacity: u32,
    most: u32,
    rng: &mut dyn Rng,
) -> (Vec<Place>, Option<String>) {
    if view.group.shifted_from(zone, view.now) {
        return (
            Vec::new(),
            Some(format!("The group is shifted away from zone {zone}, which takes no launches.")),
        );
    }
    let stays: Vec<bool> = view.members.iter().map(|m| m.member.counts()).collect();
    let mut places = Places::new(view, &stays);
    places.desired = places.desired.saturating_add(capacity);
    places.zones.retain(|z| z.name == zone);
    places.zones.iter_mut().for_each(|z| z.blocked_until = None);
    places.planned.forget_lacking();
    places.types_open_at = None;
    let mut found: Vec<Place> = Vec::new();
    let mut units = 0;
    while units < capacity && found.len() < most as usize {
        let mut place = match places.next(rng) {
            Ok(place) => place,
            Err(note) => return (found, Some(format!("In zone {zone}, {note}."))),
        };
        if let Some(subnet) = subnet {
            subnet.clone_into(&mut place.subnet);
        }
        units += place.units();
        found.push(place);
    }
    let short = units < capacity;
    (found, short.then(|| format!("One call launches at most {most} instances.")))
}

fn in_zone(view: &GroupView<'_>, stays: &[bool], zone: &str) -> u32 {
    let place = view.zone_names().iter().position(|z| *z == zone);
    place.and_then(|place| view.units_by_zone(stays).get(place).copied()).unwrap_or(0)
}

/// Launches one instance more in the smallest zone if the zones are uneven and nothing else goes on.
pub(super) fn rebalance(view: &GroupView<'_>, stays: &[bool], plan: &mut Plan, rng: &mut dyn Rng) {
    if view.has_activity() || view.zones.is_empty() || Mutation::NeverRebalance.is_on() {
        return;
    }
    let Some((crowded, _)) = uneven(view, stays) else { return };
    for process in [process::AZ_REBALANCE, process::LAUNCH] {
        if view.group.is_suspended(process) {
            return plan.notes.push(Note::Suspended(process));
        }
    }
    // If nothing in the crowded zones may go, the newcomer itself would have to: an endless to and fro.
    let can_give: Vec<_> = view
        .members
        .iter()
        .zip(stays)
        .filter(|(m, stays)| **stays && crowded.contains(&m.member.zone.as_str()) && !m.member.protected)
        .map(|(m, _)| m.member)
        .collect();
    let Some(lightest) = can_give.iter().min_by_key(|m| m.weight) else { return };
    if let Some((failures, until)) = view.group.launch_backoff.filter(|(_, until)| view.now < *until) {
        plan.notes.push(Note::BackOff { failures, until });
        return plan.later(until);
    }
    // A zone without capacity now cannot help; launching elsewhere must make things better, too.
    let lifecycle = view.mix.map(|_| lightest.lifecycle);
    if let Ok(place) = Places::new(view, stays).next_of(lifecycle, &Floor::default(), rng) {
        let most = crowded.iter().map(|z| in_zone(view, stays, z)).max().unwrap_or(0);
        let leaves = crowded.iter().any(|z| !view.zones.iter().any(|known| known.name == *z));
        let spare = view.n_counted().saturating_sub(view.group.desired) + place.units();
        let better = leaves || in_zone(view, stays, &place.zone) + place.units() < most;
        if better && lightest.weight <= spare {
            return plan.actions.push(place.launch(LaunchWhy::Rebalance));
        }
    }
    let waits = view.group.zone_backoff.values().chain(view.group.pool_backoff.values());
    if let Some(until) = waits.map(|b| b.1).filter(|until| view.now < *until).min() {
        plan.later(until);
    }
}

/// The zones that hold too many, and the zone that holds the fewest, if they differ by two or more. A zone that the group no
/// longer has is always too full; one that it was shifted away from is neither.
pub fn uneven<'v>(view: &'v GroupView<'_>, stays: &[bool]) -> Option<(Vec<&'v str>, &'v str)> {
    let shifted = |zone: &str| view.group.shifted_from(zone, view.now);
    let units = view.units_by_zone(stays);
    let own = view.zones.iter().zip(&units).filter(|(z, _)| !shifted(z.name));
    let counts: Vec<(&str, u32)> = own.map(|(z, n)| (z.name, *n)).collect();
    let (fewest_zone, fewest) = counts.iter().copied().min_by_key(|(_, n)| *n)?;
    let most = counts.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let elsewhere = view.zone_names().iter().zip(&units).skip(view.zones.len());
    let mut crowded: Vec<&str> = elsewhere.filter(|(_, n)| **n > 0).map(|(zone, _)| *zone).collect();
    if crowded.is_empty() && most >= fewest + 2 * view.weight_max() {
        crowded.extend(counts.iter().filter(|(_, n)| *n == most).map(|(z, _)| *z));
    }
    (!crowded.is_empty()).then_some((crowded, fewest_zone))
}

/// The cause of a rebalancing launch in `zone`.
pub fn rebalance_cause(view: &GroupView<'_>, zone: &str) -> String {
    let stays: Vec<bool> = view.members.iter().map(|m| m.member.counts()).collect();
    let crowded = uneven(view, &stays).map(|(crowded, _)| crowded).unwrap_or_default();
    texts::started_to_rebalance(&crowded, zone)
}
