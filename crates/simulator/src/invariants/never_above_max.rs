//! No launch, and nobody who is taken back from draining, makes a group larger than its maximum, but for the documented excesses, each to the unit:
//!
//! * with weights, the last launch brings less than the largest weight too much;
//! * evening out the zones and moving away from Spot capacity at risk launch first: together at most a tenth of `desired`, at least
//!   one unit, or one instance if that is heavier;
//! * replacements that launch first keep to `MaxHealthyPercentage` of `desired`, rounded up, or to one instance more where the
//!   percentages leave no room;
//! * never two of these at once beyond the larger.
//!
//! `LaunchInstances` brings what it was asked for at once: up to the maximum, and with weights less than the largest weight more.

use puffer_core::autoscaling::plan::zones::surplus_max;
use puffer_core::autoscaling::{Bounds, Group};

use super::{Found, Invariant, Now, holds};
use crate::view::{Deltas, View};

pub(crate) struct NeverAboveMax;

/// A group's units: those that count, those that come on top for others that will go, and spares.
pub(super) struct Units {
    pub(super) counted: u32,
    pub(super) surplus: u32,
    pub(super) spare: u32,
}

impl Units {
    pub(super) fn of(view: &View, group: &str) -> Units {
        let mut units = Units { counted: view.n_counted(group), surplus: 0, spare: 0 };
        for m in view.members_of(group).filter(|m| m.state.counts()) {
            if m.spare {
                units.spare += m.weight;
            } else if !m.counts() {
                units.surplus += m.weight;
            }
        }
        units
    }

    fn all(&self) -> u32 {
        self.counted + self.surplus + self.spare
    }
}

/// Units that come on top of `desired` at most to even out zones or to move away from capacity at risk.
fn surplus_of(group: &Group, weight: u32) -> u32 {
    surplus_max(group.desired).max(weight)
}

/// Most units that replacing ahead may bring a group to.
fn ahead_max(group: &Group, view: &View, weight: u32) -> u32 {
    let by_policy = group.maintenance.map(|percent| Bounds::of(percent, group.desired, weight).total_max);
    let by_refresh =
        view.refresh_of(&group.name).map(|r| r.preferences.bounds(group.desired, weight).total_max);
    by_policy.max(by_refresh).unwrap_or(0)
}

/// By how many units a group may exceed what is wanted while something goes on.
pub(super) fn excess(group: &Group, view: &View) -> u32 {
    let weight = view.weight_max(&group.name);
    let surplus = group.desired + weight - 1 + surplus_of(group, weight);
    surplus.max(ahead_max(group, view, weight)) - group.desired
}

impl Invariant for NeverAboveMax {
    fn name(&self) -> &'static str {
        "never_above_max"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for (member, _) in deltas.launched() {
            let Some(group) = now.view.groups.get(&member.group) else { continue };
            let units = Units::of(now.view, &group.name);
            let weight = now.view.weight_max(&group.name);
            let (kind, most) = if deltas.calls.contains(&group.name) {
                ("LaunchInstances", group.max + weight - 1 + units.surplus + units.spare)
            } else if member.spare {
                ("a spare", ahead_max(group, now.view, weight))
            } else if member.surplus {
                ("a surplus launch", group.desired + weight - 1 + surplus_of(group, weight))
            } else {
                ("a launch", group.desired + weight - 1)
            };
            holds!(
                units.all() <= most,
                "{kind} makes {} {} large ({} count, {} surplus, {} spare); {} are wanted, its maximum is {}, and {most} are \
                 allowed",
                group.name,
                units.all(),
                units.counted,
                units.surplus,
                units.spare,
                group.desired,
                group.max
            );
        }
        for (_, member) in deltas.returned() {
            let Some(group) = now.view.groups.get(&member.group) else { continue };
            let units = Units::of(now.view, &group.name);
            let most = group.desired + now.view.weight_max(&group.name) - 1;
            holds!(
                units.all() <= most,
                "{} comes back and makes {} {} large; {most} are allowed",
                member.instance_id,
                group.name,
                units.all()
            );
        }
        Ok(())
    }
}
