//! Who is unhealthy.
//!
//! An instance that does not run is unhealthy at once. An impaired status check counts after a while and outside the grace
//! period, a load balancer's verdict outside the grace period and only if that attachment has been in service itself: a
//! balancer that never had a healthy instance says more about the setup than about an instance. An instance that waits running
//! in the warm pool is held to its status checks alone, without grace.
//! Source: EC2 Auto Scaling guide, "Health checks for instances" and "Set the health check grace period".

use std::time::Duration;

use super::view::MemberView;
use super::{Group, HealthStatus, LifecycleState, UnhealthyCause};
use crate::ec2::{InstanceState, StatusCheck};
use crate::{Mutation, Timestamp};

/// How long a status check may be impaired before it counts: a reboot takes less, and AWS waits "a few minutes".
pub const IMPAIRED_WAIT: Duration = Duration::from_secs(180);

/// What a look at a member's health gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to say, or said already.
    Same,
    /// To be marked unhealthy.
    Unhealthy(UnhealthyCause),
    /// A failed check that will count from then on unless it passes.
    Later(Timestamp),
}

/// Judges a member. Only members in service and warm ones that run are judged: before, a failure is a failed launch; standby is
/// not checked.
pub fn judge(group: &Group, view: &MemberView<'_>, now: Timestamp) -> Verdict {
    let member = view.member;
    if member.health == HealthStatus::Unhealthy {
        return Verdict::Same;
    }
    match member.state {
        LifecycleState::InService => {}
        LifecycleState::WarmedRunning => return judge_warm(group, view, now),
        _ => return Verdict::Same,
    }
    let running = view.instance.filter(|i| i.state == InstanceState::Running);
    if running.is_none() {
        return Verdict::Unhealthy(UnhealthyCause::Ec2NotRunning);
    }
    let mut counts_from = None;
    if let Some(since) = member.impaired_since {
        counts_from = Some((since + IMPAIRED_WAIT, UnhealthyCause::Ec2StatusCheck));
    }
    if group.health_check_elb && view.traffic.unhealthy {
        counts_from = Some((Timestamp::default(), UnhealthyCause::Elb));
    }
    let Some((from, cause)) = counts_from else { return Verdict::Same };
    let from = if Mutation::IgnoreGrace.is_on() { from } else { from.max(grace_ends(group, view)) };
    if now < from { Verdict::Later(from) } else { Verdict::Unhealthy(cause) }
}

/// What does not run any more leaves the pool anyway, see [`super::lifecycle`].
fn judge_warm(group: &Group, view: &MemberView<'_>, now: Timestamp) -> Verdict {
    let ignored = group.zone_impairment.ignore_unhealthy && group.shifted_from(&view.member.zone, now);
    match view.member.impaired_since.map(|since| since + IMPAIRED_WAIT).filter(|_| !ignored) {
        None => Verdict::Same,
        Some(from) if now < from => Verdict::Later(from),
        Some(_) => Verdict::Unhealthy(UnhealthyCause::Ec2StatusCheck),
    }
}

/// When the member's grace period ends: it begins anew each time the member comes into service.
pub fn grace_ends(group: &Group, view: &MemberView<'_>) -> Timestamp {
    view.member.state_since + Duration::from_secs(group.health_check_grace_s.into())
}

/// Whether a status check of the member's instance is impaired now.
pub fn is_impaired(view: &MemberView<'_>) -> bool {
    view.instance.is_some_and(|i| {
        i.instance_status == StatusCheck::Impaired || i.system_status == StatusCheck::Impaired
    })
}

#[cfg(test)]
mod tests {
    use super::super::view::Traffic;
    use super::super::view::fixtures::{NOW, group, instance, member};
    use super::*;

    #[test]
    fn verdicts() {
        let s = Duration::from_secs;
        let unhealthy = Traffic { unhealthy: true, ..Traffic::default() };
        let quiet = Traffic::default();
        // (instance state, in service for, grace, impaired for, traffic, ELB checks) → verdict
        let table = [
            (InstanceState::Running, 500, 300, None, quiet, true, Verdict::Same),
            (
                InstanceState::Stopped,
                5,
                300,
                None,
                quiet,
                false,
                Verdict::Unhealthy(UnhealthyCause::Ec2NotRunning),
            ),
            (InstanceState::Running, 500, 300, None, unhealthy, false, Verdict::Same),
            (
                InstanceState::Running,
                500,
                300,
                None,
                unhealthy,
                true,
                Verdict::Unhealthy(UnhealthyCause::Elb),
            ),
            (InstanceState::Running, 200, 300, None, unhealthy, true, Verdict::Later(NOW + s(100))),
            (InstanceState::Running, 500, 300, Some(60), quiet, true, Verdict::Later(NOW + s(120))),
            (
                InstanceState::Running,
                500,
                300,
                Some(180),
                quiet,
                false,
                Verdict::Unhealthy(UnhealthyCause::Ec2StatusCheck),
            ),
        ];
        for (state, age, grace, impaired, traffic, elb, want) in table {
            let mut g = group(1, 1, 1);
            g.health_check_grace_s = grace;
            g.health_check_elb = elb;
            let mut m = member("i-1", "a");
            m.state_since = NOW - s(age);
            m.impaired_since = impaired.map(|i| NOW - s(i));
            let i = instance("i-1", state);
            let view = MemberView { member: &m, instance: Some(&i), traffic };
            assert_eq!(judge(&g, &view, NOW), want, "{state:?} {age} {grace} {impaired:?} {traffic:?} {elb}");
        }
    }

    #[test]
    fn warm_instances_are_held_to_their_status_checks_without_grace() {
        let s = Duration::from_secs;
        for (impaired, want) in [
            (None, Verdict::Same),
            (Some(60), Verdict::Later(NOW + s(120))),
            (Some(180), Verdict::Unhealthy(UnhealthyCause::Ec2StatusCheck)),
        ] {
            let mut g = group(1, 1, 1);
            g.health_check_grace_s = 300;
            let mut m = member("i-1", "a");
            (m.state, m.state_since) = (LifecycleState::WarmedRunning, NOW - s(200));
            m.impaired_since = impaired.map(|i| NOW - s(i));
            let i = instance("i-1", InstanceState::Running);
            let view = MemberView { member: &m, instance: Some(&i), traffic: Traffic::default() };
            assert_eq!(judge(&g, &view, NOW), want, "{impaired:?}");
        }
    }

    #[test]
    fn standby_and_those_marked_are_left_alone() {
        let g = group(1, 1, 1);
        let mut m = member("i-1", "a");
        m.state = LifecycleState::Standby;
        let gone = |m: &super::super::Member| {
            judge(&g, &MemberView { member: m, instance: None, traffic: Traffic::default() }, NOW)
        };
        assert_eq!(gone(&m), Verdict::Same);
        m.state = LifecycleState::InService;
        assert_eq!(gone(&m), Verdict::Unhealthy(UnhealthyCause::Ec2NotRunning));
        m.health = HealthStatus::Unhealthy;
        assert_eq!(gone(&m), Verdict::Same);
    }
}
