//! Members move on: into service, out of it, away.

use puffer_core::autoscaling::hook::{self, HookAction, HookStand, Transition};
use puffer_core::autoscaling::lifecycle::{Next, is_moved, next};
use puffer_core::autoscaling::notice::{HookNotice, Party};
use puffer_core::autoscaling::warm_pool::Way;
use puffer_core::autoscaling::{
    ActivityStatus, Group, HealthStatus, LifecycleState as S, Member, UnhealthyCause, backoff, texts,
};
use puffer_core::ec2::{Instance, InstanceState};
use puffer_core::{ErrorClass, Mutation, Timestamp, ids};
use puffer_store::Transaction;

use super::activity::{self, Begin};
use super::{Observation, Observed, Step, subnet_of};
use crate::{instances, notices};

/// Tag that names an instance's group.
pub const TAG_GROUP_NAME: &str = "aws:autoscaling:groupName";

impl Step<'_, '_> {
    pub(super) fn move_members(&mut self, seen: &Observation) {
        for observed in &seen.members {
            let leaving =
                matches!(observed.member.state, S::EnteringStandby | S::Detaching | S::WarmedPending)
                    || observed.member.state == S::ReplacingRootVolume
                    || observed.member.is_terminating();
            let mut view = observed.view(&self.group);
            if leaving {
                view.traffic.held = self.drain(observed);
            }
            match next(&self.group, &view, self.now) {
                Next::Stay => {}
                Next::DrainUntil(at) => {
                    if observed.member.is_terminating() || observed.member.state.is_replacing_root() {
                        self.status(observed, ActivityStatus::WaitingForElbConnectionDraining);
                    }
                    self.report.later(at);
                }
                Next::StayUntil(at) => self.report.later(at),
                Next::WaitForHooks(transition) => self.wait_for_hooks(observed, transition),
                Next::Proceed => self.proceed(observed),
                Next::AbandonLaunch(message) => self.abandon_launch(observed, &message),
                Next::Retain(message) => self.retain(observed, message),
                Next::StopForPool => self.stop_for_pool(observed),
                Next::EnterPool => self.enter_pool(observed),
                Next::LeavePool => self.leave_pool(observed),
                Next::EnterService => self.enter_service(observed),
                Next::LaunchFailed { class, message } => self.launch_failed(observed, class, &message),
                Next::Lost => {
                    let cause = texts::unhealthy(UnhealthyCause::Ec2NotRunning);
                    let message = "The instance stopped before it came into service.".to_owned();
                    self.lost(observed, cause, message);
                }
                Next::ReplaceRoot => self.replace_root(observed),
                Next::RootReplaced => self.root_replaced(observed),
                Next::ComeAnew => self.come_anew(observed),
                Next::RootFailed => self.root_failed(observed),
                Next::EndInstance => self.end_instance(observed),
                Next::Leave => self.leave(observed),
                Next::EnterStandby => self.change(observed, S::Standby),
                Next::Detach => self.detach(observed),
            }
        }
    }

    pub(super) fn status(&mut self, observed: &Observed, status: ActivityStatus) {
        if let Some(id) = &observed.member.activity_id {
            activity::set_status(self.tx, id, status);
        }
    }

    fn close(&mut self, observed: &Observed, status: ActivityStatus) {
        if let Some(id) =
            observed.member.activity_id.as_ref().filter(|_| !Mutation::LeaveActivityOpen.is_on())
        {
            activity::close(self.tx, id, status, self.now);
        }
    }

