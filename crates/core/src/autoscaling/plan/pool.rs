//! What the plan does about a group's warm pool: takes from it before anything is launched, fills it, and lets it go.

use std::collections::BTreeSet;

use rand::Rng;

use super::{
    Action, LAUNCHES_PER_PLAN_MAX, LaunchWhy, Note, Plan, TERMINATIONS_PER_PLAN_MAX, TerminateWhy, zones,
};
use crate::autoscaling::backoff::pool_key;
use crate::autoscaling::view::{GroupView, count};
use crate::autoscaling::{Member, process};
use crate::ec2::InstanceLifecycle;

/// Takes instances that wait in the pool until `n` units are reached, each for the zone that needs one most; says how many units.
/// Those taken count from then on.
pub(super) fn take(
    view: &GroupView<'_>,
    n: u32,
    why: impl Fn(u32) -> LaunchWhy,
    stays: &mut [bool],
    plan: &mut Plan,
) -> u32 {
    let mut taken = 0;
    while taken < n {
        let in_zone = |zone: &str| {
            let members = view.members.iter().zip(stays.iter());
            members.filter(|(m, stays)| **stays && m.member.zone == zone).count()
        };
        // A start in a zone without capacity, or in one the group is shifted away from, would only fail like a launch there.
        let is_open = |zone: &str| {
            let waits = view.group.zone_backoff.get(zone).is_some_and(|(_, until)| view.now < *until);
            !waits && !view.group.shifted_from(zone, view.now)
        };
        // Nor does a type start where it has just been found lacking.
        let is_there = |m: &Member| {
            let key = pool_key(&m.instance_type, &m.zone);
            view.group.pool_backoff.get(&key).is_none_or(|(_, until)| *until <= view.now)
        };
        let may = |i: usize| {
            let m = &view.members[i];
            m.can_be_taken() && is_open(&m.member.zone) && is_there(m.member)
        };
        let ready = (0..stays.len()).filter(|&i| !stays[i] && may(i));
        let first = ready.min_by_key(|&i| {
            let m = view.members[i].member;
            (in_zone(&m.zone), m.added_at, &m.instance_id)
        });
        let Some(i) = first else { break };
        stays[i] = true;
        plan.actions.push(Action::TakeWarm {
            instance_id: view.members[i].member.instance_id.clone(),
            why: why(taken),
        });
        taken += view.members[i].member.weight.max(1);
    }
    taken
}

/// Launches into the pool what it lacks, or terminates what it has too many. `unmet` instances are still to come into the
/// group (launches are suspended or wait): as many are kept for it.
pub(super) fn fit(view: &GroupView<'_>, unmet: u32, stays: &[bool], plan: &mut Plan, rng: &mut dyn Rng) {
    let group = view.group;
    // Those that were taken in this plan count for the group now, and those that a refresh ends have gone.
    let ended: BTreeSet<String> = plan.actions.iter().filter_map(ended).collect();
    let stays_warm = |i: &usize| {
        let m = view.members[*i].member;
        m.is_warm() && (ended.is_empty() || !ended.contains(&m.instance_id))
    };
    let warm: Vec<usize> = (0..stays.len()).filter(|&i| !stays[i]).filter(stays_warm).collect();
    let wanted = group.warm_pool.as_ref().map_or(0, |p| p.wanted(group.desired, group.max));
    let going = group.warm_pool.as_ref().is_none_or(|p| p.deleting);
    let n = count(warm.iter());
    // What leaves the group in this plan comes back to a pool that reuses it. Spot Instances of an earlier policy do not.
    let reuses = group.warm_pool.as_ref().is_some_and(|p| p.reuse_on_scale_in);
    let is_spot = |id: &str| {
        let member = view.members.iter().map(|m| m.member).find(|m| m.instance_id == id);
        member.is_some_and(|m| m.lifecycle == InstanceLifecycle::Spot)
    };
    let is_return = |a: &&Action| match a {
        Action::Terminate { instance_id, why: TerminateWhy::Difference(..), .. } => {
            reuses && !is_spot(instance_id)
        }
        _ => false,
    };
    let returning = count(plan.actions.iter().filter(is_return));
    let n_soon = n.saturating_add(returning);
    if n_soon < wanted && unmet == 0 {
        return fill(view, n_soon, wanted, stays, plan, rng);
    }
    let kept = if going { 0 } else { wanted.saturating_add(unmet) };
    if n <= kept || n_soon < wanted {
        return;
    }
    if group.is_suspended(process::TERMINATE) && !going {
        return plan.notes.push(Note::Suspended(process::TERMINATE));
    }
    // The newest go: the others have waited long enough to be known to work.
    let mut by_age = warm;
    by_age.sort_by_key(|&i| {
        std::cmp::Reverse((view.members[i].member.added_at, &view.members[i].member.instance_id))
    });
    for &i in by_age.iter().take((n - kept).min(TERMINATIONS_PER_PLAN_MAX) as usize) {
        plan.actions.push(Action::Terminate {
            instance_id: view.members[i].member.instance_id.clone(),
            why: TerminateWhy::Pool(n, kept),
            chosen_by: "the warm pool holds more than it shall, and it came last".to_owned(),
        });
    }
}

fn ended(action: &Action) -> Option<String> {
    match action {
        Action::Terminate { instance_id, why: TerminateWhy::Refresh, .. } => Some(instance_id.clone()),
        _ => None,
    }
}

fn fill(view: &GroupView<'_>, n: u32, wanted: u32, stays: &[bool], plan: &mut Plan, rng: &mut dyn Rng) {
    let group = view.group;
    if group.is_suspended(process::LAUNCH) {
        return plan.notes.push(Note::Suspended(process::LAUNCH));
    }
    if let Some((failures, until)) = group.launch_backoff.filter(|(_, until)| view.now < *until) {
        plan.notes.push(Note::BackOff { failures, until });
        return plan.later(until);
    }
    let here: Vec<bool> = stays.iter().zip(&view.members).map(|(s, m)| *s || m.member.is_warm()).collect();
    let mut places = zones::Places::new(view, &here).on_demand_only();
    let launched = count(plan.actions.iter().filter(|a| matches!(a, Action::Launch { .. })));
    for _ in 0..(wanted - n).min(LAUNCHES_PER_PLAN_MAX.saturating_sub(launched)) {
        match places.next(rng) {
            Ok(place) => plan.actions.push(place.launch(LaunchWhy::Pool(n, wanted))),
            Err(note) => {
                if let Note::NoZone { until } = note {
                    plan.later(until);
                }
                return plan.notes.push(note);
            }
        }
    }
}
