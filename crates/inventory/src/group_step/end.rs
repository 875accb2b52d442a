//! Members are put on their way out.

use puffer_core::Mutation;
use puffer_core::autoscaling::hook::{self, HookStand, Transition};
use puffer_core::autoscaling::plan::TerminateWhy;
use puffer_core::autoscaling::warm_pool::Way;
use puffer_core::autoscaling::{ActivityStatus, GroupStatus, LifecycleState, Member, texts};
use puffer_core::ec2::{InstanceLifecycle, InstanceState};

use super::activity::{self, Begin};
use super::{Observed, Step, causes, subnet_of};
use crate::instances;

impl Step<'_, '_> {
    pub(super) fn end(&mut self, observed: &Observed, why: TerminateWhy, chosen_by: &str) {
        let member = &observed.member;
        let id = &member.instance_id;
        if let Some(unfinished) = &member.activity_id {
            activity::close(self.tx, unfinished, ActivityStatus::Cancelled, self.now);
        }
        let drains = !Mutation::ForgetDeregister.is_on() && self.drain(observed);
        let runs = observed.instance.as_ref().is_some_and(|i| i.state == InstanceState::Running);
        let active = self.group.status == GroupStatus::Active;
        let waits = drains && runs && active;
        let hooked =
            hook::of_transition(&self.group.hooks, Transition::Terminating).next().is_some() && active;
        let of_pool = member.state.is_of_pool();
        let pool = self.group.warm_pool.as_ref().filter(|p| p.reuse_on_scale_in && !p.deleting);
        // A Spot Instance of an earlier policy cannot wait there: nobody but the market stops it.
        // Nor can who is about to be booted from another root volume.
        let boots_anew = observed.instance.as_ref().is_some_and(|i| i.root_replacement.is_some());
        let can_wait = member.lifecycle == InstanceLifecycle::OnDemand && !boots_anew;
        let returns =
            pool.is_some() && can_wait && runs && active && matches!(why, TerminateWhy::Difference(..));
        let cause = match why {
            TerminateWhy::Difference(from, to) => {
                let mut causes = causes(&self.group, self.now, texts::shrunk(from, to));
                causes.push(texts::sentence(self.now, texts::selected(id)));
                causes
            }
            TerminateWhy::Unhealthy(cause) => vec![texts::sentence(self.now, texts::unhealthy(cause))],
            TerminateWhy::GroupDeleted => vec![texts::sentence(self.now, texts::group_deleted())],
            TerminateWhy::Refresh => vec![texts::sentence(self.now, texts::refreshed())],
            TerminateWhy::Lifetime => vec![texts::sentence(self.now, texts::lifetime_reached())],
            TerminateWhy::Pool(from, to) => vec![texts::sentence(self.now, texts::pool_shrunk(from, to))],
            TerminateWhy::AtRisk => vec![texts::sentence(self.now, texts::at_risk())],
            TerminateWhy::Interrupted => vec![texts::sentence(self.now, texts::interrupted())],
        };
        let mut reasons = match why {
            TerminateWhy::Difference(..) => self.group.desired_reasons.clone(),
            TerminateWhy::Unhealthy(_) => unhealthy_reasons(observed),
            TerminateWhy::GroupDeleted
            | TerminateWhy::Refresh
            | TerminateWhy::Lifetime
            | TerminateWhy::Pool(..)
            | TerminateWhy::AtRisk
            | TerminateWhy::Interrupted => Vec::new(),
        };
        reasons.push(format!("{id} was chosen: {chosen_by}"));
        let begin = Begin {
            group: &self.group,
            instance_id: Some(id),
            description: match () {
                () if returns => texts::returning_to_pool(id),
                () if of_pool => texts::terminating_from_pool(id),
                () => texts::terminating(id),
            },
            cause,
            reasons,
            subnet: &subnet_of(observed.instance.as_ref()),
            zone: &member.zone,
            status: match waits {
                true => ActivityStatus::WaitingForElbConnectionDraining,
                false => ActivityStatus::InProgress,
            },
        };
        let activity = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
        let now = self.now;
        let may_return = matches!(why, TerminateWhy::Difference(..)) && !of_pool && self.refresh.is_none();
        self.tx.update::<Member>(id, |m| {
            m.state = match () {
                () if returns => LifecycleState::WarmedPending,
                () if of_pool => LifecycleState::WarmedTerminating,
                () => LifecycleState::Terminating,
            };
            if returns {
                m.way = Way::BackToPool;
            }
            // Should it come back, it has not been refreshed.
            if m.root_target.take().is_some() {
                m.refreshed_by = None;
            }
            (m.state_since, m.hooks) = (now, HookStand::Due);
            m.activity_id = Some(activity);
            m.scaled_in = may_return;
        });
        if waits {
            let until = self.now + puffer_core::autoscaling::lifecycle::DRAIN_WAIT_MAX;
            self.report.later(until);
        } else if !hooked && !returns {
            instances::terminate(self.tx, id, self.now);
        }
        self.report.ended += 1;
    }
}

fn unhealthy_reasons(observed: &Observed) -> Vec<String> {
    let mut reasons = Vec::new();
    match &observed.instance {
        Some(i) => reasons.push(format!(
            "instance state {}, status checks {:?} and {:?}",
            i.state.name(),
            i.instance_status,
            i.system_status
        )),
        None => reasons.push("the instance's record is gone".to_owned()),
    }
    for t in &observed.targets {
        let why = t.description.as_deref().or(t.reason.as_deref()).unwrap_or("no reason given");
        reasons.push(format!("{} in {}: {why}", t.state.name(), t.target_group));
    }
    reasons
}