    /// All hooks of the transition begin at once.
    fn wait_for_hooks(&mut self, observed: &Observed, transition: Transition) {
        let mut actions = Vec::new();
        for (name, hook) in hook::of_transition(&self.group.hooks, transition) {
            let mut action = HookAction::begin(name, hook, ids::uuid(self.rng), self.now);
            let (origin, destination) = parties(&observed.member, transition);
            let waits = HookNotice {
                group: &self.group.name,
                instance_id: &observed.member.instance_id,
                action: &action,
                transition,
                metadata: hook.metadata.as_deref(),
                origin,
                destination,
            };
            if !notices::hook_waits(self.tx, &self.group, &waits, hook.target.as_deref(), self.now) {
                // Nobody hears of the wait, so nobody will end it.
                action.result = Some(hook.default_result);
            }
            actions.push(action);
        }
        if let hook::Verdict::Wait(until) = hook::judge(&actions, self.now) {
            self.report.later(until);
        }
        self.status(observed, ActivityStatus::MidLifecycleAction);
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            m.state = m.state.waiting();
            (m.state_since, m.hooks) = (now, HookStand::Waiting(actions));
        });
        self.report.moved += 1;
    }

    fn proceed(&mut self, observed: &Observed) {
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            m.state = m.state.proceeding();
            (m.state_since, m.hooks) = (now, HookStand::Done);
        });
        self.report.moved += 1;
    }

    /// The instance goes out again as any other; its place is filled after a wait that grows, since what failed once for every
    /// instance tends to fail again.
    fn abandon_launch(&mut self, observed: &Observed, message: &str) {
        let member = &observed.member;
        let id = &member.instance_id;
        if let Some(activity) = &member.activity_id {
            activity::give_up_launch(self.tx, activity, message, self.now);
        }
        let place = place_of(&self.group, member);
        backoff::launch_failed(&mut self.group, place, ErrorClass::Permanent, self.now);
        let begin = Begin {
            group: &self.group,
            instance_id: Some(id),
            description: texts::terminating(id),
            cause: vec![texts::sentence(self.now, texts::launch_abandoned(id))],
            reasons: vec![message.to_owned()],
            subnet: &subnet_of(observed.instance.as_ref()),
            zone: &member.zone,
            status: ActivityStatus::InProgress,
        };
        let activity = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
        let now = self.now;
        self.tx.update::<Member>(id, |m| {
            m.state = if m.state.is_of_pool() { S::WarmedTerminating } else { S::Terminating };
            (m.state_since, m.hooks) = (now, HookStand::Due);
            m.activity_id = Some(activity);
        });
        self.report.failed += 1;
    }

    /// It was to come into service and cannot: the move fails, and it goes as an instance in service would that stopped. No
    /// launch has failed, so the group does not wait with the next.
    pub(super) fn lost(&mut self, observed: &Observed, cause: String, message: String) {
        let member = &observed.member;
        let id = &member.instance_id;
        if let Some(activity) = &member.activity_id {
            activity::close_with(self.tx, activity, ActivityStatus::Failed, message, self.now);
        }
        let begin = Begin {
            group: &self.group,
            instance_id: Some(id),
            description: texts::terminating(id),
            cause: vec![texts::sentence(self.now, cause)],
            reasons: vec![match &observed.instance {
                Some(i) => format!("it is {}", i.state.name()),
                None => "its record is gone".to_owned(),
            }],
            subnet: &subnet_of(observed.instance.as_ref()),
            zone: &member.zone,
            status: ActivityStatus::InProgress,
        };
        let activity = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
        let now = self.now;
        self.tx.update::<Member>(id, |m| {
            (m.state, m.state_since, m.hooks) = (S::Terminating, now, HookStand::Due);
            (m.health, m.unhealthy_cause) = (HealthStatus::Unhealthy, Some(UnhealthyCause::Ec2NotRunning));
            (m.activity_id, m.root_target) = (Some(activity), None);
        });
        self.report.unhealthy += 1;
        self.report.moved += 1;
    }

    /// Nobody may end it but a user: it may hold what the hook failed to save.
    fn retain(&mut self, observed: &Observed, message: String) {
        if let Some(activity) = &observed.member.activity_id {
            activity::close_with(self.tx, activity, ActivityStatus::Cancelled, message, self.now);
        }
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            (m.state, m.state_since, m.hooks) = (m.state.retained(), now, HookStand::Done);
            m.activity_id = None;
        });
        self.report.moved += 1;
    }

    fn enter_service(&mut self, observed: &Observed) {
        self.register(&observed.member);
        self.close(observed, ActivityStatus::Successful);
        let place = place_of(&self.group, &observed.member);
        // Who was not launched says nothing about launches.
        if !is_moved(&observed.member) && backoff::remembers(&self.group, place) {
            backoff::launch_succeeded(&mut self.group, place);
        }
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            (m.state, m.state_since, m.in_service_at) = (S::InService, now, Some(now));
            (m.surplus, m.activity_id, m.hooks) = (false, None, HookStand::Done);
            m.root_target = None;
        });
        self.report.moved += 1;
    }

    fn launch_failed(&mut self, observed: &Observed, class: ErrorClass, message: &str) {
        let member = &observed.member;
        if let Some(id) = &member.activity_id {
            activity::fail_launch(self.tx, id, message, self.now);
        }
        // Somebody ended it on purpose: no reason to wait with the next.
        let reason = observed.instance.as_ref().and_then(|i| i.state_reason.as_ref());
        if reason.is_none_or(|r| r.code != "Client.UserInitiatedShutdown") {
            let place = place_of(&self.group, member);
            backoff::launch_failed(&mut self.group, place, class, self.now);
        }
        if observed.instance.as_ref().is_some_and(|i| i.state.is_alive()) {
            instances::terminate(self.tx, &member.instance_id, self.now);
        }
        self.tx.delete::<Member>(&member.instance_id);
        self.report.failed += 1;
    }

    fn end_instance(&mut self, observed: &Observed) {
        instances::terminate(self.tx, &observed.member.instance_id, self.now);
        self.status(observed, ActivityStatus::InProgress);
        self.report.moved += 1;
    }

    fn leave(&mut self, observed: &Observed) {
        self.drain(observed);
        if observed.member.state == S::Standby {
            self.note_lost_standby(observed);
        }
        self.close(observed, ActivityStatus::Successful);
        self.tx.delete::<Member>(&observed.member.instance_id);
        self.report.moved += 1;
    }

    /// An instance in standby is not replaced; that it has gone is worth a line all the same.
    fn note_lost_standby(&mut self, observed: &Observed) {
        let id = &observed.member.instance_id;
        let begin = Begin {
            group: &self.group,
            instance_id: Some(id),
            description: texts::terminating(id),
            cause: vec![texts::sentence(self.now, texts::unhealthy(UnhealthyCause::Ec2NotRunning))],
            reasons: vec!["it ended while in standby".to_owned()],
            subnet: &subnet_of(observed.instance.as_ref()),
            zone: &observed.member.zone,
            status: ActivityStatus::InProgress,
        };
        let activity = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
        activity::close(self.tx, &activity, ActivityStatus::Successful, self.now);
    }

    fn change(&mut self, observed: &Observed, state: S) {
        self.close(observed, ActivityStatus::Successful);
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            (m.state, m.state_since, m.activity_id) = (state, now, None);
            m.traffic_sources.clear();
        });
        self.report.moved += 1;
        self.released = true;
    }

    fn detach(&mut self, observed: &Observed) {
        self.close(observed, ActivityStatus::Successful);
        release(self.tx, &observed.member.instance_id, self.now);
        self.report.moved += 1;
        self.released = true;
    }
}

