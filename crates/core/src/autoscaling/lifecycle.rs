//! Where a member goes next, given what its instance, its load balancers and its lifecycle hooks did.
//!
//! Pending → (instance runs) → hooks: Pending:Wait → Pending:Proceed → registered → InService. Terminating → deregistered,
//! drained → hooks: Terminating:Wait → Terminating:Proceed → the instance is asked to go → gone. Standby and detachment leave
//! by the same door, without hooks. A member whose root volume is replaced drains and asks the termination hooks as if it went, keeps
//! its place, and comes back as a newcomer, launch hooks included. A launch whose hook is abandoned goes out the same way, termination hooks
//! included. Each answer depends only on what is recorded, so a step that was cut off is simply taken again.

use std::time::Duration;

use super::health::IMPAIRED_WAIT;
use super::hook::{self, HookStand, Transition, Verdict};
use super::view::MemberView;
use super::warm_pool::{PoolState, Way};
use super::{Group, GroupStatus, HealthStatus, LifecycleState as S, Member};
use crate::ec2::{Instance, InstanceIntent, InstanceState, RootTaskState};
use crate::{ErrorClass, Timestamp};

/// Longest wait for draining: the longest deregistration delay (3600 s) and some time for the balancer to say so. Beyond it a
/// lost report must not keep an instance alive.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(3600 + 300);

/// The next step of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Stay,
    /// Draining; nothing until then.
    DrainUntil(Timestamp),
    /// Waiting for hooks; nothing until then.
    StayUntil(Timestamp),
    /// The hooks of this transition begin.
    WaitForHooks(Transition),
    /// The hooks are done: on with it.
    Proceed,
    /// A launch hook was abandoned: the instance goes again, and why.
    AbandonLaunch(String),
    /// A termination hook was abandoned, and the group keeps such instances.
    Retain(String),
    /// On its way into the pool, and to be stopped there.
    StopForPool,
    /// It waits in the warm pool from now on.
    EnterPool,
    /// It is of no use in the warm pool any more.
    LeavePool,
    /// The launch succeeded: register it and take it into service.
    EnterService,
    /// The launch failed.
    LaunchFailed {
        /// What a caller can do about it.
        class: ErrorClass,
        /// The driver's or EC2's reason.
        message: String,
    },
    /// An instance that ran before it was attached or left standby, and does not run any more: it goes as unhealthy.
    Lost,
    /// Drained, and no hook is left: ask the instance to go.
    EndInstance,
    /// The instance has gone: the membership ends.
    Leave,
    /// Drained, and no hook is left: ask for the new root volume.
    ReplaceRoot,
    /// The guest runs from the new root volume.
    RootReplaced,
    /// From here on it is like a newcomer.
    ComeAnew,
    /// It has not got its root volume: it goes.
    RootFailed,
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
            InstanceState::Running => coming(group, view, now),
            InstanceState::Pending => Next::Stay,
            _ if is_moved(view.member) => Next::Lost,
            _ => launch_failed(view),
        },
        S::Terminating
        | S::TerminatingWait
        | S::TerminatingProceed
        | S::WarmedTerminating
        | S::WarmedTerminatingWait
        | S::WarmedTerminatingProceed => going(group, view, state, now),
        S::WarmedPending | S::WarmedPendingWait | S::WarmedPendingProceed => {
            into_pool(group, view, state, now)
        }
        S::WarmedStopped | S::WarmedRunning if view.is_ready_in_pool() => Next::Stay,
        S::WarmedStopped | S::WarmedRunning => Next::LeavePool,
        replacing if replacing.is_replacing_root() => replacing_root(group, view, state, now),
        S::EnteringStandby => drained(view, now, Next::EnterStandby),
        S::Detaching => drained(view, now, Next::Detach),
        S::Standby if state == InstanceState::Terminated => Next::Leave,
        retained if retained.is_retained() && state == InstanceState::Terminated => Next::Leave,
        _ => Next::Stay,
    }
}

