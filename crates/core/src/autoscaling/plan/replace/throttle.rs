//! How many unhealthy members are replaced at once in a group without a maintenance policy.
//!
//! What does not run, or was called unhealthy by a user, is replaced at once: there is nothing to lose. What a check alone
//! calls unhealthy still serves somebody perhaps, so it goes in portions: at most a tenth of `desired`, and the next
//! portion once the last one's replacements proved healthy and warmed up; one by one if *every* member fails, since then
//! the check itself is the likelier culprit.
//! Source: EC2 Auto Scaling guide, "Health checks", replacement of unhealthy instances.

use crate::autoscaling::view::{GroupView, sum};
use crate::autoscaling::{HealthStatus, LifecycleState, UnhealthyCause};
use crate::ec2::InstanceState;
use crate::{Mutation, Timestamp};

/// Below this share of `desired` in good health, nothing more is taken out while an activity runs.
const HEALTHY_SHARE_MIN: f64 = 0.9;

/// Of the unhealthy members: those to replace now, and when time alone may let the next one through.
pub(super) fn admitted(view: &GroupView<'_>, unhealthy: &[usize]) -> (Vec<usize>, Option<Timestamp>) {
    // Of what has stopped since a check failed, nobody is served any more.
    let runs = |i: usize| view.members[i].instance.is_some_and(|i| i.state == InstanceState::Running);
    let by_check = |i: &usize| {
        let cause = view.members[*i].member.unhealthy_cause;
        runs(*i) && matches!(cause, Some(UnhealthyCause::Elb | UnhealthyCause::Ec2StatusCheck))
    };
    let (checked, mut admitted): (Vec<usize>, Vec<usize>) = unhealthy.iter().partition(|i| by_check(i));
    if Mutation::ReplaceAllAtOnce.is_on() {
        return (unhealthy.to_vec(), None);
    }
    if checked.is_empty() {
        return (admitted, None);
    }
    let desired = view.group.desired;
    let in_service = view.members.iter().filter(|m| m.member.state == LifecycleState::InService);
    let healthy = in_service.filter(|m| m.member.health == HealthStatus::Healthy);
    let n_healthy = sum(healthy.map(|m| m.member.weight));
    let busy = view.has_activity() || !admitted.is_empty();
    let mut look_again = None;
    let room = if busy && f64::from(n_healthy) < HEALTHY_SHARE_MIN * f64::from(desired) {
        0
    } else {
        let portion = if n_healthy == 0 { 1 } else { (desired / 10).max(1) };
        let (unsettled, next) = unsettled(view);
        look_again = next;
        portion.saturating_sub(unsettled)
    };
    let now = checked.len().min(room as usize);
    admitted.extend_from_slice(&checked[..now]);
    (admitted, look_again)
}

/// Whether a newcomer is coming or warming up.
pub(super) fn is_unsettled(view: &GroupView<'_>) -> bool {
    unsettled(view).0 > 0
}

/// Members that are coming, or in service and not proven or warm yet; and when the first of them will be warm. One that is
/// unhealthy is to be replaced and replaces nobody.
pub(super) fn unsettled(view: &GroupView<'_>) -> (u32, Option<Timestamp>) {
    let warmup = std::time::Duration::from_secs(view.group.default_instance_warmup_s.unwrap_or(0).into());
    let mut n = 0;
    let mut next: Option<Timestamp> = None;
    for m in view.members.iter().filter(|m| m.member.health == HealthStatus::Healthy) {
        let warm_at = m.member.in_service_at.map(|at| at + warmup);
        let settled = match m.member.state {
            LifecycleState::InService => {
                let proven = !(view.group.health_check_elb && m.traffic.unproven) || m.traffic.unhealthy;
                proven && warm_at.is_some_and(|at| at <= view.now)
            }
            _ => !m.member.is_pending(),
        };
        if !settled {
            n += 1;
            let at = warm_at.filter(|at| view.now < *at);
            next = next.min(at).or(next).or(at);
        }
    }
    (n, next)
}
