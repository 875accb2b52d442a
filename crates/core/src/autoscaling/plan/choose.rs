//! Which member goes when the group shrinks.
//!
//! First the zone: the one with most units that holds a member which may go. With a mixed instances policy then On-Demand or
//! Spot, whichever exceeds its share. Then the group's termination policies in
//! order, each keeping the best of what the one before left; what is left at the end is equal, and chance decides.
//! With weights, nobody goes if the choice is heavier than the excess: the group never falls below what it wants.
//! Source: EC2 Auto Scaling guide, "Configure termination policies", "Instance weights".

use rand::{Rng, RngExt};

use super::{Note, capacity_rebalance};
use crate::autoscaling::mixed::misfit;
use crate::autoscaling::view::{GroupView, MemberView};
use crate::autoscaling::{HealthStatus, InstanceSource};
use crate::ec2::InstanceLifecycle;
use crate::{Mutation, Timestamp};

/// The policies that act; `Default` is a sequence of others.
pub const POLICIES: &[&str] = &[
    "AllocationStrategy",
    "ClosestToNextInstanceHour",
    "Default",
    "NewestInstance",
    "OldestInstance",
    "OldestLaunchConfiguration",
    "OldestLaunchTemplate",
];

/// Milliseconds of an instance's hour.
const HOUR_MS: i64 = 3_600_000;

/// A chosen member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its place in the view's members.
    pub index: usize,
    /// How it was chosen.
    pub reason: String,
    /// Its Spot capacity is at risk, which is why it goes.
    pub at_risk: bool,
}

/// Chooses members one by one; each choice counts for the next.
pub struct Chooser<'v, 'a> {
    view: &'v GroupView<'a>,
    stays: &'v mut [bool],
}

impl<'v, 'a> Chooser<'v, 'a> {
    /// `stays`: of each member, whether it still counts.
    pub fn new(view: &'v GroupView<'a>, stays: &'v mut [bool]) -> Self {
        Chooser { view, stays }
    }

    /// The next member to go while `excess` units are too many, or why none goes.
    pub fn next(&mut self, excess: u32, rng: &mut dyn Rng) -> Result<Choice, Note> {
        let kept = |i: usize| self.member(i).member.protected && !Mutation::TerminateProtected.is_on();
        // With room for all: growing by and by costs more than the choice itself.
        let mut free = Vec::with_capacity(self.stays.len());
        free.extend((0..self.stays.len()).filter(|&i| self.stays[i] && !kept(i)));
        if free.is_empty() {
            return Err(Note::AllProtected { excess });
        }
        let is_unhealthy = |i: &usize| self.member(*i).member.health == HealthStatus::Unhealthy;
        let unhealthy: Vec<usize> = free.iter().copied().filter(is_unhealthy).collect();
        let unhealthy = Some(unhealthy).filter(|some| !some.is_empty());
        let is_risky = |i: &usize| capacity_rebalance::is_at_risk(self.view, self.member(*i));
        let risky: Vec<usize> = match unhealthy.is_none() && self.view.group.capacity_rebalance {
            true => free.iter().copied().filter(is_risky).collect(),
            false => Vec::new(),
        };
        let risky = Some(risky).filter(|some| !some.is_empty());
        let at_risk = risky.is_some();
        let (mut left, mut reason) = match (unhealthy, risky) {
            (Some(unhealthy), _) => (unhealthy, "unhealthy instances go first".to_owned()),
            (None, Some(risky)) => (risky, "Spot instances at risk go first".to_owned()),
            (None, None) => {
                let (left, reason) = self.in_fullest_zones(free);
                self.of_exceeding_share(left, reason)
            }
        };
        let own = &self.view.group.termination_policies;
        let names: Vec<&str> =
            if own.is_empty() { vec!["Default"] } else { own.iter().map(String::as_str).collect() };
        for policy in names {
            for &step in steps(policy, &self.view.group.source, self.view.mix.is_some()) {
                let before = left.len();
                if before == 1 {
                    break;
                }
                left = self.keep_best(left, step);
                if left.len() < before {
                    reason.push_str(&format!("; {} kept {} of {before}", step.name(policy), left.len()));
                }
            }
        }
        let weight = |i: usize| self.member(i).member.weight;
        if let Some(lightest) = left.iter().map(|&i| weight(i)).min()
            && lightest > excess
        {
            return Err(Note::TooHeavy { excess, weight: lightest });
        }
        left.retain(|&i| weight(i) <= excess);
        let index = left[rng.random_range(0..left.len())];
        if left.len() > 1 {
            reason.push_str(&format!("; chance among {}", left.len()));
        }
        self.stays[index] = false;
        Ok(Choice { index, reason, at_risk })
    }