/// On its way into service, and running.
fn coming(group: &Group, view: &MemberView<'_>, now: Timestamp) -> Next {
    match &view.member.hooks {
        HookStand::Due if has_hooks(group, Transition::Launching) => {
            Next::WaitForHooks(Transition::Launching)
        }
        HookStand::Due | HookStand::Done => Next::EnterService,
        HookStand::Waiting(actions) => match hook::judge(actions, now) {
            Verdict::Wait(until) => Next::StayUntil(until),
            Verdict::Proceed => Next::Proceed,
            Verdict::Abandoned(message) => Next::AbandonLaunch(message),
        },
    }
}

/// Its root volume is being replaced. Whoever is called unhealthy meanwhile, or cannot be reached for as long as counts in
/// service, is not waited for: nobody knows when its zone will be back, and its place is to be filled.
fn replacing_root(group: &Group, view: &MemberView<'_>, state: InstanceState, now: Timestamp) -> Next {
    let Some(instance) = view.instance.filter(|_| state == InstanceState::Running) else {
        return Next::RootFailed;
    };
    let next = on_with_root(group, view, instance, now);
    if matches!(next, Next::ComeAnew | Next::RootReplaced) {
        return next;
    }
    match (given_up_at(group, view, now), next) {
        (Some(at), _) if at <= now => Next::RootFailed,
        (Some(at), Next::Stay) => Next::StayUntil(at),
        (Some(at), Next::StayUntil(until)) => Next::StayUntil(until.min(at)),
        (Some(at), Next::DrainUntil(until)) => Next::DrainUntil(until.min(at)),
        (_, next) => next,
    }
}

/// When nobody waits any more for a member whose root volume is being replaced.
fn given_up_at(group: &Group, view: &MemberView<'_>, now: Timestamp) -> Option<Timestamp> {
    if view.member.health == HealthStatus::Unhealthy {
        return Some(now);
    }
    let ignored = group.zone_impairment.ignore_unhealthy && group.shifted_from(&view.member.zone, now);
    view.member.impaired_since.filter(|_| !ignored).map(|since| since + IMPAIRED_WAIT)
}

/// What its hooks say does not keep it from its new root volume, as it keeps nobody from termination.
fn on_with_root(group: &Group, view: &MemberView<'_>, instance: &Instance, now: Timestamp) -> Next {
    match (view.member.state, &view.member.hooks) {
        (S::RootVolumeReplaced, _) => Next::ComeAnew,
        (S::ReplacingRootVolumeProceed, _) => {
            let target = view.member.root_target.as_ref();
            let succeeded = match (target.and_then(|t| t.outcome), &instance.root_replacement) {
                // A user may have asked for yet another one since.
                (Some(outcome), _) => outcome == RootTaskState::Succeeded,
                (None, Some(_)) => return Next::Stay,
                (None, None) => target.is_some_and(|t| t.serial == instance.root_serial),
            };
            if succeeded { Next::RootReplaced } else { Next::RootFailed }
        }
        (_, HookStand::Due) => {
            let then = match has_hooks(group, Transition::Terminating) {
                true => Next::WaitForHooks(Transition::Terminating),
                false => Next::ReplaceRoot,
            };
            drained(view, now, then)
        }
        (_, HookStand::Done) => Next::ReplaceRoot,
        (_, HookStand::Waiting(actions)) => match hook::judge(actions, now) {
            Verdict::Wait(until) => Next::StayUntil(until),
            Verdict::Proceed | Verdict::Abandoned(_) => Next::ReplaceRoot,
        },
    }
}

