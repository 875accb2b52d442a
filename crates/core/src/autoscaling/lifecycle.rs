//! Where a member goes next, given what its instance and its load balancers did.
//!
//! Pending → (instance runs) registered → InService. Terminating → deregistered, drained → the instance is asked to go →
//! gone. Standby and detachment leave by the same door. Each answer depends only on what is recorded, so a step that was
//! cut off is simply taken again.

use std::time::Duration;

use super::view::MemberView;
use super::{Group, GroupStatus, LifecycleState as S};
use crate::ec2::{InstanceIntent, InstanceState};
use crate::{ErrorClass, Timestamp};

/// Longest wait for draining: the longest deregistration delay (3600 s) and some time for the balancer to say so. Beyond it a
/// lost report must not keep an instance alive.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(3600 + 300);

/// The next step of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Stay,
    /// Nothing until then.
    StayUntil(Timestamp),
    /// The launch succeeded: register it and take it into service.
    EnterService,
    /// The launch failed.
    LaunchFailed {
        /// What a caller can do about it.
        class: ErrorClass,
        /// The driver's or EC2's reason.
        message: String,
    },
    /// Drained: ask the instance to go.
    EndInstance,
    /// The instance has gone: the membership ends.
    Leave,
    /// Drained: it is in standby now.
    EnterStandby,
    /// Drained: it belongs to the group no more.
    Detach,
}

/// Decides the next step of a member.
pub fn next(group: &Group, view: &MemberView<'_>, now: Timestamp) -> Next {
    let state = view.instance.map_or(InstanceState::Terminated, |i| i.state);
    match view.member.state {
        S::Pending | S::PendingWait | S::PendingProceed => match state {
            InstanceState::Running => Next::EnterService,
            InstanceState::Pending => Next::Stay,
            _ => launch_failed(view),
        },
        S::Terminating | S::TerminatingWait | S::TerminatingProceed => {
            let asked = view.instance.is_none_or(|i| i.intent == InstanceIntent::Terminate);
            match state {
                InstanceState::Terminated => Next::Leave,
                _ if asked => Next::Stay,
                // What does not run carries no traffic; and a forced deletion waits for nobody.
                InstanceState::Running if group.status == GroupStatus::Active => {
                    drained(view, now, Next::EndInstance)
                }
                _ => Next::EndInstance,
            }
        }
        S::EnteringStandby => drained(view, now, Next::EnterStandby),
        S::Detaching => drained(view, now, Next::Detach),
        S::Standby if state == InstanceState::Terminated => Next::Leave,
        S::InService | S::Standby | S::Terminated | S::Detached => Next::Stay,
    }
}

fn drained(view: &MemberView<'_>, now: Timestamp, then: Next) -> Next {
    let until = view.member.state_since + DRAIN_WAIT_MAX;
    if view.traffic.held && now < until { Next::StayUntil(until) } else { then }
}

fn launch_failed(view: &MemberView<'_>) -> Next {
    let reason = view.instance.and_then(|i| i.state_reason.as_ref());
    match reason {
        Some(reason) => Next::LaunchFailed {
            class: super::backoff::class_of(&reason.code),
            message: reason.message.clone(),
        },
        None => Next::LaunchFailed {
            class: ErrorClass::Transient,
            message: "The instance ended before it came to run".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Traffic;
    use super::super::view::fixtures::{NOW, group, instance, member};
    use super::*;
    use crate::ec2::StateReason;

    #[test]
    fn steps() {
        use InstanceState as I;
        // (member state, instance state, asked to go, registrations held) → next
        let table = [
            (S::Pending, Some(I::Pending), false, false, Next::Stay),
            (S::Pending, Some(I::Running), false, false, Next::EnterService),
            (S::InService, Some(I::Running), false, true, Next::Stay),
            (S::InService, None, false, false, Next::Stay),
            (S::Terminating, Some(I::Running), false, true, Next::StayUntil(NOW + DRAIN_WAIT_MAX)),
            (S::Terminating, Some(I::Running), false, false, Next::EndInstance),
            (S::Terminating, Some(I::Stopped), false, true, Next::EndInstance),
            (S::Terminating, Some(I::Running), true, false, Next::Stay),
            (S::Terminating, Some(I::ShuttingDown), true, false, Next::Stay),
            (S::Terminating, Some(I::Terminated), true, false, Next::Leave),
            (S::Terminating, None, false, false, Next::Leave),
            (S::EnteringStandby, Some(I::Running), false, true, Next::StayUntil(NOW + DRAIN_WAIT_MAX)),
            (S::EnteringStandby, Some(I::Running), false, false, Next::EnterStandby),
            (S::Detaching, Some(I::Running), false, false, Next::Detach),
            (S::Standby, Some(I::Stopped), false, false, Next::Stay),
            (S::Standby, Some(I::Terminated), false, false, Next::Leave),
        ];
        for (state, instance_state, asked, held, want) in table {
            let mut m = member("i-1", "a");
            (m.state, m.state_since) = (state, NOW);
            let i = instance_state.map(|s| {
                let mut i = instance("i-1", s);
                if asked {
                    i.intent = InstanceIntent::Terminate;
                }
                i
            });
            let traffic = Traffic { held, ..Traffic::default() };
            let view = MemberView { member: &m, instance: i.as_ref(), traffic };
            assert_eq!(
                next(&group(1, 1, 1), &view, NOW),
                want,
                "{state:?} {instance_state:?} {asked} {held}"
            );
        }
    }

    #[test]
    fn a_failed_launch_says_why_and_of_which_class() {
        let mut m = member("i-1", "a");
        m.state = S::Pending;
        let mut i = instance("i-1", InstanceState::Terminated);
        i.state_reason = Some(StateReason {
            code: "Server.InsufficientInstanceCapacity".into(),
            message: "no memory left".into(),
        });
        let view = MemberView { member: &m, instance: Some(&i), traffic: Traffic::default() };
        let want = Next::LaunchFailed { class: ErrorClass::Capacity, message: "no memory left".into() };
        assert_eq!(next(&group(1, 1, 1), &view, NOW), want);
    }
}
