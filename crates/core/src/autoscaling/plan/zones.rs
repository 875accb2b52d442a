//! Where instances are launched, and the evening out of zones.
//!
//! A launch goes to the zone with the fewest instances, into a random subnet of it. A zone whose last launch found no capacity is
//! left out for a while (unless the group is `balanced-only`), so that another takes its place; once it works again the
//! rebalance evens out: one instance more first, and when that is in service the largest zone gives one up.
//! Source: EC2 Auto Scaling guide, "Balance capacity across Availability Zones".

use rand::{Rng, RngExt};

use super::{Action, LaunchWhy, Note, Plan};
use crate::Timestamp;
use crate::autoscaling::process;
use crate::autoscaling::texts;
use crate::autoscaling::view::GroupView;

/// How far a rebalance may exceed the group's size: a tenth, at least one.
pub fn surplus_max(desired: u32) -> u32 {
    (desired / 10).max(1)
}

/// Hands out places for launches, one by one.
pub(super) struct Places<'v> {
    zones: Vec<Zone<'v>>,
    balanced_only: bool,
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
        let zones = view.zones.iter().filter(|z| !z.subnets.is_empty());
        let zones = zones.map(|z| Zone {
            name: z.name,
            subnets: &z.subnets,
            n: in_zone(view, stays, z.name),
            blocked_until: view.group.zone_backoff.get(z.name).map(|b| b.1).filter(|until| view.now < *until),
        });
        Places { zones: zones.collect(), balanced_only: view.group.balanced_only }
    }

    /// Zone and subnet of the next launch, counting it in.
    pub(super) fn next(&mut self, rng: &mut dyn Rng) -> Result<(String, String), Note> {
        let fewest =
            self.zones.iter().filter(|z| self.balanced_only || z.blocked_until.is_none()).map(|z| z.n).min();
        let Some(fewest) = fewest else { return Err(self.none_left()) };
        let eligible = |z: &Zone<'_>| z.n == fewest && (self.balanced_only || z.blocked_until.is_none());
        let ties = self.zones.iter().filter(|z| eligible(z)).count();
        let pick = rng.random_range(0..ties);
        let index = (0..self.zones.len()).filter(|&i| eligible(&self.zones[i])).nth(pick).unwrap_or(0);
        let zone = &mut self.zones[index];
        if zone.blocked_until.is_some() {
            return Err(self.none_left());
        }
        zone.n += 1;
        let subnet = zone.subnets[rng.random_range(0..zone.subnets.len())];
        Ok((zone.name.to_owned(), subnet.to_owned()))
    }

    fn none_left(&self) -> Note {
        match self.zones.iter().filter_map(|z| z.blocked_until).min() {
            Some(until) => Note::NoZone { until },
            None => Note::NoSubnet,
        }
    }
}

fn in_zone(view: &GroupView<'_>, stays: &[bool], zone: &str) -> u32 {
    let members = view.members.iter().zip(stays);
    let here = members.filter(|(m, stays)| **stays && m.member.zone == zone);
    u32::try_from(here.count()).unwrap_or(u32::MAX)
}

/// Launches one instance more in the smallest zone if the zones are uneven and nothing else goes on.
pub(super) fn rebalance(view: &GroupView<'_>, stays: &[bool], plan: &mut Plan, rng: &mut dyn Rng) {
    if view.has_activity() || view.zones.is_empty() {
        return;
    }
    let Some((crowded, _)) = uneven(view, stays) else { return };
    for process in [process::AZ_REBALANCE, process::LAUNCH] {
        if view.group.is_suspended(process) {
            return plan.notes.push(Note::Suspended(process));
        }
    }
    // If nothing in the crowded zones may go, the newcomer itself would have to: an endless to and fro.
    let can_give = |zone: &&str| {
        let mut here = view.members.iter().zip(stays).filter(|(m, stays)| **stays && m.member.zone == **zone);
        here.any(|(m, _)| !m.member.protected)
    };
    if !crowded.iter().any(can_give) {
        return;
    }
    if let Some((failures, until)) = view.group.launch_backoff.filter(|(_, until)| view.now < *until) {
        plan.notes.push(Note::BackOff { failures, until });
        return plan.later(until);
    }
    // A zone without capacity now cannot help; launching elsewhere must make things better, too.
    if let Ok((zone, subnet)) = Places::new(view, stays).next(rng) {
        let most = crowded.iter().map(|z| in_zone(view, stays, z)).max().unwrap_or(0);
        let leaves = crowded.iter().any(|z| !view.zones.iter().any(|known| known.name == *z));
        if leaves || in_zone(view, stays, &zone) + 1 < most {
            return plan.actions.push(Action::Launch { zone, subnet, why: LaunchWhy::Rebalance });
        }
    }
    if let Some(until) = view.group.zone_backoff.values().map(|b| b.1).filter(|until| view.now < *until).min()
    {
        plan.later(until);
    }
}

/// The zones that hold too many, and the zone that holds the fewest, if they differ by two or more. A zone that the group no
/// longer has is always too full.
pub fn uneven<'v>(view: &'v GroupView<'_>, stays: &[bool]) -> Option<(Vec<&'v str>, &'v str)> {
    let counts: Vec<(&str, u32)> =
        view.zones.iter().map(|z| (z.name, in_zone(view, stays, z.name))).collect();
    let (fewest_zone, fewest) = counts.iter().copied().min_by_key(|(_, n)| *n)?;
    let most = counts.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let mut crowded: Vec<&str> = Vec::new();
    for (m, stays) in view.members.iter().zip(stays) {
        let zone = m.member.zone.as_str();
        if *stays && !counts.iter().any(|(name, _)| *name == zone) && !crowded.contains(&zone) {
            crowded.push(zone);
        }
    }
    if crowded.is_empty() && most >= fewest + 2 {
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