    fn member(&self, index: usize) -> &MemberView<'a> {
        &self.view.members[index]
    }

    /// Keeps the candidates in the zones that have most instances, of the zones that have candidates. Zones that the group
    /// no longer has come before all others.
    fn in_fullest_zones(&self, free: Vec<usize>) -> (Vec<usize>, String) {
        let mut sizes: Vec<u64> = self.view.units_by_zone(self.stays).into_iter().map(u64::from).collect();
        if !self.view.zones.is_empty() {
            for (zone, n) in sizes.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
                *n += if self.view.is_own_zone(zone) { 0 } else { u64::MAX / 2 };
            }
        }
        let size = |i: usize| sizes.get(self.view.zone_of(i)).copied().unwrap_or(0);
        let most = free.iter().map(|&i| size(i)).max().unwrap_or(0);
        let left: Vec<usize> = free.into_iter().filter(|&i| size(i) == most).collect();
        let named = self.view.zone_names().iter().zip(&sizes);
        let zones: Vec<&str> = named.filter(|(_, n)| **n == most).map(|(z, _)| *z).collect();
        let reason = format!("zone {} has most instances", zones.join(", "));
        (left, reason)
    }

    /// With a mixed instances policy, keeps what is bought in the way that exceeds its share most, if the zone has any.
    fn of_exceeding_share(&self, left: Vec<usize>, mut reason: String) -> (Vec<usize>, String) {
        let Some(mix) = self.view.mix else { return (left, reason) };
        let (mut on_demand, mut spot) = (0_i64, 0_i64);
        for (m, _) in self.view.members.iter().zip(&*self.stays).filter(|(_, stays)| **stays) {
            match m.member.lifecycle {
                InstanceLifecycle::OnDemand => on_demand += i64::from(m.member.weight),
                InstanceLifecycle::Spot => spot += i64::from(m.member.weight),
            }
        }
        let (on_demand_share, spot_share) = mix.target(self.view.group.desired);
        let over = (on_demand - i64::from(on_demand_share), spot - i64::from(spot_share));
        let (lifecycle, name) = match over {
            (o, s) if o > s => (InstanceLifecycle::OnDemand, "On-Demand"),
            (o, s) if s > o => (InstanceLifecycle::Spot, "Spot"),
            _ => return (left, reason),
        };
        let kept: Vec<usize> =
            left.iter().copied().filter(|&i| self.member(i).member.lifecycle == lifecycle).collect();
        if kept.is_empty() {
            return (left, reason);
        }
        reason.push_str(&format!("; {name} exceeds its share most"));
        (kept, reason)
    }

    fn keep_best(&self, left: Vec<usize>, step: Step) -> Vec<usize> {
        let mut best = i64::MAX;
        let mut kept = Vec::with_capacity(left.len());
        for i in left {
            let rank = self.rank(self.member(i), step);
            if rank < best {
                best = rank;
                kept.clear();
            }
            if rank == best {
                kept.push(i);
            }
        }
        kept
    }

    /// The smaller, the sooner it goes.
    fn rank(&self, m: &MemberView<'_>, step: Step) -> i64 {
        let member = m.member;
        match step {
            Step::Oldest => member.launched_at.as_millis(),
            Step::Newest => -member.launched_at.as_millis(),
            Step::FromConfiguration => i64::from(member.launch_configuration.is_none()),
            Step::Misfit => self.view.mix.map_or(0, |mix| {
                misfit(mix, &member.instance_type, &member.zone, member.lifecycle).saturating_neg()
            }),
            Step::OtherTemplate => {
                let ours = |id: &str| match self.view.mix {
                    Some(mix) => mix.templates.iter().any(|t| t == id),
                    None => Some(id) == self.view.source.template_id,
                };
                i64::from(member.launch_template.as_ref().is_some_and(|t| ours(&t.id)))
            }
            Step::OldestTemplateVersion => {
                member.launch_template.as_ref().map_or(0, |t| i64::try_from(t.version).unwrap_or(i64::MAX))
            }
            Step::OldestConfiguration => self.configuration_age(member.launch_configuration.as_deref()),
            Step::ClosestToHour => {
                let into_hour = self.view.now.as_millis() - member.launched_at.as_millis();
                HOUR_MS - into_hour.rem_euclid(HOUR_MS)
            }
        }
    }

    /// When the configuration was made. One deleted since is older than any that is left.
    fn configuration_age(&self, name: Option<&str>) -> i64 {
        let Some(name) = name else { return i64::MAX };
        let known = self.view.source.configurations.iter().find(|(n, _)| n == name);
        known.map_or(i64::MIN, |(_, made): &(String, Timestamp)| made.as_millis())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Oldest,
    Newest,
    FromConfiguration,
    OtherTemplate,
    OldestTemplateVersion,
    OldestConfiguration,
    ClosestToHour,
    Misfit,
}

impl Step {
    fn name(self, policy: &str) -> String {
        format!("{policy} ({self:?})")
    }
}

/// A policy as steps. `AllocationStrategy` has none without a mixed instances policy: every instance is aligned then.
fn steps(policy: &str, source: &InstanceSource, mixed: bool) -> &'static [Step] {
    match (policy, source) {
        ("AllocationStrategy", _) if mixed => &[Step::Misfit],
        ("Default", InstanceSource::LaunchTemplate(_)) if mixed => &[
            Step::Misfit,
            Step::FromConfiguration,
            Step::OtherTemplate,
            Step::OldestTemplateVersion,
            Step::ClosestToHour,
        ],
        ("Default", InstanceSource::LaunchTemplate(_)) => {
            &[Step::FromConfiguration, Step::OtherTemplate, Step::OldestTemplateVersion, Step::ClosestToHour]
        }
        ("Default", InstanceSource::LaunchConfiguration(_)) => {
            &[Step::OldestConfiguration, Step::ClosestToHour]
        }
        ("OldestInstance", _) => &[Step::Oldest],
        ("NewestInstance", _) => &[Step::Newest],
        ("OldestLaunchConfiguration", _) => &[Step::OldestConfiguration],
        ("OldestLaunchTemplate", _) => {
            &[Step::FromConfiguration, Step::OtherTemplate, Step::OldestTemplateVersion]
        }
        ("ClosestToNextInstanceHour", _) => &[Step::ClosestToHour],
        _ => &[],
    }
}
