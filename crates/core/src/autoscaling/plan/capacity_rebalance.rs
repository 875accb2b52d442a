//! Capacity Rebalancing: Spot instances at risk give way before they are taken back.
//!
//! A member that is advised to move gets a replacement first, in a pool that is no worse than its own; when that is in service,
//! the one at risk goes (hooks and draining as ever). Replacements come on top of the wanted capacity, at most
//! [`super::zones::surplus_max`] units at a time, and so may exceed the maximum by that much. A member that has its notice
//! goes at once, and its place is filled in the same plan. A protected member is left to the market.
//! Source: EC2 Auto Scaling guide, "Capacity Rebalancing in Auto Scaling to replace at-risk Spot Instances".

use rand::Rng;

use super::zones::{Places, surplus_max};
use super::{Action, LaunchWhy, Note, Plan, TerminateWhy};
use crate::Mutation;
use crate::autoscaling::mixed::Floor;
use crate::autoscaling::view::{GroupView, MemberView, sum};
use crate::autoscaling::{LifecycleState, process};
use crate::ec2::InstanceLifecycle;

/// Whether the group wants this member replaced because the market may take its instance back.
pub(super) fn is_at_risk(view: &GroupView<'_>, m: &MemberView<'_>) -> bool {
    view.group.capacity_rebalance
        && m.member.state == LifecycleState::InService
        && !m.member.protected
        && m.instance.is_some_and(|i| i.at_risk_since().is_some())
}

/// Members that have their notice go; their places are filled with the difference to `desired`.
pub(super) fn end_interrupted(view: &GroupView<'_>, stays: &mut [bool], plan: &mut Plan) {
    // Said before looking at a thousand members, of whom none can be at risk.
    if !view.group.capacity_rebalance {
        return;
    }
    let noticed = |m: &MemberView<'_>| {
        is_at_risk(view, m)
            && m.instance.and_then(|i| i.spot.as_ref()).is_some_and(|spot| spot.interruption.is_some())
    };
    // Whom an instance refresh ends now, it ends.
    let refreshed = |i: &usize| view.refresh.is_some_and(|r| r.end.contains(i));
    let chosen: Vec<usize> = (0..view.members.len())
        .filter(|&i| stays[i] && noticed(&view.members[i]) && !refreshed(&i))
        .collect();
    if chosen.is_empty() || Mutation::IgnoreNotice.is_on() {
        return;
    }
    if view.group.is_suspended(process::TERMINATE) {
        return plan.notes.push(Note::Suspended(process::TERMINATE));
    }
    for &i in &chosen {
        stays[i] = false;
        plan.actions.push(Action::Terminate {
            instance_id: view.members[i].member.instance_id.clone(),
            why: TerminateWhy::Interrupted,
            chosen_by: "its Spot capacity is being taken back".to_owned(),
        });
    }
}

/// Launches replacements for members at risk, oldest advice first.
pub(super) fn replace(view: &GroupView<'_>, stays: &[bool], plan: &mut Plan, rng: &mut dyn Rng) {
    let mut risky: Vec<&MemberView<'_>> = view
        .members
        .iter()
        .zip(stays)
        .filter(|(m, stays)| **stays && is_at_risk(view, m))
        .map(|(m, _)| m)
        .collect();
    if risky.is_empty() {
        return;
    }
    if view.group.is_suspended(process::LAUNCH) {
        return plan.notes.push(Note::Suspended(process::LAUNCH));
    }
    if let Some((failures, until)) = view.group.launch_backoff.filter(|(_, until)| view.now < *until) {
        plan.notes.push(Note::BackOff { failures, until });
        return plan.later(until);
    }
    risky.sort_by_key(|m| (m.instance.and_then(|i| i.at_risk_since()), &m.member.instance_id));
    let coming = |m: &&MemberView<'_>| m.member.surplus && m.member.is_pending();
    let n_coming = view.members.iter().filter(coming).count();
    let mut room = surplus_max(view.group.desired).saturating_sub(sum(view
        .members
        .iter()
        .filter(coming)
        .map(|m| m.member.weight)));
    let mut places = Places::new(view, stays);
    // Each newcomer that is on its way is for one of them already.
    for m in risky.iter().skip(n_coming) {
        let floor = Floor { weight: m.member.weight, depth: depth_of(view, m), steady: true };
        let lifecycle = view.mix.map(|_| InstanceLifecycle::Spot);
        match places.next_of(lifecycle, &floor, rng) {
            // The first may be heavier than the room: else a group of heavy types would never move.
            Ok(place) if place.units() <= room || room == surplus_max(view.group.desired) => {
                room = room.saturating_sub(place.units());
                plan.actions.push(place.launch(LaunchWhy::CapacityRebalance));
            }
            Ok(_) => break,
            Err(note) => {
                plan.notes.push(note);
                break;
            }
        }
        if room == 0 {
            break;
        }
    }
}

/// How deep the pool of a member seems to be; 0 if that is not known.
fn depth_of(view: &GroupView<'_>, m: &MemberView<'_>) -> u32 {
    let offers = view.mix.map_or(&[][..], |mix| &mix.offers);
    let own = offers.iter().find(|o| o.instance_type == m.member.instance_type);
    own.and_then(|o| o.in_zone(&m.member.zone)).map_or(0, |pool| pool.quote.depth)
}