/// On its way into the warm pool: launched for it, or back from the group. On the way back it drains, and the hooks that are
/// asked are those of termination.
fn into_pool(group: &Group, view: &MemberView<'_>, state: InstanceState, now: Timestamp) -> Next {
    let back = view.member.way == Way::BackToPool;
    match state {
        InstanceState::Running => {}
        InstanceState::Pending => return Next::Stay,
        InstanceState::Stopping | InstanceState::Stopped if view.member.hooks == HookStand::Done => {}
        _ if back => return Next::LeavePool,
        _ => return launch_failed(view),
    }
    let boots_anew = view.instance.is_some_and(|i| i.root_replacement.is_some());
    let settle = || match (group.warm_pool.as_ref().map(|p| p.state), state) {
        (Some(PoolState::Running), InstanceState::Running) | (Some(_), InstanceState::Stopped) => {
            Next::EnterPool
        }
        // Its guest will be booted from its new root volume yet.
        (Some(PoolState::Stopped), InstanceState::Running) if boots_anew => Next::Stay,
        (Some(PoolState::Stopped), InstanceState::Running) => Next::StopForPool,
        // The pool is gone: the plan ends what is left of it.
        _ => Next::Stay,
    };
    let transition = if back { Transition::Terminating } else { Transition::Launching };
    match &view.member.hooks {
        HookStand::Due => {
            let hooked = has_hooks(group, transition);
            let then = if hooked { Next::WaitForHooks(transition) } else { settle() };
            if back { drained(view, now, then) } else { then }
        }
        HookStand::Done => settle(),
        HookStand::Waiting(actions) => match hook::judge(actions, now) {
            Verdict::Wait(until) => Next::StayUntil(until),
            Verdict::Abandoned(message) if !back => Next::AbandonLaunch(message),
            Verdict::Abandoned(message) if group.retain_on_abandon => Next::Retain(message),
            Verdict::Proceed | Verdict::Abandoned(_) => Next::Proceed,
        },
    }
}

/// On its way out. Hooks are asked even for an instance that has died already: what they clean up is elsewhere.
fn going(group: &Group, view: &MemberView<'_>, state: InstanceState, now: Timestamp) -> Next {
    let asked = view.instance.is_none_or(|i| i.intent == InstanceIntent::Terminate);
    let end = match state {
        InstanceState::Terminated => Next::Leave,
        _ if asked => Next::Stay,
        _ => Next::EndInstance,
    };
    // A forced deletion waits for nobody.
    if group.status == GroupStatus::Deleting {
        return end;
    }
    match &view.member.hooks {
        HookStand::Done => end,
        HookStand::Due => {
            let then = match has_hooks(group, Transition::Terminating) {
                true => Next::WaitForHooks(Transition::Terminating),
                false => end,
            };
            // What does not run carries no traffic.
            if state == InstanceState::Running { drained(view, now, then) } else { then }
        }
        HookStand::Waiting(actions) => match hook::judge(actions, now) {
            Verdict::Wait(until) => Next::StayUntil(until),
            Verdict::Abandoned(message) if group.retain_on_abandon && state != InstanceState::Terminated => {
                Next::Retain(message)
            }
            Verdict::Proceed | Verdict::Abandoned(_) => Next::Proceed,
        },
    }
}

fn has_hooks(group: &Group, transition: Transition) -> bool {
    hook::of_transition(&group.hooks, transition).next().is_some()
}

fn drained(view: &MemberView<'_>, now: Timestamp, then: Next) -> Next {
    let until = view.member.state_since + DRAIN_WAIT_MAX;
    if view.traffic.held && now < until { Next::DrainUntil(until) } else { then }
}

