//! No launch makes a group larger than its maximum. The documented excess is that of evening out the zones: surplus launches
//! of at most a tenth of `desired`, at least one.

use puffer_core::autoscaling::Group;
use puffer_core::autoscaling::plan::zones::surplus_max;

use super::{Found, Invariant, Now, holds};
use crate::view::{Deltas, View, count};

pub(crate) struct NeverAboveMax;

/// Members that are or will be in service, surplus ones included.
pub(super) fn size(view: &View, group: &str) -> u32 {
    count(view.members_of(group).filter(|m| m.state.counts()))
}

/// By how many a group may exceed its maximum while something goes on.
pub(super) fn excess(group: &Group) -> u32 {
    surplus_max(group.desired)
}

impl Invariant for NeverAboveMax {
    fn name(&self) -> &'static str {
        "never_above_max"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for (member, _) in deltas.launched() {
            let Some(group) = now.view.groups.get(&member.group) else { continue };
            let size = size(now.view, &group.name);
            let max = group.max + excess(group);
            holds!(
                size <= max,
                "a launch makes {} {size} large; its maximum is {} and {} more for evening out",
                group.name,
                group.max,
                excess(group)
            );
        }
        Ok(())
    }
}
