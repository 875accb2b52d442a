//! No launch makes a group larger than its maximum, but for the documented excesses: evening out the zones launches at most a
//! tenth of `desired` first, at least one; with weights, the last launch may bring up to its weight less one too much; spares,
//! launched ahead of those they replace, bring as much again as is wanted at most, or one instance: `MaxHealthyPercentage` ends
//! at 200.

use puffer_core::autoscaling::Group;
use puffer_core::autoscaling::plan::zones::surplus_max;

use super::{Found, Invariant, Now, holds};
use crate::view::{Deltas, View};

pub(crate) struct NeverAboveMax;

/// Units that are or will be in service, surplus ones included.
pub(super) fn size(view: &View, group: &str) -> u32 {
    view.members_of(group).filter(|m| m.state.counts() && !m.spare).map(|m| m.weight).sum()
}

/// Units launched ahead of those they replace.
fn spare(view: &View, group: &str) -> u32 {
    view.members_of(group).filter(|m| m.state.counts() && m.spare).map(|m| m.weight).sum()
}

/// By how many units a group may exceed its maximum while something goes on.
pub(super) fn excess(group: &Group, view: &View) -> u32 {
    let weight = view.weight_max(&group.name);
    surplus_max(group.desired) * weight + weight - 1
}

impl Invariant for NeverAboveMax {
    fn name(&self) -> &'static str {
        "never_above_max"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for (member, _) in deltas.launched() {
            let Some(group) = now.view.groups.get(&member.group) else { continue };
            let size = size(now.view, &group.name);
            let excess = excess(group, now.view);
            let max = group.max + excess;
            let spare = spare(now.view, &group.name);
            let spare_max = group.desired.max(now.view.weight_max(&group.name));
            holds!(spare <= spare_max, "{} has spares of {spare} units; {spare_max} are allowed", group.name);
            holds!(
                size <= max,
                "a launch makes {} {size} large; its maximum is {} and {excess} more",
                group.name,
                group.max,
            );
        }
        Ok(())
    }
}
