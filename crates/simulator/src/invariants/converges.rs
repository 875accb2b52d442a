//! Groups converge when faults stop: nothing moves any more, each group has what it wants, its zones are even, and, since the load is
//! constant then, what policies want settles. Asked now and then after the storm; a world that is not at rest in time violates
//! `converges`.

use std::time::Duration;

use puffer_compute::DriverState;
use puffer_core::autoscaling::scaling::Reaction;
use puffer_core::autoscaling::{Group, GroupStatus, HealthStatus, LifecycleState, Member};
use puffer_core::ec2::InstanceState;

use crate::machines::{Machine, Machines};
use crate::view::View;

/// What is wanted counts as settled after so long, at least.
const SETTLED_MIN: Duration = Duration::from_secs(60);

/// Why a world is not at rest, if it is not.
pub(crate) fn unrest(view: &View, machines: &Machines, now_ms: i64) -> Option<String> {
    if let Some(a) = view.open.values().next() {
        return Some(format!("an activity of {} goes on: {} ({:?})", a.group, a.description, a.status));
    }
    if let Some(r) = view.refreshes.values().next() {
        return Some(format!("a refresh of {} goes on: {:?} {:?}", r.group, r.status, r.reason));
    }
    if let Some(why) = view.groups.values().find_map(|g| group(view, g)) {
        return Some(why);
    }
    // Who is set aside is left alone, healthy or not.
    let settled = |m: &Member| {
        use LifecycleState as S;
        matches!(m.state, S::Standby | S::WarmedStopped | S::WarmedRunning)
            || m.state.is_retained()
            || (m.state == S::InService && m.health == HealthStatus::Healthy && !m.spare)
    };
    if let Some(m) = view.members.values().find(|m| !settled(m)) {
        return Some(format!("{} of {} is {:?} and {:?}", m.instance_id, m.group, m.state, m.health));
    }
    use InstanceState as S;
    let moving = |s: S| matches!(s, S::Pending | S::Stopping | S::ShuttingDown);
    if let Some(i) = view.instances.values().find(|i| moving(i.state)) {
        return Some(format!("{} is {}", i.id, i.state.name()));
    }
    if let Some(t) = view.targets.values().find(|t| t.draining_since.is_some()) {
        return Some(format!("{} drains in {}", t.id, t.target_group));
    }
    let booting = |m: &Machine| m.state(now_ms) == DriverState::Starting;
    machines.by_id.iter().find(|(_, m)| booting(m)).map(|(id, _)| format!("{id} boots"))
}

fn group(view: &View, group: &Group) -> Option<String> {
    let name = &group.name;
    if group.status == GroupStatus::Deleting {
        return Some(format!("{name} is being deleted"));
    }
    let counted = view.n_counted(name);
    // With weights, a group may stay less than the heaviest above what it wants.
    if counted < group.desired || counted - group.desired >= view.weight_max(name) {
        return Some(format!(
            "{name} has {counted} members and wants {} (back-off {:?} {:?}, suspended {:?})",
            group.desired, group.launch_backoff, group.zone_backoff, group.suspended
        ));
    }
    uneven(view, group)
}

/// Whether instances are spread over the zones unevenly. With weights, evenness has no simple measure.
fn uneven(view: &View, group: &Group) -> Option<String> {
    if view.weight_max(&group.name) > 1 {
        return None;
    }
    let members = || view.members_of(&group.name).filter(|m| m.counts());
    let n_in = |zone: &str| members().filter(|m| m.zone == zone).count();
    let elsewhere = members().find(|m| !group.zones.contains(&m.zone));
    if let Some(m) = elsewhere {
        return Some(format!("{} of {} is in {}, which it left", m.instance_id, m.group, m.zone));
    }
    let (least, most) =
        (group.zones.iter().map(|z| n_in(z)).min()?, group.zones.iter().map(|z| n_in(z)).max()?);
    (most > least + 1)
        .then(|| format!("{} has {most} instances in one zone and {least} in another", group.name))
}

/// What is wanted of each group, and how long it must have been so to count as settled: where policies decide by the second, longer than
/// it takes them to shrink the group.
pub(crate) fn wanted(view: &View) -> Vec<(String, u32, Duration)> {
    let one = |group: &std::sync::Arc<Group>| {
        let reaction = Reaction::of(&group.tags);
        let shrinks_s = reaction.period_s.unwrap_or(0) * (reaction.in_datapoints + 5);
        let settled_after = Duration::from_secs(shrinks_s.into()).max(SETTLED_MIN);
        (group.name.clone(), group.desired, settled_after)
    };
    view.groups.values().map(one).collect()
}