/// Where a member was launched.
fn place_of<'m>(group: &Group, member: &'m Member) -> backoff::Place<'m> {
    backoff::Place::new(group, &member.zone, &member.instance_type, member.lifecycle)
}

/// Where a member on its way comes from and goes to.
fn parties(member: &Member, transition: Transition) -> (Party, Party) {
    match (transition, member.state.is_of_pool(), member.way) {
        (Transition::Launching, true, _) => (Party::Ec2, Party::WarmPool),
        (Transition::Launching, false, Way::FromPool) => (Party::WarmPool, Party::Group),
        (Transition::Launching, false, _) => (Party::Ec2, Party::Group),
        (Transition::Terminating, true, _) if member.state.is_coming_to_pool() => {
            (Party::Group, Party::WarmPool)
        }
        (Transition::Terminating, true, _) => (Party::WarmPool, Party::Ec2),
        (Transition::Terminating, false, _) => (Party::Group, Party::Ec2),
    }
}

/// Lets an instance go from its group: it stays, without the membership and the tag.
fn release(tx: &mut Transaction<'_>, instance_id: &str, _now: Timestamp) {
    tx.delete::<Member>(instance_id);
    if tx.get::<Instance>(instance_id).is_some_and(|i| i.state != InstanceState::Terminated) {
        tx.update::<Instance>(instance_id, |i| {
            i.auto_scaling_group = None;
            i.tags.remove(TAG_GROUP_NAME);
        });
    }
}
