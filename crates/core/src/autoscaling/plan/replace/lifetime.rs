//! Whose time is over, by the group's maximum instance lifetime.
//!
//! Instances that came together would end together. So each is given a start of its own: the last one begins to be replaced at its
//! deadline, the one before it a pause earlier, and so on. The pause is such that a group that was launched all at once is replaced
//! within the last tenth of its lifetime; from then on the ages are spread, and each goes at its deadline. Those that are late
//! (the setting is new, or they were protected) go together, a tenth of the group at once.
//! Source: EC2 Auto Scaling guide, "Replace instances based on maximum instance lifetime".

use std::time::Duration;

use crate::Timestamp;
use crate::autoscaling::view::GroupView;
use crate::autoscaling::{HealthStatus, LifecycleState};

/// The part of the lifetime in which a group that was launched at once is replaced.
const SPREAD_PART: u64 = 10;

/// Members that are due, oldest first, and when the next one will be. Protected members are passed over: they are due once they are
/// free.
pub(super) fn due(view: &GroupView<'_>, stays: &[bool]) -> (Vec<usize>, Option<Timestamp>) {
    let lifetime = Duration::from_secs(view.group.max_instance_lifetime_s.into());
    if lifetime.is_zero() {
        return (Vec::new(), None);
    }
    let deadline = |i: usize| {
        let member = view.members[i].member;
        let born =
            if member.launched_at == Timestamp::default() { member.added_at } else { member.launched_at };
        born + lifetime
    };
    let mut aging: Vec<usize> = (0..view.members.len())
        .filter(|&i| {
            let m = view.members[i].member;
            let serves = m.state == LifecycleState::InService && m.health == HealthStatus::Healthy;
            stays[i] && serves && !m.protected
        })
        .collect();
    aging.sort_by_key(|&i| (deadline(i), i));
    let n = u32::try_from(aging.len()).unwrap_or(u32::MAX).max(1);
    let pause = lifetime / (n.saturating_mul(u32::try_from(SPREAD_PART).unwrap_or(1)));
    let mut starts: Vec<Timestamp> = Vec::with_capacity(aging.len());
    for &i in aging.iter().rev() {
        let latest = starts.last().map_or(deadline(i), |later| deadline(i).min(*later - pause));
        starts.push(latest);
    }
    starts.reverse();
    let n_due = starts.iter().take_while(|at| **at <= view.now).count();
    let next = starts.get(n_due).copied();
    aging.truncate(n_due);
    (aging, next)
}
