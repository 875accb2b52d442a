//! Members and the warm pool: into it, out of it, back into it.

use puffer_core::autoscaling::hook::HookStand;
use puffer_core::autoscaling::plan::Action;
use puffer_core::autoscaling::warm_pool::Way;
use puffer_core::autoscaling::{ActivityStatus, HealthStatus, LifecycleState as S, Member, texts};
use puffer_core::ec2::{Instance, InstanceState};

use super::activity::{self, Begin};
use super::{Observation, Observed, Step, subnet_of};
use crate::instances;

impl Step<'_, '_> {
    /// Takes the instances that the plan chose into the group. Each starts if it was stopped, and goes the way of any launch from
    /// there, hooks included.
    pub(super) fn take_warm(&mut self, actions: &[Action], seen: &Observation) {
        for action in actions {
            let Action::TakeWarm { instance_id, why } = action else { continue };
            let Some(observed) = seen.members.iter().find(|m| m.member.instance_id == *instance_id) else {
                continue;
            };
            let cause = self.launch_cause(*why, &observed.member.zone, seen);
            let mut reasons = self.group.desired_reasons.clone();
            reasons.push(format!("{instance_id} waited in the warm pool"));
            let begin = Begin {
                group: &self.group,
                instance_id: Some(instance_id),
                description: texts::launching_from_pool(instance_id),
                cause,
                reasons,
                subnet: &subnet_of(observed.instance.as_ref()),
                zone: &observed.member.zone,
                status: ActivityStatus::PreInService,
            };
            let activity = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
            let now = self.now;
            let protected = self.group.new_instances_protected;
            self.tx.update::<Member>(instance_id, |m| {
                (m.state, m.state_since, m.hooks) = (S::Pending, now, HookStand::Due);
                (m.way, m.protected, m.activity_id) = (Way::FromPool, protected, Some(activity));
            });
            let group = self.group.name.clone();
            self.tx.update::<Instance>(instance_id, |i| i.auto_scaling_group = Some(group));
            instances::start(self.tx, instance_id, self.now);
            self.report.moved += 1;
        }
    }

    pub(super) fn stop_for_pool(&mut self, observed: &Observed) {
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            (m.state, m.state_since, m.hooks) = (S::WarmedPendingProceed, now, HookStand::Done);
        });
        instances::stop(self.tx, &observed.member.instance_id, self.now);
        self.report.moved += 1;
    }

    pub(super) fn enter_pool(&mut self, observed: &Observed) {
        if let Some(id) = &observed.member.activity_id {
            activity::close(self.tx, id, ActivityStatus::Successful, self.now);
        }
        let stopped = observed.instance.as_ref().is_some_and(|i| i.state == InstanceState::Stopped);
        let now = self.now;
        self.tx.update::<Member>(&observed.member.instance_id, |m| {
            m.state = if stopped { S::WarmedStopped } else { S::WarmedRunning };
            (m.state_since, m.in_service_at, m.activity_id) = (now, None, None);
            (m.health, m.unhealthy_cause, m.impaired_since) = (HealthStatus::Healthy, None, None);
            (m.hooks, m.protected, m.scaled_in) = (HookStand::Done, false, false);
            m.traffic_sources.clear();
        });
        self.tx.update::<Instance>(&observed.member.instance_id, |i| i.auto_scaling_group = None);
        self.report.moved += 1;
    }

    /// An instance of the pool that died, was started or stopped by somebody, or was called unhealthy: it goes, and the pool is
    /// filled again.
    pub(super) fn leave_pool(&mut self, observed: &Observed) {
        let id = &observed.member.instance_id;
        if let Some(open) = &observed.member.activity_id {
            activity::close(self.tx, open, ActivityStatus::Cancelled, self.now);
        }
        let begin = Begin {
            group: &self.group,
            instance_id: Some(id),
            description: texts::terminating_from_pool(id),
            cause: vec![texts::sentence(self.now, texts::pool_unfit())],
            reasons: vec![match &observed.instance {
                Some(i) => format!("it is {} and {:?}", i.state.name(), observed.member.health),
                None => "its record is gone".to_owned(),
            }],
            subnet: &subnet_of(observed.instance.as_ref()),
            zone: &observed.member.zone,
            status: ActivityStatus::InProgress,
        };
        let activity = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
        let now = self.now;
        self.tx.update::<Member>(id, |m| {
            (m.state, m.state_since, m.hooks) = (S::WarmedTerminating, now, HookStand::Due);
            m.activity_id = Some(activity);
        });
        self.report.moved += 1;
    }
}