/// Whether a member on its way into service was not launched for it, but attached, taken out of standby or back from draining,
/// which pass by the hooks of a launch, or has got another root volume.
pub fn is_moved(member: &Member) -> bool {
    member.root_target.is_some() || member.state == S::Pending && member.hooks == HookStand::Done
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
            (S::Terminating, Some(I::Running), false, true, Next::DrainUntil(NOW + DRAIN_WAIT_MAX)),
            (S::Terminating, Some(I::Running), false, false, Next::EndInstance),
            (S::Terminating, Some(I::Stopped), false, true, Next::EndInstance),
            (S::Terminating, Some(I::Running), true, false, Next::Stay),
            (S::Terminating, Some(I::ShuttingDown), true, false, Next::Stay),
            (S::Terminating, Some(I::Terminated), true, false, Next::Leave),
            (S::Terminating, None, false, false, Next::Leave),
            (S::EnteringStandby, Some(I::Running), false, true, Next::DrainUntil(NOW + DRAIN_WAIT_MAX)),
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
    fn root_volumes_are_replaced_between_draining_and_coming_anew() {
        use super::super::RootTarget;
        use super::super::hook::{HookAction, HookResult, LifecycleHook};
        use crate::ec2::RootReplacement;
        use InstanceState as I;
        let hook = || LifecycleHook { heartbeat_s: 60, ..LifecycleHook::new(Transition::Terminating) };
        let action = |result| {
            HookStand::Waiting(vec![HookAction {
                result,
                ..HookAction::begin("h", &hook(), "t".into(), NOW)
            }])
        };
        let (due, done) = (HookStand::Due, HookStand::Done);
        let (drains, waits) =
            (Next::DrainUntil(NOW + DRAIN_WAIT_MAX), Next::StayUntil(NOW + Duration::from_secs(60)));
        let asks = Next::WaitForHooks(Transition::Terminating);
        let (begins, proceeds) = (S::ReplacingRootVolume, S::ReplacingRootVolumeProceed);
        // (member state, hooks, hooked, instance, held, asked for, number of the root) → next; number 2 is wanted
        let table = [
            (begins, due.clone(), false, I::Running, true, false, 1, drains.clone()),
            (begins, due.clone(), false, I::Running, false, false, 1, Next::ReplaceRoot),
            (begins, due.clone(), true, I::Running, true, false, 1, drains),
            (begins, due.clone(), true, I::Running, false, false, 1, asks),
            (begins, due.clone(), true, I::Stopped, true, false, 1, Next::RootFailed),
            (S::ReplacingRootVolumeWait, action(None), true, I::Running, false, false, 1, waits),
            (
                S::ReplacingRootVolumeWait,
                action(Some(HookResult::Continue)),
                true,
                I::Running,
                false,
                false,
                1,
                Next::ReplaceRoot,
            ),
            (
                S::ReplacingRootVolumeWait,
                action(Some(HookResult::Abandon)),
                true,
                I::Running,
                false,
                false,
                1,
                Next::ReplaceRoot,
            ),
            (
                S::ReplacingRootVolumeWait,
                action(None),
                true,
                I::Terminated,
                false,
                false,
                1,
                Next::RootFailed,
            ),
            (proceeds, done.clone(), true, I::Running, false, true, 1, Next::Stay),
            (proceeds, done.clone(), true, I::Running, false, false, 2, Next::RootReplaced),
            (proceeds, done.clone(), true, I::Running, false, false, 1, Next::RootFailed),
            (proceeds, done.clone(), false, I::ShuttingDown, false, true, 1, Next::RootFailed),
            (S::RootVolumeReplaced, done, false, I::Running, false, false, 2, Next::ComeAnew),
            (S::Pending, due.clone(), false, I::Running, false, false, 2, Next::EnterService),
            (S::Pending, due, false, I::Stopped, false, false, 2, Next::Lost),
        ];
        for (state, hooks, hooked, instance_state, held, asked, serial, want) in table {
            let mut g = group(1, 1, 1);
            if hooked {
                g.hooks.insert("h".into(), hook());
            }
            let mut m = member("i-1", "a");
            (m.state, m.state_since, m.hooks) = (state, NOW, hooks);
            m.root_target = Some(RootTarget::of("ami-2".into(), 2));
            assert!(m.counts() && m.is_under_way() && !m.is_terminating(), "it keeps its place");
            let mut i = instance("i-1", instance_state);
            i.root_serial = serial;
            i.root_replacement = asked.then(|| RootReplacement {
                task_id: "replacevol-1".into(),
                image_id: "ami-2".into(),
                serial: 2,
            });
            let traffic = Traffic { held, ..Traffic::default() };
            let view = MemberView { member: &m, instance: Some(&i), traffic };
            assert_eq!(next(&g, &view, NOW), want, "{state:?} {instance_state:?} {held} {asked} {serial}");
        }
        assert_eq!(S::ReplacingRootVolume.waiting(), S::ReplacingRootVolumeWait);
    }

    #[test]
    fn a_root_volume_is_not_waited_for_where_nobody_can_be_reached() {
        use super::super::RootTarget;
        use crate::ec2::RootReplacement;
        let s = Duration::from_secs;
        let (proceeds, drains) = (S::ReplacingRootVolumeProceed, S::ReplacingRootVolume);
        let at = NOW - s(60) + IMPAIRED_WAIT;
        // (state, impaired for, unhealthy, held) → next
        let table = [
            (proceeds, None, false, false, Next::Stay),
            (proceeds, Some(60), false, false, Next::StayUntil(at)),
            (proceeds, Some(IMPAIRED_WAIT.as_secs()), false, false, Next::RootFailed),
            (proceeds, None, true, false, Next::RootFailed),
            (drains, Some(60), false, true, Next::DrainUntil(at)),
            (drains, None, true, true, Next::RootFailed),
            (S::RootVolumeReplaced, None, true, false, Next::ComeAnew),
        ];
        for (state, impaired, unhealthy, held, want) in table {
            let mut m = member("i-1", "a");
            (m.state, m.state_since, m.hooks) = (state, NOW, HookStand::Due);
            m.impaired_since = impaired.map(|i| NOW - s(i));
            if unhealthy {
                m.health = HealthStatus::Unhealthy;
            }
            m.root_target = Some(RootTarget::of("ami-2".into(), 2));
            let mut i = instance("i-1", InstanceState::Running);
            i.root_replacement =
                Some(RootReplacement { task_id: "t".into(), image_id: "ami-2".into(), serial: 2 });
            let traffic = Traffic { held, ..Traffic::default() };
            let view = MemberView { member: &m, instance: Some(&i), traffic };
            assert_eq!(next(&group(1, 1, 1), &view, NOW), want, "{state:?} {impaired:?} {unhealthy}");
        }
    }

    #[test]
    fn a_task_of_somebody_else_says_nothing_about_the_groups_own() {
        use super::super::RootTarget;
        use crate::ec2::RootReplacement;
        let other = || RootReplacement { task_id: "t".into(), image_id: "ami-3".into(), serial: 3 };
        // (outcome, number of the root, asked for) → next; number 2 was the group's
        let table = [
            (Some(RootTaskState::Succeeded), 2, None, Next::RootReplaced),
            (Some(RootTaskState::Succeeded), 2, Some(other()), Next::RootReplaced),
            (Some(RootTaskState::Succeeded), 3, None, Next::RootReplaced),
            (Some(RootTaskState::Failed), 3, None, Next::RootFailed),
            (Some(RootTaskState::Failed), 1, Some(other()), Next::RootFailed),
        ];
        for (outcome, serial, asked, want) in table {
            let mut m = member("i-1", "a");
            (m.state, m.hooks) = (S::ReplacingRootVolumeProceed, HookStand::Done);
            m.root_target = Some(RootTarget { outcome, ..RootTarget::of("ami-2".into(), 2) });
            let mut i = instance("i-1", InstanceState::Running);
            (i.root_serial, i.root_replacement) = (serial, asked);
            let view = MemberView { member: &m, instance: Some(&i), traffic: Traffic::default() };
            assert_eq!(next(&group(1, 1, 1), &view, NOW), want, "{outcome:?} {serial}");
        }
    }

    #[test]
    fn nobody_is_stopped_for_the_pool_who_is_about_to_boot_anew() {
        use super::super::warm_pool::WarmPool;
        use crate::ec2::RootReplacement;
        let mut g = group(1, 1, 1);
        g.warm_pool = Some(WarmPool::default());
        let mut m = member("i-1", "a");
        (m.state, m.way) = (S::WarmedPendingProceed, Way::BackToPool);
        let mut i = instance("i-1", InstanceState::Running);
        for (asked, want) in [(true, Next::Stay), (false, Next::StopForPool)] {
            i.root_replacement =
                asked.then(|| RootReplacement { task_id: "t".into(), image_id: "ami-2".into(), serial: 1 });
            let view = MemberView { member: &m, instance: Some(&i), traffic: Traffic::default() };
            assert_eq!(next(&g, &view, NOW), want, "{asked}");
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

    /// Member states with hooks: (state, stand, instance, group status, retain) → next.
    #[test]
    fn hooks_hold_members_on_their_way() {
        use super::super::hook::{HookAction, HookResult, LifecycleHook};
        use InstanceState as I;
        let hook = |transition| LifecycleHook { heartbeat_s: 60, ..LifecycleHook::new(transition) };
        let action = |result| {
            let hook = hook(Transition::Launching);
            HookStand::Waiting(vec![HookAction { result, ..HookAction::begin("h", &hook, "t".into(), NOW) }])
        };
        let (go, no) = (Some(HookResult::Continue), Some(HookResult::Abandon));
        let said = "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token t was abandoned: \
                    Lifecycle Action Completed with ABANDON Result"
            .to_owned();
        let until = NOW + Duration::from_secs(60);
        let table = [
            (S::Pending, HookStand::Due, I::Pending, false, Next::Stay),
            (S::Pending, HookStand::Due, I::Running, false, Next::WaitForHooks(Transition::Launching)),
            (S::Pending, HookStand::Done, I::Running, false, Next::EnterService),
            (S::Pending, HookStand::Done, I::Stopped, false, Next::Lost),
            (S::Pending, HookStand::Done, I::Terminated, false, Next::Lost),
            (S::PendingWait, action(None), I::Running, false, Next::StayUntil(until)),
            (S::PendingWait, action(go), I::Running, false, Next::Proceed),
            (S::PendingWait, action(no), I::Running, false, Next::AbandonLaunch(said.clone())),
            (S::PendingProceed, HookStand::Done, I::Running, false, Next::EnterService),
            (S::Terminating, HookStand::Due, I::Running, false, Next::WaitForHooks(Transition::Terminating)),
            (
                S::Terminating,
                HookStand::Due,
                I::Terminated,
                false,
                Next::WaitForHooks(Transition::Terminating),
            ),
            (S::TerminatingWait, action(None), I::Running, false, Next::StayUntil(until)),
            (S::TerminatingWait, action(go), I::Running, false, Next::Proceed),
            (S::TerminatingWait, action(no), I::Running, false, Next::Proceed),
            (S::TerminatingWait, action(no), I::Running, true, Next::Retain(said)),
            (S::TerminatingWait, action(no), I::Terminated, true, Next::Proceed),
            (S::TerminatingProceed, HookStand::Done, I::Running, false, Next::EndInstance),
            (S::TerminatingProceed, HookStand::Done, I::Terminated, false, Next::Leave),
            (S::TerminatingRetained, HookStand::Done, I::Running, true, Next::Stay),
            (S::TerminatingRetained, HookStand::Done, I::Terminated, true, Next::Leave),
        ];
        for (state, stand, instance_state, retain, want) in table {
            let mut g = group(1, 1, 1);
            g.retain_on_abandon = retain;
            g.hooks.insert("in".into(), hook(Transition::Launching));
            g.hooks.insert("out".into(), hook(Transition::Terminating));
            let mut m = member("i-1", "a");
            (m.state, m.state_since, m.hooks) = (state, NOW, stand);
            let i = instance("i-1", instance_state);
            let view = MemberView { member: &m, instance: Some(&i), traffic: Traffic::default() };
            assert_eq!(next(&g, &view, NOW), want, "{state:?} {:?} {instance_state:?} {retain}", m.hooks);
            if m.is_terminating() {
                g.status = GroupStatus::Deleting;
                let forced = next(&g, &view, NOW);
                assert!(
                    matches!(forced, Next::EndInstance | Next::Leave),
                    "a forced deletion waits: {forced:?}"
                );
            }
        }
    }

    #[test]
    fn draining_comes_before_termination_hooks() {
        let mut g = group(1, 1, 1);
        g.hooks.insert("out".into(), super::super::LifecycleHook::new(Transition::Terminating));
        let mut m = member("i-1", "a");
        (m.state, m.state_since) = (S::Terminating, NOW);
        let i = instance("i-1", InstanceState::Running);
        let held = |held| Traffic { held, ..Traffic::default() };
        let view = |t| MemberView { member: &m, instance: Some(&i), traffic: t };
        assert_eq!(next(&g, &view(held(true)), NOW), Next::DrainUntil(NOW + DRAIN_WAIT_MAX));
        assert_eq!(next(&g, &view(held(false)), NOW), Next::WaitForHooks(Transition::Terminating));
    }
}
