//! The cancellable drain, which AWS's groups do not have: who was just chosen to go may come back.
//!
//! When a group shrinks, who goes is first taken out of its target groups and drains there. If the wanted capacity rises again
//! meanwhile, AWS launches another instance and ends the one that is still serving its last requests. A group with the tag
//! [`TAG_CANCEL_DRAIN`] takes that one back instead, before it takes anything from its warm pool and before it launches.
//!
//! Only a drain is cancelled. Once termination hooks have been told, their owners have begun to clean up, and there is nobody to
//! tell them to undo it; so a member comes back until the first of them begins, and without hooks until EC2 is asked to end
//! the instance. Only who was chosen because the group shrank comes back, and only while it is fit to serve.

use std::time::Duration;

use super::hook::HookStand;
use super::puffer_tags::is_true;
use super::view::MemberView;
use super::{Group, HealthStatus, LifecycleState};
use crate::ec2::{InstanceIntent, InstanceState};
use crate::{Mutation, Timestamp};

/// `true`: members that drain because the group shrank come back when it grows. `false`, or no tag: they go, as on AWS.
pub const TAG_CANCEL_DRAIN: &str = "puffer:cancel-drain";

/// Whether members of the group come back from draining. The tag was checked when it was set.
pub fn is_on(group: &Group) -> bool {
    is_true(group.tag(TAG_CANCEL_DRAIN))
}

/// Whether a member on its way out may come back. The group's tag is not asked.
pub fn may_return(group: &Group, m: &MemberView<'_>, now: Timestamp) -> bool {
    let member = m.member;
    let drains = member.hooks == HookStand::Due
        && matches!(member.state, LifecycleState::Terminating | LifecycleState::WarmedPending)
        && member.is_leaving();
    let Some(instance) = m.instance else { return false };
    let runs = instance.state == InstanceState::Running && instance.intent == InstanceIntent::Run;
    if !(drains && runs) {
        return false;
    }
    if Mutation::TakeBackAnyone.is_on() {
        return true;
    }
    let fit = member.health == HealthStatus::Healthy
        && member.impaired_since.is_none()
        && !m.traffic.unhealthy
        && instance.at_risk_since().is_none();
    // Neither about to boot again, nor to get another root volume.
    let settled = instance.root_replacement.is_none() && instance.reboots_done == instance.reboot_requests;
    let in_place = group.zones.contains(&member.zone) && !group.shifted_from(&member.zone, now);
    member.scaled_in && fit && settled && in_place && !is_overdue(group, m, now)
}

/// Whether the member would be replaced at once because it has reached its maximum lifetime.
fn is_overdue(group: &Group, m: &MemberView<'_>, now: Timestamp) -> bool {
    let lifetime = Duration::from_secs(group.max_instance_lifetime_s.into());
    let born = match m.member.launched_at == Timestamp::default() {
        true => m.member.added_at,
        false => m.member.launched_at,
    };
    !lifetime.is_zero() && born + lifetime <= now
}

#[cfg(test)]
mod tests {
    use super::super::view::Traffic;
    use super::super::view::fixtures::{NOW, group, instance, member};
    use super::super::warm_pool::Way;
    use super::*;
    use crate::autoscaling::{Member, ZonalShift};
    use crate::ec2::{Instance, RootReplacement};

    /// Each reason against coming back, alone.
    #[test]
    fn only_who_was_scaled_in_and_is_fit_returns() {
        type Change = fn(&mut Group, &mut Member, &mut Instance, &mut Traffic);
        let may = |change: Change| {
            let (mut g, mut m, mut i) =
                (group(0, 3, 3), member("i-1", "a"), instance("i-1", InstanceState::Running));
            (m.state, m.scaled_in) = (LifecycleState::Terminating, true);
            let mut traffic = Traffic { held: true, ..Traffic::default() };
            change(&mut g, &mut m, &mut i, &mut traffic);
            may_return(&g, &MemberView { member: &m, instance: Some(&i), traffic }, NOW)
        };
        let yes: [Change; 3] = [
            |_, _, _, _| (),
            |_, m, _, _| (m.state, m.way) = (LifecycleState::WarmedPending, Way::BackToPool),
            |g, _, _, _| g.max_instance_lifetime_s = 86_400,
        ];
        for (n, change) in yes.into_iter().enumerate() {
            assert!(may(change), "{n}");
        }
        let no: [Change; 17] = [
            |_, m, _, _| m.scaled_in = false,
            |_, m, _, _| m.hooks = HookStand::Waiting(vec![]),
            |_, m, _, _| m.hooks = HookStand::Done,
            |_, m, _, _| m.state = LifecycleState::TerminatingWait,
            |_, m, _, _| m.state = LifecycleState::TerminatingRetained,
            |_, m, _, _| m.state = LifecycleState::WarmedPending,
            |_, m, _, _| m.state = LifecycleState::Detaching,
            |_, m, _, _| m.health = HealthStatus::Unhealthy,
            |_, m, _, _| m.impaired_since = Some(NOW),
            |_, _, _, t| t.unhealthy = true,
            |_, _, i, _| i.intent = InstanceIntent::Terminate,
            |_, _, i, _| i.state = InstanceState::Stopped,
            |_, _, i, _| i.reboot_requests += 1,
            |_, _, i, _| {
                i.root_replacement = Some(RootReplacement {
                    task_id: "replacevol-1".into(),
                    image_id: "ami-2".into(),
                    serial: 1,
                });
            },
            |g, _, _, _| g.zones.retain(|z| z != "a"),
            |g, _, _, _| {
                g.zone_impairment.shift_enabled = true;
                g.zonal_shift = Some(ZonalShift { zone: "a".into(), until: NOW + Duration::from_secs(9) });
            },
            |g, _, _, _| g.max_instance_lifetime_s = 36_000,
        ];
        for (n, change) in no.into_iter().enumerate() {
            assert!(!may(change), "{n}");
        }
    }
}
