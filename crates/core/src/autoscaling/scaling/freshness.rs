//! Which metric data tell of the capacity as it is.
//!
//! A datapoint from before the last instance came or went is an average over others than those that serve now: multiplied by
//! their number it gives a load that nobody asked for. With AWS's minutes and warm-ups that is rare and mends itself. A policy that
//! decides by the second would take the same overload for a new one each second, and would swing about its target for
//! ever. So quick policies wait for data that began after the last change.

use super::Reaction;
use crate::Timestamp;
use crate::autoscaling::view::{GroupView, MemberView, sum};
use crate::autoscaling::warm_pool::Way;
use crate::autoscaling::{LifecycleState, Member};
use crate::ec2::InstanceState;

/// Shortest period that AWS's own timing knows, seconds.
const AWS_PERIOD_S: u32 = 60;

/// Whether a policy with datapoints of this period decides so quickly that it has to look at their age.
pub fn is_quick(period_s: u32, reaction: &Reaction) -> bool {
    period_s < AWS_PERIOD_S || reaction.period_s.is_some()
}

/// Since when the members that share the load have been those that share it now. Changes that the clock has yet to reach (it was
/// set back) do not count.
pub fn unchanged_since(view: &GroupView<'_>) -> Timestamp {
    let moved = view.members.iter().filter_map(|m| {
        let member = m.member;
        match member.state {
            LifecycleState::InService => member.in_service_at,
            _ => has_left(member).then_some(member.state_since),
        }
    });
    let group = [view.group.cooldown_started_at, view.group.policy_shrank_at];
    moved.chain(group.into_iter().flatten()).filter(|at| *at <= view.now).max().unwrap_or_default()
}

/// Units of members that serve no more and whose instances still run: they count in the metrics of the group.
pub fn leaving(view: &GroupView<'_>) -> u32 {
    let runs = |m: &&MemberView<'_>| m.instance.is_some_and(|i| i.state == InstanceState::Running);
    sum(view.members.iter().filter(|m| has_left(m.member)).filter(runs).map(|m| m.member.weight))
}

/// Out of service, for a while or for good.
fn has_left(member: &Member) -> bool {
    use LifecycleState as S;
    let aside = matches!(member.state, S::EnteringStandby | S::Standby | S::Detaching);
    let mended = member.state.is_replacing_root();
    aside || mended || member.is_terminating() && !member.state.is_of_pool() || member.way == Way::BackToPool
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::autoscaling::view::fixtures::{NOW, group, member, running, view};

    fn ago(s: u64) -> Timestamp {
        NOW - Duration::from_secs(s)
    }

    #[test]
    fn periods_below_a_minute_and_tags_are_quick() {
        let tagged = Reaction { period_s: Some(60), ..Reaction::default() };
        let plain = Reaction::default();
        assert!(!is_quick(60, &plain) && !is_quick(300, &plain));
        assert!(is_quick(10, &plain) && is_quick(60, &tagged));
    }

    #[test]
    fn whoever_comes_or_goes_changes_who_shares_the_load() {
        let mut g = group(0, 9, 3);
        let mut members: Vec<Member> = ["i-1", "i-2", "i-3"].map(|id| member(id, "a")).to_vec();
        let since = |g: &_, members: &[Member]| unchanged_since(&view(g, members, &[]));
        assert_eq!(since(&g, &members), ago(36_000));
        members[1].in_service_at = Some(ago(50));
        assert_eq!(since(&g, &members), ago(50));
        (members[2].state, members[2].state_since) = (LifecycleState::TerminatingWait, ago(40));
        assert_eq!(since(&g, &members), ago(40));
        // One that is coming shares nothing yet.
        (members[0].state, members[0].state_since) = (LifecycleState::Pending, ago(5));
        assert_eq!(since(&g, &members), ago(40));
        // One gets another root volume.
        (members[0].state, members[0].state_since) = (LifecycleState::ReplacingRootVolume, ago(30));
        assert_eq!(since(&g, &members), ago(30));
        // The last one went and left no member behind.
        g.cooldown_started_at = Some(ago(20));
        assert_eq!(since(&g, &members), ago(20));
        // The clock was set back.
        g.policy_shrank_at = Some(NOW + Duration::from_secs(600));
        assert_eq!(since(&g, &members), ago(20));
    }

    #[test]
    fn those_that_leave_count_while_they_run() {
        let g = group(0, 9, 3);
        let mut members: Vec<Member> = ["i-1", "i-2", "i-3", "i-4"].map(|id| member(id, "a")).to_vec();
        members[0].state = LifecycleState::Terminating;
        (members[1].state, members[1].weight) = (LifecycleState::Standby, 3);
        members[2].state = LifecycleState::Pending;
        let mut instances = running(&members);
        assert_eq!(leaving(&view(&g, &members, &instances)), 4);
        instances[0].state = InstanceState::ShuttingDown;
        assert_eq!(leaving(&view(&g, &members, &instances)), 3);
        members[3].state = LifecycleState::ReplacingRootVolumeWait;
        assert_eq!(leaving(&view(&g, &members, &instances)), 4);
    }
}
