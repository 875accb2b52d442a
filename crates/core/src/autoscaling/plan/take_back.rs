//! Takes members back that still drain, before anything else fills their places ([`super::super::cancel_drain`]).

use std::cmp::Reverse;

use super::{Action, LaunchWhy, Plan};
use crate::autoscaling::cancel_drain::{is_on, may_return};
use crate::autoscaling::view::GroupView;

/// Takes members back until `n` units are reached, each for the zone that needs one most, those last that have drained longest;
/// says how many units. Those taken count from then on.
pub(super) fn take(
    view: &GroupView<'_>,
    n: u32,
    why: impl Fn(u32) -> LaunchWhy,
    stays: &mut [bool],
    plan: &mut Plan,
) -> u32 {
    if !is_on(view.group) {
        return 0;
    }
    let mut draining: Vec<usize> = (0..stays.len())
        .filter(|&i| !stays[i] && may_return(view.group, &view.members[i], view.now))
        .collect();
    let mut taken = 0;
    while taken < n {
        let units = view.units_by_zone(stays);
        let first = draining.iter().enumerate().min_by_key(|&(_, &i)| {
            let m = view.members[i].member;
            let in_zone = units.get(view.zone_of(i)).copied().unwrap_or(0);
            (in_zone, Reverse(m.state_since), &m.instance_id)
        });
        let Some((place, &i)) = first else { break };
        draining.remove(place);
        stays[i] = true;
        plan.actions.push(Action::TakeBack {
            instance_id: view.members[i].member.instance_id.clone(),
            why: why(taken),
        });
        taken += view.members[i].member.weight.max(1);
    }
    taken
}
